"""Blind indexes: keyed hashes by which equal values can be found without decrypting (docs/blind-index.md)."""

import hmac
import struct
from typing import Final

MAC_BYTES: Final = 32
"""Length of a keyed hash: HMAC-SHA-256, not shortened."""

_TAG: Final = b"kmsgw/index/v1"


def blind_index(index_key: bytes, key_id: str, index: str, value: bytes) -> bytes:
    """Return the keyed hash of a value in an index, 32 bytes.

    It is HMAC-SHA-256 (RFC 2104, FIPS 198-1) over
    ``u8 length ‖ "kmsgw/index/v1" ‖ u8 length ‖ key id ‖ u8 length ‖ index ‖ value``: with a length before
    everything but the last, no two sets of key id, index and value share a form. `index_key` has 32 bytes; `key_id`
    and `index` are ASCII of at most 255 bytes.
    """
    named = b"".join(struct.pack(">B", len(part)) + part for part in (_TAG, key_id.encode(), index.encode()))
    return hmac.digest(index_key, named + value, "sha256")


def is_blind_index(mac: bytes, index_key: bytes, key_id: str, index: str, value: bytes) -> bool:
    """Tell whether `mac` is the keyed hash of a value. Takes equally long wherever they begin to differ."""
    return hmac.compare_digest(mac, blind_index(index_key, key_id, index, value))
