"""The primitives that the providers wrap with pass Wycheproof's vectors; what a primitive can't take is counted."""

from collections.abc import Iterator
from contextlib import closing

import pkcs11
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import PKCS11Error

from kmsgw.providers.base import DATA_KEY_BYTES
from kmsgw.providers.pkcs11 import Pkcs11Provider
from kmsgw.providers.pkcs11.mechanism import DIGEST_BYTES, TokenKey, gcm_decrypt, gcm_encrypt, kwp_unwrap, kwp_wrap
from kmsgw.providers.software import NONCE_BYTES, seal, unseal
from tests.support.softhsm import SoftHsm
from tests.unit.providers.wycheproof import AeadVector, WrapVector, gcm_vectors, kwp_vectors

GCM = gcm_vectors()
GCM_96_BIT_NONCE = [vector for vector in GCM if len(vector.nonce) == NONCE_BYTES]
GCM_OTHER_NONCE = [vector for vector in GCM if len(vector.nonce) != NONCE_BYTES]
KWP = kwp_vectors()
KWP_BLOCK = 8
"""Semiblock of AES key wrap, in bytes."""


def test_the_vectors_are_all_there() -> None:
    assert len(GCM_96_BIT_NONCE) == 66
    assert sum(vector.valid for vector in GCM_96_BIT_NONCE) == 39
    assert len(GCM_OTHER_NONCE) == 39
    assert len(KWP) == 94
    assert sum(vector.valid for vector in KWP) == 25


@pytest.mark.parametrize("vector", GCM_96_BIT_NONCE, ids=lambda vector: str(vector.number))
def test_software_aes_gcm(vector: AeadVector) -> None:
    cipher = AESGCM(vector.key)
    sealed = vector.nonce + vector.ciphertext + vector.tag
    if vector.valid:
        assert seal(cipher, vector.nonce, vector.message, vector.aad) == sealed
        assert unseal(cipher, sealed, vector.aad) == vector.message
    else:
        with pytest.raises(InvalidTag):
            unseal(cipher, sealed, vector.aad)


class Importer:
    """Puts given keys into the token, as objects that end with the session."""

    def __init__(self, session: pkcs11.Session) -> None:
        self._session = session

    def put(self, key: bytes, *usage: Attribute) -> TokenKey:
        return self._session.create_object(
            {
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.KEY_TYPE: KeyType.AES,
                Attribute.TOKEN: False,
                Attribute.PRIVATE: True,
                Attribute.VALUE: key,
                **dict.fromkeys(usage, True),
            }
        )  # type: ignore[return-value]


@pytest.fixture(scope="module")
def importer(softhsm: SoftHsm) -> Iterator[Importer]:
    with closing(Pkcs11Provider("hsm", softhsm.module, softhsm.label, softhsm.pin.encode())) as provider:
        yield Importer(provider._connection._login.session)


@pytest.mark.parametrize("vector", GCM_96_BIT_NONCE, ids=lambda vector: str(vector.number))
def test_token_aes_gcm(importer: Importer, vector: AeadVector) -> None:
    key = importer.put(vector.key, Attribute.ENCRYPT, Attribute.DECRYPT)
    try:
        if vector.valid:
            assert gcm_encrypt(key, vector.nonce, vector.message, vector.aad) == vector.ciphertext + vector.tag
            assert gcm_decrypt(key, vector.nonce, vector.ciphertext + vector.tag, vector.aad) == vector.message
        else:
            with pytest.raises(PKCS11Error):
                gcm_decrypt(key, vector.nonce, vector.ciphertext + vector.tag, vector.aad)
    finally:
        key.destroy()


@pytest.mark.parametrize("vector", KWP, ids=lambda vector: str(vector.number))
def test_token_key_wrap_with_padding(importer: Importer, vector: WrapVector) -> None:
    key = importer.put(vector.key, Attribute.WRAP, Attribute.UNWRAP)
    try:
        if vector.valid:
            assert kwp_wrap(key, Mechanism.AES_KEY_WRAP_PAD, vector.message) == expected_wrap(vector)
            assert kwp_unwrap(key, Mechanism.AES_KEY_WRAP_PAD, vector.wrapped) == vector.message
        else:
            with pytest.raises(PKCS11Error):
                kwp_unwrap(key, Mechanism.AES_KEY_WRAP_PAD, vector.wrapped)
    finally:
        key.destroy()


def expected_wrap(vector: WrapVector) -> bytes:
    """Return what SoftHSM 2.6.1 makes: RFC 5649 for whole blocks, and zeros taken into the secret for all others."""
    if len(vector.message) % KWP_BLOCK == 0:
        return vector.wrapped
    return aes_key_wrap_with_padding(vector.key, vector.message + bytes(-len(vector.message) % KWP_BLOCK))


def test_what_the_primitives_can_not_take_is_declared() -> None:
    """Wraps have 96-bit nonces only. SoftHSM wraps 14 vectors otherwise than RFC 5649; the provider sends it none."""
    assert len(GCM_OTHER_NONCE) == 39
    assert sum(vector.valid and len(vector.message) % KWP_BLOCK != 0 for vector in KWP) == 14
    assert (DATA_KEY_BYTES + DIGEST_BYTES) % KWP_BLOCK == 0
