"""What the operations need of the world: storage, policy and audit are shaped to these."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from kmsgw.model.access import AccessRequest, Decision, PolicyText, PrincipalKind
from kmsgw.model.key import Key, KeyState


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """The keys that changed after an epoch, each whole, and the epoch that this brings the reader to."""

    epoch: int
    keys: Sequence[Key]


class UnreadKeys(Protocol):
    """All keys as they are stored, each read when it is wanted, and what has to be found among all of them.

    Whoever holds it may change ``tenants``, ``rotates`` and ``ending`` as keys change.
    """

    @property
    def tenants(self) -> dict[str, list[str]]:
        """The ids of each tenant's keys, sorted."""

    @property
    def aliases(self) -> Mapping[str, Sequence[str]]:
        """The aliases of each key that has some."""

    @property
    def rotates(self) -> dict[str, datetime]:
        """When the rotation period of a key ends (`kmsgw.model.usage.next_rotation`), where it has one."""

    @property
    def ending(self) -> set[str]:
        """The ids of the keys that are to be destroyed, or a version of them."""

    def __contains__(self, key_id: object) -> bool:
        """Tell whether a key is here."""

    def read(self, key_id: str) -> Key | None:
        """Return a key, or None. Needs no database."""

    def drop(self, key_id: str) -> None:
        """Forget a key, which is held elsewhere from now on, or has changed."""


@dataclass(frozen=True, slots=True)
class AllKeys:
    """All keys as of one moment, and the epoch of that moment."""

    epoch: int
    unread: UnreadKeys


@dataclass(frozen=True, slots=True)
class KeyCensus:
    """How many keys there are in each state, and of those that are enabled the ones whose newest version is oldest.

    ``oldest`` has their ids, and when that version was made.
    """

    states: Mapping[KeyState, int]
    oldest: Sequence[tuple[str, datetime]]


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

    def all_keys(self) -> AllKeys:
        """Return all keys, unread: what a start needs. Every row is looked at all the same."""

    def census(self, oldest: int) -> KeyCensus:
        """Count the keys, and tell the `oldest` of them."""

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
