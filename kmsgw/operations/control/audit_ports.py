"""What reading the audit log needs of the node: its logs, and room to look."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from kmsgw.errors import AuditDamaged
from kmsgw.tlog.cosigned_proof import CosignedCheckpoint, cosigned_checkpoints
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import Fetch, LogReader


@dataclass(frozen=True, slots=True)
class FoundLog:
    """A log of this node: the key that its worker signs with, and what reads its files."""

    verifier: VerifierKey
    fetch: Fetch
    cosigned_paths: Callable[[], Sequence[str]] = tuple
    """Tells where the checkpoints are that witnesses cosigned, relative to the log."""

    def cosigned(self) -> Sequence[CosignedCheckpoint]:
        """Return the cosigned checkpoints, the newest first. To be read before `reader`: the log grows meanwhile."""
        return cosigned_checkpoints(self.fetch, self.verifier, self.cosigned_paths())

    def reader(self) -> LogReader:
        """Return a reader at the newest checkpoint. Raises `AuditDamaged`."""
        reader = LogReader(self.fetch)
        try:
            reader.checkpoint(self.verifier)
        except AuditDamaged:
            # Its worker was replacing tiles meanwhile; a second look sees them. Real damage fails again.
            reader.checkpoint(self.verifier)
        return reader


class AuditLogs(Protocol):
    """The audit logs of this node."""

    def find(self) -> Sequence[FoundLog]:
        """Return the logs that the node's index lists, by origin. Raises `AuditDamaged` where a key can't be read.

        One that is gone is among them, and reading it raises `AuditDamaged` that says so.
        """

    def look(self) -> AbstractContextManager[None]:
        """Take a place to look in, and give it back at the end. Raises `Overloaded` where too many look."""
