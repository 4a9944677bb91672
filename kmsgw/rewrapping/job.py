"""The job: read a batch, ask the gateway, record the intent, store, record what was done. Resumable at any point."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from threading import Event
from typing import Generic, cast

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.envelope.format import parse_envelope
from kmsgw.errors import ConfigurationError
from kmsgw.model.context import EncryptionContext
from kmsgw.rewrapping.aside import Aside
from kmsgw.rewrapping.batch import Batch
from kmsgw.rewrapping.calls import Answered, Outcome, Rewrapper, RewrapRequest
from kmsgw.rewrapping.checkpoint import Checkpoint, JobRecord
from kmsgw.rewrapping.journal import Journal
from kmsgw.rewrapping.rows import R, Row, Source, Wrapping
from kmsgw.rewrapping.tally import Tally

_STALE_ROUNDS = 8
_STALE_SECONDS = 0.25


class Ending(Enum):
    """How a run ended: with the last row, asked to stop, or with more bad rows than it should go on with."""

    FINISHED = "finished"
    STOPPED = "stopped"
    TOO_MANY_BAD = "too many bad rows"


@dataclass(frozen=True, slots=True)
class Pace:
    """How a job goes: rows a batch, rows asked for a second (None is no limit), bad rows before it stops."""

    batch: int = 500
    rate: float | None = None
    max_bad: int = 1000

    @property
    def limit(self) -> int:
        """Rows a batch: about a second's worth where the rate is low, so that a stop or a crash costs no more."""
        return self.batch if self.rate is None else max(1, min(self.batch, math.ceil(self.rate)))


