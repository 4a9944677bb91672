"""ScheduleKeyDestruction and CancelKeyDestruction: of a key, or of one of its versions that is not the newest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from kmsgw.errors import Conflict, FailedPrecondition, InvalidRequest, Reason
from kmsgw.model.access import Action
from kmsgw.model.key import Key, KeyState, KeyVersion, check_text
from kmsgw.model.transitions import (
    MAX_DESTRUCTION_DAYS,
    MIN_DESTRUCTION_DAYS,
    with_destruction_at,
    without_destruction,
)
from kmsgw.operations.control.in_use import KeyInUse, require_unused
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.verb import Access, Grant, change_of
from kmsgw.providers.base import DestroysKeys


@dataclass(frozen=True, slots=True)
class ScheduledDestruction:
    """A key after a destruction was scheduled or cancelled; ``version`` where it is of one version only."""

    key: Key
    version: KeyVersion | None

    @classmethod
    def of(cls, key: Key, number: int) -> "ScheduledDestruction":
        """Return the key with its version of this number, or with none for 0."""
        return cls(key, key.find_version(number))


@dataclass(frozen=True, slots=True)
class ScheduleKeyDestructionCommand:
    """Destroy `key`, or its one `version` where that is not 0, after so many days; 0 days ask for 30."""

    key: str
    version: int
    days: int
    force: bool
    etag: str
    reason: str
    dry_run: bool

    def __post_init__(self) -> None:
        require_reason(self.reason)
        if self.days and not MIN_DESTRUCTION_DAYS <= self.days <= MAX_DESTRUCTION_DAYS:
            raise InvalidRequest(
                "days is out of range.", advice=f"Use {MIN_DESTRUCTION_DAYS} to {MAX_DESTRUCTION_DAYS}."
            )

    @property
    def waiting(self) -> timedelta:
        """How long it waits."""
        return timedelta(days=self.days or MAX_DESTRUCTION_DAYS)


class ScheduleKeyDestruction:
    """The verb."""

    changes_state: ClassVar[bool] = True

    def __init__(self, writer: KeyWriter, usage: KeyInUse, index_keys: KeyInUse) -> None:
        self._writer = writer
        self._usage = usage
        self._index_keys = index_keys

    def accesses(self, command: ScheduleKeyDestructionCommand) -> Sequence[Access]:
        """Wants to schedule the destruction."""
        change = change_of(
            command.reason,
            dry_run=command.dry_run,
            version=command.version or None,
            days=command.waiting.days,
            force=command.force,
        )
        return (Access(Action.SCHEDULE_KEY_DESTRUCTION, command.key, change=change),)

    def run(self, command: ScheduleKeyDestructionCommand, grant: Grant) -> ScheduledDestruction:
        """Schedule. Raises `FailedPrecondition` where state, protection, use or provider forbid it."""
        grant.trail.key_version = command.version
        at = grant.now + command.waiting

        def next_key(stored: Key) -> Key:
            if command.etag and command.etag != stored.etag:
                raise Conflict("The key changed since it was read.", advice="Read it again, then decide anew.")
            return with_destruction_at(stored, command.version, at, grant.now)

        # What the key itself refuses is told first: usage and provider are asked only where it could be done.
        key = next_key(grant.key())
        self._require_means(key, command.version)
        if command.version:
            self._require_no_index_key(key, command.version)
        if not command.force:
            versions = [command.version] if command.version else _left(key)
            require_unused(self._usage, key, versions)
        made = self._writer.change(key.key_id, next_key, dry_run=command.dry_run)
        return ScheduledDestruction.of(made, command.version)

    def _require_no_index_key(self, key: Key, version: int) -> None:
        # Not a matter of force: without it no value of the key's blind indexes could be found any more, and moving it
        # to the newest version takes one call.
        words = self._index_keys.in_use(key, (version,))
        if words is not None:
            raise FailedPrecondition(
                words,
                reason=Reason.KEY_VERSION_IN_USE,
                advice="Compute a MAC under the key: that moves its index key to the newest version. Then try again.",
            )

    def _require_means(self, key: Key, version: int) -> None:
        provider = self._writer.provider(key.provider)
        if not isinstance(provider, DestroysKeys):
            raise FailedPrecondition(
                f"The provider {key.provider} can't destroy keys.",
                reason=Reason.DESTRUCTION_UNSUPPORTED,
                advice="Disable the key instead.",
            )
        if version and not provider.destroys_versions:
            raise FailedPrecondition(
                f"The provider {key.provider} can't destroy one version of a key, only a key as a whole.",
                reason=Reason.DESTRUCTION_UNSUPPORTED,
                advice="Raise the minimum version for decryption, or disable the version.",
            )


@dataclass(frozen=True, slots=True)
class CancelKeyDestructionCommand:
    """Save `key`, or its one `version` where that is not 0."""

    key: str
    version: int
    reason: str
    dry_run: bool

    def __post_init__(self) -> None:
        require_reason(self.reason)


class CancelKeyDestruction:
    """The verb. What it saves is left disabled: who wants it back in use says so."""

    changes_state: ClassVar[bool] = True

    def __init__(self, writer: KeyWriter) -> None:
        self._writer = writer

    def accesses(self, command: CancelKeyDestructionCommand) -> Sequence[Access]:
        """Wants to cancel the destruction."""
        change = change_of(command.reason, dry_run=command.dry_run, version=command.version or None)
        return (Access(Action.CANCEL_KEY_DESTRUCTION, command.key, change=change),)

    def run(self, command: CancelKeyDestructionCommand, grant: Grant) -> ScheduledDestruction:
        """Cancel. Raises `FailedPrecondition` where none is pending, or its time has come."""
        grant.trail.key_version = command.version
        made = self._writer.change(
            grant.key().key_id,
            lambda stored: without_destruction(stored, command.version, grant.now),
            dry_run=command.dry_run,
        )
        return ScheduledDestruction.of(made, command.version)


def require_reason(reason: str) -> str:
    """Return a reason; raise `InvalidRequest` where it is malformed or missing."""
    if not check_text(reason, "reason").strip():
        raise InvalidRequest("A reason is missing.", advice="Say why: it is recorded in the audit log.")
    return reason


def _left(key: Key) -> list[int]:
    return [each.version for each in key.versions if each.state is not KeyState.DESTROYED]
