"""A report of what audit logs say of a period, each log verified whole before it is believed."""

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from kmsgw.errors import AuditDamaged, InvalidRequest
from kmsgw.reading.figures import Figures, Period
from kmsgw.tlog.cosigned import newest_cosignature
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import SIZE_LIMIT, TILE_HASHES
from kmsgw.tlog.note import Note, NoteSignature, VerifierKey
from kmsgw.tlog.reader import Fetch, LogReader
from kmsgw.tlog.search import ORDER_SLACK, entries_between, shifted
from kmsgw.tlog.tiles import CHECKPOINT_PATH, cosigned_path
from kmsgw.tlog.verification import Taking, VerifiedLog, verify_log

Progress = Callable[[str, int, int], None]
"""Told of which log how many entries of how many are verified and counted."""


@dataclass(frozen=True, slots=True)
class ReportedLog:
    """A log to report of: its short name, how its files are read, its key, and whether that came another way.

    ``cosigned`` are the paths of the copies of its checkpoints that witnesses cosigned, as far as there are any.
    """

    name: str
    fetch: Fetch
    verifier: VerifierKey
    key_given: bool
    cosigned: Sequence[str] = ()


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
    """A signature of a checkpoint that is not the log's own. A witness with keys of two kinds has two of them.

    Where it is verified, it is the newest of its key: of the first ``size`` entries, at ``time``, if it says one.
    ``fault`` says what is wrong with it.
    """

    name: str
    state: CosignatureState
    size: int = 0
    time: datetime | None = None
    fault: str = ""


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
        figures, state, verified = _state(log, figures, (since, until), progress)
        states.append(_with_cosignatures(state, _cosignatures(log, witnesses, verified)))
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
) -> tuple[Figures, LogState, VerifiedLog | None]:
    """Return the figures with those of one log, what was found of it, and what it was verified as, if it was.

    It is read once: counted while it is verified. Where it turns out to be damaged, what was counted is forgotten, and
    what of it can be read by its signed tree up to the damage is counted anew.
    """
    before = figures.entries
    state = LogState(log.name, log.verifier.name, log.key_given)
    counted = figures.copy()
    told = None if progress is None else partial(progress, log.name)
    verified: VerifiedLog | None = None
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
    return counted, replace(state, read=counted.entries - before), verified


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


def _cosignatures(
    log: ReportedLog, witnesses: Sequence[VerifierKey], verified: VerifiedLog | None
) -> tuple[Cosignature, ...]:
    """Return the newest cosignature of each key, as far as this can be told of a log that did not verify."""
    keys = {(key.name, key.key_id): key for key in witnesses}
    if verified is None:
        return tuple(
            Cosignature(each.name, _state_of(each, keys.get((each.name, each.key_id)), note.body))
            for note in _notes(log, (CHECKPOINT_PATH,))
            for each in note.signatures
            if each.name != log.verifier.name
        )
    paths = dict.fromkeys((CHECKPOINT_PATH, *log.cosigned, *(cosigned_path(key.key_id) for key in witnesses)))
    signers = dict.fromkeys((each.name, each.key_id) for note in _notes(log, paths) for each in note.signatures)
    return tuple(
        _newest(log, verified, keys[signer]) if signer in keys else Cosignature(signer[0], CosignatureState.NOT_CHECKED)
        for signer in signers
        if signer[0] != log.verifier.name  # the log's own, of each of its kinds of key
    )


def _notes(log: ReportedLog, paths: Iterable[str]) -> Iterator[Note]:
    for path in paths:
        with suppress(AuditDamaged, OSError):
            yield Note.parse(log.fetch(path), path)


def _newest(log: ReportedLog, verified: VerifiedLog, key: VerifierKey) -> Cosignature:
    """Return the newest cosignature of a key that signed one of the log's notes, by its own word."""
    try:
        found = newest_cosignature(log.fetch, log.verifier, verified, key)
    except InvalidRequest:
        return Cosignature(key.name, CosignatureState.UNREADABLE)
    except AuditDamaged as error:
        return Cosignature(key.name, CosignatureState.WRONG, fault=error.message)
    if found is None:  # in a file that is named for another key, or replaced meanwhile
        return Cosignature(key.name, CosignatureState.NOT_CHECKED)
    return Cosignature(key.name, CosignatureState.VERIFIED, found.size, found.time)


def _state_of(signature: NoteSignature, key: VerifierKey | None, body: bytes) -> CosignatureState:
    if key is None:
        return CosignatureState.NOT_CHECKED
    try:
        return CosignatureState.VERIFIED if key.verifies(signature.signature, body) else CosignatureState.WRONG
    except InvalidRequest:
        return CosignatureState.UNREADABLE


def _with_cosignatures(state: LogState, found: Sequence[Cosignature]) -> LogState:
    wrong = [each.fault or f"The cosignature of {each.name} is wrong." for each in found if _is_wrong(each)]
    return replace(state, cosignatures=tuple(found), fault=state.fault or " ".join(dict.fromkeys(wrong)))


def _is_wrong(cosignature: Cosignature) -> bool:
    return cosignature.state is CosignatureState.WRONG
