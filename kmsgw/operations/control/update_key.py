"""Verbs that change what a key or a version says of itself: UpdateKey, EnableKeyVersion, DisableKeyVersion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar, Final

from kmsgw.errors import Conflict, FailedPrecondition, InvalidRequest, Reason
from kmsgw.model.access import Action
from kmsgw.model.key import (
    DEFAULT_BUDGET,
    Key,
    KeyState,
    KeyVersion,
    RotationPolicy,
    check_labels,
    check_text,
)
from kmsgw.model.lifecycle import Act, require
from kmsgw.model.transitions import check_minimum_encrypt, check_rotation, with_act, with_version_act
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.verb import Access, Grant, change_of

UPDATABLE: Final = (
    "description",
    "labels",
    "state",
    "deletion_protection",
    "rotation",
    "minimum_encrypt_version",
)
"""Fields that an update may name."""

_ACTS: Final = {KeyState.ENABLED: Act.ENABLE, KeyState.DISABLED: Act.DISABLE}


@dataclass(frozen=True, slots=True)
class UpdateKeyCommand:
    """Change what is not None. `etag` is empty where the caller does not compare."""

    key: str
    description: str | None
    labels: Mapping[str, str] | None
    state: KeyState | None
    etag: str
    reason: str
    dry_run: bool
    deletion_protection: bool | None = None
    rotation: RotationPolicy | None = None
    minimum_encrypt_version: int | None = None

    def __post_init__(self) -> None:
        if self.state is None and not self.changes_attributes:
            raise InvalidRequest("update_mask names nothing.", advice=f"Name some of {', '.join(UPDATABLE)}.")
        check_text(self.reason, "reason")
        if self.description is not None:
            check_text(self.description, "description")
        if self.labels is not None:
            check_labels(self.labels)
        if self.rotation is not None:
            check_rotation(self.rotation)

    @property
    def changes_attributes(self) -> bool:
        """Whether it changes more than the state."""
        attributes = (
            self.description,
            self.labels,
            self.deletion_protection,
            self.rotation,
            self.minimum_encrypt_version,
        )
        return any(each is not None for each in attributes)


def lowers_protection(stored: Key, command: UpdateKeyCommand) -> bool:
    """Tell whether an update takes away a part of a key's protection. Pure.

    That is: deletion protection switched off; a label changed or taken away, for policies may protect by it; a rotation
    policy with a limit above that of before, or without it; a minimum for encryption that lets an older version
    encrypt, where 0 lets none but the newest.
    """
    if stored.deletion_protection and command.deletion_protection is False:
        return True
    if command.labels is not None and any(command.labels.get(name) != text for name, text in stored.labels.items()):
        return True
    asked = command.minimum_encrypt_version
    if asked and (not stored.minimum_encrypt_version or asked < stored.minimum_encrypt_version):
        return True
    return command.rotation is not None and _loosens(stored.rotation, command.rotation)


class UpdateKey:
    """The verb."""

    changes_state: ClassVar[bool] = True

    def __init__(self, writer: KeyWriter) -> None:
        self._writer = writer

    def accesses(self, command: UpdateKeyCommand) -> Sequence[Access]:
        """Wants to update the key."""
        change = change_of(
            command.reason,
            dry_run=command.dry_run,
            state=command.state,
            description=command.description,
            labels=None if command.labels is None else dict(command.labels),
            deletion_protection=None if command.deletion_protection is None else _switch(command.deletion_protection),
            rotation=None if command.rotation is None else rotation_record(command.rotation),
            minimum_encrypt_version=None
            if command.minimum_encrypt_version is None
            else str(command.minimum_encrypt_version),
        )
        return (Access(Action.UPDATE_KEY, command.key, change=change),)

    def run(self, command: UpdateKeyCommand, grant: Grant) -> Key:
        """Update. Raises `Conflict` where the key is not what `etag` says."""

        def next_key(stored: Key) -> Key:
            if command.etag and command.etag != stored.etag:
                raise Conflict("The key changed since it was read.", advice="Read it again, then decide anew.")
            if lowers_protection(stored, command) and not lowers_protection(grant.key(), command):
                # Whether another officer must consent was judged on the key as it was a moment ago.
                raise Conflict("The key was protected meanwhile.", advice="Read it again, then decide anew.")
            changed = _with_attributes(stored, command) if command.changes_attributes else stored
            if command.state is not None:
                changed = with_act(changed, _ACTS[command.state], grant.now)
            return replace(changed, updated=grant.now)

        return self._writer.change(grant.key().key_id, next_key, dry_run=command.dry_run)


@dataclass(frozen=True, slots=True)
class SetVersionStateCommand:
    """Enable or disable one version of `key`."""

    key: str
    version: int
    reason: str
    dry_run: bool

    def __post_init__(self) -> None:
        check_text(self.reason, "reason")


@dataclass(frozen=True, slots=True)
class ChangedVersion:
    """A version after its change."""

    key_id: str
    version: KeyVersion


class SetVersionState:
    """The verb, for either state."""

    changes_state: ClassVar[bool] = True

    def __init__(self, writer: KeyWriter, state: KeyState) -> None:
        self._writer = writer
        self._state = state
        self._action = Action.ENABLE_KEY_VERSION if state is KeyState.ENABLED else Action.DISABLE_KEY_VERSION

    def accesses(self, command: SetVersionStateCommand) -> Sequence[Access]:
        """Wants to change the version's state."""
        change = change_of(command.reason, dry_run=command.dry_run, version=command.version, state=self._state)
        return (Access(self._action, command.key, change=change),)

    def run(self, command: SetVersionStateCommand, grant: Grant) -> ChangedVersion:
        """Change it. Raises `FailedPrecondition` for an unknown version, and for disabling the newest."""
        grant.trail.key_version = command.version
        act = Act.ENABLE_VERSION if self._state is KeyState.ENABLED else Act.DISABLE_VERSION
        made = self._writer.change(
            grant.key().key_id,
            lambda stored: with_version_act(stored, act, command.version, grant.now),
            dry_run=command.dry_run,
        )
        return ChangedVersion(made.key_id, made.versions[command.version - 1])


