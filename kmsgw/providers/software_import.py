"""Tokens of the software provider: the private wrapping key itself, sealed, so that nothing is stored between calls.

    token = 0x01 ‖ u64 expiry ‖ nonce (12) ‖ AES-256-GCM(token key, RSA private key, AAD) with tag (16)
    token key = HKDF-SHA-256(root key, info "kmsgw/software/import/v1")
    AAD = what the token holds for (`kmsgw.providers.importing.ImportBinding`)

The private key is in PKCS #1 DER, about 1.8 kB. Any worker on the same root key opens it. Who steals both a token and
the root key can read what was wrapped for it, and with the root key alone could read the sealed material as well.
"""

import os
import struct
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from kmsgw.envelope.material import LEAST_RSA_BITS
from kmsgw.providers.base import ImportParameters
from kmsgw.providers.importing import TOKEN_LIMIT, ImportBinding, token_refused

_VERSION = 1
_HEAD = struct.Struct(">BQ")
_NONCE_BYTES = 12
_PUBLIC_EXPONENT = 65537


def make_token(cipher: AESGCM, binding: ImportBinding) -> ImportParameters:
    """Make a wrapping key, which takes some tenths of a second, and seal it in a token."""
    wrapping_key = generate_private_key(_PUBLIC_EXPONENT, LEAST_RSA_BITS)
    secret = wrapping_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    nonce = os.urandom(_NONCE_BYTES)
    token = _HEAD.pack(_VERSION, binding.expires) + nonce + cipher.encrypt(nonce, secret, binding.encode())
    assert len(token) <= TOKEN_LIMIT
    public_key = wrapping_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return ImportParameters(public_key, token, binding.expiry, computes_check_value=True)


def open_token(
    cipher: AESGCM, token: bytes, *, provider: str, key_id: str, version: int, now: datetime
) -> RSAPrivateKey:
    """Return the wrapping key of a token. Raises `FailedPrecondition` with IMPORT_REFUSED where it does not hold."""
    if not _HEAD.size + _NONCE_BYTES < len(token) <= TOKEN_LIMIT:
        raise token_refused()
    layout, expires = _HEAD.unpack_from(token)
    if layout != _VERSION:
        raise token_refused()
    binding = ImportBinding(provider, key_id, version, expires)
    nonce, sealed = token[_HEAD.size : _HEAD.size + _NONCE_BYTES], token[_HEAD.size + _NONCE_BYTES :]
    try:
        secret = cipher.decrypt(nonce, sealed, binding.encode())
    except InvalidTag:
        raise token_refused() from None
    binding.require_current(now)
    # Validation would take 0.3 s, and these bytes are this provider's own: nobody else can seal them.
    found = load_der_private_key(secret, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(found, RSAPrivateKey)
    return found
