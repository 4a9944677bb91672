"""ListEntries: entries of the caller's tenant in the logs of this node, from signed trees alone."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Final

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import InvalidRequest
from kmsgw.model.access import Action
from kmsgw.model.request_id import is_request_id
from kmsgw.operations.control.audit_ports import AuditLogs
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Access, Grant
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.search import ORDER_SLACK, STRAYS, EntryFilter, entries_between, find_request, shifted

MOST_WITH_PROOFS: Final = 100
"""Entries of a page at most where each is proven."""

_LOOK_SECONDS: Final = 1.0
_LOOK_ENTRIES: Final = 64
_PAGE_BYTES: Final = 2 * 1024 * 1024
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class WantedEntries:
    """Which entries: those that ``filter`` matches, by an ``alias`` and of one ``log`` where these are given."""

    filter: EntryFilter = field(default_factory=EntryFilter)
    alias: str = ""
    log: str = ""

    def __post_init__(self) -> None:
        if self.filter.request_id and not is_request_id(self.filter.request_id):
            raise InvalidRequest("request_id is malformed.", advice="Take it from an answer or from the audit log.")

    def is_of(self, origin: str) -> bool:
        """Tell whether entries of a log are wanted."""
        return self.log in ("", origin)

    def matches(self, entry: LoggedEntry) -> bool:
        """Tell whether an entry is wanted, of a log that is."""
        return self.filter.matches(entry) and (not self.alias or entry.text("alias") == self.alias)


@dataclass(frozen=True, slots=True)
class ReadEntry:
    """One entry of a signed tree, and where it was asked for the hashes that prove it."""

    log: str
    index: int
    raw: bytes = field(repr=False)
    proof: tuple[bytes, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class LogHead:
    """The newest checkpoint of a log: how many entries, the signed note, and the verifier key where it is told."""

    log: str
    size: int
    checkpoint: bytes = field(repr=False)
    verifier_key: str = ""


def head_of(reader: LogReader, verifier_key: str = "") -> LogHead:
    """Return the checkpoint that a reader reads by."""
    return LogHead(reader.origin, reader.size, reader.signed_checkpoint, verifier_key)


class Sight:
    """What an auditor may see: the entries of its tenant's principals, and those of nobody that touch no other's key.

    Entries of nobody are refused strangers, the gateway's own acts, and what happened to the log itself.
    """

    def __init__(self, tenant: str, keyring: Keyring) -> None:
        self._tenant = tenant
        self._keyring = keyring
        self._keys: dict[str, bool] = {}

    def sees(self, entry: LoggedEntry) -> bool:
        """Tell whether an entry may be shown. Raises `StateUnavailable`."""
        if entry.record.get("principal") is not None:
            return entry.principal("tenant") == self._tenant
        name = entry.text("key_id")
        return not name or self._owns(name)

    def _owns(self, name: str) -> bool:
        owned = self._keys.get(name)
        if owned is None:
            key = self._keyring.resolve(name)
            owned = self._keys[name] = key is not None and key.tenant == self._tenant
        return owned


@dataclass(frozen=True, slots=True)
class ListEntriesCommand:
    """List a page of the wanted entries; ``positions`` are what the page before answered."""

    wanted: WantedEntries
    with_proofs: bool
    page_size: int
    positions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries, the checkpoints that their proofs lead to, and where to go on; no positions after the last page."""

    entries: tuple[ReadEntry, ...]
    heads: tuple[LogHead, ...] = ()
    positions: Mapping[str, int] = field(default_factory=dict)


class ListEntries:
    """The verb. It reads for a second at most, and answers what it has found by then."""

    changes_state: ClassVar[bool] = False

    def __init__(self, logs: AuditLogs, keyring: Keyring, clock: Clock = SYSTEM_CLOCK) -> None:
        self._logs = logs
        self._keyring = keyring
        self._clock = clock

    def accesses(self, command: ListEntriesCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants to read the audit log."""
        return (Access(Action.READ_AUDIT_LOG),)

    def run(self, command: ListEntriesCommand, grant: Grant) -> EntryPage:
        """Return a page. Raises `AuditDamaged`, `Overloaded` and `StateUnavailable`."""
        with self._logs.look():
            found = [log.reader() for log in self._logs.find() if command.wanted.is_of(log.verifier.name)]
            readers = {reader.origin: reader for reader in found}
            sight = Sight(grant.principal.tenant, self._keyring)
            positions: Mapping[str, int] = {}
            if command.wanted.filter.request_id:
                entries = self._of_request(command, found, sight)
            else:
                entries, positions = self._walk(command, found, sight)
            if not command.with_proofs:
                return EntryPage(tuple(_read(entry) for entry in entries), (), positions)
            proven = tuple(_read(entry, tuple(readers[entry.origin].inclusion(entry.index))) for entry in entries)
            heads = tuple(head_of(readers[origin]) for origin in sorted({entry.origin for entry in entries}))
            return EntryPage(proven, heads, positions)

    def _of_request(
        self, command: ListEntriesCommand, readers: Sequence[LogReader], sight: Sight
    ) -> Sequence[LoggedEntry]:
        found = find_request(readers, command.wanted.filter.request_id)
        return [entry for entry in found if command.wanted.matches(entry) and sight.sees(entry)][: _most(command)]

    def _walk(
        self, command: ListEntriesCommand, readers: Sequence[LogReader], sight: Sight
    ) -> tuple[Sequence[LoggedEntry], Mapping[str, int]]:
        wanted = command.wanted.filter
        give_up = self._clock.monotonic() + _LOOK_SECONDS
        positions = dict(command.positions)
        entries: list[LoggedEntry] = []
        size = 0
        streams = [_entries(reader, wanted, command.positions.get(reader.origin)) for reader in readers]
        for number, entry in enumerate(heapq.merge(*streams, key=_time), 1):
            positions[entry.origin] = entry.index + 1
            if command.wanted.matches(entry) and sight.sees(entry):
                entries.append(entry)
                size += len(entry.raw)
                if len(entries) == _most(command) or size > _PAGE_BYTES:
                    return entries, positions
            # Counted here, and not by their index: of a log that was pruned any index may be missing.
            if number % _LOOK_ENTRIES == 0 and self._clock.monotonic() > give_up:
                return entries, positions
        return entries, {}


def _most(command: ListEntriesCommand) -> int:
    return min(command.page_size, MOST_WITH_PROOFS) if command.with_proofs else command.page_size


def _read(entry: LoggedEntry, proof: tuple[bytes, ...] = ()) -> ReadEntry:
    return ReadEntry(entry.origin, entry.index, entry.raw, proof)


def _time(entry: LoggedEntry) -> datetime:
    return entry.time or _BEFORE_ALL


def _entries(reader: LogReader, wanted: EntryFilter, start: int | None) -> Iterator[LoggedEntry]:
    """Yield a log's entries from `start` on, by default from where those since the wanted time can begin."""
    if start is None:
        start = entries_between(reader, wanted.since, None).start
    stop = None if wanted.until is None else shifted(wanted.until, ORDER_SLACK)
    beyond = 0
    for index, raw in reader.entries(start):
        entry = LoggedEntry.parse(reader.origin, index, raw)
        beyond = beyond + 1 if stop is not None and entry.time is not None and entry.time >= stop else 0
        if beyond == STRAYS:
            return
        yield entry
