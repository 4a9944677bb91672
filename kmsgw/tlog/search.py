"""Searching logs: by time range, principal, key, outcome, method and request id, merged by time across logs.

An operation is recorded when it ends, so entries of a log are in order of time but for some seconds. That is enough
to find a place by halving: a search reads the bundles of its time range and a few more, not the log.
"""

import heapq
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import TILE_HASHES
from kmsgw.tlog.reader import LogReader

ORDER_SLACK = timedelta(seconds=60)
"""How far an entry may be from its place in the order of time for a search by time to find it."""

STRAYS = 256
"""Entries in a row that must be past the end of a time range for a search to end: a few may have a wrong time."""

_REORDERED = 4096
_BEGINNING = 9


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """What is looked for; empty means any. ``since`` is included, ``until`` is not; both have a time zone.

    ``key_id`` is the key of the operation, or the key that a rewrap or re-encryption opened; ``alias`` the one that
    was used. ``changes`` wants only changes of state that were done: no refusals, intents and dry runs.
    """

    since: datetime | None = None
    until: datetime | None = None
    principal: str = ""
    key_id: str = ""
    outcome: str = ""
    method: str = ""
    request_id: str = ""
    reason: str = ""
    alias: str = ""
    purpose: str = ""
    end_user: str = ""
    changes: bool = False

    @property
    def times_alone(self) -> bool:
        """Whether nothing but a time is looked for."""
        return self == EntryFilter(self.since, self.until)

    def matches(self, entry: LoggedEntry) -> bool:
        """Tell whether an entry is looked for. ``method`` is the full name, or what is after its last slash."""
        time = entry.time
        if self.since is not None and (time is None or time < self.since):
            return False
        if self.until is not None and (time is None or time >= self.until):
            return False
        method = entry.text("method")
        return (
            (not self.request_id or entry.text("request_id") == self.request_id)
            and (not self.principal or entry.principal() == self.principal)
            and (not self.key_id or self.key_id in (entry.text("key_id"), entry.text("source_key_id")))
            and (not self.method or self.method in (method, method.rpartition("/")[2]))
            and (not self.changes or entry.is_done_change())
            and (not self.outcome or entry.text("outcome") == self.outcome)
            and (not self.reason or entry.text("reason") == self.reason)
            and (not self.alias or entry.text("alias") == self.alias)
            and (not self.purpose or entry.text("purpose") == self.purpose)
            and (not self.end_user or entry.text("end_user") == self.end_user)
        )


def search(
    readers: Sequence[LogReader],
    wanted: EntryFilter,
    *,
    slack: timedelta | None = ORDER_SLACK,
    newest_first: bool = False,
) -> Iterator[LoggedEntry]:
    """Yield the entries looked for, of all logs, by time. Each reader must have read its checkpoint.

    Every bundle read is checked against the signed tree. `slack` says how much disorder of time to allow for; None
    reads every entry, for logs whose clock jumped. With `newest_first`, logs are read from their ends, so that who
    takes only the first few waits for no more than those. Raises `AuditDamaged`.
    """
    found = _found_backwards if newest_first else _found
    sign = -1 if newest_first else 1
    streams = [_in_order(found(reader, wanted, slack), sign) for reader in readers]
    return heapq.merge(*streams, key=_place, reverse=newest_first)


def newest(readers: Sequence[LogReader], count: int) -> list[LoggedEntry]:
    """Return the last `count` entries of all logs, by time. Raises `AuditDamaged`."""
    found = [
        LoggedEntry.parse(reader.origin, index, raw)
        for reader in readers
        for index, raw in reader.entries(reader.size - count)
    ]
    found.sort(key=_place)
    return found[len(found) - count :] if count < len(found) else found


def request_time(request_id: str) -> datetime | None:
    """Return the time in a request id that is a UUID of version 7 (RFC 9562, 5.7), or None."""
    try:
        parsed = uuid.UUID(request_id)
    except ValueError:
        return None
    if parsed.variant != uuid.RFC_4122 or parsed.version != 7 or str(parsed) != request_id:
        return None
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=parsed.int >> 80)
    except OverflowError:
        return None


