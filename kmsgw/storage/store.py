"""The keys on disk: the port `KeyStore` over SQLAlchemy."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection, select

from kmsgw.model.key import Key
from kmsgw.operations.ports import AllKeys, KeyCensus, KeyChanges, KeyStore, UnitOfWork
from kmsgw.storage.access import Access
from kmsgw.storage.connections import Connections
from kmsgw.storage.database import SERVING, Database, Timeouts
from kmsgw.storage.faults import damaged, database_faults
from kmsgw.storage.key_census import census
from kmsgw.storage.key_reading import load_changed
from kmsgw.storage.tables import state_epoch
from kmsgw.storage.unit import SqlUnitOfWork
from kmsgw.storage.unread_keys import StoredKeys


class SqlKeyStore:
    """Keys in one database. Safe for threads; every call ends within the time limits given."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def epoch(self) -> int:
        """Return the state epoch: a number that grows with every committed change. One cheap query."""
        with self._connections.transaction(Access.READ) as connection, database_faults():
            return _epoch(connection)

    def all_keys(self) -> AllKeys:
        """Return all keys, unread, as of one moment."""
        with self._connections.transaction(Access.SNAPSHOT) as connection, database_faults():
            return AllKeys(_epoch(connection), StoredKeys(connection))

    def census(self, oldest: int) -> KeyCensus:
        """Count the keys, and tell the `oldest` of those that are enabled."""
        with self._connections.transaction(Access.SNAPSHOT) as connection, database_faults():
            return census(connection, oldest)

    def changes_since(self, epoch: int, known: Mapping[str, Key]) -> KeyChanges:
        """Return the keys with a revision above `epoch`, by revision, as of one moment; epoch -1 returns all.

        `known` holds the keys as they were at `epoch`: the cost is that of the changes, however long a key's history.
        """
        with self._connections.transaction(Access.SNAPSHOT) as connection, database_faults():
            return KeyChanges(_epoch(connection), tuple(load_changed(connection, epoch, known)))

    @contextmanager
    def unit_of_work(self) -> Iterator[UnitOfWork]:
        """Open a transaction. Keep it short: on SQLite it holds up all other writers from its begin."""
        with self._connections.transaction(Access.WRITE) as connection:
            yield SqlUnitOfWork(connection)

    def close(self) -> None:
        """Release the connections."""
        self._connections.close()


def open_store(database: Database, timeouts: Timeouts = SERVING) -> KeyStore:
    """Return the keys of a database that `migrate` has prepared. Connects on first use."""
    return SqlKeyStore(Connections(database, timeouts))


def _epoch(connection: Connection) -> int:
    value = connection.execute(select(state_epoch.c.value)).scalar()
    if value is None:
        raise damaged("the state epoch is missing")
    return value
