"""The embedded back end: an SQLite file in WAL mode that the workers of one machine share."""

import os
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, Pool, create_engine, event

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import ConfigurationError
from kmsgw.storage.access import Access, access_of
from kmsgw.storage.database import SqliteFile, Timeouts

_RETRY_SECONDS: Final = 0.01


def create_file(file: SqliteFile) -> None:
    """Make the file, empty and with mode 0600, if there is none. Raises `ConfigurationError` where that can't be."""
    path = file.path
    try:
        # SQLite itself would make it readable for all; its -wal and -shm take the mode of the file.
        # O_EXCL, so that a file that exists is never opened here: closing it would drop, by POSIX, the locks that
        # SQLite holds on it in this process.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        _check_existing(path)
    except FileNotFoundError:
        raise _refused(path, "its folder does not exist", f"Make the folder {path.parent}.") from None
    except OSError as error:
        raise _refused(path, f"can't be made: {error.strerror}", "Let kmsgwd's user write its folder.") from None


def require_folder(file: SqliteFile) -> None:
    """Raise `ConfigurationError` where `create_file` could not make the file."""
    path = file.path
    if not path.parent.is_dir():
        raise _refused(path, "its folder does not exist", f"Make the folder {path.parent}.")
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        raise _refused(path, "can't be made: its folder is not writable", "Let kmsgwd's user write its folder.")


def _check_existing(path: Path) -> None:
    if not path.is_file():
        raise _refused(path, "not a file", "Name a file in [state] url.")
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise _refused(path, "can't be read and written by this user", "Let kmsgwd's user own it.")
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        raise _refused(path, "its folder can't be written by this user", "SQLite keeps its log beside the file.")


def _refused(path: Path, fault: str, advice: str) -> ConfigurationError:
    return ConfigurationError([f"state.url: {path}: {fault}"], advice=advice)


def sqlite_engine(file: SqliteFile, timeouts: Timeouts, pool: type[Pool], **pool_options: float) -> Engine:
    """Return an engine over an existing file; connecting never makes one.

    A file that vanished must be an outage. An empty one in its place would be a gateway without keys.
    """

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(file.path))}?mode=rw",
            uri=True,
            timeout=timeouts.statement,
            isolation_level=None,  # the driver begins no transaction by itself; `_begin` does
            check_same_thread=False,
        )
        try:
            _prepare(connection, timeouts)
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=pool, hide_parameters=True, **pool_options)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, timeouts: Timeouts) -> None:
    _ensure_wal(connection, timeouts)
    # FULL: a commit that was answered survives a power cut, which WAL with NORMAL does not promise.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def _ensure_wal(connection: sqlite3.Connection, timeouts: Timeouts) -> None:
    # The mode stays in the file, so this writes only once. While it changes, SQLite does not wait for other
    # connections by itself (its busy handler is not asked), so that processes starting at once must repeat.
    deadline = SYSTEM_CLOCK.monotonic() + timeouts.statement
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
                return
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or SYSTEM_CLOCK.monotonic() > deadline:
                raise
            SYSTEM_CLOCK.sleep(_RETRY_SECONDS)


def _begin(connection: Connection) -> None:
    # A writer takes the lock at once. One that read first and wrote later would fail whenever another wrote between.
    immediate = access_of(connection) is Access.WRITE
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
