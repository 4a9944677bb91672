"""A report of what audit logs say of a period, each log verified whole before it is believed."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from kmsgw.errors import AuditDamaged, InvalidRequest
from kmsgw.reading.figures import Figures, Period
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import SIZE_LIMIT, TILE_HASHES
from kmsgw.tlog.note import Note, NoteSignature, VerifierKey
from kmsgw.tlog.reader import Fetch, LogReader
from kmsgw.tlog.search import ORDER_SLACK, entries_between, shifted
from kmsgw.tlog.tiles import CHECKPOINT_PATH
from kmsgw.tlog.verification import Taking, verify_log

Progress = Callable[[str, int, int], None]
"""Told of which log how many entries of how many are verified and counted."""


@dataclass(frozen=True, slots=True)
class ReportedLog:
    """A log to report of: its short name, how its files are read, its key, and whether that came another way."""

    name: str
    fetch: Fetch
    verifier: VerifierKey
    key_given: bool


class CosignatureState(StrEnum):
    """What is known of a cosignature."""

    VERIFIED = "verified"
    NOT_CHECKED = "not_checked"
    """No key was given for it."""
    UNREADABLE = "unreadable"
    """A key was given, and this machine's library does not know its kind of signature."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A signature of a checkpoint that is not the log's own. A witness with keys of two kinds has two of them."""

    name: str
    state: CosignatureState


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
class LostState:
    """A log that is not there any more, and that its node's signed index lists as lost: at least ``size`` entries.

    ``root``, of their tree, is base64.
    """

    origin: str
    size: int
    root: str


@dataclass(frozen=True, slots=True)
class Report:
    """What happened in a period, and how far the logs that say so can be relied on. ``made`` is when it was written.

    ``lost`` are logs that are acknowledged as lost, and ``findings`` what contradicts the signed indexes of the nodes:
    a log that is missing, or not listed.
    """

    made: datetime
    period: Period
    logs: Sequence[LogState]
    figures: Figures
    lost: Sequence[LostState] = ()
    findings: Sequence[str] = ()

    @property
    def sound(self) -> bool:
        """Whether every log verified, and is as the nodes' indexes list them."""
        return not self.findings and not any(log.fault for log in self.logs)


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

    A log that is damaged is in the report with its fault, and what of it can be read up to there; so is one with a
    cosignature that is wrong by a key of `witnesses`. Memory does not grow with the logs.
    """
    period = _period(logs, since, until, made)
    figures = Figures(period)
    states: list[LogState] = []
    for log in logs:
        figures, state = _state(log, figures, (since, until), progress)
        states.append(_with_cosignatures(state, _cosignatures(log, witnesses)))
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
    begin = first or shifted(end, timedelta(days=-1))
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
    except AuditDamaged:
        return None
    times = [*_times(reader, begin, begin + TILE_HASHES), *_times(reader, tail, reader.size)]
    if not times:
        return None
    return min(times).replace(microsecond=0), shifted(max(times), timedelta(microseconds=1))


def _times(reader: LogReader, start: int, end: int) -> list[datetime]:
    times: list[datetime] = []
    with suppress(AuditDamaged):  # told when the log is verified
        for index, raw in reader.entries(start, end):
            time = LoggedEntry.parse("", index, raw).time
            times += [time] if time is not None else []
    return times


def _state(
    log: ReportedLog, figures: Figures, asked: tuple[datetime | None, datetime | None], progress: Progress | None
) -> tuple[Figures, LogState]:
    """Return the figures with those of one log, and what was found of it.

    It is read once: counted while it is verified. Where it turns out to be damaged, what was counted is forgotten, and
    what of it can be read by its signed tree up to the damage is counted anew.
    """
    before = figures.entries
    state = LogState(log.name, log.verifier.name, log.key_given)
    counted = figures.copy()
    told = None if progress is None else partial(progress, log.name)
    try:
        taking = Taking(_span(log, asked), partial(counted.add, log.verifier.name))
        verified = verify_log(log.fetch, log.verifier, told, taking)
    except AuditDamaged as error:
        counted, state = figures, replace(state, fault=error.message)
        with suppress(AuditDamaged):  # told already
            _read(log, counted, asked)
    else:
        pruning = verified.pruning
        state = replace(
            state,
            size=verified.size,
            root=b64encode(verified.root).decode(),
            pruned=pruning.before - pruning.count if pruning is not None else 0,
        )
    return counted, replace(state, read=counted.entries - before)


def _span(log: ReportedLog, asked: tuple[datetime | None, datetime | None]) -> range:
    """Return the indexes of the entries that can be of the period; of a damaged log, which is told later, all."""
    if asked == (None, None):
        return range(SIZE_LIMIT)
    try:
        reader = LogReader(log.fetch)
        reader.checkpoint(log.verifier)
        return entries_between(reader, *asked, slack=ORDER_SLACK)
    except AuditDamaged:
        return range(SIZE_LIMIT)


def _read(log: ReportedLog, figures: Figures, asked: tuple[datetime | None, datetime | None]) -> None:
    reader = LogReader(log.fetch)
    reader.checkpoint(log.verifier)
    span = entries_between(reader, *asked, slack=ORDER_SLACK)
    for index, raw in reader.entries(span.start, span.stop):
        figures.add(reader.origin, index, raw)


def _cosignatures(log: ReportedLog, witnesses: Sequence[VerifierKey]) -> tuple[Cosignature, ...]:
    try:
        note = Note.parse(log.fetch(CHECKPOINT_PATH), CHECKPOINT_PATH)
    except (AuditDamaged, OSError):
        return ()
    found: list[Cosignature] = []
    for each in note.signatures:
        if each.name == log.verifier.name:  # the log's own, of each of its kinds of key
            continue
        key = next((key for key in witnesses if (key.name, key.key_id) == (each.name, each.key_id)), None)
        found.append(Cosignature(each.name, _state_of(each, key, note.body)))
    return tuple(found)


def _state_of(signature: NoteSignature, key: VerifierKey | None, body: bytes) -> CosignatureState:
    if key is None:
        return CosignatureState.NOT_CHECKED
    try:
        return CosignatureState.VERIFIED if key.verifies(signature.signature, body) else CosignatureState.WRONG
    except InvalidRequest:
        return CosignatureState.UNREADABLE


def _with_cosignatures(state: LogState, found: Sequence[Cosignature]) -> LogState:
    wrong = sorted({each.name for each in found if each.state is CosignatureState.WRONG})
    fault = f"The cosignature of {', '.join(wrong)} is wrong." if wrong else ""
    return replace(state, cosignatures=tuple(found), fault=state.fault or fault)
