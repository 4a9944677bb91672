"""RotateKey: a new version, which encrypts from now on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kmsgw.model.access import Action
from kmsgw.model.key import Key, check_text
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.verb import Access, Grant, change_of


@dataclass(frozen=True, slots=True)
class RotateKeyCommand:
    """Rotate `key`, for a reason that is kept with the version."""

    key: str
    reason: str
    dry_run: bool

    def __post_init__(self) -> None:
        check_text(self.reason, "reason")


class RotateKey:
    """The verb."""

    changes_state: ClassVar[bool] = True

    def __init__(self, writer: KeyWriter) -> None:
        self._writer = writer

    def accesses(self, command: RotateKeyCommand) -> Sequence[Access]:
        """Wants to rotate the key."""
        change = change_of(command.reason, dry_run=command.dry_run)
        return (Access(Action.ROTATE_KEY, command.key, change=change),)

    def run(self, command: RotateKeyCommand, grant: Grant) -> Key:
        """Rotate. Raises `Conflict` where somebody else did at the same moment."""
        made = self._writer.rotate(
            grant.key().key_id,
            lambda stored, material: stored.with_new_version(material, grant.now, command.reason),
            dry_run=command.dry_run,
        )
        grant.trail.key_version = made.primary.version
        return made
