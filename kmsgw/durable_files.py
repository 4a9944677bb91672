"""Files that are whole and on disk, or not there: written aside, flushed, renamed, and the folder flushed."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

FILE_MODE = 0o640
FOLDER_MODE = 0o750

FILE_LIMIT = 1 << 26
"""Longest file that is read whole unless told otherwise, in bytes: four times a bundle of the longest entries."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PASSING = _NO_ROOM | {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class SyncFailedError(OSError):
    """The kernel could not say that data is on disk. It is never asked twice: it may have dropped the data."""


def is_no_room(error: OSError) -> bool:
    """Tell whether the file system, a quota or a limit on file size has no room."""
    return error.errno in _NO_ROOM


def may_pass(error: OSError) -> bool:
    """Tell whether the fault is of a kind that goes away by itself, such as a full disk."""
    return error.errno in _PASSING and not isinstance(error, SyncFailedError)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable. Raises `SyncFailedError`, or OSError where it can't be opened."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise SyncFailedError(error.errno, error.strerror, str(folder)) from error
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = FOLDER_MODE, *, below: Path | None = None) -> None:
    """Make a folder and those above it as needed, each durable. Raises OSError.

    With `below`, that folder and those above it are not made: where it was taken away, it must not come back empty.
    """
    missing: list[Path] = []
    at = folder
    while at != below and not at.exists():
        missing.append(at)
        at = at.parent
    for each in reversed(missing):
        each.mkdir(mode=mode, exist_ok=True)
        sync_folder(each.parent)


def read_file(path: Path, limit: int | None = FILE_LIMIT) -> bytes:
    """Return what is in a regular file of at most `limit` bytes; None is for files that may be of any length.

    Raises OSError; also for a link, a pipe or a device, which may never end.
    """
    with _opened(path) as file:
        if limit is None:
            return file.read()
        size = os.fstat(file.fileno()).st_size
        if size <= limit:
            # Room for `limit` bytes at once would take seven times as long as the reading of a bundle.
            data = file.read(size + 1)
            if len(data) > size:  # it grew meanwhile
                data += file.read(limit + 1 - len(data))
            if len(data) <= limit:
                return data
    raise OSError(errno.EINVAL, f"Longer than {limit} bytes", str(path))


def read_beginning(path: Path, count: int) -> bytes:
    """Return the first `count` bytes of a regular file, or all of fewer. Raises as `read_file` does."""
    with _opened(path) as file:
        return file.read(count)


def _opened(path: Path) -> BinaryIO:
    # Without O_NONBLOCK, the opening of a pipe would wait for who writes into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write at an offset until nothing is left. Raises OSError; part may be written then."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest = rest[written:]
        offset += written


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


def discard_aside(path: Path) -> None:
    """Remove what a `write_file` of this path left that was stopped. Raises OSError."""
    _aside(path).unlink(missing_ok=True)


def write_file(path: Path, data: bytes, mode: int = FILE_MODE) -> None:
    """Put a whole file in place of what is there. Its name is durable only after `sync_folder` on its folder.

    Raises OSError; then the old file is untouched.
    """
    aside = _aside(path)
    # Without O_NONBLOCK, a pipe that somebody put in its place would be waited for.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(aside, flags, mode)
    try:
        write_all(descriptor, data, 0)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # A full disk found late: this file is thrown away and written anew, so nothing is flushed twice.
            if is_no_room(error):
                raise
            raise SyncFailedError(error.errno, error.strerror, str(path)) from error
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    aside.rename(path)
