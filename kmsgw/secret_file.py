"""Reading secrets from files: only where nobody else could have read them before."""

import os
import stat
from pathlib import Path

from kmsgw.errors import ConfigurationError

SECRET_LIMIT = 65_536
"""Longest secret file, in bytes."""


def read_secret_file(path: Path, place: str) -> bytes:
    """Return the content of a file that its owner alone may read; `place` is the field that names it.

    The mode is checked on the open file, so that no other file can be put in its place in between. Symbolic links are
    followed: orchestrators hand secrets over so. Raises `ConfigurationError` in one line that says what to do.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError([f"{place}: {path}: not a regular file"], advice="Name the file itself.")
            if status.st_mode & 0o077:
                raise ConfigurationError(
                    [f"{place}: {path}: mode {stat.S_IMODE(status.st_mode):04o} lets others read it"],
                    advice=f"Run `chmod 600 {path}`, and replace the secret if others could have read it.",
                )
            return file.read(SECRET_LIMIT)
    except OSError as error:
        raise ConfigurationError(
            [f"{place}: {path}: {error.strerror}"], advice="Give a file that kmsgwd's user may read, mode 0600."
        ) from None
