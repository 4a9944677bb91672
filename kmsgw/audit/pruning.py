"""Pruning a log: entry bundles past their age go, hashes and longer-kept entries stay, and the log records it first.

The order makes every crash harmless. Kept bundles are written; the intent is durable and signed for; the file
``pruned`` says what the intent says, under signatures of its own; only then anything is removed, and the outcome
recorded. Stopped before the file is there, nothing was removed, and the intent excuses nothing: without the file it is
an intent. Stopped after it, `LogPruner.finish` removes the rest. A file of its own, ``pruning``, is
there meanwhile.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from kmsgw.audit.log import DurableLog
from kmsgw.audit.record import AuditRecord, Outcome, Phase
from kmsgw.audit.retention import Cutoffs, Retention
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.durable_files import discard_aside, make_folder, read_file, sync_folder, write_file
from kmsgw.errors import AuditUnavailable
from kmsgw.model.request_id import new_request_id
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import TILE_HASHES
from kmsgw.tlog.pruned import (
    PRUNE_METHOD,
    PRUNED_PATH,
    Pruning,
    decode_kept,
    encode_kept,
    kept_path,
    runs_of,
)
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.search import find_request
from kmsgw.tlog.tiles import bundle_path

BUNDLES_AT_ONCE: Final = 4096
"""Bundles that one pruning looks at: a million entries, and one pair of entries in the log."""

_PARSED_AT_ONCE: Final = 32
_UNDER_WAY: Final = "pruning"
_ROOM_ADVICE: Final = "Make room on the disk of the audit log; the next round prunes."
_NOTHING: Final = Pruning(0, (), 0)


@dataclass(frozen=True, slots=True)
class PruningPlan:
    """What a pruning would do: prune the entries ``before``, but those in ``kept``.

    ``bundles`` go whole. ``fresh`` are the entries of them to be kept, by bundle and place. ``expired`` are entries
    that were kept so far. ``first`` and ``last`` are the times of the entries that go. ``removed`` counts these.
    """

    before: int
    kept: Sequence[range]
    bundles: range
    fresh: Mapping[int, Mapping[int, bytes]] = field(repr=False)
    expired: Sequence[int] = field(repr=False)
    removed: int
    first: datetime | None
    last: datetime | None


def plan_pruning(
    reader: LogReader,
    cutoffs: Cutoffs,
    floor: int,
    *,
    most: int = BUNDLES_AT_ONCE,
    pause: Callable[[], None] = lambda: None,
    hold: bool = True,
) -> PruningPlan | None:
    """Return what of a log is past its age, at most so many bundles; None where nothing is.

    Only entries before `floor` go: others have not got what comes after it yet. Every entry that goes is compared with
    the signed tree before: raises `AuditDamaged` rather than tidy a damage away. `pause` is called again and again.
    Without `hold` the plan is to look at alone, and does not hold the bytes of what is kept.
    """
    latest = cutoffs.latest
    if latest is None:
        return None
    old = reader.pruning() or _NOTHING
    start = old.before // TILE_HASHES
    ages = _Ages()
    fresh: dict[int, dict[int, bytes]] = {}
    end = start
    while end < min(start + most, floor // TILE_HASHES, reader.size // TILE_HASHES):
        entries = _parsed(reader.bundle(end), pause)
        newest = max((each.time for each in entries if each.time is not None), default=None)
        if newest is None or newest >= latest:
            break
        keep = {
            place: entry.raw if hold else b""
            for place, entry in enumerate(entries)
            if not ages.is_past(entry, newest, cutoffs)
        }
        if keep:
            fresh[end] = keep
        end += 1
        pause()
    expired = list(_expired(reader, old, cutoffs, ages, pause))
    if end == start and not expired:
        return None
    gone = set(expired)
    kept = [index for run in old.kept for index in run if index not in gone]
    kept += [bundle * TILE_HASHES + place for bundle, places in fresh.items() for place in places]
    return PruningPlan(
        end * TILE_HASHES, runs_of(kept), range(start, end), fresh, expired, ages.removed, ages.first, ages.last
    )


def _parsed(bundle: Sequence[bytes], pause: Callable[[], None]) -> list[LoggedEntry]:
    """Return the entries of a bundle, with a pause after each quarter of a millisecond."""
    entries: list[LoggedEntry] = []
    for at in range(0, len(bundle), _PARSED_AT_ONCE):
        entries += [LoggedEntry.parse("", 0, raw) for raw in bundle[at : at + _PARSED_AT_ONCE]]
        pause()
    return entries


@dataclass(slots=True)
class _Ages:
    """The entries that go: how many, from when to when."""

    removed: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def is_past(self, entry: LoggedEntry, newest: datetime, cutoffs: Cutoffs) -> bool:
        """Tell whether an entry goes, and count it. One without a time is as old as the newest of its bundle."""
        time = entry.time or newest
        if cutoffs.keeps(entry, time):
            return False
        self.removed += 1
        self.first = min(self.first or time, time)
        self.last = max(self.last or time, time)
        return True


def _expired(
    reader: LogReader, old: Pruning, cutoffs: Cutoffs, ages: _Ages, pause: Callable[[], None]
) -> Iterator[int]:
    """Yield what was kept and is past its age now. Ends with the first bundle of which nothing is: they rise in age."""
    bundles = sorted({bundle for run in old.kept for bundle in _bundles(run)})
    for bundle in bundles:
        start = bundle * TILE_HASHES
        entries = [
            (index, LoggedEntry.parse("", index, raw))
            for index, raw in reader.entries(start, start + TILE_HASHES)
            if old.next_kept(index) == index
        ]
        newest = max((each.time for _, each in entries if each.time is not None), default=None)
        if newest is None:
            continue
        found = [index for index, entry in entries if ages.is_past(entry, newest, cutoffs)]
        if not found:
            return
        yield from found
        pause()


def _bundles(run: range) -> range:
    return range(run.start // TILE_HASHES, (run.stop - 1) // TILE_HASHES + 1)


class LogPruner:
    """Prunes the log that this process writes. For one thread, beside the calls; nothing here holds up an entry."""

    def __init__(
        self,
        folder: Path,
        log: DurableLog,
        retention: Retention,
        *,
        floors: Sequence[Callable[[], int]] = (),
        reason: str = "age",
        clock: Clock = SYSTEM_CLOCK,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        """Prune `log`, which lies in `folder`. Each of `floors` returns how many entries somebody else has got.

        `reason` is recorded. `pause` is called again and again; what it raises stops the pruning, for `finish`.
        """
        self._folder = folder
        self._log = log
        self._retention = retention
        self._floors = tuple(floors)
        self._reason = reason
        self._clock = clock
        self._pause = pause

    def prune(self, now: datetime) -> PruningPlan | None:
        """Do one pruning and return what it did; None where nothing is past its age.

        Raises `AuditDamaged` where what is to go is not what was logged, `AuditUnavailable` where it can't be recorded,
        and OSError where files can't be written or removed.
        """
        self.finish()
        cutoffs = self._retention.cutoffs(now)
        floor = min((each() for each in self._floors), default=self._log.checkpoint_size)
        plan = plan_pruning(self._reader(), cutoffs, floor, pause=self._pause)
        if plan is None:
            return None
        request_id = new_request_id(now)
        # Noted before the intent: whoever comes after a crash need not look through the log for one without outcome.
        write_file(self._folder / _UNDER_WAY, request_id.encode())
        sync_folder(self._folder)
        self._write_kept(plan)
        pruning = self._intend(plan, cutoffs, request_id, now)
        write_file(self._folder / PRUNED_PATH, pruning.encode())
        sync_folder(self._folder)
        self._remove(pruning)
        self._conclude(pruning, request_id, plan.removed)
        self._done()
        return plan

    def finish(self) -> None:
        """Do what a pruning that was stopped has left to do, and record its outcome. Raises what `prune` raises."""
        try:
            request_id = read_file(self._folder / _UNDER_WAY).decode("ascii")
        except FileNotFoundError:
            return
        reader = self._reader()
        pruning = reader.pruning()
        if pruning is not None and self._recorded_as(reader, pruning) == request_id:
            self._remove(pruning)
            self._conclude(pruning, request_id, None)
        elif find_request([reader], request_id):
            # What was not put in place was not done: its signatures must not lie about.
            discard_aside(self._folder / PRUNED_PATH)
            sync_folder(self._folder)
            self._conclude(pruning or _NOTHING, request_id, 0, Outcome.FAILED)
        self._done()

    def _recorded_as(self, reader: LogReader, pruning: Pruning) -> str:
        ((_, raw),) = reader.entries(pruning.entry, pruning.entry + 1)
        return LoggedEntry.parse("", pruning.entry, raw).text("request_id")

    def _done(self) -> None:
        (self._folder / _UNDER_WAY).unlink()

    def _reader(self) -> LogReader:
        reader = LogReader(self._fetch)
        reader.checkpoint(self._log.verifier)
        return reader

    def _fetch(self, path: str) -> bytes:
        return read_file(self._folder / path)

    def _write_kept(self, plan: PruningPlan) -> None:
        folders: set[Path] = set()
        for bundle, entries in plan.fresh.items():
            path = self._folder / kept_path(bundle)
            if path.parent not in folders:
                make_folder(path.parent, below=self._folder)
                folders.add(path.parent)
            write_file(path, encode_kept(entries))
            self._pause()
        for each in folders:
            sync_folder(each)

    def _intend(self, plan: PruningPlan, cutoffs: Cutoffs, request_id: str, now: datetime) -> Pruning:
        """Record the pruning, and return it once the signed tree holds the record."""
        pruning = Pruning(plan.before, plan.kept, 0)
        raw = self._record(
            request_id,
            now,
            Phase.INTENT,
            {
                **pruning.change,
                "bundles": f"{plan.bundles.start}-{plan.bundles.stop - 1}" if plan.bundles else "",
                "entries": plan.removed,
                "first": _text(plan.first),
                "last": _text(plan.last),
                "operations_before": _text(cutoffs.operations),
                "acts_before": _text(cutoffs.acts),
                "reason": self._reason,
            },
        )
        ticket = self._log.append(raw)
        self._log.wait(ticket)
        self._log.integrate()
        reader = self._reader()
        # Behind the ticket where the disk was full meanwhile: entries that were dropped have no index.
        for index, entry in reader.entries(max(0, ticket - self._log.dropped), ticket + 1):
            if entry == raw:
                done = Pruning(plan.before, plan.kept, index)
                return done.signed(self._log.signature_lines(done.signed_text))
        raise AuditUnavailable("The pruning is recorded, and not signed for yet.", advice=_ROOM_ADVICE)

    def _conclude(self, pruning: Pruning, request_id: str, removed: int | None, outcome: Outcome = Outcome.OK) -> None:
        change = dict(pruning.change) if removed is None else {**pruning.change, "entries": removed}
        raw = self._record(request_id, self._clock.now(), Phase.OUTCOME, change, outcome)
        self._log.wait(self._log.append(raw))

    def _record(
        self, request_id: str, now: datetime, phase: Phase, change: Mapping[str, object], outcome: Outcome = Outcome.OK
    ) -> bytes:
        status = "OK" if outcome is Outcome.OK else "UNAVAILABLE"
        return AuditRecord(now, request_id, None, PRUNE_METHOD, outcome, status, phase=phase, change=change).encode()

    def _remove(self, pruning: Pruning) -> None:
        """Remove what is pruned: bundles, what is left of partial ones, and kept entries that are kept no more."""
        for bundle in self._present("tile/entries", pruning.before // TILE_HASHES):
            self._require_kept(pruning, bundle)
            path = self._folder / bundle_path(bundle)
            path.unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                shutil.rmtree(path.with_name(f"{path.name}.p"))
            self._drop_empty(path.parent)
            self._pause()
        for bundle in self._present("kept", pruning.before // TILE_HASHES):
            self._trim(pruning, bundle)
        # Short of its limit, the write-ahead file may hold entries for months that are gone here.
        self._log.renew_write_ahead()
        self._log.integrate()

    def _require_kept(self, pruning: Pruning, bundle: int) -> None:
        """Raise `AuditDamaged` unless all that must be kept of a bundle is in its kept bundle."""
        wanted = set(pruning.places(bundle))
        path = kept_path(bundle)
        if wanted and not wanted <= decode_kept(self._fetch(path), path).keys():
            raise damaged(f"{path}: entries that were to be kept are missing.")

    def _trim(self, pruning: Pruning, bundle: int) -> None:
        path = self._folder / kept_path(bundle)
        entries = decode_kept(read_file(path), str(path))
        wanted = set(pruning.places(bundle))
        if not wanted:
            path.unlink()
            self._drop_empty(path.parent)
        elif entries.keys() != wanted:
            write_file(path, encode_kept({place: raw for place, raw in entries.items() if place in wanted}))

    def _present(self, top: str, end: int) -> list[int]:
        """Return the numbers before `end` of the bundles that are there, whole or in part."""
        root = self._folder / top
        found: set[int] = set()
        for name, folders, files in os.walk(root):
            folder = Path(name)
            parts = folder.relative_to(root).parts
            if folder.suffix == ".p":
                folders.clear()
                found.add(int("".join(parts).replace("x", "").removesuffix(".p")))
                continue
            stem = "".join(parts).replace("x", "")
            found |= {int(stem + each) for each in files if each.isdecimal()}
        return sorted(number for number in found if number < end)

    def _drop_empty(self, folder: Path) -> None:
        root = self._folder / "tile" / "entries"
        with suppress(OSError):
            while folder != root and folder.is_relative_to(self._folder) and folder != self._folder:
                folder.rmdir()
                folder = folder.parent


def _text(time: datetime | None) -> str:
    return time.isoformat() if time is not None else ""
