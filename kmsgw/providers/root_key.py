"""Where the root key of the software provider comes from: a file, a descriptor, or a passphrase.

A root key that is lost or replaced makes every sealed key useless. So each source that can notice keeps a *check
value* on disk beside it: HKDF-SHA-256 of the root key, 16 bytes, which says nothing of the key. A root key that does
not match it, or that is gone while its check value is there, is refused at start instead of being made anew.

All results are bytearrays so that the caller can overwrite them. That is all that Python allows: copies that the
interpreter or a library made of the bytes stay in memory until it is reused. Core dumps must be off (threat 15).
"""

import hmac
import os
import re
import secrets
import stat
import threading
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from kmsgw.errors import ConfigurationError, Reason

ROOT_KEY_BYTES = 32
"""Length of a root key: AES-256."""

PASSPHRASE_MIN_BYTES = 16
"""Shortest passphrase. Who copies salt file or database may guess offline, as fast as Argon2id lets them."""

CHECK_SUFFIX = ".check"
"""Put after the name of a root key file to name the file of its check value."""

ARGON2_ITERATIONS = 3
ARGON2_LANES = 4
ARGON2_MEMORY_KIB = 64 * 1024
"""RFC 9106, section 4, second recommended option: t = 3, p = 4, m = 64 MiB."""

_STRETCHING = threading.Lock()
"""One derivation at a time: with several lanes, two at once wait for each other for ever (OpenSSL's thread pool)."""

_SALT_BYTES = 16
_CHECK_BYTES = 16
_READ_LIMIT = 4096
_SALT_HEADER = "kmsgw-salt/v1 argon2id t=3 m=65536 p=4"
_SALT_FILE = re.compile(re.escape(_SALT_HEADER) + r"\nsalt ([0-9a-f]{32})\ncheck ([0-9a-f]{32})\n\Z")


def _refuse(fault: str, advice: str) -> ConfigurationError:
    return ConfigurationError([fault], reason=Reason.PROVIDER_MISCONFIGURED, advice=advice)


def load_root_key_from_file(path: Path) -> bytearray:
    """Return the root key in a file; make both on first start, with mode 0600.

    Workers that race on first start end up with the same key: the file appears whole, and only the first one wins.
    Raises `ConfigurationError` where the file is a link or no plain file, belongs to or can be read by another user,
    has another length than 32 bytes, does not match its check value, or is gone while its check value is there.
    """
    check_path = path.with_name(path.name + CHECK_SUFFIX)
    content = _read_private(path)
    if content is None:
        if _read_private(check_path) is not None:
            raise _refuse(
                f"{path}: the root key is gone, and the keys sealed under it with it",
                f"Restore it from a backup. To begin anew without the old keys, remove {check_path} too.",
            )
        _write_once(path, secrets.token_bytes(ROOT_KEY_BYTES))
        content = _read_private(path)
    if content is None or len(content) != ROOT_KEY_BYTES:
        raise _refuse(
            f"{path}: a root key has exactly {ROOT_KEY_BYTES} bytes, and this file has {len(content or b'')}",
            "Restore it from a backup, or name another file and let the gateway make it.",
        )
    expected = _check_value(content).hex().encode() + b"\n"
    found = _read_private(check_path)
    if found is None:
        _write_once(check_path, expected)
        found = _read_private(check_path)
    if found is None or not hmac.compare_digest(bytes(found), expected):
        raise _refuse(
            f"{path}: not the root key that this gateway was set up with",
            f"Restore the right one from a backup; {check_path} tells them apart.",
        )
    return content


def root_key_from_bytes(content: bytes | bytearray, source: str) -> bytearray:
    """Return a root key that was read from a descriptor; `source` names it in the message.

    Raises `ConfigurationError` where it has another length than 32 bytes.
    """
    if len(content) != ROOT_KEY_BYTES:
        raise _refuse(
            f"{source}: a root key has exactly {ROOT_KEY_BYTES} bytes, and {len(content)} were given",
            "Give the bytes as they are, not as text and without a line end.",
        )
    return bytearray(content)


