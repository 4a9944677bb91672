"""Request ids: UUID version 7 (RFC 9562), so that the time in an id leads to its audit entry without an index."""

import os
import uuid
from datetime import datetime


def new_request_id(now: datetime) -> str:
    """Return a new id: 48 bits of milliseconds since 1970, then 74 random bits."""
    milliseconds = int(now.timestamp() * 1000) & 0xFFFF_FFFF_FFFF
    rest = int.from_bytes(os.urandom(10))
    number = milliseconds << 80 | 0x7 << 76 | (rest >> 4 & 0xFFF) << 64 | 0b10 << 62 | (rest >> 16 & (1 << 62) - 1)
    return str(uuid.UUID(int=number))