def rotation_record(policy: RotationPolicy) -> dict[str, object]:
    """Return a rotation policy as the audit log tells it: its limits, of which the period is in seconds."""
    limits = {
        "period_seconds": None if policy.period is None else int(policy.period.total_seconds()),
        "max_messages": policy.max_messages,
        "max_bytes": policy.max_bytes,
        "max_wraps": policy.max_wraps,
    }
    return {name: limit for name, limit in limits.items() if limit is not None} or {"none": True}


def _with_attributes(stored: Key, command: UpdateKeyCommand) -> Key:
    require(stored, Act.UPDATE)
    pending = [each.version for each in stored.versions if each.state is KeyState.PENDING_DESTRUCTION]
    if command.deletion_protection and pending:
        raise FailedPrecondition(
            f"Version {pending[0]} of the key is pending destruction.",
            reason=Reason.KEY_PENDING_DESTRUCTION,
            advice=f"Cancel that first: `kmsgw key restore {stored.key_id} --version {pending[0]}`.",
        )
    minimum, protection = command.minimum_encrypt_version, command.deletion_protection
    return replace(
        stored,
        description=stored.description if command.description is None else command.description,
        labels=stored.labels if command.labels is None else check_labels(command.labels),
        deletion_protection=stored.deletion_protection if protection is None else protection,
        rotation=stored.rotation if command.rotation is None else command.rotation,
        minimum_encrypt_version=stored.minimum_encrypt_version
        if minimum is None
        else check_minimum_encrypt(stored, minimum),
    )


def _loosens(before: RotationPolicy, after: RotationPolicy) -> bool:
    period = (after.period or timedelta.max) > (before.period or timedelta.max)
    limits = (
        (before.max_messages or DEFAULT_BUDGET, after.max_messages or DEFAULT_BUDGET),
        (before.max_wraps or DEFAULT_BUDGET, after.max_wraps or DEFAULT_BUDGET),
        (before.max_bytes or float("inf"), after.max_bytes or float("inf")),
    )
    return period or any(now > then for then, now in limits)


def _switch(on: bool) -> str:
    # As a word: what is False is left out of the record, and this change is worth telling.
    return "on" if on else "off"
