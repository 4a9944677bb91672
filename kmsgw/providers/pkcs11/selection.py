"""Which mechanism: what the token offers is tried for real, and the best that works is taken."""

import os
from dataclasses import dataclass
from enum import StrEnum

import pkcs11
from pkcs11 import Mechanism
from pkcs11.exceptions import PKCS11Error

from kmsgw.errors import DecryptionFailed, ProviderUnavailable
from kmsgw.providers.base import DATA_KEY_BYTES
from kmsgw.providers.pkcs11.keys import OBJECT_ID_BYTES, generate
from kmsgw.providers.pkcs11.mechanism import (
    NONCE_BYTES,
    AesGcm,
    AesKeyWrapPad,
    TokenKey,
    WrapMechanism,
    gcm_encrypt,
    vendor_mechanism,
)

_AAD = b"kmsgw/pkcs11/trial"

KWP_NUMBERS = (
    Mechanism.AES_KEY_WRAP_KWP,
    vendor_mechanism("CLOUDHSM_AES_KEY_WRAP_ZERO_PAD", 0x8000216F),
    vendor_mechanism("LUNA_AES_KWP", 0x80000171),
    Mechanism.AES_KEY_WRAP_PAD,
)
"""The numbers under which tokens do RFC 5649, the unmistakable ones first.

PKCS#11 3.1 gave it a number of its own, since under the older one some tokens do it and others PKCS #7 padding; AWS
and Thales have one each. What a token does under a number is tried before it is used.
"""


class MechanismChoice(StrEnum):
    """What the configuration asks for."""

    AUTO = "auto"
    AES_GCM = "AES_GCM"
    AES_KEY_WRAP_PAD = "AES_KEY_WRAP_PAD"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a token can do. ``usable`` is in order of preference; ``faults`` says why the others are not."""

    usable: tuple[WrapMechanism, ...]
    faults: tuple[str, ...]

    def choose(self, choice: MechanismChoice) -> WrapMechanism | None:
        """Return the mechanism for new keys, or None where the choice is not usable."""
        for mechanism in self.usable:
            if choice in (MechanismChoice.AUTO, mechanism.name):
                return mechanism
        return None


def try_mechanisms(token: pkcs11.Token, session: pkcs11.Session) -> Offer:
    """Try every mechanism that the token lists, with keys that end with the session."""
    listed = token.slot.get_mechanisms()
    usable: list[WrapMechanism] = []
    faults: list[str] = []
    if Mechanism.AES_GCM not in listed:
        faults.append("AES_GCM is not offered")
    else:
        _sort(AesGcm(), session, usable, faults)
    numbers = [number for number in KWP_NUMBERS if number in listed]
    if not numbers:
        faults.append("AES_KEY_WRAP_PAD is not offered")
    for number in numbers:
        if _sort(AesKeyWrapPad(number), session, usable, faults):
            break
    return Offer(tuple(usable), tuple(faults))


class _UnusableError(Exception):
    """Why a mechanism can't be used."""


def _sort(mechanism: WrapMechanism, session: pkcs11.Session, usable: list[WrapMechanism], faults: list[str]) -> bool:
    try:
        _try(mechanism, session)
    except _UnusableError as error:
        faults.append(f"{mechanism.name} {error}")
    except (PKCS11Error, ProviderUnavailable) as error:
        faults.append(f"{mechanism.name} fails with {type(error).__name__}")
    except DecryptionFailed:
        faults.append(f"{mechanism.name} does not open its own wrap")
    else:
        usable.append(mechanism)
        return True
    return False


def _try(mechanism: WrapMechanism, session: pkcs11.Session) -> None:
    """Wrap, unwrap and be refused, with a key that is gone afterwards. Raises where anything is not as it must be."""
    key = generate(session, mechanism, label="", object_id=os.urandom(OBJECT_ID_BYTES), store=False)
    try:
        if isinstance(mechanism, AesGcm):
            _require_own_nonce(key)
        data_key = os.urandom(DATA_KEY_BYTES)
        wrapped = mechanism.wrap(key, data_key, _AAD)
        if len(wrapped) != mechanism.wrapped_bytes:
            raise _UnusableError(f"gives {len(wrapped)} bytes instead of {mechanism.wrapped_bytes}")
        if mechanism.unwrap(key, wrapped, _AAD) != data_key:
            raise _UnusableError("gives back another data key")
        changed = wrapped[:-1] + bytes((wrapped[-1] ^ 1,))
        for bad, aad in ((changed, _AAD), (wrapped, _AAD + b"x")):
            _require_refusal(mechanism, key, bad, aad)
    finally:
        key.destroy()


def _require_own_nonce(key: TokenKey) -> None:
    # Some HSMs write a nonce of their own over the one given, into this very object; so compare with a copy.
    nonce = os.urandom(NONCE_BYTES)
    copy = bytearray(nonce)
    gcm_encrypt(key, nonce, bytes(DATA_KEY_BYTES), _AAD)
    if nonce != copy:
        raise _UnusableError("makes its own nonce")


def _require_refusal(mechanism: WrapMechanism, key: TokenKey, wrapped: bytes, aad: bytes) -> None:
    try:
        mechanism.unwrap(key, wrapped, aad)
    except (PKCS11Error, DecryptionFailed):
        return
    raise _UnusableError("accepts what was changed")
