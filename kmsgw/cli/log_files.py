"""Files of logs as the command line reads them: who can write to the folder could put a pipe there."""

import errno
import os
from pathlib import Path
from typing import Final

from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.durable_files import FILE_LIMIT, read_file
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.note import NOTE_LIMIT, VerifierKey
from kmsgw.tlog.tiles import VERIFIER_KEY_PATH

_NO_FILE: Final = frozenset({errno.EINVAL, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV})
"""What `read_file` says of pipes, folders, devices, sockets and links, of endless files, and below a file."""


def read_log_file(path: Path, name: str, limit: int = FILE_LIMIT) -> bytes:
    """Return a file of a log, which must be a regular one of at most `limit` bytes; `name` is what to call it.

    Raises FileNotFoundError where there is none, `AuditDamaged` where something else is in its place, and OSError where
    it can't be read, as for want of permission.
    """
    try:
        return read_file(path, limit)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise damaged(f"{name}: {error.strerror}.") from None
        raise


def is_there(path: Path) -> bool:
    """Tell whether there is a file, or what somebody put in its place; a folder of that name is something else."""
    return os.path.lexists(path) and not path.is_dir()


def key_beside(log: Path) -> VerifierKey:
    """Return the verifier key that lies beside a log. Raises `CommandError` where none can be read."""
    try:
        return VerifierKey.parse(read_file(log / VERIFIER_KEY_PATH, NOTE_LIMIT).decode())
    except (OSError, UnicodeDecodeError):
        raise CommandError(
            f"{log}: no verifier key lies beside the log.", "Give it with --verifier-key.", ExitCode.UNVERIFIED
        ) from None
