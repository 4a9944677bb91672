"""Searching an index. What it answers are places; each is read from the signed tree before it is shown.

Kinds that fit are found first: some hundreds or thousands. Their entries lie in order of time, so the newest of all are
found by merging, opening a kind only when it could be next: as many rows are read as are asked for, however many fit.
"""

import heapq
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kmsgw.reading.index import stored
from kmsgw.reading.index_file import ENTRY_BITS, TIME_BASE, IndexDamagedError, reading_database
from kmsgw.reading.kinds import request_key
from kmsgw.tlog.entry import BEFORE_ALL, LoggedEntry, microseconds
from kmsgw.tlog.hashing import TILE_HASHES
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.search import EntryFilter

_FIRST_ROWS = 8
_MOST_ROWS = 2048
_ALWAYS = 1 << 61
_UNOPENED = -1 << 62
_BUNDLES = 8
_MASK = (1 << ENTRY_BITS) - 1


class Found(NamedTuple):
    """A place that the index answers. ``time`` is `LoggedEntry.microseconds`."""

    time: int
    origin: str
    entry: int


def places(database: sqlite3.Connection, wanted: EntryFilter, *, newest_first: bool = False) -> Iterator[Found]:
    """Yield where the entries looked for are, by time. A request id may find others too.

    Between two of them the database is not held. Raises `IndexDamagedError`.
    """
    with reading_database():
        origins = dict(database.execute("SELECT id, origin FROM log").fetchall())
        search = _Search(database, _span(wanted), -1 if newest_first else 1)
        rows = _of_request(database, wanted) if wanted.request_id else search.rows(wanted)
        for time, place in rows:
            origin = origins.get(place >> ENTRY_BITS)
            if origin is None:
                raise IndexDamagedError("it names a log that it does not have")
            yield Found(time + TIME_BASE, origin, place & _MASK)


