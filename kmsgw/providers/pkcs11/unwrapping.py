"""How wrapped material gets into a token: C_UnwrapKey under an RSA key of the token, in one step or in two.

**RSA_AES_KEY_WRAP** (PKCS#11 2.40, section 2.1.21) takes both parts at once. Where the token lacks it,
**RSA_PKCS_OAEP** unwraps the transport key into a session object that can't leave the token, and AES_KEY_WRAP_PAD
(RFC 5649) the material under that. Either way the material is never in the gateway's memory.

Which of the two a token can is tried with a key pair and a secret that are good for nothing else. OAEP with SHA-1, the
one variant that SoftHSM 2.6.1 has, is not taken instead: the owner of the material was promised SHA-256.
"""

import ctypes
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import pkcs11
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from pkcs11 import MGF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.exceptions import FunctionNotSupported, PKCS11Error

from kmsgw.envelope.material import CHECK_VALUE_BYTES, MATERIAL_BYTES, key_check_value, wrap_under
from kmsgw.providers.pkcs11.faults import LOST
from kmsgw.providers.pkcs11.keys import OBJECT_ID_BYTES
from kmsgw.providers.pkcs11.mechanism import AesKeyWrapPad, TokenKey, WrapMechanism, vendor_mechanism

RSA_BITS: Final = 3072
"""Length of a wrapping key."""

TRIAL_BITS: Final = 2048
"""Length of the key that a way is tried with: shorter, for making one takes seconds on a slow token."""

RSA_AES_KEY_WRAP: Final = vendor_mechanism("RSA_AES_KEY_WRAP", 0x1054)
"""CKM_RSA_AES_KEY_WRAP, which python-pkcs11 has no name for."""

SECRET: Final[Mapping[Attribute, bool]] = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
}
"""What keeps a key in the token."""

_UNWRAP_ONLY: Final[Mapping[Attribute, bool]] = {**SECRET, Attribute.SIGN_RECOVER: False, Attribute.DERIVE: False}
_TRANSPORT_BITS = 256


@dataclass(frozen=True, slots=True)
class Oaep:
    """The hash of RSA-OAEP, which is that of its MGF1 too."""

    digest: Mechanism
    mask: MGF


SHA256_OAEP: Final = Oaep(Mechanism.SHA256, MGF.SHA256)
"""The one that the product uses."""


class WrappingKey(Protocol):
    """What is used of the private key of a wrapping pair."""

    def unwrap_key(
        self,
        object_class: ObjectClass,
        key_type: KeyType,
        key_data: bytes,
        *,
        id: bytes | None = None,  # noqa: A002  python-pkcs11 calls it so
        label: str | None = None,
        mechanism: Mechanism,
        mechanism_param: Any,
        store: bool,
        capabilities: MechanismFlag,
        template: Mapping[Attribute, bool],
    ) -> pkcs11.Object:
        """C_UnwrapKey."""

    def destroy(self) -> None:
        """C_DestroyObject."""


@dataclass(frozen=True, slots=True)
class Target:
    """The key to make of unwrapped material."""

    mechanism: WrapMechanism
    object_id: bytes
    label: str
    store: bool


class Way(Protocol):
    """One way to unwrap material under an RSA key of the token."""

    def unwrap(self, private: WrappingKey, wrapped: bytes, target: Target) -> TokenKey:
        """Return the key that was made in the token. Raises `PKCS11Error` where the token won't."""


class _OaepParameters(ctypes.Structure):
    """CK_RSA_PKCS_OAEP_PARAMS."""

    _fields_ = [
        ("hash", ctypes.c_ulong),
        ("mask", ctypes.c_ulong),
        ("source", ctypes.c_ulong),
        ("source_data", ctypes.c_void_p),
        ("source_bytes", ctypes.c_ulong),
    ]


class _KeyWrapParameters(ctypes.Structure):
    """CK_RSA_AES_KEY_WRAP_PARAMS."""

    _fields_ = [("aes_bits", ctypes.c_ulong), ("oaep", ctypes.POINTER(_OaepParameters))]


_DATA_SPECIFIED = 1


@dataclass(frozen=True, slots=True)
class OneStep:
    """CKM_RSA_AES_KEY_WRAP."""

    oaep: Oaep = SHA256_OAEP

    def unwrap(self, private: WrappingKey, wrapped: bytes, target: Target) -> TokenKey:
        """See `Way`."""
        oaep = _OaepParameters(int(self.oaep.digest), int(self.oaep.mask), _DATA_SPECIFIED, None, 0)
        parameters = _KeyWrapParameters(_TRANSPORT_BITS, ctypes.pointer(oaep))
        # As bytes python-pkcs11 hands them on as they are; `parameters` keeps alive what they point to.
        made = _unwrap_into(private, RSA_AES_KEY_WRAP, bytes(parameters), wrapped, target)
        del parameters
        return made


@dataclass(frozen=True, slots=True)
class TwoSteps:
    """CKM_RSA_PKCS_OAEP for the transport key, then RFC 5649 under whichever number the token knows it by."""

    key_wrap: Mechanism
    oaep: Oaep = SHA256_OAEP

    def unwrap(self, private: WrappingKey, wrapped: bytes, target: Target) -> TokenKey:
        """See `Way`."""
        modulus_bytes = len(wrapped) - MATERIAL_BYTES - 8
        transport = private.unwrap_key(
            ObjectClass.SECRET_KEY,
            KeyType.AES,
            wrapped[:modulus_bytes],
            mechanism=Mechanism.RSA_PKCS_OAEP,
            mechanism_param=(self.oaep.digest, self.oaep.mask, None),
            store=False,
            capabilities=MechanismFlag.UNWRAP,
            template=SECRET,
        )
        try:
            return _unwrap_into(cast("WrappingKey", transport), self.key_wrap, None, wrapped[modulus_bytes:], target)
        finally:
            transport.destroy()


