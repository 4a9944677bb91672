"""Sealing and opening values under a data key: AES-256-GCM, HKDF-SHA-256, key commitment.

Each message has a key of its own, HKDF (RFC 5869) over the data key with a random 256-bit salt, so the nonce can be
constant (threat 8). GCM alone lets one ciphertext open under two keys; the stored commitment, the second half of the
same HKDF output, is compared before anything is decrypted (threat 9).
"""

import hmac
import os
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmsgw.envelope.format import SALT_BYTES, Envelope, Suite, bound_header, wrapping_of
from kmsgw.envelope.hkdf import Hkdf64
from kmsgw.errors import DecryptionFailed
from kmsgw.model.context import EncryptionContext

DATA_KEY_BYTES = 32
_NONCE = bytes(12)
MESSAGE_HKDF: Final = Hkdf64(b"kmsgw/message/v1")
"""Gives message key and commitment of an envelope, 32 bytes each."""

_of_message = MESSAGE_HKDF.halves
_of_stream = Hkdf64(b"kmsgw/stream/v1").halves
_prefix_of = lru_cache(maxsize=4096)(bound_header)


def derive_message_key(data_key: bytes, salt: bytes, *, stream: bool = False) -> tuple[bytes, bytes]:
    """Return message key and commitment, 32 bytes each: HKDF-SHA-256 of the data key, info ``kmsgw/message/v1``.

    The key of a stream has the info ``kmsgw/stream/v1``: no header can make a stream of a message or a message of one.
    """
    return _of_stream(data_key, salt) if stream else _of_message(data_key, salt)


def new_data_key() -> bytes:
    """Return a data key: 32 bytes from the operating system's generator."""
    return os.urandom(DATA_KEY_BYTES)


def seal_value(
    data_key: bytes,
    plaintext: bytes,
    context: EncryptionContext,
    *,
    key_id: str,
    key_version: int,
    wrapped: bytes,
    suite: Suite,
    salt: bytes | None = None,
) -> bytes:
    """Seal `plaintext` into an envelope and return its bytes.

    `wrapped` is `data_key` as the provider wrapped it, for the holder that the sealed suite names. `salt` is for test
    vectors alone: a salt used twice with one data key gives both messages away.
    """
    if salt is None:
        salt = os.urandom(SALT_BYTES)
    message_key, commitment = _of_message(data_key, salt)
    bound = _prefix_of(suite, key_id) + salt + commitment
    payload = AESGCM(message_key).encrypt(_NONCE, plaintext, bound + context.canonical)
    return b"".join((bound, wrapping_of(key_version, wrapped), payload))


def open_value(data_key: bytes, envelope: Envelope, context: EncryptionContext) -> bytes:
    """Return the plaintext of an envelope. Raises `DecryptionFailed` whatever the cause."""
    message_key = committed_key(data_key, envelope)
    try:
        return AESGCM(message_key).decrypt(_NONCE, envelope.payload, envelope.bound + context.canonical)
    except InvalidTag:
        raise DecryptionFailed from None


def check_commitment(data_key: bytes, envelope: Envelope) -> None:
    """Raise `DecryptionFailed` where the envelope was not made with this data key."""
    committed_key(data_key, envelope)


def committed_key(data_key: bytes, envelope: Envelope) -> bytes:
    """Return the key of a message or stream. Raises `DecryptionFailed` where it was not made with this data key."""
    message_key, commitment = derive_message_key(data_key, envelope.salt, stream=envelope.suite.is_stream)
    if not hmac.compare_digest(commitment, envelope.commitment):
        raise DecryptionFailed
    return message_key
