"""The file of an index: an SQLite database of mode 0600 that can be thrown away at any time.

==========  ===========================================================================================================
log         each log, with the signed checkpoint that the index stands on, and how many of its entries are in
pruned      of each log that was pruned, before which entry the index has let go of what is gone
name        texts, each once
kind        `kmsgw.reading.kinds.Kind`, by the numbers of its names, and when its entries were
entry       kind, time and place of each entry, in this order
request     `request_key` and place of each entry with a request id
end_user    end user, time, place and kind of each entry that names one
==========  ===========================================================================================================

A place is number of the log × 2^40 + number of the entry. A time is in microseconds from 2026 on, which fits six bytes
until 2030. Whoever could change the file could hide entries from a search, so it must be of its reader's own.
"""

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from kmsgw.errors import ConfigurationError
from kmsgw.tlog.entry import microseconds

ENTRY_BITS: Final = 40
"""Bits of a place that are the number of the entry."""

TIME_BASE: Final = microseconds(datetime(2026, 1, 1, tzinfo=UTC))
"""What is taken from `LoggedEntry.microseconds` before it is stored."""

_APPLICATION: Final = 0x6B6D7367  # "kmsg"
_VERSION: Final = 1
_WAIT_SECONDS: Final = 60.0
_CACHE_KIB: Final = 131_072
_HEAD_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\x00"
_SIDE_FILES: Final = ("-journal", "-wal", "-shm")
_SCHEMA: Final = """
CREATE TABLE log (id INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE, verifier TEXT NOT NULL,
  checkpoint BLOB NOT NULL, indexed INTEGER NOT NULL);
CREATE TABLE pruned (log INTEGER PRIMARY KEY, before INTEGER NOT NULL);
CREATE TABLE name (id INTEGER PRIMARY KEY, text BLOB NOT NULL UNIQUE);
CREATE TABLE kind (id INTEGER PRIMARY KEY, principal INTEGER NOT NULL, key_id INTEGER NOT NULL,
  source_key_id INTEGER NOT NULL, alias INTEGER NOT NULL, method INTEGER NOT NULL, outcome INTEGER NOT NULL,
  reason INTEGER NOT NULL, purpose INTEGER NOT NULL, phase INTEGER NOT NULL, dry_run INTEGER NOT NULL,
  oldest INTEGER NOT NULL, newest INTEGER NOT NULL, entries INTEGER NOT NULL,
  UNIQUE (principal, key_id, source_key_id, alias, method, outcome, reason, purpose, phase, dry_run));
CREATE TABLE entry (kind INTEGER NOT NULL, time INTEGER NOT NULL, place INTEGER NOT NULL,
  PRIMARY KEY (kind, time, place)) WITHOUT ROWID;
CREATE TABLE request (id INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (id, place)) WITHOUT ROWID;
CREATE TABLE end_user (name INTEGER NOT NULL, time INTEGER NOT NULL, place INTEGER NOT NULL, kind INTEGER NOT NULL,
  PRIMARY KEY (name, time, place)) WITHOUT ROWID;
"""


class IndexDamagedError(Exception):
    """The index does not say what the signed tree says, or can't be read. It is to be made anew; no log is at fault.

    ``why`` is one line for people.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@contextmanager
def reading_database() -> Iterator[None]:
    """Tell a database that is not sound by `IndexDamagedError`, and what passes, such as a full disk, by OSError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
            raise OSError(None, f"the index can't be used: {error}") from None
        raise IndexDamagedError(str(error)) from None
    except (sqlite3.DatabaseError, OverflowError) as error:
        raise IndexDamagedError(str(error)) from None


class IndexFile:
    """Where an index is. Whoever changes or replaces it holds the lock on ``<file>.lock``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        """Tell whether there is something at the path."""
        return os.path.lexists(self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one that writes. Waits for the one that does. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = self.path.with_name(f"{self.path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with closing(os.fdopen(descriptor, "rb")) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Open what is there, or make a new one; close it at the end.

        Raises `ConfigurationError` where the file is another's or no index, and `IndexDamagedError` where it is one of
        another version or broken.
        """
        if not self.exists():
            self._create()
        self._require_own()
        with reading_database(), closing(sqlite3.connect(self.path, timeout=_WAIT_SECONDS)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            database.execute("PRAGMA synchronous = FULL")
            if database.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                raise IndexDamagedError("it is of another version")
            yield database

    def remove(self) -> None:
        """Take it away, to be made anew. Only under the lock. Raises OSError."""
        # The journal last: without its file it is nobody's, and beside it it would be played back.
        self.path.unlink(missing_ok=True)
        self._remove_side_files()

    def size(self) -> int:
        """Return its bytes on disk. Raises OSError."""
        return self.path.stat().st_size

    def _create(self) -> None:
        # Made aside: another process must never see a database without its tables.
        aside = self.path.with_name(f"{self.path.name}.new")
        aside.unlink(missing_ok=True)
        os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        with closing(sqlite3.connect(aside)) as database:
            database.executescript(
                f"PRAGMA page_size = 4096; PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION};"
                + _SCHEMA
            )
        # A journal of an index that is gone would be played back into this one.
        self._remove_side_files()
        aside.rename(self.path)

    def _remove_side_files(self) -> None:
        for side in _SIDE_FILES:
            self.path.with_name(self.path.name + side).unlink(missing_ok=True)

    def _require_own(self) -> None:
        # With its journal, which SQLite plays back: whoever could put one there could write the index too.
        for side in ("", *_SIDE_FILES):
            path = self.path.with_name(self.path.name + side)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                if not side:
                    raise
                continue
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise ConfigurationError(
                    [f"{path}: others could have written this index, and hidden entries from you"],
                    advice="Remove it, or name another with --index: it must be your own, with mode 0600.",
                )
        with self.path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if head[:16] != _MAGIC or int.from_bytes(head[68:72], "big") != _APPLICATION:
            raise ConfigurationError(
                [f"{self.path}: this is no index of audit logs"],
                advice="Name another file with --index; if it was an index, remove it, and it will be made anew.",
            )