class SignedEntries:
    """Entries of signed trees, read by their places. Of a bundle that several are in, the entries are kept."""

    def __init__(self, readers: Sequence[LogReader], lost: Collection[str] = ()) -> None:
        self._readers = {reader.origin: reader for reader in readers}
        self._lost = frozenset(lost) - self._readers.keys()
        self._bundles: dict[tuple[str, int], Mapping[int, bytes] | None] = {}

    def found(self, places: Iterator[Found], wanted: EntryFilter) -> Iterator[LoggedEntry]:
        """Yield the entries at these places, each as its signed tree has it.

        One that was pruned, or is of a lost log, is passed over. Raises `AuditDamaged` where a log is wrong, and
        `IndexDamagedError` where it is the index.
        """
        for place in places:
            raw = None if place.origin in self._lost else self._entry(place.origin, place.entry)
            if raw is None:
                continue
            entry = LoggedEntry.parse(place.origin, place.entry, raw)
            if wanted.matches(entry):
                yield entry
            elif not wanted.request_id:
                raise IndexDamagedError(f"entry {place.entry} of {place.origin} is not what it says")

    def _entry(self, origin: str, index: int) -> bytes | None:
        reader = self._readers.get(origin)
        if reader is None or index >= reader.size:
            raise IndexDamagedError(f"there is no entry {index} of {origin}")
        key = (origin, index // TILE_HASHES)
        if key not in self._bundles:
            # Of most bundles one entry is wanted. Where it is a second one, the whole is checked once for all.
            self._keep(key, None)
            return reader.entry(index)
        bundle = self._bundles.pop(key)
        if bundle is None:
            start = index - index % TILE_HASHES
            bundle = dict(reader.entries(start, start + TILE_HASHES))
        self._keep(key, bundle)
        return bundle.get(index)

    def _keep(self, key: tuple[str, int], bundle: Mapping[int, bytes] | None) -> None:
        if len(self._bundles) >= _BUNDLES * len(self._readers):
            del self._bundles[next(iter(self._bundles))]
        self._bundles[key] = bundle


@dataclass(frozen=True, slots=True)
class _Span:
    """Times from ``low`` to before ``high``, as they are stored."""

    low: int
    high: int


def _span(wanted: EntryFilter) -> _Span:
    # What says no time is found only where no time is asked for.
    low = BEFORE_ALL + (wanted.until is not None) if wanted.since is None else microseconds(wanted.since)
    high = _ALWAYS if wanted.until is None else microseconds(wanted.until)
    return _Span(low - TIME_BASE, high - TIME_BASE)


def _of_request(database: sqlite3.Connection, wanted: EntryFilter) -> list[tuple[int, int]]:
    rows = database.execute("SELECT place FROM request WHERE id = ?", (request_key(wanted.request_id),)).fetchall()
    return [(BEFORE_ALL, place) for (place,) in rows]


class _Search:
    """Places in order of time, or with a sign of -1 in falling order."""

    def __init__(self, database: sqlite3.Connection, span: _Span, sign: int) -> None:
        self._database = database
        self._span = span
        self._sign = sign

    def rows(self, wanted: EntryFilter) -> Iterator[tuple[int, int]]:
        """Yield time and place of what is looked for."""
        where, values = _kinds_where(self._database, wanted)
        if wanted.end_user:
            names = self._database.execute("SELECT id FROM name WHERE text = ?", (stored(wanted.end_user),)).fetchall()
            for (name,) in names:
                yield from self._read(
                    "end_user JOIN kind k ON k.id = end_user.kind", "name = ?" + where, (name, *values)
                )
            return
        kinds = self._database.execute(
            f"SELECT id, oldest, newest FROM kind k WHERE oldest < ? AND newest >= ?{where}",  # noqa: S608
            (self._span.high, self._span.low, *values),
        ).fetchall()
        yield from self._merged(kinds)

    def _merged(self, kinds: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, int]]:
        sign, span = self._sign, self._span
        # An unopened kind stands where its first entry can be at best, before all that are really there.
        waiting: list[tuple[int, int, int]] = [
            (max(oldest, span.low) if sign > 0 else -min(newest, span.high - 1), _UNOPENED, kind)
            for kind, oldest, newest in kinds
        ]
        heapq.heapify(waiting)
        opened: dict[int, Iterator[tuple[int, int]]] = {}
        while waiting:
            time, place, kind = waiting[0]
            if place == _UNOPENED:
                opened[kind] = self._read("entry", "kind = ?", (kind,))
            else:
                yield sign * time, sign * place
            following = next(opened[kind], None)
            if following is None:
                heapq.heappop(waiting)
                del opened[kind]
            else:
                heapq.heapreplace(waiting, (sign * following[0], sign * following[1], kind))

    def _read(self, table: str, where: str, values: Sequence[object]) -> Iterator[tuple[int, int]]:
        """Yield time and place of the rows of a table in order, some at a time: no statement stays open."""
        beyond, order = (">", "ASC") if self._sign > 0 else ("<", "DESC")
        query = (
            f"SELECT time, place FROM {table} WHERE {where} AND time >= ? AND time < ? "  # noqa: S608  fixed texts
            f"AND (time, place) {beyond} (?, ?) ORDER BY time {order}, place {order} LIMIT ?"
        )
        last = (-_ALWAYS, -1) if self._sign > 0 else (_ALWAYS, -1)
        count = _FIRST_ROWS
        while True:
            rows = self._database.execute(query, (*values, self._span.low, self._span.high, *last, count)).fetchall()
            yield from rows
            if len(rows) < count:
                return
            last = rows[-1]
            count = min(4 * count, _MOST_ROWS)


def _kinds_where(database: sqlite3.Connection, wanted: EntryFilter) -> tuple[str, list[object]]:
    """Return what a kind ``k`` must fulfil, to be put behind another condition, and the values for it."""
    parts: list[str] = []
    values: list[object] = []
    for column, text in (
        ("principal", wanted.principal),
        ("outcome", wanted.outcome),
        ("reason", wanted.reason),
        ("alias", wanted.alias),
        ("purpose", wanted.purpose),
    ):
        if text:
            parts.append(f"k.{column} = (SELECT id FROM name WHERE text = ?)")  # noqa: S608
            values.append(stored(text))
    if wanted.key_id:
        parts.append("(SELECT id FROM name WHERE text = ?) IN (k.key_id, k.source_key_id)")
        values.append(stored(wanted.key_id))
    if wanted.method:
        numbers = _methods(database, wanted.method)
        parts.append(f"k.method IN ({', '.join(map(str, numbers))})")
    if wanted.changes:
        parts.append("k.phase = (SELECT id FROM name WHERE text = ?)")
        parts.append("k.outcome = (SELECT id FROM name WHERE text = ?) AND NOT k.dry_run")
        values += [b"outcome", b"ok"]
    return "".join(f" AND {part}" for part in parts), values


def _methods(database: sqlite3.Connection, method: str) -> list[int]:
    """Return the names that are a method, by its full name or by what is after the last slash of it."""
    rows = database.execute("SELECT DISTINCT m.id, m.text FROM kind k JOIN name m ON m.id = k.method").fetchall()
    raw = stored(method)
    return [number for number, text in rows if raw in (text, text.rpartition(b"/")[2])]
