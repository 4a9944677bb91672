"""Sealing and opening many values under one data key, byte for byte as `kmsgw.envelope.aead` does one by one.

What is the same for all of them is made once, and no object is made for a value: of 1 KiB each, sealing takes 6 µs,
and 10 one by one. Each still has a salt, a message key and a commitment of its own.
"""

import hmac
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmsgw.envelope.format import COMMITMENT_BYTES, SALT_BYTES, TAG_BYTES, Envelope, Suite, bound_header, wrapping_of
from kmsgw.envelope.hkdf import Hkdf64
from kmsgw.model.context import EncryptionContext

_MESSAGE_KEY_BYTES = 32
_NONCE = bytes(12)
_ONE_PIECE = frozenset({Suite.GATEWAY_SEALED, Suite.CLIENT_SEALED})
_derive = Hkdf64(b"kmsgw/message/v1").derive


def seal_values(
    data_key: bytes,
    plaintexts: Sequence[bytes],
    context: EncryptionContext,
    *,
    key_id: str,
    key_version: int,
    wrapped: bytes,
    suite: Suite,
) -> list[bytes]:
    """Seal each value into an envelope of its own, and return them in order. See `seal_value`."""
    assert suite in _ONE_PIECE
    prefix = bound_header(suite, key_id)
    wrapping = wrapping_of(key_version, wrapped)
    canonical = context.canonical
    salts = os.urandom(SALT_BYTES * len(plaintexts))
    envelopes: list[bytes] = []
    start = 0
    for plaintext in plaintexts:
        end = start + SALT_BYTES
        salt = salts[start:end]
        start = end
        derived = _derive(data_key, salt)
        bound = prefix + salt + derived[_MESSAGE_KEY_BYTES:]
        payload = AESGCM(derived[:_MESSAGE_KEY_BYTES]).encrypt(_NONCE, plaintext, bound + canonical)
        envelopes.append(b"".join((bound, wrapping, payload)))
    return envelopes


class ManyOpener:
    """Opens envelopes that have the data key of one that was parsed, and therefore its wrapping and context."""

    __slots__ = ("_bound_end", "_canonical", "_data_key", "_name_end", "_payload_start", "_prefix", "_wrapping")

    def __init__(self, data_key: bytes, like: Envelope, context: EncryptionContext) -> None:
        assert like.suite in _ONE_PIECE
        self._data_key = data_key
        self._canonical = context.canonical
        self._prefix = bound_header(like.suite, like.key_id)
        self._name_end = len(self._prefix)
        self._bound_end = self._name_end + SALT_BYTES + COMMITMENT_BYTES
        self._wrapping = wrapping_of(like.key_version, like.wrapped)
        self._payload_start = self._bound_end + len(self._wrapping)

    def open_run(self, envelopes: Sequence[bytes], start: int, stop: int) -> list[bytes]:
        """Return the plaintexts from `start` to before `stop`.

        It ends before the first envelope that is another's, or does not open: which of these, parsing it tells.
        """
        name_end, bound_end, payload_start = self._name_end, self._bound_end, self._payload_start
        prefix, wrapping, canonical, data_key = self._prefix, self._wrapping, self._canonical, self._data_key
        salt_end, least = name_end + SALT_BYTES, payload_start + TAG_BYTES
        plaintexts: list[bytes] = []
        for place in range(start, stop):
            data = envelopes[place]
            if len(data) < least or not data.startswith(prefix) or data[bound_end:payload_start] != wrapping:
                break
            bound = data[:bound_end]
            derived = _derive(data_key, data[name_end:salt_end])
            if not hmac.compare_digest(derived[_MESSAGE_KEY_BYTES:], data[salt_end:bound_end]):
                break
            try:
                plaintext = AESGCM(derived[:_MESSAGE_KEY_BYTES]).decrypt(
                    _NONCE, data[payload_start:], bound + canonical
                )
            except InvalidTag:
                break
            plaintexts.append(plaintext)
        return plaintexts
