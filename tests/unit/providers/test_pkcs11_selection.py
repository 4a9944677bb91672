"""Tokens of other vendors than SoftHSM: what they do differently is noticed before any key depends on it.

These keys are stand-ins that behave as vendors document; the mechanisms on a real token are in tests/contract.
"""

import ctypes
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)
from pkcs11 import Attribute, Mechanism
from pkcs11.exceptions import EncryptedDataInvalid, MechanismParamInvalid, WrappedKeyInvalid
from pkcs11.mechanisms import GCMParams
from pkcs11.types import DecryptMixin, EncryptMixin, UnwrapMixin, WrapMixin

from kmsgw.providers.pkcs11.mechanism import vendor_mechanism
from kmsgw.providers.pkcs11.selection import MechanismChoice, Offer, try_mechanisms


@dataclass
class Vendor:
    """How a token behaves."""

    mechanisms: frozenset[Mechanism]
    own_nonce: bool = False
    takes_host_nonce: bool = True
    checks_tag: bool = True
    checks_aad: bool = True
    pad: Callable[[bytes], bytes] = bytes
    extractable: bool = False
    appended: int = 0
    used: list[Mechanism] = field(default_factory=list)
    alive: int = 0


@dataclass
class Passing:
    """A session object with a value."""

    value: bytes

    def __getitem__(self, attribute: Attribute) -> bytes:
        assert attribute is Attribute.VALUE
        return self.value

    def destroy(self) -> None:
        pass


class Key(EncryptMixin, DecryptMixin, WrapMixin, UnwrapMixin):
    """A key in such a token."""

    def __init__(self, vendor: Vendor, session: "Session") -> None:
        self.vendor = vendor
        self.made_in = session
        self.value = os.urandom(32)

    @property
    def session(self) -> "Session":  # type: ignore[override]
        return self.made_in

    def __getitem__(self, attribute: Attribute) -> bool:
        return self.vendor.extractable if attribute is Attribute.EXTRACTABLE else True

    def destroy(self) -> None:
        self.vendor.alive -= 1

    def encrypt(self, data: bytes, *, mechanism: Mechanism, mechanism_param: GCMParams) -> bytes:  # type: ignore[override]
        self.vendor.used.append(mechanism)
        if not self.vendor.takes_host_nonce:
            raise MechanismParamInvalid
        nonce = mechanism_param.nonce
        if self.vendor.own_nonce:
            own = os.urandom(len(nonce))
            # A C library writes through the pointer, whatever Python thinks of bytes.
            ctypes.memmove(ctypes.c_char_p(nonce), own, len(own))
        aad = mechanism_param.aad if self.vendor.checks_aad else b""
        return AESGCM(self.value).encrypt(nonce, data, aad) + os.urandom(self.vendor.appended)

    def decrypt(self, data: bytes, *, mechanism: Mechanism, mechanism_param: GCMParams) -> bytes:  # type: ignore[override]
        aad = mechanism_param.aad if self.vendor.checks_aad else b""
        try:
            return AESGCM(self.value).decrypt(mechanism_param.nonce, data, aad)
        except InvalidTag:
            if self.vendor.checks_tag:
                raise EncryptedDataInvalid from None
            return bytes(len(data) - 16)

    def wrap_key(self, key: Passing, *, mechanism: Mechanism) -> bytes:  # type: ignore[override]
        self.vendor.used.append(mechanism)
        return aes_key_wrap_with_padding(self.value, self.vendor.pad(key.value))

    def unwrap_key(self, _class: object, _type: object, data: bytes, **_other: object) -> Passing:  # type: ignore[override]
        try:
            return Passing(aes_key_unwrap_with_padding(self.value, data))
        except InvalidUnwrap:
            raise WrappedKeyInvalid from None


@dataclass
class Session:
    """A session of such a token."""

    vendor: Vendor

    def generate_key(self, *_arguments: object, **_other: object) -> Key:
        self.vendor.alive += 1
        return Key(self.vendor, self)

    def create_object(self, attributes: Mapping[Attribute, bytes]) -> Passing:
        return Passing(attributes[Attribute.VALUE])


