"""CreateKey: a new key with its version 1."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from kmsgw.model.access import Action
from kmsgw.model.key import NO_ROTATION_POLICY, Key, RotationPolicy, check_labels, check_text
from kmsgw.model.names import check_name, check_unreserved
from kmsgw.model.transitions import check_rotation
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.control.update_key import rotation_record
from kmsgw.operations.verb import Access, Grant, change_of

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class CreateKeyCommand:
    """Create a key. Empty texts ask for the default: a generated id, the caller's tenant, the default provider."""

    key_id: str
    tenant: str
    provider: str
    description: str
    labels: Mapping[str, str]
    reason: str
    dry_run: bool
    rotation: RotationPolicy = NO_ROTATION_POLICY
    deletion_protection: bool = False

    def __post_init__(self) -> None:
        for text, field in ((self.key_id, "key_id"), (self.tenant, "tenant"), (self.provider, "provider")):
            if text:
                check_name(text, field)
        check_unreserved(self.key_id, self.tenant)
        check_text(self.description, "description")
        check_text(self.reason, "reason")
        check_labels(self.labels)
        check_rotation(self.rotation)


class CreateKey:
    """The verb."""

    changes_state: ClassVar[bool] = True

    def __init__(self, writer: KeyWriter, default_provider: str) -> None:
        self._writer = writer
        self._default_provider = default_provider

    def accesses(self, command: CreateKeyCommand) -> Sequence[Access]:
        """Wants to create a key in the tenant."""
        change = change_of(
            command.reason,
            dry_run=command.dry_run,
            key_id=command.key_id,
            tenant=command.tenant,
            provider=command.provider,
            description=command.description,
            labels=dict(command.labels) or None,
            rotation=None if command.rotation == NO_ROTATION_POLICY else rotation_record(command.rotation),
            deletion_protection="on" if command.deletion_protection else None,
        )
        return (Access(Action.CREATE_KEY, None, command.tenant or None, change=change),)

    def run(self, command: CreateKeyCommand, grant: Grant) -> Key:
        """Create. Raises `AlreadyExists`, `ProviderUnavailable`, `StateUnavailable`."""
        key_id = command.key_id or "key-" + "".join(secrets.choice(_ALPHABET) for _ in range(20))
        key = Key(
            key_id,
            command.tenant or grant.principal.tenant,
            command.provider or self._default_provider,
            versions=(),
            created=grant.now,
            updated=grant.now,
            description=command.description,
            labels=check_labels(command.labels),
            deletion_protection=command.deletion_protection,
            rotation=command.rotation,
        )
        grant.trail.key_id = key_id
        made = self._writer.add(key, dry_run=command.dry_run)
        grant.trail.key_version = len(made.versions)
        return made
