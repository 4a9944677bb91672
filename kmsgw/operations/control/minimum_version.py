"""SetMinimumDecryptVersion: decryption under older versions ends, for good."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final

from kmsgw.errors import FailedPrecondition, Reason
from kmsgw.model.access import Action
from kmsgw.model.key import Key
from kmsgw.model.transitions import with_minimum_decrypt
from kmsgw.operations.control.in_use import KeyInUse, require_unused
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.control.schedule_destruction import require_reason
from kmsgw.operations.verb import Access, Grant, change_of


@dataclass(frozen=True, slots=True)
class SetMinimumDecryptVersionCommand:
    """Refuse decryption under the versions of `key` below `version`."""

    key: str
    version: int
    force: bool
    reason: str
    dry_run: bool

    def __post_init__(self) -> None:
        require_reason(self.reason)


SETTLED: Final = timedelta(seconds=5)
"""What is used under a version is known everywhere after this: workers see a rotation within a second, and count uses
within two."""


class SetMinimumDecryptVersion:
    """The verb."""

    changes_state: ClassVar[bool] = True

    def __init__(self, writer: KeyWriter, usage: KeyInUse) -> None:
        self._writer = writer
        self._usage = usage

    def accesses(self, command: SetMinimumDecryptVersionCommand) -> Sequence[Access]:
        """Wants to raise the minimum."""
        change = change_of(
            command.reason, dry_run=command.dry_run, minimum_decrypt_version=command.version, force=command.force
        )
        return (Access(Action.SET_MINIMUM_DECRYPT_VERSION, command.key, change=change),)

    def run(self, command: SetMinimumDecryptVersionCommand, grant: Grant) -> Key:
        """Raise it. Raises `FailedPrecondition` where it would not rise, or a version below is still in use."""
        key = grant.key()
        grant.trail.key_version = command.version
        with_minimum_decrypt(key, command.version, grant.now)
        if not command.force:
            require_unused(self._usage, key, range(key.minimum_decrypt_version, command.version))
            _require_settled(key, command.version, grant.now)
        return self._writer.change(
            key.key_id,
            lambda stored: with_minimum_decrypt(stored, command.version, grant.now),
            dry_run=command.dry_run,
        )


def _require_settled(key: Key, minimum: int, now: datetime) -> None:
    """Raise `FailedPrecondition` where a version that would end was the newest until a moment ago.

    What was sealed under it in its last seconds is not counted yet, and would be lost.
    """
    newer = key.find_version(minimum)
    if newer is not None and now - newer.created < SETTLED:
        raise FailedPrecondition(
            f"Version {minimum - 1} was the newest until a moment ago, and its last uses are not counted yet.",
            reason=Reason.KEY_VERSION_IN_USE,
            advice="Try again in a few seconds.",
        )
