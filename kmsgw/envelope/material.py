"""Key material on its way into a provider: how it is wrapped, and how two parties see that they mean the same key.

    wrapped material = RSA-OAEP(public key, transport key (32)) ‖ AES-KWP(transport key, material (32))

RSA-OAEP with SHA-256, MGF1 with SHA-256 and an empty label (RFC 8017, section 7.1); AES key wrap with padding
(RFC 5649) under a transport key that is fresh for each wrap. The bytes are those of PKCS#11's CKM_RSA_AES_KEY_WRAP, of
OpenBao's and Vault's transit, and of what cloud providers call RSA_AES_KEY_WRAP_SHA_256.

A key check value is the first 3 bytes of AES-256 over 16 zero bytes, as PKCS#11 has it (CKA_CHECK_VALUE). It tells
keys apart and proves nothing: one key in 2^24 has the same.
"""

import os
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)
from cryptography.hazmat.primitives.serialization import load_der_public_key

from kmsgw.errors import InvalidRequest

IMPORT_ALGORITHM: Final = "RSA_OAEP_SHA256_AES_KWP"
"""Name of the one way to wrap material."""

MATERIAL_BYTES: Final = 32
"""Length of the material of a key version: AES-256."""

LEAST_RSA_BITS: Final = 3072
"""Shortest wrapping key that is made or accepted: 128 bits of strength (NIST SP 800-57 part 1, table 2)."""

MOST_RSA_BITS: Final = 8192
"""Longest wrapping key that is accepted, so that a hostile answer costs no minutes of arithmetic."""

KWP_BYTES: Final = MATERIAL_BYTES + 8
"""Length of the second part: RFC 5649 adds 8 bytes to whole blocks."""

CHECK_VALUE_BYTES: Final = 3
"""Length of a key check value."""

_TRANSPORT_KEY_BYTES = 32
_OAEP = OAEP(MGF1(SHA256()), SHA256(), None)


class MaterialRefusedError(Exception):
    """Wrapped material that does not open, for whatever reason: nothing tells one from another."""


def wrap_material(material: bytes | bytearray, public_key: bytes) -> bytes:
    """Wrap 32 bytes of material under a provider's public key (SubjectPublicKeyInfo, DER).

    `material` may be a bytearray, which the caller can overwrite afterwards. Raises `InvalidRequest` where it has
    another length, or the public key is no RSA key of 3,072 to 8,192 bits.
    """
    if len(material) != MATERIAL_BYTES:
        raise InvalidRequest(
            f"The material has {len(material)} bytes.", advice=f"A key is {MATERIAL_BYTES} bytes of AES-256."
        )
    return wrap_under(load_wrapping_key(public_key), material)


def wrap_under(recipient: RSAPublicKey, material: bytes | bytearray) -> bytes:
    """Wrap material under an RSA key of any length: for what protects nothing, else use `wrap_material`."""
    transport_key = os.urandom(_TRANSPORT_KEY_BYTES)
    # The binding takes any buffer; its published types name bytes alone.
    wrapped = aes_key_wrap_with_padding(transport_key, material)  # type: ignore[arg-type,unused-ignore]
    return recipient.encrypt(transport_key, _OAEP) + wrapped


def load_wrapping_key(public_key: bytes) -> RSAPublicKey:
    """Return a public key that material may be wrapped under. Raises `InvalidRequest` as `wrap_material`."""
    try:
        found = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, RSAPublicKey) or not LEAST_RSA_BITS <= found.key_size <= MOST_RSA_BITS:
        raise InvalidRequest(
            f"The wrapping key is no RSA key of {LEAST_RSA_BITS:,} to {MOST_RSA_BITS:,} bits.",
            advice="Ask the gateway for new import parameters.",
        )
    return found


def unwrap_material(private_key: RSAPrivateKey, wrapped: bytes) -> bytes:
    """Return the 32 bytes that `wrap_material` was given. Raises `MaterialRefusedError` where anything differs.

    Where the first part does not open the second is tried all the same, under a random key: the time of a refusal
    tells little of where it failed (RFC 8017, section 7.1.2).
    """
    modulus_bytes = (private_key.key_size + 7) // 8
    if len(wrapped) != modulus_bytes + KWP_BYTES:
        raise MaterialRefusedError
    try:
        transport_key = private_key.decrypt(wrapped[:modulus_bytes], _OAEP)
    except ValueError:
        transport_key = b""
    opened = len(transport_key) == _TRANSPORT_KEY_BYTES
    try:
        material = aes_key_unwrap_with_padding(
            transport_key if opened else os.urandom(_TRANSPORT_KEY_BYTES), wrapped[modulus_bytes:]
        )
    except InvalidUnwrap:
        raise MaterialRefusedError from None
    if not opened or len(material) != MATERIAL_BYTES:
        raise MaterialRefusedError
    return material


def key_check_value(material: bytes | bytearray) -> str:
    """Return the key check value of 32 bytes of material: 6 digits, hexadecimal, upper case.

    Raises `InvalidRequest` where it has another length.
    """
    if len(material) != MATERIAL_BYTES:
        raise InvalidRequest(
            f"The material has {len(material)} bytes.", advice=f"A key is {MATERIAL_BYTES} bytes of AES-256."
        )
    # One block of zeros is what the value is defined by; nothing is kept secret with ECB here.
    return Cipher(AES256(material), ECB()).encryptor().update(bytes(16))[:CHECK_VALUE_BYTES].hex().upper()  # noqa: S305
