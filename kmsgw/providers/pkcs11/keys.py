"""Keys of a token: how they are made, named, found again and known to be the right ones.

A key version's reference says where its key is and proves which one it is:

    reference = 0x01 ‖ u8 mechanism ‖ CKA_ID (16) ‖ check value (60 or 64)                   78 or 82 bytes
    check value = a fixed text of 32 bytes, wrapped by the mechanism with the
                  AAD "kmsgw/pkcs11/check/v1" ‖ u8 length ‖ key id ‖ u32 version, big-endian

The check value takes the place of the usual key check value (the first bytes of AES of zeros): it needs no other
mechanism than the one in use, gives away nothing of GCM's hash key, and binds key id and version besides. A key found
by its CKA_ID serves only where it opens the check value (threat 20).
"""

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import pkcs11
from pkcs11 import Attribute, KeyType, ObjectClass
from pkcs11.exceptions import PKCS11Error

from kmsgw.errors import DecryptionFailed, ProviderUnavailable
from kmsgw.providers.base import DATA_KEY_BYTES, MaterialRef, material_missing
from kmsgw.providers.pkcs11.connection import FoundKey, TokenSession
from kmsgw.providers.pkcs11.faults import LOST, STALE, TokenLostError
from kmsgw.providers.pkcs11.mechanism import TokenKey, WrapMechanism

KEY_BITS = 256
OBJECT_ID_BYTES = 16
LABEL_PREFIX = "kmsgw/"
PROBE_PREFIX = "kmsgw/probe/"
"""Label of the token's own key for probes, followed by the mechanism's name. It wraps nothing that is kept."""

_REFERENCE_VERSION = 1
_HEADER = struct.Struct(f">BB{OBJECT_ID_BYTES}s")
_CHECK_TEXT = b"kmsgw key check value, version 1"
assert len(_CHECK_TEXT) == DATA_KEY_BYTES


@dataclass(frozen=True, slots=True)
class KeyReference:
    """A parsed reference."""

    mechanism: int
    object_id: bytes
    check_value: bytes

    @classmethod
    def parse(cls, material: MaterialRef) -> "KeyReference":
        """Return the parts; raise `FailedPrecondition` with MATERIAL_MISSING where they are no reference."""
        raw = material.reference
        if len(raw) <= _HEADER.size or raw[0] != _REFERENCE_VERSION:
            raise material_missing(material)
        _, mechanism, object_id = _HEADER.unpack_from(raw)
        return cls(mechanism, object_id, raw[_HEADER.size :])

    def encode(self) -> bytes:
        """Return the bytes that parse to this."""
        return _HEADER.pack(_REFERENCE_VERSION, self.mechanism, self.object_id) + self.check_value


