"""Memory that one process writes and those that it is lent to can only read. Linux 5.1 or newer.

A descriptor that is open for reading alone would not do: a process of the same user opens what it stands for anew, for
writing. A seal is on the memory itself, and can't be taken off: nobody writes there but by a mapping that was made
before. That one is this process's alone, which its copies do not get either.
"""

import errno
import fcntl
import logging
import mmap
import os
import time
import zlib
from struct import Struct
from typing import Final

from kmsgw.errors import ConfigurationError

_LOG = logging.getLogger(__name__)

_FUTURE_WRITE: Final = 0x0010
"""F_SEAL_FUTURE_WRITE of fcntl(2), which Python 3.11 has no name for."""

_SEALS: Final = _FUTURE_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_HEAD: Final = Struct("<QI")
_ATTEMPTS: Final = 2000
_PAUSE_SECONDS: Final = 0.005


class LentMemory:
    """Content that this process replaces. ``descriptor`` is what is lent, for `read_lent`."""

    def __init__(self, name: str, limit: int) -> None:
        """Make an empty one for at most `limit` bytes; what is not written takes no memory. Raises OSError."""
        self.descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.limit = limit
        size = _HEAD.size + limit
        os.ftruncate(self.descriptor, size)
        self._mapping = mmap.mmap(self.descriptor, size)
        self._mapping.madvise(mmap.MADV_DONTFORK)
        try:
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            _LOG.warning("this kernel is older than Linux 5.1: %s can be written by workers and exporter", name)

    def replace(self, content: bytes) -> None:
        """Put content in place of what is there. Raises `ValueError` where it is too long."""
        if len(content) > self.limit:
            raise ValueError(f"it takes {self.limit} bytes, not {len(content)}")
        self._mapping[: _HEAD.size] = _HEAD.pack(len(content), zlib.crc32(content))
        self._mapping[_HEAD.size : _HEAD.size + len(content)] = content

    def read(self) -> bytes:
        """Return what is there."""
        return read_lent(self.descriptor)

    def close(self) -> None:
        """Let go of the memory."""
        self._mapping.close()
        os.close(self.descriptor)


def read_lent(descriptor: int) -> bytes:
    """Return what `LentMemory.replace` put there; half of it is never returned. Raises `ConfigurationError`."""
    for _ in range(_ATTEMPTS):
        length, checksum = _HEAD.unpack(os.pread(descriptor, _HEAD.size, 0))
        content = os.pread(descriptor, min(length, os.fstat(descriptor).st_size), _HEAD.size)
        if len(content) == length and zlib.crc32(content) == checksum:
            return content
        time.sleep(_PAUSE_SECONDS)
    raise ConfigurationError(
        [f"descriptor {descriptor}: what kmsgwd lends can't be read"], advice="Start kmsgwd, which lends it, anew."
    )
