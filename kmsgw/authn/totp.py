"""One-time codes: TOTP of RFC 6238 with SHA-1, 6 digits and steps of 30 seconds, as authenticator apps have it.

Pure: it says for which steps a code is right, and never whether it may be used. Who takes a code must also see to it
that its step is spent (`kmsgw.authn.second_factor`); a check that only says yes or no could not.
"""

import hmac
import secrets
from base64 import b32encode
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

STEP_SECONDS: Final = 30
SECRET_BYTES: Final = 20
"""As long as the output of SHA-1, as RFC 4226 section 4 recommends."""

WINDOW: Final = 1
"""Steps either way that a device's clock may be off (RFC 6238 section 5.2 recommends one)."""

_DIGITS: Final = 6
_ISSUER: Final = "kmsgw"


def new_secret() -> bytes:
    """Return a secret: 20 bytes from the operating system's generator."""
    return secrets.token_bytes(SECRET_BYTES)


def is_code(text: str) -> bool:
    """Tell whether a text is six ASCII digits, and nothing before, between or after them."""
    return len(text) == _DIGITS and text.isascii() and text.isdigit()


def step_at(now: datetime) -> int:
    """Return the number of the step of a moment."""
    return int(now.timestamp()) // STEP_SECONDS


def code_at(secret: bytes, step: int) -> str:
    """Return the code of a step: HOTP of RFC 4226 section 5.3, with the step as its counter."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**_DIGITS:0{_DIGITS}d}"


def matching_steps(secret: bytes, code: str, now: datetime) -> tuple[int, ...]:
    """Return the steps around now whose code this is; almost always one or none.

    All steps of the window are compared, each in constant time: the answer's time tells nothing of the code.
    """
    if not is_code(code):
        return ()
    middle = step_at(now)
    window = range(middle - WINDOW, middle + WINDOW + 1)
    return tuple(step for step in window if _is_code_of(secret, step, code))


def consecutive_steps(secret: bytes, first: str, second: str, now: datetime) -> Sequence[int]:
    """Return the two steps that follow each other and whose codes these are, the second around now; else nothing."""
    if not is_code(first):
        return ()
    for step in matching_steps(secret, second, now):
        if _is_code_of(secret, step - 1, first):
            return step - 1, step
    return ()


def secret_text(secret: bytes) -> str:
    """Return a secret as people type it: base32 of RFC 4648, without padding."""
    return b32encode(secret).decode("ascii").rstrip("=")


def provisioning_uri(secret: bytes, officer_id: str) -> str:
    """Return a secret as an ``otpauth`` URI for a QR code, with the parameters that apps take as their defaults."""
    label = f"{_ISSUER}:{quote(officer_id)}"
    parameters = {"secret": secret_text(secret), "issuer": _ISSUER, "algorithm": "SHA1", "digits": 6, "period": 30}
    return f"otpauth://totp/{label}?{urlencode(parameters)}"


def _is_code_of(secret: bytes, step: int, code: str) -> bool:
    return step >= 0 and hmac.compare_digest(code_at(secret, step).encode(), code.encode())
