"""Connections of one process to the state, and the transactions on them."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from sqlalchemy import Connection, Engine, NullPool, Pool, QueuePool
from sqlalchemy.exc import SQLAlchemyError

from kmsgw.errors import Reason, StateUnavailable
from kmsgw.storage.access import Access, with_access
from kmsgw.storage.database import Database, SqliteFile, Timeouts
from kmsgw.storage.faults import database_faults
from kmsgw.storage.sqlite import sqlite_engine

_KEPT: Final = 2
_MORE: Final = 4
"""Few: each worker of each node has its own pool, and PostgreSQL allows 100 connections unless told otherwise."""

_RECYCLE_SECONDS: Final = 600


def single_use_engine(database: Database, timeouts: Timeouts) -> Engine:
    """Return an engine that keeps no connection."""
    return _engine(database, timeouts, NullPool)


def _pooled_engine(database: Database, timeouts: Timeouts) -> Engine:
    options = {
        "pool_size": _KEPT,
        "max_overflow": _MORE,
        "pool_timeout": timeouts.statement,
        "pool_recycle": _RECYCLE_SECONDS,
    }
    if not isinstance(database.place, SqliteFile):
        options |= {"pool_pre_ping": True, "pool_use_lifo": True}
    return _engine(database, timeouts, QueuePool, **options)


def _engine(database: Database, timeouts: Timeouts, pool: type[Pool], **options: Any) -> Engine:
    place = database.place
    if isinstance(place, SqliteFile):
        return sqlite_engine(place, timeouts, pool, **options)
    # Imported where it is needed: the driver and its dialect are a tenth of what a start has to load.
    from kmsgw.storage.postgresql import postgresql_engine  # noqa: PLC0415

    return postgresql_engine(place, timeouts, pool, **options)


class Connections:
    """A small pool, made on first use. Safe for threads. A process that was forked makes its own."""

    def __init__(self, database: Database, timeouts: Timeouts) -> None:
        self._database = database
        self._timeouts = timeouts
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._owner = 0
        self._closed = False
        # SQLite has one writer, and who waits for it asks again and again, in no order: among many threads one may
        # starve. So the threads of a process take turns here first.
        self._writing = threading.Lock() if isinstance(database.place, SqliteFile) else None

    @contextmanager
    def transaction(self, access: Access) -> Iterator[Connection]:
        """Run a block in one transaction: committed when it ends without an exception, rolled back otherwise.

        Raises `StateUnavailable` where the transaction can't begin or end. Where committing fails because the
        connection broke, the change may have been made or not. Calls of the database inside the block stand in
        `database_faults` of their own.
        """
        with self._turn() if access is Access.WRITE else nullcontext():
            with database_faults():
                connection = self._begin(access)
            try:
                yield connection
            except BaseException:
                _abandon(connection)
                raise
            with database_faults():
                try:
                    connection.commit()
                finally:
                    connection.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for this thread's turn to write, where threads take turns."""
        if self._writing is None:
            yield
            return
        if not self._writing.acquire(timeout=self._timeouts.statement):
            raise StateUnavailable("The state database is slow to write.")
        try:
            yield
        finally:
            self._writing.release()

    def close(self) -> None:
        """Close the pooled connections. Transactions under way end undisturbed; later ones are refused."""
        with self._lock:
            self._closed = True
            engine, self._engine = self._engine, None
            if engine is not None:
                engine.dispose(close=self._owner == os.getpid())

    def _begin(self, access: Access) -> Connection:
        connection = self._current_engine().connect()
        try:
            with_access(connection, access).begin()
        except BaseException:
            _abandon(connection)
            raise
        return connection

    def _current_engine(self) -> Engine:
        with self._lock:
            if self._closed:
                raise StateUnavailable("The gateway is stopping.", reason=Reason.SHUTTING_DOWN)
            if self._engine is not None and self._owner != os.getpid():
                # Two processes that speak on one socket, or hold one SQLite handle, corrupt what they read. The
                # parent's connections are left as they are: closing them here would end its sessions.
                self._engine.dispose(close=False)
                self._engine = None
            if self._engine is None:
                self._engine = _pooled_engine(self._database, self._timeouts)
                self._owner = os.getpid()
            return self._engine


def _abandon(connection: Connection) -> None:
    """Roll back and give the connection back; one that can't even roll back is thrown away."""
    try:
        connection.rollback()
    except (SQLAlchemyError, OSError):
        # The error that led here says more, and is on its way.
        connection.invalidate()
    finally:
        connection.close()
