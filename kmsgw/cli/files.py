"""Bytes in and out: files, pipes and terminals. Files appear whole or not at all."""

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation

PIPE = "-"
"""The name that means standard input or standard output, also where that is a terminal."""

PRIVATE_MODE = 0o600


def read_bytes(invocation: Invocation, path: str | None) -> bytes:
    """Return a file's bytes, or those of standard input where `path` is None or ``-``.

    Raises `CommandError` where it can't be read, or where it would have to be typed and --no-input forbids that.
    """
    if path is not None and path != PIPE:
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}.", "Give a file that you may read with -i.") from None
    if sys.stdin.isatty():
        if invocation.no_input:
            raise CommandError(
                "No input is given, and --no-input forbids typing it.", "Give a file with -i, or a pipe."
            )
        invocation.note("Reading from the terminal; end with Ctrl-D.")
    return sys.stdin.buffer.read()


def refuse_terminal(path: str | None) -> None:
    """Raise `CommandError` where binary data would go to a terminal that nobody named."""
    if path is None and sys.stdout.isatty():
        raise CommandError(
            "Binary data would go to the terminal.", "Name a file with -O, use a pipe, or force it with -O -."
        )


def check_target(path: str | None, *, binary: bool) -> None:
    """Raise `CommandError` where a result could not be written, before the gateway is asked for it."""
    if binary:
        refuse_terminal(path)
    if path is not None and path != PIPE:
        folder = Path(os.path.realpath(path)).parent
        if Path(path).is_dir() or not folder.is_dir():
            raise CommandError(f"{path}: not a file in a folder that exists.", "Give a file with -O.")


def write_bytes(data: bytes, path: str | None, *, private: bool) -> None:
    """Write to a file, or to standard output where `path` is None or ``-``.

    A private file has mode 0600; another has the mode of the file that it replaces, or the usual one.
    """
    if path is None or path == PIPE:
        if path is None and sys.stdout.isatty() and not _is_text(data):
            refuse_terminal(path)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = Path(os.path.realpath(path))  # writes through a symbolic link instead of replacing it
    try:
        if target.exists() and not target.is_file():  # a device or a pipe can't be replaced
            target.write_bytes(data)
        else:
            replace_file(target, data, PRIVATE_MODE if private else _usual_mode(target))
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}.", "Give a file that you may write with -O.") from None


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char in "\n\t" for char in text)


def _usual_mode(target: Path) -> int:
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


def replace_file(target: Path, data: bytes, mode: int) -> None:
    """Put a whole new file in the place of `target`: whoever looks sees the old bytes or the new ones."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # mode 0600 from the start
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:  # also on Ctrl-C: nothing half-made stays
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
