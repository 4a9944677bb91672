"""One memory file for all processes of a node, in which each shows what it counts; any of them can read all.

The memory belongs to `kmsgwd`, so what a worker counted outlives the worker, and nothing is left on disk. A slot is
written by one process alone. A reader that meets half of a write sees that by the checksum, and looks again.
"""

import os
import time
import zlib
from struct import Struct
from typing import Final

SLOT_BYTES: Final = 1024 * 1024
"""Longest content of a slot with its head. What is not written takes no memory."""

_HEAD: Final = Struct("<II")
_ATTEMPTS: Final = 20
_PAUSE_SECONDS: Final = 0.0005


class Board:
    """The memory file. Safe for threads and processes, as long as each slot has one writer at a time."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def make(cls, slots: int) -> "Board":
        """Make an empty one with so many slots, numbered from 0."""
        descriptor = os.memfd_create("kmsgw-metrics", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, slots * SLOT_BYTES)
        return cls(descriptor)

    @property
    def slots(self) -> int:
        """How many slots there are."""
        return os.fstat(self.descriptor).st_size // SLOT_BYTES

    def write(self, slot: int, content: bytes) -> None:
        """Put content into a slot. Raises `ValueError` where it is too long."""
        if len(content) > SLOT_BYTES - _HEAD.size:
            raise ValueError(f"a slot takes {SLOT_BYTES - _HEAD.size} bytes, not {len(content)}")
        os.pwrite(self.descriptor, _HEAD.pack(len(content), zlib.crc32(content)) + content, slot * SLOT_BYTES)

    def read(self, slot: int) -> bytes:
        """Return the content of a slot; nothing where nobody has written it, or somebody died while writing."""
        for _ in range(_ATTEMPTS):
            length, checksum = _HEAD.unpack(os.pread(self.descriptor, _HEAD.size, slot * SLOT_BYTES))
            content = os.pread(self.descriptor, min(length, SLOT_BYTES), slot * SLOT_BYTES + _HEAD.size)
            if len(content) == length and zlib.crc32(content) == checksum:
                return content
            time.sleep(_PAUSE_SECONDS)
        return b""

    def close(self) -> None:
        """Let go of the memory."""
        os.close(self.descriptor)
