"""Moves a file through a stream's cipher, a segment at a time, in constant memory.

What lies in two regular files is moved by several threads, each segment to its own place: reading, AES-GCM and writing
all release the GIL. What comes from a pipe or goes to one is moved in order.
"""

import itertools
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from kmsgw.envelope.format import TAG_BYTES
from kmsgw.envelope.stream import Buffer, SegmentCipher, segments_of
from kmsgw.errors import Conflict, Unavailable

MOST_THREADS: Final = 4
"""Threads that move one file at most; each holds two segments. More compete with the application for its cores."""

_FEW_SEGMENTS: Final = 4
"""A file of fewer is moved in order: threads would cost more than they gain."""


class Transform(Protocol):
    """What is done to a segment: `SegmentCipher.seal_into` or `open_into`."""

    def __call__(self, number: int, source: Buffer, target: Buffer, /, *, last: bool) -> int:
        """Turn a segment into another buffer and return its length there."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One way through a cipher: segments of `taken` bytes, each `delta` bytes longer behind it."""

    transform: Transform
    taken: int
    delta: int

    @classmethod
    def sealing(cls, cipher: SegmentCipher) -> "Passage":
        """Return the way of a plaintext."""
        return cls(cipher.seal_into, cipher.segment_bytes, TAG_BYTES)

    @classmethod
    def opening(cls, cipher: SegmentCipher) -> "Passage":
        """Return the way back."""
        return cls(cipher.open_into, cipher.segment_bytes + TAG_BYTES, -TAG_BYTES)


class Stop:
    """Ends a passage from another thread."""

    def __init__(self) -> None:
        self._set = threading.Event()

    def set(self) -> None:
        """End it at the next segment."""
        self._set.set()

    def check(self) -> None:
        """Raise `Unavailable` where it is to end."""
        if self._set.is_set():
            raise Unavailable("The work on the file was ended.", advice="Begin again.", retry_after=None)


Progress = Callable[[int], None]
"""Told how many bytes of the source were moved since it was told last. May be called from several threads."""


def _ignore(_count: int) -> None:
    """Tell nobody."""


def move(
    passage: Passage,
    source: BinaryIO,
    target: BinaryIO,
    *,
    start: bytes = b"",
    progress: Progress = _ignore,
    stop: Stop | None = None,
) -> tuple[int, int]:
    """Move what follows in `source` to `target`, and return how many bytes were taken and given.

    `start` is what of the source was read already. Raises what the cipher raises, `Conflict` where a file changed
    meanwhile, and `OSError`.
    """
    stop = stop or Stop()
    if not start:
        size = _rest_of(source, target)
        if size is not None and size >= _FEW_SEGMENTS * passage.taken:
            return _Parallel(passage, source, target, size, progress, stop).run()
    return _in_order(passage, _Reader(source, start), target, progress, stop)


def _rest_of(source: BinaryIO, target: BinaryIO) -> int | None:
    """Return how many bytes follow in a regular file, where the target is one too; else None."""
    try:
        found, other = os.fstat(source.fileno()), os.fstat(target.fileno())
        target.flush()
        if not (stat.S_ISREG(found.st_mode) and stat.S_ISREG(other.st_mode)):
            return None
        return found.st_size - source.tell()
    except (OSError, AttributeError):  # io.UnsupportedOperation is an OSError: nothing of the system is behind it
        return None


class _Reader:
    """Fills buffers from a file object."""

    def __init__(self, source: BinaryIO, start: bytes) -> None:
        self._source = source
        self._start = memoryview(start)

    def fill(self, buffer: memoryview) -> int:
        """Fill a buffer as far as the source goes, and return how far that is."""
        filled = min(len(buffer), len(self._start))
        buffer[:filled] = self._start[:filled]
        self._start = self._start[filled:]
        while filled < len(buffer):
            count = self._read(buffer[filled:])
            if not count:
                break
            filled += count
        return filled

    def _read(self, buffer: memoryview) -> int:
        into = getattr(self._source, "readinto", None)
        if into is not None:
            return into(buffer) or 0
        piece = self._source.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def write_all(target: BinaryIO, data: Buffer) -> None:
    """Write all of `data`, also where the target takes it in parts."""
    rest = memoryview(data)
    while rest:
        count = target.write(rest)
        rest = rest[len(rest) if count is None else count :]


