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

from kmsgw.envelope.format import COMMITMENT_BYTES, SALT_BYTES, Envelope, Suite, bound_header, wrapping_of
from kmsgw.envelope.hkdf import Hkdf64
from kmsgw.errors import DecryptionFailed
from kmsgw.model.context import EncryptionContext

DATA_KEY_BYTES = 32
_NONCE = bytes(12)
_SECRETS: Final = SALT_BYTES + COMMITMENT_BYTES
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
    plaintext: bytes | memoryview,
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
    return b"".join(
        seal_in_parts(
            data_key,
            plaintext,
            context,
            key_id=key_id,
            key_version=key_version,
            wrapped=wrapped,
            suite=suite,
            salt=salt,
        )
    )


def seal_in_parts(
    data_key: bytes,
    plaintext: bytes | memoryview,
    context: EncryptionContext,
    *,
    key_id: str,
    key_version: int,
    wrapped: bytes,
    suite: Suite,
    salt: bytes | None = None,
) -> tuple[bytes, bytes, bytes]:
    """Return the parts of an envelope, which joined are its bytes: for who joins them to more. See `seal_value`."""
    if salt is None:
        salt = os.urandom(SALT_BYTES)
    message_key, commitment = _of_message(data_key, salt)
    bound = _prefix_of(suite, key_id) + salt + commitment
    payload = AESGCM(message_key).encrypt(_NONCE, plaintext, bound + context.canonical)
    return bound, wrapping_of(key_version, wrapped), payload


def open_value(data_key: bytes, envelope: Envelope, context: EncryptionContext) -> bytes:
    """Return the plaintext of an envelope. Raises `DecryptionFailed` whatever the cause."""
    return _decrypted(committed_key(data_key, envelope), envelope.payload, envelope.bound + context.canonical)


def open_parts(data_key: bytes, bound: bytes, payload: bytes | memoryview, context: EncryptionContext) -> bytes:
    """Return the plaintext of an envelope of one piece: of its bound header and its payload, which is only looked at.

    Raises `DecryptionFailed` whatever the cause.
    """
    salt, commitment = bound[-_SECRETS:-COMMITMENT_BYTES], bound[-COMMITMENT_BYTES:]
    return _decrypted(_committed(_of_message(data_key, salt), commitment), payload, bound + context.canonical)


def check_commitment(data_key: bytes, envelope: Envelope) -> None:
    """Raise `DecryptionFailed` where the envelope was not made with this data key."""
    committed_key(data_key, envelope)


def committed_key(data_key: bytes, envelope: Envelope) -> bytes:
    """Return the key of a message or stream. Raises `DecryptionFailed` where it was not made with this data key."""
    derived = derive_message_key(data_key, envelope.salt, stream=envelope.suite.is_stream)
    return _committed(derived, envelope.commitment)


def _committed(derived: tuple[bytes, bytes], commitment: bytes) -> bytes:
    message_key, expected = derived
    if not hmac.compare_digest(expected, commitment):
        raise DecryptionFailed
    return message_key


def _decrypted(message_key: bytes, payload: bytes | memoryview, authenticated: bytes) -> bytes:
    try:
        return AESGCM(message_key).decrypt(_NONCE, payload, authenticated)
    except InvalidTag:
        raise DecryptionFailed from None
