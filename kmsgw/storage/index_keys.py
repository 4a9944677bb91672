"""Index keys as rows: the port `IndexKeyStore`."""

from collections.abc import Mapping

from sqlalchemy import Connection, insert, select, update

from kmsgw.errors import InternalError
from kmsgw.operations.index_key_ports import IndexKeyStore, StoredIndexKey
from kmsgw.storage.access import Access
from kmsgw.storage.connections import Connections
from kmsgw.storage.database import SERVING, Database, Timeouts
from kmsgw.storage.faults import database_faults
from kmsgw.storage.tables import index_keys, keys


class SqlIndexKeyStore:
    """Wrapped index keys in one database. Safe for threads."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def find(self, key_id: str) -> StoredIndexKey | None:
        """Return the index key of a key, or None where it has none yet."""
        with self._connections.transaction(Access.READ) as connection, database_faults():
            return _load(connection, key_id)

    def add(self, made: StoredIndexKey) -> StoredIndexKey:
        """Store the first index key of a key and return what is stored: another's, where that was first."""
        with self._connections.transaction(Access.WRITE) as connection, database_faults():
            # The key's row is locked first: of two workers on two nodes the later waits, and then finds the first's.
            held = connection.execute(select(keys.c.key_id).where(keys.c.key_id == made.key_id).with_for_update())
            if held.first() is None:
                raise InternalError(f"The key {made.key_id} of an index key is not stored.")
            stored = _load(connection, made.key_id)
            if stored is not None:
                return stored
            values = {"key_id": made.key_id, "version": made.version, "wrapped": made.wrapped}
            connection.execute(insert(index_keys).values(**values))
            return made

    def replace(self, before: StoredIndexKey, after: StoredIndexKey) -> bool:
        """Store another wrapping of an index key, if `before` is what is stored; tell whether it was."""
        these = index_keys.c
        stored = (
            these.key_id == before.key_id,
            these.version == before.version,
            these.wrapped == before.wrapped,
        )
        change = update(index_keys).where(*stored).values(version=after.version, wrapped=after.wrapped)
        with self._connections.transaction(Access.WRITE) as connection, database_faults():
            return connection.execute(change).rowcount == 1

    def versions(self) -> Mapping[str, int]:
        """Return the version that each index key is wrapped under, by key id."""
        with self._connections.transaction(Access.READ) as connection, database_faults():
            rows = connection.execute(select(index_keys.c.key_id, index_keys.c.version)).all()
        return {row[0]: row[1] for row in rows}

    def close(self) -> None:
        """Release the connections."""
        self._connections.close()


def open_index_keys(database: Database, timeouts: Timeouts = SERVING) -> IndexKeyStore:
    """Return the index keys of a database that `migrate` has prepared. Connects on first use."""
    return SqlIndexKeyStore(Connections(database, timeouts))


def _load(connection: Connection, key_id: str) -> StoredIndexKey | None:
    these = index_keys.c
    row = connection.execute(select(these.version, these.wrapped).where(these.key_id == key_id)).first()
    return None if row is None else StoredIndexKey(key_id, row[0], row[1])
