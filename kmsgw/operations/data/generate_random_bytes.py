"""GenerateRandomBytes: randomness from the operating system's generator."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kmsgw.errors import InvalidRequest
from kmsgw.model.access import Action
from kmsgw.operations.verb import Access, Grant

MAX_RANDOM_BYTES = 1024


@dataclass(frozen=True, slots=True)
class GenerateRandomBytesCommand:
    """Make `length` random bytes, 1 to 1,024."""

    length: int

    def __post_init__(self) -> None:
        if not 1 <= self.length <= MAX_RANDOM_BYTES:
            raise InvalidRequest("length is out of range.", advice=f"Ask for 1 to {MAX_RANDOM_BYTES} bytes.")


class GenerateRandomBytes:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def accesses(self, command: GenerateRandomBytesCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants randomness, of no key."""
        return (Access(Action.GENERATE_RANDOM_BYTES),)

    def run(self, command: GenerateRandomBytesCommand, grant: Grant) -> bytes:  # noqa: ARG002
        """Return the bytes."""
        return os.urandom(command.length)
