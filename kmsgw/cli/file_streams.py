"""Files and pipes of any size: read once, from their beginning, and written as they come or not at all."""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from kmsgw.cli.failure import CommandError
from kmsgw.cli.files import PIPE
from kmsgw.cli.invocation import Invocation

if TYPE_CHECKING:
    from kmsgw.client.files.tasks import Place


class Input(io.RawIOBase):
    """A file or standard input, of which the first bytes can be looked at before it is read."""

    def __init__(self, file: BinaryIO, path: str | None) -> None:
        super().__init__()
        self._file = file
        self._path = path
        self._start = b""

    def begins_with(self, count: int) -> bytes:
        """Return the first `count` bytes, fewer where there are no more. They are still to be read."""
        while len(self._start) < count and (piece := self._file.read(count - len(self._start))):
            self._start += piece
        return self._start

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer as far as one look goes, and return how far that is."""
        if self._start:
            count = min(len(buffer), len(self._start))
            buffer[:count], self._start = self._start[:count], self._start[count:]
            return count
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def at_most(self, limit: int, advice: str) -> bytes:
        """Return all of it. Raises `CommandError` where it has more than `limit` bytes."""
        data = self.begins_with(limit + 1)
        if len(data) > limit:
            raise CommandError(f"The input has more than {limit:,} bytes.", advice)
        self._start = b""
        return data

    @property
    def as_file(self) -> BinaryIO:
        """Return this, as the type of what it can stand for."""
        return cast("BinaryIO", self)

    @property
    def place(self) -> "Place":
        """What the SDK reads: the path of a regular file, which it can read from several threads, else this."""
        return self._path if self._path is not None and Path(self._path).is_file() else self.as_file


@contextlib.contextmanager
def open_input(invocation: Invocation, path: str | None) -> Iterator[Input]:
    """Open a file, or standard input where `path` is None or ``-``.

    Raises `CommandError` where it can't be read, or would have to be typed and --no-input forbids that.
    """
    if path is not None and path != PIPE:
        try:
            file = Path(path).open("rb")  # noqa: SIM115  closed below
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}.", "Give a file that you may read with -i.") from None
        with file:
            yield Input(file, path)
        return
    if sys.stdin.isatty():
        if invocation.no_input:
            raise CommandError(
                "No input is given, and --no-input forbids typing it.", "Give a file with -i, or a pipe."
            )
        invocation.note("Reading from the terminal; end with Ctrl-D.")
    yield Input(sys.stdin.buffer, None)


def target_of(path: str | None) -> "Place":
    """Return what the SDK writes to: standard output where `path` is None or ``-``."""
    return sys.stdout.buffer if path is None or path == PIPE else path


@contextlib.contextmanager
def telling_the_target(path: str | None) -> Iterator[None]:
    """Raise `CommandError` with the target's name where it can't be written. A pipe whose reader went is none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if path is None or path == PIPE:
            raise
        raise CommandError(f"{path}: {error.strerror}.", "Give a file that you may write with -O.") from None
