"""What the calls about keys answer: frozen and free of protobuf."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from kmsgw.model.key import NO_ROTATION_POLICY, KeyState, Origin, RotationPolicy
from kmsgw.model.usage import UNUSED, Usage, VersionUsage


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key as the gateway describes it. Give ``etag`` back to change only what was read.

    ``destroy_time`` is when it is to be destroyed, or was. ``minimum_encrypt_version`` is 0 where only the newest
    version encrypts. ``next_rotation`` is when the period of ``rotation`` ends.
    """

    key_id: str
    tenant: str
    provider: str
    state: KeyState
    primary_version: int
    created: datetime
    updated: datetime
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    etag: str = ""
    destroy_time: datetime | None = None
    minimum_decrypt_version: int = 1
    minimum_encrypt_version: int = 0
    deletion_protection: bool = False
    rotation: RotationPolicy = NO_ROTATION_POLICY
    next_rotation: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyVersionInfo:
    """One version of a key, and why it was made."""

    key_id: str
    version: int
    state: KeyState
    created: datetime
    reason: str = ""
    destroy_time: datetime | None = None
    origin: Origin = Origin.GENERATED


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """What was done under each version of a key, as of about a second ago. Both are newest version first.

    ``usage`` has a row for each version and tenant of callers that used it.
    """

    usage: tuple[VersionUsage, ...]
    versions: tuple[KeyVersionInfo, ...]

    def of(self, version: int) -> Usage:
        """Return the sums over all tenants under one version. Its ``remaining`` is what may still be under it."""
        return sum((each.usage for each in self.usage if each.version == version), UNUSED)


@dataclass(frozen=True, slots=True)
class ScheduledDestruction:
    """A key after its destruction was scheduled or cancelled; ``version`` where it is of one version only."""

    key: KeyInfo
    version: KeyVersionInfo | None = None


@dataclass(frozen=True, slots=True)
class ImportParameters:
    """Where to wrap material to: an RSA key (SubjectPublicKeyInfo, DER), and the token that goes back with it.

    ``expires`` is when the token ends. Give a check value with the material only where ``computes_check_value``.
    """

    public_key: bytes
    token: bytes = field(repr=False)
    expires: datetime
    computes_check_value: bool
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ImportedKey:
    """A key after an import, and the version that holds the material.

    ``check_value`` is the key check value as the provider tells it, 6 hexadecimal digits; empty where it can't.
    """

    key: KeyInfo
    version: KeyVersionInfo
    check_value: str
    request_id: str = field(default="", compare=False)
