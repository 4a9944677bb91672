"""The write-ahead file of a running log: what is durable before it is in a tile. `wal_format` tells its bytes."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from kmsgw.audit.wal_format import ScannedWal, encode_group, encode_header, encode_wal, seal_of
from kmsgw.audit.wal_key import WalKey
from kmsgw.durable_files import SyncFailedError, is_no_room, sync_folder, write_all, write_file

WAL_NAME: Final = "wal"
"""Name of the write-ahead file in the log's folder."""

Sync = Callable[[int], None]
"""Makes the data of an open file durable: ``os.fdatasync``. Raises OSError."""

_MODE: Final = 0o600
_OWNER_MAY_WRITE: Final = 0o200


class NoRoomError(Exception):
    """There is no room; the group is not in the file, and the file is as before."""


class LogLostError(Exception):
    """The file was removed, replaced or made read-only: what is written to it is not, or must not be, in the log."""


class WriteAheadFile:
    """The open write-ahead file of the one writer. Not safe for threads: the log lets one at a time write."""

    def __init__(self, path: Path, key: WalKey, scanned: ScannedWal, sync: Sync = os.fdatasync) -> None:
        """Open a file that was scanned, of the log that has the key; raises OSError."""
        self._path = path
        self._name = str(path)  # with it, looking at the file takes a quarter less time than with a Path
        self._key = key
        self._sync = sync
        self._seal = seal_of(scanned.header, key)
        self._next = scanned.first + len(scanned.entries)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._end = scanned.end

    @classmethod
    def create(cls, path: Path, key: WalKey, sync: Sync = os.fdatasync) -> "WriteAheadFile":
        """Make the file of an empty log, durably. Raises OSError."""
        header = encode_header(0, key)
        write_file(path, header, _MODE)
        sync_folder(path.parent)
        return cls(path, key, ScannedWal(0, (), len(header), header), sync)

    @property
    def length(self) -> int:
        """Bytes of header and sealed groups."""
        return self._end

    def append(self, entries: Sequence[bytes]) -> None:
        """Make a group of entries durable with one write and one flush.

        Raises `NoRoomError` where nothing was added, `LogLostError` where the file is gone, and OSError, of which
        `SyncFailedError` is one, where nobody can know what is on disk.
        """
        data = encode_group(entries, self._next, self._seal)
        try:
            write_all(self._descriptor, data, self._end)
        except OSError as error:
            if not is_no_room(error):
                raise
            os.ftruncate(self._descriptor, self._end)
            raise NoRoomError(error.strerror or "no room") from error
        self._flush()
        # After the flush, so that no entry is acknowledged that went to a file that was removed before.
        self.require_in_place()
        self._end += len(data)
        self._next += len(entries)

    def _flush(self) -> None:
        try:
            self._sync(self._descriptor)
        except OSError as error:
            raise SyncFailedError(error.errno, error.strerror, str(self._path)) from error

    def require_in_place(self) -> None:
        """Raise `LogLostError` unless the file's name still leads to this file, and nobody made it read-only.

        Neither its mode nor a mount over it binds a file that is open. But who made it read-only wanted nothing to be
        added: so nothing is.
        """
        try:
            mine = os.fstat(self._descriptor)
        except OSError as error:
            raise LogLostError(f"{self._path} can't be looked at ({error.strerror})") from error
        try:
            named = os.stat(self._name, follow_symlinks=False)  # noqa: PTH116
            mount = os.statvfs(self._name)
        except OSError as error:
            raise LogLostError(f"{self._path} was removed ({error.strerror})") from error
        if not mine.st_mode & _OWNER_MAY_WRITE or mount.f_flag & os.ST_RDONLY:
            raise LogLostError(f"{self._path} was made read-only")
        if mine.st_nlink == 0 or (mine.st_dev, mine.st_ino) != (named.st_dev, named.st_ino):
            raise LogLostError(f"{self._path} was replaced")

    def replace(self, first: int, entries: Sequence[bytes]) -> None:
        """Put a new file in place, atomically, that begins with entry `first` and holds `entries`.

        Raises OSError, and `LogLostError` rather than cover up that the old file was removed.
        """
        self.require_in_place()
        data = encode_wal(first, entries, self._key)
        write_file(self._path, data, _MODE)
        old = self._descriptor
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.close(old)
        self._seal = seal_of(data, self._key)
        self._end = len(data)
        self._next = first + len(entries)
        sync_folder(self._path.parent)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