def generate(
    session: pkcs11.Session, mechanism: WrapMechanism, *, label: str, object_id: bytes, store: bool
) -> TokenKey:
    """Make an AES-256 key that can't leave the token and serves one mechanism only (NIST SP 800-57, section 5.2).

    Raises `ProviderUnavailable` where the token makes another key than asked for, and `PKCS11Error`.
    """
    key = session.generate_key(
        KeyType.AES,
        KEY_BITS,
        id=object_id,
        label=label,
        store=store,
        capabilities=mechanism.key_usage,
        template={Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )
    if not mechanism.accepts(key) or not key[Attribute.SENSITIVE] or key[Attribute.EXTRACTABLE]:
        key.destroy()
        raise ProviderUnavailable(
            "The token made a key that could leave it; the key was destroyed.",
            advice="Correct the policy of the token's partition.",
            retry_after=None,
        )
    return cast("TokenKey", key)


def create(session: pkcs11.Session, mechanism: WrapMechanism, key_id: str, version: int) -> bytes:
    """Make the key of a version in the token and return its reference. Raises as `generate`."""
    object_id = os.urandom(OBJECT_ID_BYTES)
    key = generate(session, mechanism, label=label_of(key_id, version), object_id=object_id, store=True)
    return reference_to(key, mechanism, key_id, version, object_id)


def label_of(key_id: str, version: int) -> str:
    """Return the label of the key of a version."""
    return f"{LABEL_PREFIX}{key_id}/{version}"


def reference_to(key: TokenKey, mechanism: WrapMechanism, key_id: str, version: int, object_id: bytes) -> bytes:
    """Return the reference to a key of the token. Raises `PKCS11Error` where it does not wrap."""
    check_value = mechanism.wrap(key, _CHECK_TEXT, _check_aad(key_id, version))
    return KeyReference(mechanism.code, object_id, check_value).encode()


def find(session: TokenSession, material: MaterialRef, mechanisms: Mapping[int, WrapMechanism]) -> FoundKey | None:
    """Return the key that a reference names, or None where the session shows none that opens its check value.

    None means little yet: a token that is half away may show no keys either. Raises `FailedPrecondition` where
    the reference is malformed, `ProviderUnavailable` where the token lacks the key's mechanism, `TokenLostError` and
    `PKCS11Error`.
    """
    found = session.recall(material)
    if found is not None:
        return found
    reference = KeyReference.parse(material)
    mechanism = mechanisms.get(reference.mechanism)
    if mechanism is None:
        raise ProviderUnavailable(
            "The token lacks the mechanism of this key version.",
            advice="Allow it in the token's policy again, then start the gateway again.",
            retry_after=None,
        )
    for key in _objects(session, mechanism, {Attribute.ID: reference.object_id}):
        found = FoundKey(key, mechanism)
        if opens_check_value(found, material):
            session.remember(material, found)
            return found
    return None


def opens_check_value(found: FoundKey, material: MaterialRef) -> bool:
    """Tell whether a key opens the check value of a reference: that it is the right one, and works.

    Raises `PKCS11Error` where the session or the handle is not good any more.
    """
    reference = KeyReference.parse(material)
    if len(reference.check_value) != found.mechanism.wrapped_bytes:
        return False
    try:
        aad = _check_aad(material.key_id, material.version)
        return found.mechanism.unwrap(found.key, reference.check_value, aad) == _CHECK_TEXT
    except (*LOST, *STALE):
        raise
    except (DecryptionFailed, PKCS11Error):
        return False


def ensure_probe_key(session: TokenSession, mechanism: WrapMechanism) -> None:
    """Make the token's probe key on the first start. Two workers that both make one do no harm."""
    label = PROBE_PREFIX + mechanism.name
    if next(_objects(session, mechanism, {Attribute.LABEL: label}), None) is None:
        generate(session.session, mechanism, label=label, object_id=os.urandom(OBJECT_ID_BYTES), store=True)


def probe(session: TokenSession, mechanism: WrapMechanism) -> None:
    """Prove by a real wrap and unwrap under a stored key that token, login and mechanism serve.

    The key is looked up anew each time: on a lost token a key in a session would still work.
    Raises `TokenLostError` and `PKCS11Error`.
    """
    key = next(_objects(session, mechanism, {Attribute.LABEL: PROBE_PREFIX + mechanism.name}), None)
    if key is None:
        raise TokenLostError
    data_key = os.urandom(DATA_KEY_BYTES)
    try:
        opened = mechanism.unwrap(key, mechanism.wrap(key, data_key, b""), b"")
    except DecryptionFailed:
        raise TokenLostError from None
    if opened != data_key:
        raise TokenLostError


def _objects(
    session: TokenSession, mechanism: WrapMechanism, attributes: Mapping[Attribute, bytes | str]
) -> Iterator[TokenKey]:
    for found in session.search({Attribute.CLASS: ObjectClass.SECRET_KEY, **attributes}):
        if mechanism.accepts(found):
            yield cast("TokenKey", found)


def _check_aad(key_id: str, version: int) -> bytes:
    raw = key_id.encode("ascii")
    return b"kmsgw/pkcs11/check/v1" + struct.pack(">B", len(raw)) + raw + struct.pack(">I", version)
