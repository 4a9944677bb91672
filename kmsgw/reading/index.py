"""An index over audit logs: brought up to date from their signed trees, and thrown away where it contradicts itself.

For each log it keeps the signed checkpoint that it stands on. A log that has become smaller since, or that does not
begin with what that checkpoint says, is damaged: both checkpoints are signed by the log's own key. Of a log that
is lost the index keeps what it has; that can't be verified any more, so it is never shown.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from kmsgw.errors import AuditDamaged, KmsgwError
from kmsgw.reading.index_file import ENTRY_BITS, TIME_BASE, IndexDamagedError, reading_database
from kmsgw.reading.index_pruning import let_go_of_pruned
from kmsgw.reading.kinds import Described, Describer, Kind
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.proofs import verify_consistency
from kmsgw.tlog.reader import LogReader

BATCH = 262_144
"""Entries that are put into the index in one transaction.

Kinds are many and far apart in the file, so each transaction writes most of it anew: fewer are quicker.
"""

_KNOWN_KINDS = 200_000
_FIELDS = Kind._fields[:-1]
_ADD_KIND = (
    f"INSERT INTO kind ({', '.join(Kind._fields)}, oldest, newest, entries) "  # noqa: S608  names of this module's own
    f"VALUES ({', '.join('?' * len(Kind._fields))}, ?, ?, 0)"
)
_FIND_KIND = f"SELECT id FROM kind WHERE {' AND '.join(f'{name} = ?' for name in Kind._fields)}"  # noqa: S608

Progress = Callable[[str, int, int], None]
"""Told of which log how many entries of how many are in the index."""


@dataclass(frozen=True, slots=True)
class SourceLog:
    """A log to be indexed: a reader that has read its checkpoint, and the key that it was read with."""

    reader: LogReader
    verifier: VerifierKey


class LogGoneError(AuditDamaged):
    """A log is in the index, and is neither there any more nor known to be lost."""


def update(
    database: sqlite3.Connection,
    logs: Sequence[SourceLog],
    progress: Progress | None = None,
    *,
    lost: Collection[str] = (),
) -> int:
    """Put into the index what the logs have beyond it, and return how many entries that was.

    Only for one at a time. An end in the middle loses no more than the last batch. `lost` are origins of logs that need
    not be there any more: what the index has of them stays. Raises `AuditDamaged` for a log that shrank or forked,
    `LogGoneError`, and `IndexDamagedError`.
    """
    with reading_database():
        rows = {row[1]: _Indexed(*row) for row in database.execute("SELECT * FROM log")}
        _require_all(rows, logs, lost)
        _require_counts(database, rows.values())
        writer = _Writer(database)
        added = sum(_extend(database, writer, log, rows.get(log.reader.origin), progress) for log in logs)
        let_go_of_pruned(database, [log.reader for log in logs])
        return added


@dataclass(frozen=True, slots=True)
class _Indexed:
    """A row of the table of logs."""

    number: int
    origin: str
    verifier: str
    checkpoint: bytes
    indexed: int


def _require_all(rows: dict[str, _Indexed], logs: Sequence[SourceLog], lost: Collection[str]) -> None:
    missing = sorted(set(rows) - {log.reader.origin for log in logs} - set(lost))
    if missing:
        raise LogGoneError(f"The log {missing[0]} is in the index and is not there any more.")


def _require_counts(database: sqlite3.Connection, rows: Iterable[_Indexed]) -> None:
    # Not a proof, but what a half-written or mixed-up file fails at.
    (counted,) = database.execute("SELECT coalesce(sum(entries), 0) FROM kind").fetchone()
    if not 0 <= counted <= sum(row.indexed for row in rows):
        raise IndexDamagedError("its counts contradict each other")


def _extend(
    database: sqlite3.Connection, writer: "_Writer", log: SourceLog, row: _Indexed | None, progress: Progress | None
) -> int:
    reader = log.reader
    if row is None:
        with database:
            made = database.execute(
                "INSERT INTO log (origin, verifier, checkpoint, indexed) VALUES (?, ?, ?, 0)",
                (reader.origin, str(log.verifier), reader.signed_checkpoint),
            )
        number, start = made.lastrowid or 0, 0
    else:
        _require_continuation(log, row)
        number, start = row.number, row.indexed
    added = 0
    describe = Describer().describe
    for begin in range(start, reader.size, BATCH):
        end = min(begin + BATCH, reader.size)
        # Entries that were pruned are passed over.
        found = [((number << ENTRY_BITS) | index, describe(raw)) for index, raw in reader.entries(begin, end)]
        with database:
            writer.add(found)
            database.execute(
                "UPDATE log SET checkpoint = ?, indexed = ? WHERE id = ?", (reader.signed_checkpoint, end, number)
            )
        added += len(found)
        if progress is not None:
            progress(reader.origin, end, reader.size)
    return added


def _require_continuation(log: SourceLog, row: _Indexed) -> None:
    """Raise `AuditDamaged` unless the log begins with what the index stands on."""
    reader, origin = log.reader, row.origin
    if row.verifier != str(log.verifier):
        raise damaged(f"The verifier key of {origin} is not the one that the index was made with.")
    try:
        old = Checkpoint.open(row.checkpoint, log.verifier, "index")
    except KmsgwError as error:
        # Signed by that key when it was put there.
        raise IndexDamagedError(f"its checkpoint of {origin} is not signed") from error
    if old.size < row.indexed:
        raise IndexDamagedError(f"its checkpoint of {origin} is older than its entries")
    if reader.size < old.size:
        raise damaged(f"The log {origin} had {old.size} entries when it was indexed, and now has {reader.size}.")
    checkpoint = Checkpoint.open(reader.signed_checkpoint, log.verifier)
    if reader.size == old.size:
        if checkpoint.root != old.root:
            raise damaged(f"The log {origin} is not the one that was indexed: two roots are signed for {old.size}.")
    elif old.size:
        verify_consistency(old.size, old.root, reader.size, checkpoint.root, reader.consistency(old.size))


class _Writer:
    """Adds entries to the tables. Holds the numbers of a bounded number of kinds."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._kinds: dict[Kind, int] = {}
        self._names: dict[str, int] = {}

    def add(self, found: Sequence[tuple[int, Described]]) -> None:
        """Add entries by their places, in the transaction that is open."""
        kinds = {described.kind: [0, described.time, described.time] for _, described in found}
        for _, (kind, time, _, _) in found:
            seen = kinds[kind]
            seen[0] += 1
            if time < seen[1]:
                seen[1] = time
            elif time > seen[2]:
                seen[2] = time
        numbers = {kind: self._number(kind, seen[1] - TIME_BASE, seen[2] - TIME_BASE) for kind, seen in kinds.items()}
        add = self._database.executemany
        add(
            "UPDATE kind SET entries = entries + ?, oldest = min(oldest, ?), newest = max(newest, ?) WHERE id = ?",
            [(seen[0], seen[1] - TIME_BASE, seen[2] - TIME_BASE, numbers[kind]) for kind, seen in kinds.items()],
        )
        add(
            "INSERT INTO entry VALUES (?, ?, ?)",
            sorted((numbers[each.kind], each.time - TIME_BASE, place) for place, each in found),
        )
        add(
            "INSERT INTO request VALUES (?, ?)",
            sorted((each.request, place) for place, each in found if each.request is not None),
        )
        users = {each.end_user for _, each in found if each.end_user}
        names = {user: self._name(user) for user in users}
        add(
            "INSERT INTO end_user VALUES (?, ?, ?, ?)",
            sorted(
                (names[each.end_user], each.time - TIME_BASE, place, numbers[each.kind])
                for place, each in found
                if each.end_user
            ),
        )

    def _number(self, kind: Kind, oldest: int, newest: int) -> int:
        number = self._kinds.get(kind)
        if number is None:
            # Who asks for keys that are not there can make a kind with each call.
            if len(self._kinds) >= _KNOWN_KINDS:
                self._kinds.clear()
            fields = (*(self._name(getattr(kind, name)) for name in _FIELDS), kind.dry_run)
            row = self._database.execute(_FIND_KIND, fields).fetchone()
            number = row[0] if row else self._database.execute(_ADD_KIND, (*fields, oldest, newest)).lastrowid
            assert number is not None
            self._kinds[kind] = number
        return number

    def _name(self, text: str) -> int:
        number = self._names.get(text)
        if number is None:
            if len(self._names) >= _KNOWN_KINDS:
                self._names.clear()
            raw = stored(text)
            row = self._database.execute("SELECT id FROM name WHERE text = ?", (raw,)).fetchone()
            number = row[0] if row else self._database.execute("INSERT INTO name (text) VALUES (?)", (raw,)).lastrowid
            assert number is not None
            self._names[text] = number
        return number


def stored(text: str) -> bytes:
    """Return a text as the table of names has it: entries may hold what is not Unicode."""
    return text.encode("utf-8", "surrogatepass")
