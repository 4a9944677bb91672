"""Secrets of 32 bytes in files of their own: seeds of signing keys, and the key for context digests."""

import os
import stat
from pathlib import Path

from kmsgw.durable_files import make_folder, sync_folder, write_file
from kmsgw.errors import ConfigurationError

SECRET_BYTES = 32
"""Length of every secret in these files."""

_SECRET_MODE = 0o600
_FOLDER_MODE = 0o700


def load_secret(path: Path) -> bytes:
    """Return the 32 bytes of a secret file. Raises `ConfigurationError` where it is missing, open to others or wrong.

    The mode is checked on the open file, so that no other file can be put in its place in between.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"], advice="Put the file back from your backup.") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError([f"{path}: not a regular file"], advice="Put the file back from your backup.")
        if status.st_mode & 0o077:
            raise ConfigurationError(
                [f"{path}: mode {stat.S_IMODE(status.st_mode):04o} lets others read it"],
                advice=f"Run `chmod 600 {path}`, and replace the secret if others could have read it.",
            )
        secret = os.read(descriptor, SECRET_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(secret) != SECRET_BYTES:
        raise ConfigurationError(
            [f"{path}: it must have {SECRET_BYTES} bytes and has {status.st_size}"],
            advice="Put the file back from your backup.",
        )
    return secret


def load_or_create_secret(path: Path) -> bytes:
    """Return the 32 bytes of a secret file; make it first, from the system's generator, where it is missing.

    Raises `ConfigurationError` as `load_secret` does, and where it can't be written.
    """
    if not path.exists():
        try:
            make_folder(path.parent, _FOLDER_MODE)
            write_file(path, os.urandom(SECRET_BYTES), _SECRET_MODE)
            sync_folder(path.parent)
        except OSError as error:
            raise ConfigurationError(
                [f"{path}: {error.strerror}"], advice="Let the gateway write its folder, or make room."
            ) from None
    return load_secret(path)
