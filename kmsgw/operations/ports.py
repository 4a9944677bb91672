"""What the operations need of the world: storage, policy and audit are shaped to these."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from kmsgw.model.access import AccessRequest, Decision, PolicyText, PrincipalKind
from kmsgw.model.key import Key


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """The keys that changed after an epoch, each whole, and the epoch that this brings the reader to."""

    epoch: int
    keys: Sequence[Key]


class UnitOfWork(Protocol):
    """One transaction. It commits when its block ends without an exception and rolls back otherwise.

    The first write takes the next state epoch and holds it until the end, so that epochs become visible in order.
    """

    def get(self, key_id: str, known: Key | None = None) -> Key | None:
        """Return the key as committed, or None. `known` is the key as once read: what differs is read."""

    def add(self, key: Key) -> Key:
        """Insert a new key and return it with its revision. Raises `AlreadyExists`, also for ids once used."""

    def save(self, key: Key) -> Key:
        """Write a changed key and return it with its new revision.

        Raises `Conflict` where the stored revision is not `key.revision`, and `AlreadyExists` with ALIAS_EXISTS
        where one of its aliases leads to another key.
        """


class KeyStore(Protocol):
    """Keys on disk. Every method raises `StateUnavailable` where the database does not answer."""

    def epoch(self) -> int:
        """Return the state epoch: a number that grows with every committed change. One cheap query."""

    def changes_since(self, epoch: int, known: Mapping[str, Key]) -> KeyChanges:
        """Return the keys with a revision above `epoch`; epoch -1 returns all. `known` holds them as at `epoch`."""

    def unit_of_work(self) -> AbstractContextManager[UnitOfWork]:
        """Open a transaction."""

    def close(self) -> None:
        """Release the connections."""


class Authorizer(Protocol):
    """The policies in force."""

    @property
    def digest(self) -> str:
        """SHA-256 over schema and policies, hexadecimal."""

    def decide(self, request: AccessRequest) -> Decision:
        """Decide. Pure; denies by default and on any fault of the engine."""

    def policies(self) -> Sequence[PolicyText]:
        """Return the policies in force, by id."""

    def kind_of(self, roles: Collection[str]) -> PrincipalKind:
        """Return what a principal of these roles is: an officer where policies permit by each to officers alone."""

    def explain(self, request: AccessRequest, decision: Decision) -> str:
        """Return a decision in words; they hold no context value."""


class AuditLog(Protocol):
    """One worker's durable log. Appending and waiting are apart, so that many entries share one flush."""

    @property
    def origin(self) -> str:
        """Origin of the log (C2SP tlog-checkpoint)."""

    @property
    def size(self) -> int:
        """Entries that are durable."""

    def append(self, entry: bytes, use: object | None = None) -> int:
        """Queue an entry of at most 65,535 bytes and return its index. Does no I/O.

        `use` is kept with it, to be counted once the entry is durable. Raises `AuditUnavailable` where the log is known
        to be unable to write.
        """

    def flush(self) -> None:
        """Make all queued entries durable. Raises `AuditUnavailable` where that fails."""

    def wait(self, index: int) -> None:
        """Return when the entry is durable, flushing as needed. Raises `AuditUnavailable` where that fails."""

    def probe(self) -> None:
        """Raise `AuditUnavailable` where an entry could not be written now."""

    def close(self) -> None:
        """Flush, write tiles and a last checkpoint, release the lock."""
