"""Verbs that change what a key or a version says of itself: UpdateKey, EnableKeyVersion, DisableKeyVersion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from kmsgw.errors import Conflict, InvalidRequest
from kmsgw.model.access import Action
from kmsgw.model.key import Key, KeyState, KeyVersion, check_labels, check_text
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.verb import Access, Grant, change_of


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

    def __post_init__(self) -> None:
        if self.description is None and self.labels is None and self.state is None:
            raise InvalidRequest("update_mask names nothing.", advice="Name description, labels or state.")
        check_text(self.reason, "reason")
        if self.description is not None:
            check_text(self.description, "description")
        if self.labels is not None:
            check_labels(self.labels)


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
        )
        return (Access(Action.UPDATE_KEY, command.key, change=change),)

    def run(self, command: UpdateKeyCommand, grant: Grant) -> Key:
        """Update. Raises `Conflict` where the key is not what `etag` says."""

        def next_key(stored: Key) -> Key:
            if command.etag and command.etag != stored.etag:
                raise Conflict("The key changed since it was read.", advice="Read it again, then decide anew.")
            return replace(
                stored,
                description=stored.description if command.description is None else command.description,
                labels=stored.labels if command.labels is None else check_labels(command.labels),
                state=command.state or stored.state,
                updated=grant.now,
            )

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
        made = self._writer.change(
            grant.key().key_id,
            lambda stored: stored.with_version_state(command.version, self._state, grant.now),
            dry_run=command.dry_run,
        )
        return ChangedVersion(made.key_id, made.versions[command.version - 1])
