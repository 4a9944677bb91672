"""What every key provider does, and what some can do besides.

A provider keeps the material of key-encryption keys and wraps data keys with it. It keeps no list of keys: for each
version it hands out a reference (bytes, opaque to all others) that the gateway stores and gives back.

Every provider is safe for threads. Each call ends within a bound, the provider's timeout.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from kmsgw.errors import FailedPrecondition, Reason

DATA_KEY_BYTES = 32
"""Length of a data key: AES-256."""

WRAPPED_LIMIT = 256
"""Longest wrapped data key that a provider may answer, in bytes; 60 for AES-256-GCM."""

REFERENCE_LIMIT = 1024
"""Longest material reference, in bytes."""


class ProviderKind(StrEnum):
    """The kinds of provider."""

    SOFTWARE = "software"
    PKCS11 = "pkcs11"
    VAULT = "vault"


@dataclass(frozen=True, slots=True)
class MaterialRef:
    """Which material: the key, its version, and the reference that `KeyProvider.create` answered for it."""

    key_id: str
    version: int
    reference: bytes


@dataclass(frozen=True, slots=True)
class ProviderDescription:
    """What `status` says of a provider. ``mechanism`` is what was chosen after probing.

    ``in_memory`` says that wrapping and unwrapping never wait: then a thread that must not wait may ask for them.
    """

    name: str
    kind: ProviderKind
    mechanism: str
    development_only: bool
    in_memory: bool = False


class KeyProvider(Protocol):
    """The small interface that all providers have.

    Every method but `describe` and `close` raises `ProviderUnavailable` where the back end does not answer.
    """

    def describe(self) -> ProviderDescription:
        """Say what this provider is. Never fails, never waits."""

    def create(self, key_id: str, version: int) -> bytes:
        """Make material for a new version and return its reference, at most `REFERENCE_LIMIT` bytes."""

    def wrap(self, material: MaterialRef, data_key: bytes, aad: bytes) -> bytes:
        """Wrap 32 bytes under the material, bound to `aad`; return at most `WRAPPED_LIMIT` bytes.

        Raises `ValueError` where the data key is not 32 bytes (`check_data_key`).
        Raises `FailedPrecondition` with MATERIAL_MISSING where the material is gone.
        """

    def unwrap(self, material: MaterialRef, wrapped: bytes, aad: bytes) -> bytes:
        """Return the 32 bytes that `wrap` was given.

        Raises `DecryptionFailed` where `wrapped` or `aad` differ, and `FailedPrecondition` with MATERIAL_MISSING
        where the material is gone.
        """

    def probe(self) -> None:
        """Prove with a real encryption and decryption that the back end serves. Never changes stored keys."""

    def close(self) -> None:
        """Release the back end. Later calls raise `ProviderUnavailable`."""


@runtime_checkable
class DestroysMaterial(Protocol):
    """Optional: a provider that can destroy material for good."""

    def destroy(self, material: MaterialRef) -> None:
        """Destroy the material. Destroying what is gone already is no error."""


@runtime_checkable
class DestroysKeys(Protocol):
    """Optional: a provider that can end what it holds, where the gateway blanks the references afterwards."""

    @property
    def destroys_versions(self) -> bool:
        """Whether it can destroy one version of a key that has others. If not, only all of a key's versions at once."""

    def destroy_key(self, materials: Sequence[MaterialRef]) -> None:
        """Destroy the material of these versions of one key, for good; what is gone already is no error.

        Where the material is in the reference, that is what the blanking destroys; here its traces in memory go.
        """


@dataclass(frozen=True, slots=True)
class ImportParameters:
    """What the owner of material needs to send it: where to wrap it to, and until when.

    ``public_key`` is an RSA key of at least 3,072 bits, SubjectPublicKeyInfo in DER. ``token`` is opaque, and given
    back with the material. ``computes_check_value`` tells whether the provider can tell the material's check value.
    """

    public_key: bytes
    token: bytes = field(repr=False)
    expires: datetime
    computes_check_value: bool


@dataclass(frozen=True, slots=True)
class ImportOffer:
    """What is sent: a token of `ImportParameters`, the wrapped material, and what its check value must be, or ""."""

    token: bytes = field(repr=False)
    wrapped: bytes = field(repr=False)
    check_value: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """Material that was taken in: the reference as `KeyProvider.create` answers it, and the check value or ""."""

    reference: bytes
    check_value: str


@runtime_checkable
class ImportsMaterial(Protocol):
    """Optional: a provider that takes in material that was made elsewhere (`kmsgw.envelope.material` has the wrap).

    Every method raises `FailedPrecondition` with IMPORT_UNSUPPORTED where this back end can't, or not for this version,
    and `ProviderUnavailable`. A token holds for one key id, one version, one provider and 24 hours.
    """

    def import_parameters(self, key_id: str, version: int) -> ImportParameters:
        """Make a wrapping key, or name the one there is, for the material of one version."""

    def check_import(self, key_id: str, version: int, offer: ImportOffer) -> None:
        """Check all of an offer that can be checked without taking it in. Changes nothing.

        Raises `FailedPrecondition` with IMPORT_REFUSED where token or lengths are not right.
        """

    def import_material(self, key_id: str, version: int, offer: ImportOffer) -> Imported:
        """Take material in.

        Raises as `check_import`, and where the material does not unwrap or has another check value; then no material
        is left behind.
        """


def check_data_key(data_key: bytes) -> None:
    """Raise `ValueError` where a data key is not 32 bytes. Only a fault of kmsgw itself can cause it."""
    if len(data_key) != DATA_KEY_BYTES:
        raise ValueError(f"a data key has {DATA_KEY_BYTES} bytes")


def material_missing(material: MaterialRef) -> FailedPrecondition:
    """Return the one error for material that is gone, or is not that of the key and version named."""
    return FailedPrecondition(
        f"The material of version {material.version} of the key is missing.",
        reason=Reason.MATERIAL_MISSING,
        advice="Restore the key provider's back end; until then nothing under this version opens.",
    )