def find_request(
    readers: Sequence[LogReader], request_id: str, *, slack: timedelta | None = ORDER_SLACK
) -> list[LoggedEntry]:
    """Return the entries of a request, by time. Raises `AuditDamaged`.

    The time in the id says where to look, `slack` how far around; None, or an id without a time, reads all. Where only
    an intent is found there, its outcome is looked for in all that came later: a stream may take hours, and what a
    crash interrupted is settled at the next start. What has a single entry is not found where it took longer than
    `slack`.
    """
    made = request_time(request_id)
    if made is None or slack is None:
        return list(search(readers, EntryFilter(request_id=request_id), slack=None))
    near = shifted(made, slack)
    found = list(search(readers, EntryFilter(shifted(made, -slack), near, request_id=request_id), slack=slack))
    if found and all(entry.text("phase") == "intent" for entry in found):
        found += islice(search(readers, EntryFilter(near, request_id=request_id), slack=slack), 1)
    return found


def entries_between(
    reader: LogReader, since: datetime | None, until: datetime | None, *, slack: timedelta = ORDER_SLACK
) -> range:
    """Return the indexes that the entries of a span of time are among, and more. Raises `AuditDamaged`."""
    if reader.size == 0:
        return range(0)
    start = 0 if since is None else first_bundle(reader, shifted(since, -slack)) * TILE_HASHES
    end = reader.size
    if until is not None:
        end = min(end, (first_bundle(reader, shifted(until, slack)) + 2) * TILE_HASHES)
    return range(start, end)


def first_bundle(reader: LogReader, time: datetime) -> int:
    """Return the last bundle that begins before a time: the first that can hold an entry of that time.

    The next one can begin before it too, by a few entries. Found by halving. Raises `AuditDamaged`.
    """
    low, high = 0, -(-reader.size // TILE_HASHES)
    while high - low > 1:
        middle = (low + high) // 2
        # From there on, and not of that bundle alone: it may have been pruned.
        found = reader.entries(middle * TILE_HASHES, high * TILE_HASHES)
        times = (entry.time for _, raw in found if (entry := LoggedEntry.parse("", 0, raw)).time is not None)
        begins = sorted(islice(times, _BEGINNING))
        # The middle one of a few: a single entry with a wrong time must not lead astray.
        # Bundles without any time tell nothing: go on to the left, where nothing can be missed.
        if begins and begins[len(begins) // 2] < time:
            low = middle
        else:
            high = middle
    return low


def shifted(time: datetime, by: timedelta) -> datetime:
    """Return a time so much later; where there is none, itself."""
    try:
        return time + by
    except OverflowError:
        return time


def _place(entry: LoggedEntry) -> tuple[int, str, int]:
    return entry.microseconds, entry.origin, entry.index


def _found(reader: LogReader, wanted: EntryFilter, slack: timedelta | None) -> Iterator[LoggedEntry]:
    start = 0
    stop: datetime | None = None
    if slack is not None:
        if wanted.since is not None:
            start = first_bundle(reader, shifted(wanted.since, -slack)) * TILE_HASHES
        if wanted.until is not None:
            stop = shifted(wanted.until, slack)
    beyond = 0
    for index, raw in reader.entries(start):
        entry = LoggedEntry.parse(reader.origin, index, raw)
        beyond = beyond + 1 if stop is not None and entry.time is not None and entry.time >= stop else 0
        if beyond == STRAYS:
            return
        if wanted.matches(entry):
            yield entry


def _found_backwards(reader: LogReader, wanted: EntryFilter, slack: timedelta | None) -> Iterator[LoggedEntry]:
    last = -(-reader.size // TILE_HASHES) - 1
    stop: datetime | None = None
    if slack is not None and reader.size:
        if wanted.until is not None:
            last = min(last, first_bundle(reader, shifted(wanted.until, slack)) + 1)
        if wanted.since is not None:
            stop = shifted(wanted.since, -slack)
    beyond = 0
    for bundle in range(last, -1, -1):
        read = list(reader.entries(bundle * TILE_HASHES, (bundle + 1) * TILE_HASHES))
        for index, raw in reversed(read):
            entry = LoggedEntry.parse(reader.origin, index, raw)
            beyond = beyond + 1 if stop is not None and entry.time is not None and entry.time < stop else 0
            if beyond == STRAYS:
                return
            if wanted.matches(entry):
                yield entry


def _in_order(entries: Iterator[LoggedEntry], sign: int) -> Iterator[LoggedEntry]:
    """Yield nearly ordered entries in order, holding a bounded number of them; with a `sign` of -1, falling."""
    held: list[tuple[int, int, LoggedEntry]] = []
    for number, entry in enumerate(entries):
        heapq.heappush(held, (sign * entry.microseconds, number, entry))
        if len(held) > _REORDERED:
            yield heapq.heappop(held)[2]
    while held:
        yield heapq.heappop(held)[2]
