"""HKDF-SHA-256 (RFC 5869) to 64 bytes, for salts of 32 bytes, from hashes alone.

It is what `cryptography`'s HKDF computes, in less time: HMAC (RFC 2104) is two hashes, and the objects that a general
HMAC makes cost more than either. A hash whose first block both outputs share is copied after that block: 8 % less than
hashing it twice. docs/adr/0014 has what else was tried.
"""

from hashlib import sha256
from typing import Final

SALT_BYTES: Final = 32
"""Length of the salts that this takes: half a block, so that it needs no hash of its own."""

KEY_PAD: Final = b"\x36" * 32
"""What stands before a key where it is given to `begin`: the other half of the block that a salt begins (RFC 2104)."""

_INNER: Final = bytes(each ^ 0x36 for each in range(256))
_OUTER: Final = bytes(each ^ 0x5C for each in range(256))
_OUTER_PAD: Final = b"\x5c" * 32


def begin(salt: bytes, padded_key: bytes | bytearray) -> bytes:
    """Return the first hash of an extraction, the only one that needs the key. It is as secret as the key.

    `padded_key` is `KEY_PAD` and the key, put together once for all salts; `salt` has 32 bytes.
    """
    assert len(salt) == SALT_BYTES
    return sha256(salt.translate(_INNER) + padded_key).digest()


class Hkdf64:
    """HKDF-SHA-256 with one info. Holds no secret."""

    __slots__ = ("_first", "_second")

    def __init__(self, info: bytes) -> None:
        self._first = info + b"\x01"
        self._second = info + b"\x02"

    def finish(self, salt: bytes, begun: bytes) -> tuple[bytes, bytes]:
        """Return both halves of the 64 bytes, from what `begin` returned for this salt."""
        extracted = sha256(salt.translate(_OUTER) + _OUTER_PAD + begun).digest()
        outer = sha256(extracted.translate(_OUTER) + _OUTER_PAD)
        inner = sha256(extracted.translate(_INNER) + KEY_PAD)
        last_outer, last_inner = outer.copy(), inner.copy()
        inner.update(self._first)
        outer.update(inner.digest())
        first = outer.digest()
        last_inner.update(first + self._second)
        last_outer.update(last_inner.digest())
        return first, last_outer.digest()

    def halves(self, key: bytes, salt: bytes) -> tuple[bytes, bytes]:
        """Return both halves of the 64 bytes of a key of any length and a salt of 32 bytes."""
        return self.finish(salt, begin(salt, KEY_PAD + key))

    def derive(self, key: bytes, salt: bytes) -> bytes:
        """Return 64 bytes of a key of any length and a salt of 32 bytes."""
        return b"".join(self.halves(key, salt))
