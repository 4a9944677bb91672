"""The sizes of audit logs in the database: neither of the two can be rolled back alone without the other telling."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What the database says of a log: ``size`` entries with this ``root``, when the state was at ``epoch``."""

    size: int
    root: bytes
    epoch: int


class LogLedger(Protocol):
    """The port to that table. Every method raises `StateUnavailable`."""

    def read(self, origin: str) -> tuple[LedgerEntry | None, int]:
        """Return what is known of a log, and the present state epoch."""

    def enter(self, origin: str, size: int, root: bytes) -> LedgerEntry:
        """Enter the size of a log, unless a larger one is there; return what is there now, with the present epoch."""
