"""The ways to wrap a data key inside a token, and their primitives. A key of a token serves one of them only.

**AES_GCM**, preferred: C_Encrypt with a 96-bit nonce of the gateway's and the AAD (NIST SP 800-38D).

    wrapped = nonce (12) ‖ ciphertext (32) ‖ tag (16)                                        60 bytes

**AES_KEY_WRAP_PAD**, where the token has no GCM or makes the nonce itself: C_WrapKey of a session object with AES key
wrap with padding (RFC 5649, NIST SP 800-38F KWP). KWP has no AAD, so a digest of it is wrapped beside the data key
and compared after unwrapping:

    wrapped = KWP(data key (32) ‖ SHA-256("kmsgw/kwp/v1" ‖ aad)[:24])                        64 bytes

192 bits of the digest keep collisions at 2^96 and an envelope's overhead under 200 bytes. KWP is deterministic: that
two wraps of one data key are alike tells nothing, since data keys are random.
"""

import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import ClassVar, Protocol

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.mechanisms import GCMParams
from pkcs11.types import DecryptMixin, EncryptMixin, UnwrapMixin, WrapMixin

from kmsgw.errors import DecryptionFailed
from kmsgw.providers.base import DATA_KEY_BYTES

NONCE_BYTES = 12
TAG_BYTES = 16
DIGEST_BYTES = 24


def vendor_mechanism(name: str, number: int) -> Mechanism:
    """Return a mechanism that python-pkcs11 has no name for; it takes nothing but members of its enumeration."""
    made = int.__new__(Mechanism, number)
    made._name_ = name
    made._value_ = number
    return made


class TokenKey(Protocol):
    """What is used of a key object of python-pkcs11. The object is bound to the session that it was found in."""

    session: pkcs11.Session

    def __getitem__(self, attribute: Attribute) -> object:
        """Return an attribute."""

    def destroy(self) -> None:
        """Destroy the object."""

    def encrypt(self, data: bytes, *, mechanism: Mechanism, mechanism_param: GCMParams) -> bytes:
        """C_Encrypt."""

    def decrypt(self, data: bytes, *, mechanism: Mechanism, mechanism_param: GCMParams) -> bytes:
        """C_Decrypt."""

    def wrap_key(self, key: pkcs11.Object, *, mechanism: Mechanism) -> bytes:
        """C_WrapKey."""

    def unwrap_key(
        self,
        object_class: ObjectClass,
        key_type: KeyType,
        key_data: bytes,
        *,
        mechanism: Mechanism,
        store: bool,
        capabilities: MechanismFlag,
        template: Mapping[Attribute, bool],
    ) -> pkcs11.Object:
        """C_UnwrapKey."""


def gcm_encrypt(key: TokenKey, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Return ``ciphertext ‖ tag``. Raises `PKCS11Error`."""
    return key.encrypt(plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, aad, TAG_BYTES * 8))


def gcm_decrypt(key: TokenKey, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Return the plaintext. Raises `PKCS11Error`; which one for a bad tag is each token's own choice."""
    return key.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, aad, TAG_BYTES * 8))


def kwp_wrap(key: TokenKey, mechanism: Mechanism, secret: bytes) -> bytes:
    """Return a secret wrapped by C_WrapKey; it passes through a session object. Raises `PKCS11Error`."""
    passing = key.session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.VALUE: secret,
            **_PASSING,
        }
    )
    try:
        return key.wrap_key(passing, mechanism=mechanism)
    finally:
        passing.destroy()


def kwp_unwrap(key: TokenKey, mechanism: Mechanism, wrapped: bytes) -> bytes:
    """Return the secret. Raises `PKCS11Error`; which one for a bad wrap is each token's own choice."""
    passing = key.unwrap_key(
        ObjectClass.SECRET_KEY,
        KeyType.GENERIC_SECRET,
        wrapped,
        mechanism=mechanism,
        store=False,
        capabilities=MechanismFlag(0),
        template=_PASSING,
    )
    try:
        return bytes(passing[Attribute.VALUE])
    finally:
        passing.destroy()


_PASSING = {
    Attribute.TOKEN: False,
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
}


class WrapMechanism(Protocol):
    """One way to wrap. ``code`` is stored in references, so codes are never reused."""

    name: ClassVar[str]
    code: ClassVar[int]
    wrapped_bytes: ClassVar[int]
    key_usage: ClassVar[MechanismFlag]

    def accepts(self, found: pkcs11.Object) -> bool:
        """Tell whether an object of the token is a key with this mechanism's usage."""

    def wrap(self, key: TokenKey, data_key: bytes, aad: bytes) -> bytes:
        """Return ``wrapped_bytes`` bytes. Raises `PKCS11Error`."""

    def unwrap(self, key: TokenKey, wrapped: bytes, aad: bytes) -> bytes:
        """Return the data key. `wrapped` has ``wrapped_bytes`` bytes.

        Raises `DecryptionFailed` where it certainly does not open, and `PKCS11Error` where the token says anything.
        """


class AesGcm:
    """AES-256-GCM with the gateway's own nonce."""

    name: ClassVar[str] = "AES_GCM"
    code: ClassVar[int] = 1
    wrapped_bytes: ClassVar[int] = NONCE_BYTES + DATA_KEY_BYTES + TAG_BYTES
    key_usage: ClassVar[MechanismFlag] = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT

    def accepts(self, found: pkcs11.Object) -> bool:
        """See `WrapMechanism`."""
        return isinstance(found, EncryptMixin) and isinstance(found, DecryptMixin)

    def wrap(self, key: TokenKey, data_key: bytes, aad: bytes) -> bytes:
        """See `WrapMechanism`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + gcm_encrypt(key, nonce, data_key, aad)

    def unwrap(self, key: TokenKey, wrapped: bytes, aad: bytes) -> bytes:
        """See `WrapMechanism`."""
        return gcm_decrypt(key, wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], aad)


class AesKeyWrapPad:
    """AES key wrap with padding, RFC 5649, under whichever of its numbers the token knows it."""

    name: ClassVar[str] = "AES_KEY_WRAP_PAD"
    code: ClassVar[int] = 2
    wrapped_bytes: ClassVar[int] = DATA_KEY_BYTES + DIGEST_BYTES + 8
    key_usage: ClassVar[MechanismFlag] = MechanismFlag.WRAP | MechanismFlag.UNWRAP

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism

    @property
    def number(self) -> Mechanism:
        """The number under which the token does it."""
        return self._mechanism

    def accepts(self, found: pkcs11.Object) -> bool:
        """See `WrapMechanism`."""
        return isinstance(found, WrapMixin) and isinstance(found, UnwrapMixin)

    def wrap(self, key: TokenKey, data_key: bytes, aad: bytes) -> bytes:
        """See `WrapMechanism`."""
        return kwp_wrap(key, self._mechanism, data_key + _digest(aad))

    def unwrap(self, key: TokenKey, wrapped: bytes, aad: bytes) -> bytes:
        """See `WrapMechanism`."""
        secret = kwp_unwrap(key, self._mechanism, wrapped)
        data_key, digest = secret[:DATA_KEY_BYTES], secret[DATA_KEY_BYTES:]
        if not hmac.compare_digest(digest, _digest(aad)):
            raise DecryptionFailed
        return data_key


def _digest(aad: bytes) -> bytes:
    return hashlib.sha256(b"kmsgw/kwp/v1" + aad).digest()[:DIGEST_BYTES]
