"""WatchEntries: entries as they come under a signed checkpoint. What is not read is not fetched either."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, Protocol

from kmsgw.errors import AuditDamaged
from kmsgw.model.access import Action
from kmsgw.operations.control.audit_entries import LogHead, ReadEntry, Sight, WantedEntries, head_of
from kmsgw.operations.control.audit_ports import AuditLogs
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Access, Grant
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.follow import LogFollower

_MESSAGE_ENTRIES: Final = 50
"""Entries of one message at most: of the longest, these are less than a client takes by default."""

_READ_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class WatchEntriesCommand:
    """Send the wanted entries as they come, of a log in ``positions`` from there on."""

    wanted: WantedEntries
    with_proofs: bool
    positions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WatchedEntries:
    """One message: entries, the checkpoints that their proofs lead to, and where to go on after them."""

    entries: tuple[ReadEntry, ...]
    heads: tuple[LogHead, ...]
    positions: Mapping[str, int]


class Feed(Protocol):
    """What a stream from the gateway sends. ``bytes_in`` is what was asked, ``bytes_out`` what was sent."""

    bytes_in: int
    bytes_out: int

    def poll(self) -> object | None:
        """Return the next message, or None where there is none now. Does not wait."""


class EntryFeed:
    """The logs of this node as they grow, those of new workers too. For one thread."""

    def __init__(self, command: WatchEntriesCommand, logs: AuditLogs, sight: Sight) -> None:
        # A filter by time is for what has been; what comes is all of now.
        self._wanted = replace(command.wanted, filter=replace(command.wanted.filter, since=None, until=None))
        self._command = command
        self._logs = logs
        self._sight = sight
        self._followers: dict[str, LogFollower] = {}
        self._told = False
        self.bytes_in = 0  # told by whoever has the request
        self.bytes_out = 0

    def poll(self) -> WatchedEntries | None:
        """Return what has come, at once a message without entries. Raises `AuditDamaged` and `StateUnavailable`."""
        if not self._told:
            self._follow_new(None)
            self._told = True
            return WatchedEntries((), (), self._positions())
        self._follow_new(0)
        for follower in self._followers.values():
            found = self._fresh(follower)
            if found:
                return self._message(follower, found)
        return None

    def _follow_new(self, start: int | None) -> None:
        for log in self._logs.find():
            origin = log.verifier.name
            if origin not in self._followers and self._command.wanted.is_of(origin):
                at = self._command.positions.get(origin, start)
                self._followers[origin] = LogFollower(log.fetch, log.verifier, at)

    def _fresh(self, follower: LogFollower) -> Sequence[LoggedEntry]:
        """Return the next wanted entries of a log, at most so many as a message takes."""
        read = 0
        while read < _READ_AT_ONCE:
            try:
                found = follower.poll(_MESSAGE_ENTRIES)
            except AuditDamaged:
                found = follower.poll(_MESSAGE_ENTRIES)  # its worker was replacing tiles; real damage fails again
            if not found:
                break
            read += len(found)
            seen = [entry for entry in found if self._wanted.matches(entry) and self._sight.sees(entry)]
            if seen:
                return seen
        return ()

    def _message(self, follower: LogFollower, found: Sequence[LoggedEntry]) -> WatchedEntries:
        reader, proven = follower.reader, self._command.with_proofs
        entries = (
            ReadEntry(each.origin, each.index, each.raw, tuple(reader.inclusion(each.index)) if proven else ())
            for each in found
        )
        return WatchedEntries(tuple(entries), (head_of(reader),) if proven else (), self._positions())

    def _positions(self) -> Mapping[str, int]:
        return {origin: follower.position for origin, follower in self._followers.items()}


class WatchEntries:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, logs: AuditLogs, keyring: Keyring) -> None:
        self._logs = logs
        self._keyring = keyring

    def accesses(self, command: WatchEntriesCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants to read the audit log."""
        return (Access(Action.READ_AUDIT_LOG),)

    def run(self, command: WatchEntriesCommand, grant: Grant) -> EntryFeed:
        """Return what feeds the stream; nothing is read yet."""
        return EntryFeed(command, self._logs, Sight(grant.principal.tenant, self._keyring))
