"""The write-ahead file: what is durable before it is in a tile.

A header of 20 bytes: ``"kmsgwal" ‖ 0x01``, the u64 index of the first entry, and the u32 CRC-32C of both. Then a frame
for each entry: ``u32 length ‖ u32 CRC-32C ‖ entry``, the checksum over length and entry, so that a run of zeros is no
frame. All integers are big-endian. The checksums find tears and rot; signatures and hashes find attackers.
"""

import os
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from kmsgw.durable_files import SyncFailedError, is_no_room, sync_folder, write_all, write_file
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.tiles import ENTRY_LIMIT

WAL_NAME = "wal"
"""Name of the write-ahead file in the log's folder."""

Sync = Callable[[int], None]
"""Makes the data of an open file durable: ``os.fdatasync``. Raises OSError."""

_MAGIC = b"kmsgwal\x01"
_HEADER = struct.Struct(">8sQI")
_FRAME_HEAD_BYTES = 8
_MODE = 0o600
_OWNER_MAY_WRITE = 0o200

# A length from 1 to 65,535 as u32: where a frame could start.
_FRAME_START = re.compile(rb"(?=\x00\x00(?:[\x01-\xff][\x00-\xff]|\x00[\x01-\xff]))")
_SEARCH_BUDGET = 1 << 32


class NoRoomError(Exception):
    """There is no room; the group is not in the file, and the file is as before."""


class LogLostError(Exception):
    """The file was removed, replaced or made read-only: what is written to it is not, or must not be, in the log."""


def _crc(data: bytes) -> int:
    value: int = google_crc32c.value(data)
    return value


def _header(first: int) -> bytes:
    head = _MAGIC + first.to_bytes(8, "big")
    return head + _crc(head).to_bytes(4, "big")


def encode_frames(entries: Sequence[bytes]) -> bytes:
    """Return the frames of entries."""
    parts: list[bytes] = []
    for entry in entries:
        length = len(entry).to_bytes(4, "big")
        parts += (length, _crc(length + entry).to_bytes(4, "big"), entry)
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class ScannedWal:
    """What a write-ahead file holds. ``end`` is where the good frames end; ``torn`` says what is after them, if any."""

    first: int
    entries: Sequence[bytes]
    end: int
    torn: str = ""


def _frame_fault(data: bytes, at: int) -> str:
    """Return what is wrong with the frame at an offset, or nothing."""
    left = len(data) - at
    if left < _FRAME_HEAD_BYTES:
        return f"the frame's head is cut after {left} bytes"
    length = int.from_bytes(data[at : at + 4], "big")
    if not 0 < length <= ENTRY_LIMIT:
        return f"the frame's length is {length}"
    if left < _FRAME_HEAD_BYTES + length:
        return f"the frame of {length} bytes is cut after {left - _FRAME_HEAD_BYTES}"
    start = at + _FRAME_HEAD_BYTES
    if _crc(data[at : at + 4] + data[start : start + length]) != int.from_bytes(data[at + 4 : start], "big"):
        return "the frame's checksum is wrong"
    return ""


def _next_good_frame(data: bytes, start: int, path: Path) -> int | None:
    """Return where a good frame begins after a bad one, or None. Bounded: gives up by refusing the file."""
    budget = _SEARCH_BUDGET
    for match in _FRAME_START.finditer(data, start):
        at = match.start()
        length = int.from_bytes(data[at : at + 4], "big")
        if at + _FRAME_HEAD_BYTES + length > len(data):
            continue
        budget -= length + 1024
        if budget < 0:
            raise damaged(
                f"{path}: a bad frame at byte {start - 1}, and too much after it to tell a torn end from rot."
            )
        if not _frame_fault(data, at):
            return at
    return None


def scan_wal(data: bytes, path: Path) -> ScannedWal:
    """Return what a write-ahead file holds. A bad frame is a torn end only where no good frame comes after it.

    Raises `AuditDamaged` that names file, offset and reason.
    """
    if len(data) < _HEADER.size:
        raise damaged(f"{path}: at byte 0: the header is cut after {len(data)} bytes.")
    magic, first, _ = _HEADER.unpack_from(data)
    if magic != _MAGIC or data[: _HEADER.size] != _header(first):
        raise damaged(f"{path}: at byte 0: the header is not that of a write-ahead file.")
    entries: list[bytes] = []
    at = _HEADER.size
    while at < len(data):
        fault = _frame_fault(data, at)
        if fault:
            good = _next_good_frame(data, at + 1, path)
            if good is not None:
                raise damaged(f"{path}: at byte {at}: {fault}, and a good frame follows at byte {good}.")
            return ScannedWal(first, entries, at, f"at byte {at}: {fault}; {len(data) - at} bytes were cut off")
        end = at + _FRAME_HEAD_BYTES + int.from_bytes(data[at : at + 4], "big")
        entries.append(data[at + _FRAME_HEAD_BYTES : end])
        at = end
    return ScannedWal(first, entries, at)


