"""Pseudonyms of persons in audit entries: HMACs under a key of their month, which can be destroyed."""

import hmac
import re
from datetime import UTC, datetime
from typing import Final

PSEUDONYM_KEY_BYTES: Final = 32
"""Length of a month's key."""

KEY_SUFFIX: Final = ".key"
"""What the file of a month's key ends with: ``2026-11.key``."""

_PERIOD: Final = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])\Z")


def is_period(text: str) -> bool:
    """Tell whether a text is a month, ``2026-11``."""
    return _PERIOD.match(text) is not None


def period_of(time: datetime) -> str:
    """Return the month of a time, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m}"


def pseudonym(key: bytes, period: str, name: str) -> str:
    """Return what stands for a person's name in entries: ``pseudonym/<month>/<HMAC-SHA-256 in hexadecimal>``.

    Who has not the key can neither find the name nor guess it; within a month the same name has the same pseudonym.
    """
    return f"pseudonym/{period}/{hmac.digest(key, name.encode('utf-8', 'surrogatepass'), 'sha256').hex()}"
