"""The two back ends of the state, as the contract suite sees them: a fresh database each, and a way to take it away."""

import functools
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kmsgw.operations.ports import KeyStore
from kmsgw.storage import Database, migrate, open_store
from kmsgw.storage.connections import single_use_engine
from kmsgw.storage.database import SERVING, SqliteFile, Timeouts
from tests.support.postgres import PostgresDatabase, PostgresServer

PATIENT = Timeouts(statement=120.0, call=125.0, idle=180.0)
"""For tests of many writers at once: those of SQLite queue in no order, and one may wait for seconds on a busy disk."""

IMPATIENT = Timeouts(connect=2.0, statement=1.0, call=2.0, idle=5.0)


@dataclass(frozen=True)
class Backend:
    """One empty, not yet migrated database."""

    name: str
    database: Database
    outage: Callable[[], AbstractContextManager[None]]
    """Keep writers from working for a block."""

    def open(self, timeouts: Timeouts = SERVING) -> KeyStore:
        return open_store(self.database, timeouts)

    def migrated(self) -> "Backend":
        if isinstance(self.database.place, SqliteFile):
            self.database.place.path.touch(mode=0o600)
            self.database.place.path.write_bytes(_migrated_file())
        else:
            migrate(self.database)
        return self

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement beside the store, as somebody with the database's own tools would."""
        with single_use_engine(self.database, SERVING).connect() as connection, connection.begin():
            done = connection.exec_driver_sql(statement)
            return [tuple(row) for row in done] if done.returns_rows else []


@functools.cache
def _migrated_file() -> bytes:
    """Return what a migrated, empty database of SQLite holds: made once, as the tests of migrations make their own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        migrate(Database.of(f"sqlite:///{path}"))
        assert [each.name for each in Path(folder).iterdir()] == ["state.db"], "nothing of it is elsewhere"
        return path.read_bytes()


def sqlite_backend(folder: Path) -> Backend:
    path = folder / "state.db"

    @contextmanager
    def locked() -> Iterator[None]:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield

    return Backend("sqlite", Database.of(f"sqlite:///{path}"), locked)


def postgresql_backend(server: PostgresServer, database: PostgresDatabase) -> Backend:
    return Backend("postgresql", Database.of(database.url, database.password), server.stopped)