def good_frames(data: bytes, path: Path) -> list[tuple[int, bytes]]:
    """Return offset and entry of every good frame, whatever is between them. For the repair of a damaged file.

    Raises `AuditDamaged` where there is too much between them to look through.
    """
    found: list[tuple[int, bytes]] = []
    at: int | None = min(len(data), _HEADER.size)
    while at is not None and at < len(data):
        if _frame_fault(data, at):
            at = _next_good_frame(data, at + 1, path)
            continue
        end = at + _FRAME_HEAD_BYTES + int.from_bytes(data[at : at + 4], "big")
        found.append((at, data[at + _FRAME_HEAD_BYTES : end]))
        at = end
    return found


def encode_wal(first: int, entries: Sequence[bytes]) -> bytes:
    """Return a whole write-ahead file that begins with entry `first`."""
    return _header(first) + encode_frames(entries)


def first_of(data: bytes) -> int | None:
    """Return the index of the first entry that a file's header says, or None where the header is damaged."""
    if len(data) < _HEADER.size:
        return None
    first = int(_HEADER.unpack_from(data)[1])
    return first if data[: _HEADER.size] == _header(first) else None


class WriteAheadFile:
    """The open write-ahead file of the one writer. Not safe for threads: the log lets one at a time write."""

    def __init__(self, path: Path, end: int, sync: Sync = os.fdatasync) -> None:
        """Open a file that was scanned; raises OSError."""
        self._path = path
        self._sync = sync
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._end = end

    @classmethod
    def create(cls, path: Path, sync: Sync = os.fdatasync) -> "WriteAheadFile":
        """Make the file of an empty log, durably. Raises OSError."""
        header = _header(0)
        write_file(path, header, _MODE)
        sync_folder(path.parent)
        return cls(path, len(header), sync)

    @property
    def length(self) -> int:
        """Bytes of header and good frames."""
        return self._end

    def cut(self) -> None:
        """Remove what is after the good frames, durably. Raises `SyncFailedError` or OSError."""
        os.ftruncate(self._descriptor, self._end)
        self._flush()

    def append(self, entries: Sequence[bytes]) -> None:
        """Make a group of entries durable with one write and one flush.

        Raises `NoRoomError` where nothing was added, `LogLostError` where the file is gone, and OSError, of which
        `SyncFailedError` is one, where nobody can know what is on disk.
        """
        data = encode_frames(entries)
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

    def _flush(self) -> None:
        try:
            self._sync(self._descriptor)
        except OSError as error:
            raise SyncFailedError(error.errno, error.strerror, str(self._path)) from error

    def require_in_place(self) -> None:
        """Raise `LogLostError` unless the file's name still leads to this file, and nobody made it read-only.

        The mode binds no file that is open. But who made it read-only wanted nothing to be added: so nothing is.
        """
        try:
            mine = os.fstat(self._descriptor)
        except OSError as error:
            raise LogLostError(f"{self._path} can't be looked at ({error.strerror})") from error
        try:
            named = self._path.stat(follow_symlinks=False)
        except OSError as error:
            raise LogLostError(f"{self._path} was removed ({error.strerror})") from error
        if not mine.st_mode & _OWNER_MAY_WRITE:
            raise LogLostError(f"{self._path} was made read-only")
        if mine.st_nlink == 0 or (mine.st_dev, mine.st_ino) != (named.st_dev, named.st_ino):
            raise LogLostError(f"{self._path} was replaced")

    def replace(self, first: int, entries: Sequence[bytes]) -> None:
        """Put a new file in place, atomically, that begins with entry `first` and holds `entries`.

        Raises OSError, and `LogLostError` rather than cover up that the old file was removed.
        """
        self.require_in_place()
        data = _header(first) + encode_frames(entries)
        write_file(self._path, data, _MODE)
        old = self._descriptor
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.close(old)
        self._end = len(data)
        sync_folder(self._path.parent)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
