"""What an officer holds besides the device: sessions, invitations and recovery codes. Made here, and hashed at rest.

All three are random, of 80 bits or more: nobody finds one by trying hashes, so one SHA-256 is enough, and a slow hash
would only help who wants to keep the gateway busy. The label and the officer's id are hashed with them, so that no
stored hash is of use as one of another kind or of another officer.
"""

import hashlib
import secrets
from typing import Final

RECOVERY_CODES: Final = 10
"""Recovery codes of an officer."""

_TOKEN_BYTES: Final = 32
_MAX_TOKEN_CHARS: Final = 64
_RECOVERY_CHARS: Final = 16
_GROUP: Final = 4
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base32: no letter of it is taken for another or for a digit."""
_LOOKALIKES: Final = str.maketrans({"o": "0", "i": "1", "l": "1", "-": None, " ": None})


def new_token() -> str:
    """Return a session or an invitation: 32 random bytes in base64url, 43 characters."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def session_hash(token: str) -> bytes:
    """Return what is stored of a session."""
    return _hashed("session", "", token[: _MAX_TOKEN_CHARS + 1])


def invitation_hash(officer_id: str, token: str) -> bytes:
    """Return what is stored of an invitation."""
    return _hashed("invitation", officer_id, token[: _MAX_TOKEN_CHARS + 1].strip())


def new_recovery_codes() -> tuple[str, ...]:
    """Return ten codes of 80 random bits each, in groups of four characters for reading: ``k7m2-…``."""
    return tuple(_new_recovery_code() for _ in range(RECOVERY_CODES))


def read_recovery_code(text: str) -> str:
    """Return a recovery code as it is hashed, or an empty text where it can't be one.

    Letter case, spaces and hyphens don't count, and what looks like a digit is taken for it.
    """
    code = text[: 4 * _RECOVERY_CHARS].lower().translate(_LOOKALIKES)
    return code if len(code) == _RECOVERY_CHARS and set(code) <= set(_ALPHABET) else ""


def recovery_hash(officer_id: str, code: str) -> bytes:
    """Return what is stored of a recovery code, which is given as `read_recovery_code` returns it."""
    return _hashed("recovery-code", officer_id, code)


def _new_recovery_code() -> str:
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_RECOVERY_CHARS))
    return "-".join(code[place : place + _GROUP] for place in range(0, _RECOVERY_CHARS, _GROUP))


def _hashed(label: str, officer_id: str, text: str) -> bytes:
    return hashlib.sha256(f"kmsgw/{label}/v1\0{officer_id}\0{text}".encode("utf-8", "replace")).digest()
