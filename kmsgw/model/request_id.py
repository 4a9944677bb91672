"""Request ids: UUID version 7 (RFC 9562), so that the time in an id leads to its audit entry without an index."""

import os
import re
from datetime import datetime
from typing import Final

_AT_ONCE: Final = 128
_RANDOM_BYTES: Final = 10
_VARIANT: Final = "89ab"
_FORM: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

_tails: list[str] = []


def new_request_id(now: datetime) -> str:
    """Return a new id: 48 bits of milliseconds since 1970, then 74 random bits. Safe for threads."""
    milliseconds = f"{int(now.timestamp() * 1000) & 0xFFFF_FFFF_FFFF:012x}"
    try:
        tail = _tails.pop()
    except IndexError:
        made = _make_tails()
        tail = made.pop()
        _tails.extend(made)
    return f"{milliseconds[:8]}-{milliseconds[8:]}-{tail}"


def is_request_id(text: str) -> bool:
    """Tell whether a text has the form of a request id: of another no gateway has a record."""
    return _FORM.fullmatch(text) is not None


def _make_tails() -> list[str]:
    """Return the random parts of many ids, from one call of the operating system: one each takes as long as the id."""
    raw = os.urandom(_RANDOM_BYTES * _AT_ONCE).hex()
    digits = 2 * _RANDOM_BYTES
    return [_tail(raw[start : start + digits]) for start in range(0, len(raw), digits)]


def _tail(random: str) -> str:
    # Of 80 random bits the version and the variant take the place of 6.
    return f"7{random[1:4]}-{_VARIANT[int(random[4], 16) & 3]}{random[5:8]}-{random[8:]}"


# Two processes must never share what is left of random bits.
os.register_at_fork(after_in_child=_tails.clear)