@dataclass
class Slot:
    """A slot that lists mechanisms."""

    vendor: Vendor

    def get_mechanisms(self) -> frozenset[Mechanism]:
        return self.vendor.mechanisms


@dataclass
class Token:
    """A token."""

    slot: Slot


def offer_of(vendor: Vendor) -> Offer:
    offer = try_mechanisms(Token(Slot(vendor)), Session(vendor))  # type: ignore[arg-type]
    assert vendor.alive == 0, "a trial key is left behind"
    return offer


def chosen(offer: Offer, choice: MechanismChoice = MechanismChoice.AUTO) -> str:
    mechanism = offer.choose(choice)
    return mechanism.name if mechanism else ""


GCM, PAD, KWP = Mechanism.AES_GCM, Mechanism.AES_KEY_WRAP_PAD, Mechanism.AES_KEY_WRAP_KWP


def test_a_token_with_everything_gets_gcm() -> None:
    offer = offer_of(Vendor(frozenset({GCM, PAD, KWP})))
    assert chosen(offer) == "AES_GCM"
    assert chosen(offer, MechanismChoice.AES_KEY_WRAP_PAD) == "AES_KEY_WRAP_PAD"
    assert offer.faults == ()


@pytest.mark.parametrize(
    ("vendor", "fault"),
    [
        (Vendor(frozenset({GCM, PAD}), own_nonce=True), "AES_GCM makes its own nonce"),
        (Vendor(frozenset({GCM, PAD}), takes_host_nonce=False), "AES_GCM fails with MechanismParamInvalid"),
        (Vendor(frozenset({GCM, PAD}), checks_tag=False), "AES_GCM accepts what was changed"),
        (Vendor(frozenset({GCM, PAD}), checks_aad=False), "AES_GCM accepts what was changed"),
        (Vendor(frozenset({PAD})), "AES_GCM is not offered"),
    ],
)
def test_a_token_whose_gcm_is_unusable_gets_key_wrap(vendor: Vendor, fault: str) -> None:
    offer = offer_of(vendor)
    assert chosen(offer) == "AES_KEY_WRAP_PAD"
    assert fault in offer.faults
    assert chosen(offer, MechanismChoice.AES_GCM) == ""


def test_the_unmistakable_number_of_rfc_5649_is_preferred() -> None:
    vendor = Vendor(frozenset({PAD, KWP}))
    assert chosen(offer_of(vendor)) == "AES_KEY_WRAP_PAD"
    assert set(vendor.used) == {KWP}


def test_pkcs7_padding_under_the_old_number_is_not_taken_for_rfc_5649() -> None:
    offer = offer_of(Vendor(frozenset({PAD}), pad=lambda value: value + b"\x08" * 8))
    assert chosen(offer) == ""
    assert "AES_KEY_WRAP_PAD gives 72 bytes instead of 64" in offer.faults


def test_a_token_that_makes_extractable_keys_is_refused() -> None:
    offer = offer_of(Vendor(frozenset({GCM, PAD}), extractable=True))
    assert chosen(offer) == ""
    assert len(offer.faults) == 2


@pytest.mark.parametrize("number", [0x8000216F, 0x80000171], ids=["AWS CloudHSM", "Thales Luna"])
def test_the_vendors_own_numbers_of_rfc_5649_are_known(number: int) -> None:
    vendor = Vendor(frozenset({GCM, vendor_mechanism("LISTED", number)}), own_nonce=True)
    assert chosen(offer_of(vendor)) == "AES_KEY_WRAP_PAD"
    assert number in [int(used) for used in vendor.used]


def test_a_nonce_that_is_put_at_the_end_is_noticed() -> None:
    """Thales Luna in FIPS mode returns its own nonce of 16 bytes behind the tag."""
    offer = offer_of(Vendor(frozenset({GCM, PAD}), appended=16))
    assert chosen(offer) == "AES_KEY_WRAP_PAD"
    assert "AES_GCM gives 76 bytes instead of 60" in offer.faults