def generate_pair(
    session: pkcs11.Session, bits: int, *, label: str, object_id: bytes, store: bool
) -> tuple[WrappingKey, RSAPublicKey]:
    """Make an RSA key pair whose private half stays in the token and unwraps only; return it and the public key.

    The public half is a session object, gone when this returns. Raises `PKCS11Error`.
    """
    public, private = session.generate_keypair(
        KeyType.RSA,
        bits,
        id=object_id,
        label=label,
        store=store,
        capabilities=MechanismFlag.WRAP | MechanismFlag.UNWRAP,
        public_template={Attribute.TOKEN: False},
        private_template=dict(_UNWRAP_ONLY),
    )
    try:
        if not private[Attribute.SENSITIVE] or private[Attribute.EXTRACTABLE]:
            raise FunctionNotSupported("the token makes a private key that could leave it")
        numbers = (int.from_bytes(public[each], "big") for each in (Attribute.PUBLIC_EXPONENT, Attribute.MODULUS))
        public_key = RSAPublicNumbers(*numbers).public_key()
    except BaseException:
        private.destroy()
        raise
    finally:
        public.destroy()
    return cast("WrappingKey", private), public_key


@dataclass(frozen=True, slots=True)
class FoundWay:
    """What was found out about a token: the way that works, or None and why none does."""

    way: Way | None
    computes_check_value: bool = False
    fault: str = ""


def find_way(
    session: pkcs11.Session, listed: Collection[int], key_wrap: AesKeyWrapPad | None, mechanism: WrapMechanism
) -> FoundWay:
    """Try for real which way works on this token; where none does, name the mechanisms that are missing.

    `listed` are the numbers of the mechanisms that the token says it has. Raises `PKCS11Error` where the token was
    lost meanwhile: that says nothing of what it can.
    """
    ways: list[tuple[str, Way]] = []
    faults: list[str] = []
    if RSA_AES_KEY_WRAP in listed:
        ways.append(("RSA_AES_KEY_WRAP", OneStep()))
    else:
        faults.append("RSA_AES_KEY_WRAP is not offered")
    if Mechanism.RSA_PKCS_OAEP not in listed:
        faults.append("RSA_PKCS_OAEP is not offered")
    elif key_wrap is None:
        faults.append("AES_KEY_WRAP_PAD does not work")
    else:
        ways.append(("RSA_PKCS_OAEP with SHA-256", TwoSteps(key_wrap.number)))
    if Mechanism.RSA_PKCS_KEY_PAIR_GEN not in listed:
        return FoundWay(None, fault="RSA_PKCS_KEY_PAIR_GEN is not offered")
    if ways:
        private, public_key = generate_pair(
            session, TRIAL_BITS, label="", object_id=os.urandom(OBJECT_ID_BYTES), store=False
        )
        try:
            for name, way in ways:
                found = _tried(way, private, public_key, mechanism)
                if found.way is not None:
                    return found
                faults.append(f"{name} {found.fault}")
        finally:
            private.destroy()
    return FoundWay(None, fault=", ".join(faults))


def _tried(way: Way, private: WrappingKey, public_key: RSAPublicKey, mechanism: WrapMechanism) -> FoundWay:
    """Unwrap a secret that is good for nothing."""
    secret = os.urandom(MATERIAL_BYTES)
    target = Target(mechanism, os.urandom(OBJECT_ID_BYTES), "", store=False)
    try:
        key = way.unwrap(private, wrap_under(public_key, secret), target)
    except LOST:
        raise
    except PKCS11Error as error:
        return FoundWay(None, fault=f"fails with {type(error).__name__}")
    try:
        if not stays_in_token(key, mechanism):
            return FoundWay(None, fault="makes a key that could leave the token")
        check_value = check_value_of(key)
        if check_value not in ("", key_check_value(secret)):
            return FoundWay(None, fault="unwraps another key")
        return FoundWay(way, computes_check_value=bool(check_value))
    finally:
        key.destroy()


def stays_in_token(key: TokenKey, mechanism: WrapMechanism) -> bool:
    """Tell whether an unwrapped key has the attributes that were asked for."""
    kept = key[Attribute.SENSITIVE] and not key[Attribute.EXTRACTABLE]
    return bool(kept) and mechanism.accepts(cast("pkcs11.Object", key))


def check_value_of(key: TokenKey) -> str:
    """Return the key check value as the token tells it (CKA_CHECK_VALUE) or computes it; "" where it does neither."""
    try:
        told = key[Attribute.CHECK_VALUE]
    except LOST:
        raise
    except PKCS11Error:
        told = b""
    if not isinstance(told, bytes) or len(told) != CHECK_VALUE_BYTES:
        told = _computed_check_value(key)
    return told.hex().upper()


def _computed_check_value(key: TokenKey) -> bytes:
    encrypt = getattr(key, "encrypt", None)
    if encrypt is None:
        return b""
    try:
        return bytes(encrypt(bytes(16), mechanism=Mechanism.AES_ECB))[:CHECK_VALUE_BYTES]
    except LOST:
        raise
    except PKCS11Error:
        return b""


def _unwrap_into(
    key: WrappingKey, mechanism: Mechanism, parameter: bytes | None, wrapped: bytes, target: Target
) -> TokenKey:
    made = key.unwrap_key(
        ObjectClass.SECRET_KEY,
        KeyType.AES,
        wrapped,
        id=target.object_id,
        label=target.label,
        mechanism=mechanism,
        mechanism_param=parameter,
        store=target.store,
        capabilities=target.mechanism.key_usage,
        template=SECRET,
    )
    return cast("TokenKey", made)
