"""Imports into a token: the wrapping keys that wait in it, and the material that comes under them.

A wrapping pair is made for each import. Its private half is an object of the token, so that any worker and node can
finish what another began; its label says what it is for, and what is not in the label can't be asked of it:

    label = "kmsgw-import/" provider "/" key id "/" version "/" expiry in seconds since 1970
    token = 0x01 ‖ CKA_ID (16) ‖ u64 expiry, big-endian                                              25 bytes

A token is genuine where the token device has a private key of its CKA_ID under exactly the label that provider, key
id, version and expiry make: a changed token leads to no key. The pair is destroyed by the import that it served, and
where it ended unused by the next call for parameters.
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, ObjectClass
from pkcs11.exceptions import PKCS11Error

from kmsgw.providers.base import Imported, ImportOffer, ImportParameters
from kmsgw.providers.importing import (
    ImportBinding,
    material_refused,
    require_check_value,
    require_length,
    token_refused,
    unsupported,
)
from kmsgw.providers.pkcs11.connection import TokenSession
from kmsgw.providers.pkcs11.faults import LOST, STALE, TokenLostError
from kmsgw.providers.pkcs11.keys import OBJECT_ID_BYTES, label_of, reference_to
from kmsgw.providers.pkcs11.mechanism import TokenKey, WrapMechanism
from kmsgw.providers.pkcs11.unwrapping import (
    RSA_BITS,
    Target,
    Way,
    WrappingKey,
    check_value_of,
    generate_pair,
    stays_in_token,
)

LABEL_PREFIX = "kmsgw-import/"

_VERSION = 1
_TOKEN = struct.Struct(f">B{OBJECT_ID_BYTES}sQ")


@dataclass(frozen=True, slots=True)
class TokenImports:
    """Imports into one token by one way. Each method has the login session to itself, and raises `PKCS11Error`."""

    provider: str
    way: Way
    mechanism: WrapMechanism
    computes_check_value: bool
    serves: Callable[[TokenSession], bool]
    """Tells whether the token serves: then what it refused was wrong, and else nothing is known."""

    def parameters(self, session: TokenSession, key_id: str, version: int, now: datetime) -> ImportParameters:
        """Make a wrapping pair in the token; take away those that ended unused."""
        self._sweep(session, now)
        binding = ImportBinding.starting(self.provider, key_id, version, now)
        object_id = os.urandom(OBJECT_ID_BYTES)
        _, public_key = generate_pair(session.session, RSA_BITS, label=_label(binding), object_id=object_id, store=True)
        token = _TOKEN.pack(_VERSION, object_id, binding.expires)
        encoded = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return ImportParameters(encoded, token, binding.expiry, self.computes_check_value)

    def check(
        self, session: TokenSession, key_id: str, version: int, offer: ImportOffer, now: datetime
    ) -> list[WrappingKey]:
        """Return the wrapping key of an offer, and what else a token may hold under its name. Never an empty list.

        Raises `FailedPrecondition` with IMPORT_REFUSED, and with IMPORT_UNSUPPORTED for a check value that the token
        can't compute.
        """
        if len(offer.token) != _TOKEN.size:
            raise token_refused()
        layout, object_id, expires = _TOKEN.unpack(offer.token)
        binding = ImportBinding(self.provider, key_id, version, expires)
        found = session.search(
            {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: object_id, Attribute.LABEL: _label(binding)}
        )
        if layout != _VERSION or not found:
            raise token_refused()
        binding.require_current(now)
        require_length(offer.wrapped, RSA_BITS // 8)
        if offer.check_value and not self.computes_check_value:
            raise unsupported(
                f"The key provider {self.provider} can't compute a key check value.",
                "Import without one, and compare what is decrypted instead.",
            )
        return [cast("WrappingKey", each) for each in found]

    def take_in(self, session: TokenSession, key_id: str, version: int, offer: ImportOffer, now: datetime) -> Imported:
        """Unwrap material into a key of the token, and destroy the wrapping pair.

        Raises `FailedPrecondition` with IMPORT_REFUSED; the pair then stays, for another try.
        """
        pair = self.check(session, key_id, version, offer, now)
        object_id = os.urandom(OBJECT_ID_BYTES)
        target = Target(self.mechanism, object_id, label_of(key_id, version), store=True)
        try:
            key = self.way.unwrap(pair[0], offer.wrapped, target)
        except (*LOST, *STALE):
            raise
        except PKCS11Error:
            if not self.serves(session):
                raise TokenLostError from None
            raise material_refused() from None
        try:
            imported = self._examined(key, key_id, version, object_id, offer.check_value)
        except BaseException:
            key.destroy()
            raise
        for each in pair:
            each.destroy()
        return imported

    def _examined(self, key: TokenKey, key_id: str, version: int, object_id: bytes, expected: str) -> Imported:
        """Return what was imported, if it is what it must be.

        SoftHSM takes any length for an AES key until it is used; of the lengths that pad to 32 bytes AES has one.
        """
        try:
            if not stays_in_token(key, self.mechanism):
                raise unsupported(
                    "The token made a key that could leave it; the key was destroyed.",
                    "Correct the policy of the token's partition.",
                )
            reference = reference_to(key, self.mechanism, key_id, version, object_id)
        except LOST:
            raise
        except PKCS11Error:
            raise material_refused() from None
        check_value = check_value_of(key)
        require_check_value(expected, check_value)
        return Imported(reference, check_value)

    def _sweep(self, session: TokenSession, now: datetime) -> None:
        for found in session.search({Attribute.CLASS: ObjectClass.PRIVATE_KEY}):
            label = found[Attribute.LABEL]
            own, _, expires = label.rpartition("/") if isinstance(label, str) else ("", "", "")
            mine = own.startswith(f"{LABEL_PREFIX}{self.provider}/") and expires.isdecimal()
            if mine and int(expires) <= now.timestamp():
                found.destroy()


def _label(binding: ImportBinding) -> str:
    # No part can hold a slash: they are names and numbers.
    return f"{LABEL_PREFIX}{binding.provider}/{binding.key_id}/{binding.version}/{binding.expires}"
