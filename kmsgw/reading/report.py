"""A report of what audit logs say of a period, each log verified whole before it is believed."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kmsgw.errors import AuditDamaged, KmsgwError
from kmsgw.reading.figures import Figures, Period
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import TILE_HASHES
from kmsgw.tlog.note import Note, VerifierKey
from kmsgw.tlog.reader import Fetch, LogReader
from kmsgw.tlog.search import ORDER_SLACK, entries_between
from kmsgw.tlog.tiles import CHECKPOINT_PATH
from kmsgw.tlog.verification import verify_log

_TOLD_EACH = 64 * TILE_HASHES

Progress = Callable[[str, int, int], None]
"""Told of which log how many entries of how many are done; twice for each log, for it is verified, then read."""


@dataclass(frozen=True, slots=True)
class ReportedLog:
    """A log to report of: its short name, how its files are read, its key, and whether that came another way."""

    name: str
    fetch: Fetch
    verifier: VerifierKey
    key_given: bool


@dataclass(frozen=True, slots=True)
class Cosignature:
    """Whoever else signed a checkpoint. ``checked`` says that the signature is of a key that was given for it."""

    name: str
    checked: bool


@dataclass(frozen=True, slots=True)
class LogState:
    """What was found of a log. ``fault`` is empty where every entry, tile and signature holds; ``root`` is base64.

    ``read`` is how many of its entries are of the period; ``pruned`` says how many were removed by age.
    """

    name: str
    origin: str
    key_given: bool
    size: int = 0
    root: str = ""
    fault: str = ""
    pruned: int = 0
    read: int = 0
    cosignatures: tuple[Cosignature, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What happened in a period, and how far the logs that say so can be relied on. ``made`` is when it was written."""

    made: datetime
    period: Period
    logs: Sequence[LogState]
    figures: Figures

    @property
    def sound(self) -> bool:
        """Whether every log verified."""
        return not any(log.fault for log in self.logs)


def make_report(
    logs: Sequence[ReportedLog],
    since: datetime | None,
    until: datetime | None,
    made: datetime,
    *,
    witnesses: Sequence[VerifierKey] = (),
    progress: Progress | None = None,
) -> Report:
    """Verify the logs and count their entries. Without a time, the period begins or ends with the entries.

    A log that is damaged is in the report with its fault, and what of it can be read up to there. Memory does not grow
    with the logs.
    """
    period = _period(logs, since, until, made)
    figures = Figures(period)
    states = [_state(log, figures, witnesses, progress) for log in logs]
    return Report(made, period, states, figures)


def _period(logs: Sequence[ReportedLog], since: datetime | None, until: datetime | None, made: datetime) -> Period:
    first, last = since, until
    for log in logs:
        if since is not None and until is not None:
            break
        ends = _ends(log)
        if ends is None:
            continue
        if since is None:
            first = ends[0] if first is None else min(first, ends[0])
        if until is None:
            last = ends[1] if last is None else max(last, ends[1])
    end = last or made
    begin = first or end - timedelta(days=1)
    if since is None:
        # Steps that begin where people expect them to.
        begin = begin.replace(minute=0, second=0, microsecond=0)
        if end - begin > timedelta(days=2):
            begin = begin.replace(hour=0)
    return Period(begin, max(end, begin + timedelta(microseconds=1)))


def _ends(log: ReportedLog) -> tuple[datetime, datetime] | None:
    """Return a time before all of the log's entries and one after all; None where it holds none that can be read."""
    try:
        reader = LogReader(log.fetch)
        reader.checkpoint(log.verifier)
        pruning = reader.pruning()
        begin = pruning.before if pruning is not None else 0
        tail = max(begin, reader.size - 16 * TILE_HASHES)
        early = [_time(raw) for _, raw in reader.entries(begin, begin + TILE_HASHES)]
        late = [_time(raw) for _, raw in reader.entries(tail)]
    except AuditDamaged:
        return None
    times = [time for time in (*early, *late) if time is not None]
    if not times:
        return None
    return min(times).replace(microsecond=0), max(times) + timedelta(microseconds=1)


def _time(raw: bytes) -> datetime | None:
    return LoggedEntry.parse("", 0, raw).time


def _state(log: ReportedLog, figures: Figures, witnesses: Sequence[VerifierKey], progress: Progress | None) -> LogState:
    origin = log.verifier.name
    before = figures.entries
    fault = ""
    size, root, pruned = 0, "", 0
    told = None if progress is None else lambda done, total: progress(f"{log.name}, verified", done, total)
    try:
        verified = verify_log(log.fetch, log.verifier, told)
        size, root = verified.size, b64encode(verified.root).decode()
        if verified.pruning is not None:
            pruned = verified.pruning.before - verified.pruning.count
    except AuditDamaged as error:
        fault = error.message
    try:
        _read(log, figures, progress)
    except AuditDamaged as error:
        fault = fault or error.message
    return LogState(
        name=log.name,
        origin=origin,
        key_given=log.key_given,
        size=size,
        root=root,
        fault=fault,
        pruned=pruned,
        read=figures.entries - before,
        cosignatures=_cosignatures(log, witnesses),
    )


def _read(log: ReportedLog, figures: Figures, progress: Progress | None) -> None:
    reader = LogReader(log.fetch)
    reader.checkpoint(log.verifier)
    origin, period = reader.origin, figures.period
    span = entries_between(reader, period.since, period.until, slack=ORDER_SLACK)
    for begin in range(span.start, span.stop, _TOLD_EACH):
        end = min(begin + _TOLD_EACH, span.stop)
        for index, raw in reader.entries(begin, end):
            figures.add(origin, index, raw)
        if progress is not None:
            progress(f"{log.name}, read", end - span.start, len(span))


def _cosignatures(log: ReportedLog, witnesses: Sequence[VerifierKey]) -> tuple[Cosignature, ...]:
    try:
        note = Note.parse(log.fetch(CHECKPOINT_PATH), CHECKPOINT_PATH)
    except (AuditDamaged, OSError):
        return ()
    found: list[Cosignature] = []
    for each in note.signatures:
        if (each.name, each.key_id) == (log.verifier.name, log.verifier.key_id):
            continue
        key = next((key for key in witnesses if (key.name, key.key_id) == (each.name, each.key_id)), None)
        try:
            checked = key is not None and key.verifies(each.signature, note.body)
        except KmsgwError:
            checked = False  # a kind of signature that this machine's library does not know
        found.append(Cosignature(each.name, checked))
    return tuple(found)
