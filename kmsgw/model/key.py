"""Keys and their versions: immutable values, and the pure functions that make the next value of one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from kmsgw.errors import FailedPrecondition, InvalidRequest, Reason

MAX_VERSIONS = 10_000
MAX_LABELS = 16
MAX_LABEL_CHARS = 63
MAX_TEXT_CHARS = 256
MAX_ALIASES = 16

WRAP_LIMIT = 2**31 - 1
"""Most wraps under one version: half of what NIST SP 800-38D section 8.3 allows for random 96-bit nonces."""

DEFAULT_BUDGET = 2**30
"""Messages, and wraps, under one version before it is rotated, where nobody says otherwise."""


class KeyState(StrEnum):
    """State of a key or of one of its versions."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    PENDING_DESTRUCTION = "pending-destruction"
    DESTROYED = "destroyed"


class Origin(StrEnum):
    """Where the material of a version came from."""

    GENERATED = "generated"
    IMPORTED = "imported"


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """When a key is rotated without being told: by age, or when that much was done under the newest version.

    None is no limit for ``period`` and ``max_bytes``, and `DEFAULT_BUDGET` for messages and wraps, of which neither
    may pass `WRAP_LIMIT`. Messages are envelopes made and data keys handed out; wraps are uses of the material.
    """

    period: timedelta | None = None
    max_messages: int | None = None
    max_bytes: int | None = None
    max_wraps: int | None = None


NO_ROTATION_POLICY = RotationPolicy()
"""The default: only the budgets that safety asks for."""


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One generation of a key's material, numbered from 1, never reused.

    ``material`` is the provider's own reference to the material (a sealed key, an object id, a transit version).
    It is opaque to everything but the provider, and never printed.
    """

    version: int
    material: bytes = field(repr=False)
    created: datetime
    state: KeyState = KeyState.ENABLED
    reason: str = ""
    destroy_at: datetime | None = None
    origin: Origin = Origin.GENERATED


@dataclass(frozen=True, slots=True)
class Key:
    """A named key-encryption key with all its versions and aliases: the unit that storage reads and writes.

    ``revision`` is the state epoch of the last change to any part of it. ``destroy_at``, here and of a version, is when
    its material is to be destroyed. While that is pending, None means that it has begun and nobody can cancel it; a
    tombstone has the time at which it happened. `kmsgw.model.lifecycle` says what each state allows.
    """

    key_id: str
    tenant: str
    provider: str
    versions: tuple[KeyVersion, ...]
    created: datetime
    updated: datetime
    state: KeyState = KeyState.ENABLED
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    aliases: tuple[str, ...] = ()
    revision: int = 0
    destroy_at: datetime | None = None
    minimum_decrypt_version: int = 1
    minimum_encrypt_version: int = 0
    deletion_protection: bool = False
    rotation: RotationPolicy = NO_ROTATION_POLICY

    @property
    def primary(self) -> KeyVersion:
        """The version that encrypts now: the newest."""
        return self.versions[-1]

    @property
    def etag(self) -> str:
        """A text that changes with every change of the key."""
        return str(self.revision)

    def find_version(self, version: int) -> KeyVersion | None:
        """Return the version of this number, or None where there never was one."""
        if 1 <= version <= len(self.versions):
            return self.versions[version - 1]
        return None

    def with_new_version(self, material: bytes, now: datetime, reason: str, origin: Origin = Origin.GENERATED) -> "Key":
        """Return the key with one version more, which encrypts from now on."""
        if len(self.versions) >= MAX_VERSIONS:
            raise FailedPrecondition(
                "The key has too many versions.", reason=Reason.LIMIT_REACHED, advice="Make another key."
            )
        made = KeyVersion(len(self.versions) + 1, material, now, reason=reason, origin=origin)
        return replace(self, versions=(*self.versions, made), updated=now)


def check_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return a frozen copy of labels; raise `InvalidRequest` where a limit is broken."""
    if len(labels) > MAX_LABELS:
        raise InvalidRequest(f"There are more than {MAX_LABELS} labels.", advice="Use fewer.")
    for text in (*labels.keys(), *labels.values()):
        if len(text) > MAX_LABEL_CHARS or not text.isprintable():
            raise InvalidRequest(
                "A label is malformed.", advice=f"Use at most {MAX_LABEL_CHARS} characters, none of them control ones."
            )
    if "" in labels:
        raise InvalidRequest("A label has an empty name.", advice="Name it.")
    return MappingProxyType(dict(labels))


def check_text(text: str, name: str) -> str:
    """Return a description or reason; raise `InvalidRequest` where it is too long or has control characters."""
    if len(text) > MAX_TEXT_CHARS or not text.isprintable():
        raise InvalidRequest(
            f"{name} is malformed.", advice=f"Use at most {MAX_TEXT_CHARS} characters, none of them control ones."
        )
    return text