def _in_order(passage: Passage, reader: _Reader, target: BinaryIO, progress: Progress, stop: Stop) -> tuple[int, int]:
    held, ahead = memoryview(bytearray(passage.taken)), memoryview(bytearray(passage.taken))
    out = memoryview(bytearray(passage.taken + max(0, passage.delta)))
    taken = given = 0
    filled = reader.fill(held)
    for number in itertools.count():
        stop.check()
        following = reader.fill(ahead) if filled == passage.taken else 0
        made = out[: max(0, filled + passage.delta)]
        passage.transform(number, held[:filled], made, last=not following)
        write_all(target, made)
        taken, given = taken + filled, given + len(made)
        progress(filled)
        if not following:
            break
        held, ahead, filled = ahead, held, following
    return taken, given


class _Parallel:
    """Moves the segments of a regular file into another, in any order."""

    def __init__(
        self, passage: Passage, source: BinaryIO, target: BinaryIO, size: int, progress: Progress, stop: Stop
    ) -> None:
        self._passage = passage
        self._files = source.fileno(), target.fileno()
        self._starts = source.tell(), target.tell()
        self._size = size
        self._progress = progress
        self._stop = stop
        self._last = segments_of(size, passage.taken) - 1
        self._numbers = itertools.count()
        self._failed = threading.Event()
        self._target = target

    def run(self) -> tuple[int, int]:
        threads = min(MOST_THREADS, os.cpu_count() or 1, self._last + 1)
        before = _identity(self._files[0])
        with ThreadPoolExecutor(threads, "segments") as pool:
            for done in [pool.submit(self._move) for _ in range(threads)]:
                done.result()
        if _identity(self._files[0]) != before:
            raise _changed()
        given = self._size + (self._last + 1) * self._passage.delta
        self._target.seek(self._starts[1] + given)
        return self._size, given

    def _move(self) -> None:
        passage = self._passage
        held = memoryview(bytearray(passage.taken))
        out = memoryview(bytearray(passage.taken + max(0, passage.delta)))
        # Each number is handed out once, and so each nonce is used once.
        for number in self._numbers:
            if number > self._last or self._failed.is_set():
                return
            try:
                self._stop.check()
                self._move_one(number, held, out)
            except BaseException:
                self._failed.set()
                raise

    def _move_one(self, number: int, held: memoryview, out: memoryview) -> None:
        passage, (source, target) = self._passage, self._files
        at = number * passage.taken
        taken = held[: min(passage.taken, self._size - at)]
        _read_at(source, taken, self._starts[0] + at)
        made = out[: max(0, len(taken) + passage.delta)]
        passage.transform(number, taken, made, last=number == self._last)
        _write_at(target, made, self._starts[1] + number * (passage.taken + passage.delta))
        self._progress(len(taken))


def _read_at(file: int, buffer: memoryview, offset: int) -> None:
    while buffer:
        count = os.preadv(file, [buffer], offset)
        if not count:
            raise _changed()
        buffer, offset = buffer[count:], offset + count


def _write_at(file: int, buffer: memoryview, offset: int) -> None:
    while buffer:
        count = os.pwrite(file, buffer, offset)
        buffer, offset = buffer[count:], offset + count


def _identity(file: int) -> tuple[int, int]:
    found = os.fstat(file)
    return found.st_size, found.st_mtime_ns


def _changed() -> Conflict:
    return Conflict("The file changed while it was read.", advice="Wait until nothing writes to it, then begin again.")