def root_key_from_passphrase(passphrase: bytes | bytearray, salt_file: Path) -> bytearray:
    """Return the root key that Argon2id stretches from a passphrase, with the salt in a file made on first start.

    One line end at the end of the passphrase is dropped. Takes about 0.2 s and 64 MiB. The salt file also holds the
    check value, so that a wrong passphrase is noticed at start and not by the first decryption. Raises
    `ConfigurationError` where the passphrase is too short or wrong, or the salt file is not to be trusted.
    """
    stretched = bytes(passphrase).removesuffix(b"\n").removesuffix(b"\r")
    if len(stretched) < PASSPHRASE_MIN_BYTES:
        raise _refuse(
            f"the passphrase has fewer than {PASSPHRASE_MIN_BYTES} bytes",
            "Use six random words or more.",
        )
    content = _read_private(salt_file)
    if content is None:
        salt = secrets.token_bytes(_SALT_BYTES)
        check = _check_value(_stretch(stretched, salt))
        _write_once(salt_file, f"{_SALT_HEADER}\nsalt {salt.hex()}\ncheck {check.hex()}\n".encode())
        content = _read_private(salt_file)
    match = _SALT_FILE.match((content or b"").decode("latin-1"))
    if match is None:
        raise _refuse(f"{salt_file}: not a salt file of kmsgw", "Restore it from a backup.")
    root_key = _stretch(stretched, bytes.fromhex(match[1]))
    if not hmac.compare_digest(_check_value(root_key), bytes.fromhex(match[2])):
        raise _refuse(
            "the passphrase is not the one that this gateway was set up with",
            f"Give the right one, or restore {salt_file} from the same backup.",
        )
    return root_key


def _stretch(passphrase: bytes, salt: bytes) -> bytearray:
    argon2 = Argon2id(
        salt=salt,
        length=ROOT_KEY_BYTES,
        iterations=ARGON2_ITERATIONS,
        lanes=ARGON2_LANES,
        memory_cost=ARGON2_MEMORY_KIB,
    )
    with _STRETCHING:
        return bytearray(argon2.derive(passphrase))


def _check_value(root_key: bytes | bytearray) -> bytes:
    return HKDF(SHA256(), _CHECK_BYTES, salt=None, info=b"kmsgw/root-key/check/v1").derive(bytes(root_key))


def _read_private(path: Path) -> bytearray | None:
    """Return the content of a file that only its owner can read, or None where there is none."""
    try:
        # O_NOFOLLOW: a link could make the gateway take a file that someone else controls. O_NONBLOCK: a FIFO put
        # in the file's place must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if path.is_symlink():
            raise _refuse(f"{path}: is a symbolic link", "Name the file itself.") from None
        raise _refuse(f"{path}: {error.strerror}", "Let the gateway's user, and only it, read the file.") from None
    try:
        _require_private(path, os.fstat(descriptor))
        return bytearray(os.read(descriptor, _READ_LIMIT))
    finally:
        os.close(descriptor)


def _require_private(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise _refuse(f"{path}: not a plain file", "Name a plain file.")
    if status.st_uid != os.geteuid():
        raise _refuse(f"{path}: belongs to another user", f"Run `chown` on it, for user id {os.geteuid()}.")
    if mode & 0o077:
        raise _refuse(
            f"{path}: other users can read or change it (mode {mode:04o})",
            f"Run `chmod 600 {path}`; if others may have read it, treat its keys as known.",
        )


def _write_once(path: Path, content: bytes) -> None:
    """Make a file of mode 0600 that is there whole or not at all; leave one that is there already as it is."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _require_safe_folder(path.parent)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            try:
                # Unlike a rename, a link never replaces what another worker has put there meanwhile.
                os.link(temporary, path, follow_symlinks=False)
            except FileExistsError:
                return
        finally:
            temporary.unlink()
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise _refuse(f"{path}: can't be made: {error.strerror}", "Make its folder writable for the gateway.") from None


def _require_safe_folder(folder: Path) -> None:
    """Raise `ConfigurationError` where any user could replace files in the folder."""
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise _refuse(f"{folder}: every user can replace files in it", f"Run `chmod o-w {folder}`.")
