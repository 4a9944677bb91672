"""Sizes of audit logs on disk: the port `LogLedger` over SQLAlchemy."""

from sqlalchemy import Connection, select

from kmsgw.operations.log_ledger import LedgerEntry
from kmsgw.storage.access import Access
from kmsgw.storage.connections import Connections
from kmsgw.storage.faults import damaged, database_faults
from kmsgw.storage.insertion import insert_into
from kmsgw.storage.tables import audit_logs, state_epoch


class SqlLogLedger:
    """Sizes of the logs of all nodes, in one database. Safe for threads."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def read(self, origin: str) -> tuple[LedgerEntry | None, int]:
        """Return what is known of a log, and the present state epoch."""
        with self._connections.transaction(Access.READ) as connection, database_faults():
            return _entry(connection, origin), _epoch(connection)

    def enter(self, origin: str, size: int, root: bytes) -> LedgerEntry:
        """Enter the size of a log, unless a larger one is there; return what is there now, with the present epoch."""
        with self._connections.transaction(Access.WRITE) as connection, database_faults():
            epoch = _epoch(connection)
            insertion = insert_into(connection, audit_logs).values(origin=origin, size=size, root=root, epoch=epoch)
            row = insertion.excluded
            connection.execute(
                insertion.on_conflict_do_update(
                    index_elements=[audit_logs.c.origin],
                    set_={"size": row.size, "root": row.root, "epoch": row.epoch},
                    where=audit_logs.c.size <= row.size,
                )
            )
            entry = _entry(connection, origin)
            assert entry is not None
            return LedgerEntry(entry.size, entry.root, epoch)


def _entry(connection: Connection, origin: str) -> LedgerEntry | None:
    columns = audit_logs.c
    query = select(columns.size, columns.root, columns.epoch).where(columns.origin == origin)
    row = connection.execute(query).first()
    return None if row is None else LedgerEntry(row[0], bytes(row[1]), row[2])


def _epoch(connection: Connection) -> int:
    value = connection.execute(select(state_epoch.c.value)).scalar()
    if value is None:
        raise damaged("the state epoch is missing")
    return value