class Job(Generic[R]):
    """A job on a source with a journal: a new one, or the one that the journal tells of.

    Raises `ConfigurationError` where the journal is of another job. With `restart` an unfinished one is given up.
    """

    def __init__(
        self,
        source: Source[R],
        journal: Journal,
        *,
        aside: Callable[[], Path],
        restart: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._source = source
        self._journal = journal
        self._clock = clock
        state = journal.state
        self.resumed = bool(state.job) and not state.finished and not restart
        if self.resumed:
            self.record = JobRecord.from_json(state.job)
            if self.record.source != source.description():
                raise ConfigurationError(
                    [f"{journal.path}: the journal is of another job"],
                    advice="Give the options of that job, name another with --journal, or give it up with --restart.",
                )
        else:
            self.record = self._begin(aside)
        self.checkpoint = Checkpoint.from_json(journal.state.done)
        self._aside = Aside(self.record.aside)
        # What is newest is asked anew in each run: the key may have been rotated since.
        self._newest: dict[str, int] = {}

    @property
    def tally(self) -> Tally:
        """The counts of `checkpoint`."""
        return self.checkpoint.tally

    def run(
        self, rewrapper: Rewrapper, pace: Pace, stop: Event, progress: Callable[[Tally], None] = lambda _: None
    ) -> Ending:
        """Go on from the last checkpoint until an ending. `progress` is told the counts after each batch.

        Raises what the rewrapper's `check` or the source raises; what was answered before is stored.
        """
        self._recover()
        progress(self.tally)
        while not self._journal.state.sealed and not stop.is_set():
            if self.tally.set_aside.total() > pace.max_bad:
                return Ending.TOO_MANY_BAD
            began = self._clock.monotonic()
            rows = self._source.read(self.checkpoint.position, pace.limit)
            if not rows:
                self._journal.seal({"mark": self._source.seal()})
                self._finish()
                return Ending.FINISHED
            outcomes = self._ask(rows, rewrapper, stop)
            if outcomes:
                asked = rows[: len(outcomes)]
                batch = Batch.of(self.checkpoint.position, asked, outcomes)
                self._journal.intend(batch.to_json())
                self._store(batch, asked, {each.place: each.wrapping for each in batch.changes}, began)
                progress(self.tally)
            rewrapper.check()
        if self._journal.state.sealed:
            self._finish()
            return Ending.FINISHED
        return Ending.STOPPED

    def _begin(self, aside: Callable[[], Path]) -> JobRecord:
        if self._journal.state.job and not self._journal.state.finished:
            # First the journal: its positions must not be taken for those of the new job.
            self._journal.clear()
            self._source.discard()
        bad_rows = aside()
        if bad_rows.exists():
            raise ConfigurationError([f"{bad_rows}: is there already"], advice="Name a new file with --aside.")
        try:
            found = self._source.begin()
        except BaseException:
            self._source.discard()
            raise
        record = JobRecord(self._source.description(), found, bad_rows, self._clock.now())
        self._journal.begin(record.to_json())
        return record

    def _recover(self) -> None:
        """Go back to the last checkpoint, then do what the journal says was about to be done."""
        state = self._journal.state
        sealed = {"sealed": state.sealed["mark"]} if state.sealed else {}
        self._source.resume(self.record.found, {**self.checkpoint.source, **sealed})
        self._aside.cut(self.checkpoint.aside_bytes)
        if not state.intent:
            return
        began = self._clock.monotonic()
        batch = Batch.from_json(state.intent)
        rows = self._source.read_again(batch.start, batch.count, [each.place for each in batch.changes])
        stored = {row.place: row.digest() for row in rows}
        waiting = {each.place: each.wrapping for each in batch.changes if stored.get(each.place) == each.old}
        lost = [each.place for each in batch.changes if stored.get(each.place) not in {each.old, each.new}]
        self._store(batch, rows, waiting, began, lost)

    def _store(
        self,
        batch: Batch,
        rows: Sequence[R],
        wrappings: Mapping[str, Wrapping],
        began: float,
        lost: Sequence[str] = (),
    ) -> None:
        """Store new wrappings and count everything; `lost` are rows that hold neither the old value nor the new."""
        unapplied = self._source.apply(rows, wrappings)
        left_alone = {*lost, *(place for place, fault in unapplied.items() if fault is None)}
        faults = [*batch.faults, *((place, fault) for place, fault in unapplied.items() if fault is not None)]
        self._aside.add(faults)
        tally = self.tally
        tally.moves.update(batch.already)
        tally.moves.update(
            each.move for each in batch.changes if each.place not in left_alone and each.place not in unapplied
        )
        tally.set_aside.update(fault.reason for _, fault in faults)
        tally.left_alone += len(left_alone) + batch.gone
        tally.empty += batch.empty
        tally.seconds += self._clock.monotonic() - began
        self.checkpoint = Checkpoint(batch.end, self._source.state(), self._aside.size, tally, self._clock.now())
        self._journal.settle(self.checkpoint.to_json())

    def _finish(self) -> None:
        sealed = self._journal.state.sealed
        self._source.replace(cast("str", sealed["mark"]), changed=self.tally.rewrapped > 0)
        self._journal.finish(self.checkpoint.to_json())

    def _ask(self, rows: Sequence[R], rewrapper: Rewrapper, stop: Event) -> Sequence[Outcome]:
        """Return the outcomes of the rows, up to the first that was not asked because the job stops."""
        outcomes: list[Outcome] = [self._known(row) for row in rows]
        asking = [at for at, row in enumerate(rows) if _askable(row) and outcomes[at] is None]
        for _ in range(_STALE_ROUNDS):
            requests = [RewrapRequest(rows[at].header, _context(rows[at])) for at in asking]
            for at, outcome in zip(asking, rewrapper.rewrap(requests, stop), strict=True):
                outcomes[at] = outcome
                if isinstance(outcome, Answered):
                    newest = max(outcome.wrapping.key_version, self._newest.get(outcome.key_id, 0))
                    self._newest[outcome.key_id] = newest
            # Right after a rotation some workers answer with the version before for a moment.
            asking = [at for at in asking if self._is_stale(outcomes[at])]
            if not asking or stop.wait(_STALE_SECONDS):
                break
        for at, row in enumerate(rows):
            if _askable(row) and outcomes[at] is None:
                return outcomes[:at]
        return outcomes

    def _known(self, row: Row) -> Outcome:
        """Return the answer for an envelope under the very version that the gateway named as newest; no call."""
        if not _askable(row):
            return None
        envelope = parse_envelope(row.header, payload_optional=True)
        if envelope.key_version != self._newest.get(envelope.key_id):
            return None
        return Answered(envelope.key_id, envelope.key_version, Wrapping(envelope.key_version, envelope.wrapped))

    def _is_stale(self, outcome: Outcome) -> bool:
        return isinstance(outcome, Answered) and outcome.wrapping.key_version < self._newest[outcome.key_id]


def _askable(row: Row) -> bool:
    return bool(row.header) and row.fault is None and not row.gone


def _context(row: Row) -> EncryptionContext:
    assert row.context is not None
    return row.context
