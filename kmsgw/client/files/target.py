"""Where a result goes: a file that appears whole or not at all, or something that takes bytes as they come."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

PRIVATE_MODE: Final = 0o600

_SHOWN_CHARS: Final = 40


@contextlib.contextmanager
def open_target(
    target: str | os.PathLike[str] | BinaryIO, *, private: bool, durable: bool = False
) -> Iterator[BinaryIO]:
    """Open a target for a block, at whose end without an exception the file takes its name.

    Until then it lies beside with another name; after an exception it is gone, and what had the name before is
    untouched. `private` gives it the mode 0600; else it has the mode of the file that it replaces, or the usual one.
    `durable` flushes it to the disk before it takes the name. A link is followed. Devices, pipes and file objects are
    written to directly: what was written before an exception stays written.
    """
    if not isinstance(target, str | os.PathLike):
        yield target
        target.flush()
        return
    path = Path(os.path.realpath(target))
    if path.exists() and not path.is_file():
        with path.open("wb", buffering=0) as device:
            yield device
        return
    descriptor, name = _create_beside(path, private=private)
    try:
        with os.fdopen(descriptor, "w+b", buffering=0) as file:
            if not private and path.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            yield file
            if durable:
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:  # also on Ctrl-C: nothing half-made stays
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def _create_beside(path: Path, *, private: bool) -> tuple[int, str]:
    """Make a new file beside `path`, and return its descriptor and name."""
    name = str(path.with_name(f".{path.name[:_SHOWN_CHARS]}.{secrets.token_hex(8)}"))
    # A mode of the system's usual ones is that of 0666 less the umask, which the system itself knows best.
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE if private else 0o666), name


@contextlib.contextmanager
def open_source(source: str | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    """Open a source for a block. A file object stays open."""
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb", buffering=0) as file:
            yield file
    else:
        yield source
