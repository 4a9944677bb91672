"""From a worker's audit log to the usage in the database: nothing is lost, and nothing counted twice (docs/adr/0012).

In the database stands for each log how many of its entries the sums hold. Sums and that number are written in one
transaction, and only where the number is still the one that this worker knows. So a worker that died, a commit that
nobody knows the end of, and a database that was put back from a backup all end alike: what the log has beyond the
number is counted, once.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from kmsgw.errors import Conflict
from kmsgw.model.usage import Usage, UsageTally, VersionUsage
from kmsgw.operations.wrap_allowance import StoredWraps

FLUSH_SECONDS: Final = 1.0
"""How often what was counted goes to the database."""

GATHER_SECONDS: Final = 0.25
"""How often calls are summed up; until then a kilobyte is held for each."""

_REPLAYED_AT_ONCE: Final = 20_000
_ENTRIES_BEHIND: Final = 1000

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TakenUsage:
    """What a log's entries up to ``size`` say that were not taken before; ``refused`` are wraps of refused entries."""

    size: int
    tally: UsageTally
    refused: UsageTally


class UsageSource(Protocol):
    """One audit log, as far as it tells usage."""

    log_id: str
    """Names the log among those of all workers, nodes and times."""

    @property
    def size(self) -> int:
        """Entries that are durable."""

    def take(self) -> TakenUsage:
        """Return what the entries say that became durable since the last call."""

    def replay(self, start: int, end: int) -> UsageTally:
        """Return what the entries from `start` to before `end` say, read from disk."""


@dataclass(frozen=True, slots=True)
class NewestUsage:
    """What was done under a key's newest version, by the callers of all tenants."""

    key_id: str
    version: int
    usage: Usage


class UsageStore(Protocol):
    """Usage in the database. Every method raises `StateUnavailable` where that does not answer."""

    def counted(self, log_id: str) -> int:
        """Return how many entries of a log the sums hold."""

    def add(self, log_id: str, start: int, end: int, tally: UsageTally) -> Mapping[tuple[str, int], int]:
        """Add what the entries of a log from `start` to before `end` say.

        Return the wraps, by all workers, of the versions that the tally has wraps of. Raises `Conflict` where the sums
        don't hold exactly the entries before `start`.
        """

    def wraps(self, key_id: str, version: int) -> int:
        """Return the wraps under a version."""

    def of_key(self, key_id: str) -> Sequence[VersionUsage]:
        """Return what was done under each version of a key, newest version first, then by tenant."""

    def newest(self) -> Sequence[NewestUsage]:
        """Return what was done under the newest version of each key that was used."""


@dataclass(slots=True)
class _Batch:
    """What the entries from ``start`` to before ``end`` say. ``refused`` are wraps that no entry tells."""

    start: int
    end: int
    tally: UsageTally = field(default_factory=UsageTally)
    refused: UsageTally = field(default_factory=UsageTally)

    def extend(self, other: "_Batch") -> None:
        self.end = other.end
        self.tally.add(other.tally)
        self.refused.add(other.refused)

    def sums(self) -> UsageTally:
        made = UsageTally()
        made.add(self.tally)
        made.add(self.refused)
        return made


class UsageAccount:
    """Brings the usage that one log tells to the database. For one thread at a time."""

    def __init__(self, source: UsageSource, store: UsageStore, allowance: StoredWraps | None = None) -> None:
        self._source = source
        self._store = store
        self._allowance = allowance
        self._fresh = _Batch(0, 0)
        self._uncertain: _Batch | None = None

    def catch_up(self) -> None:
        """Add what the log has beyond the sums. Before the first call: what is taken later begins after it."""
        end = self._source.take().size
        self._fresh = _Batch(end, end)
        self._replay(end)

    def _replay(self, end: int) -> None:
        at = self._store.counted(self._source.log_id)
        if at > end:
            # Put back from an older copy. What the copy lacks was counted once; what comes now is not the same.
            _LOG.warning("%s has %d entries, and usage was counted up to %d", self._source.log_id, end, at)
            self._store.add(self._source.log_id, at, end, UsageTally())
        while at < end:
            upto = min(end, at + _REPLAYED_AT_ONCE)
            self._store.add(self._source.log_id, at, upto, self._source.replay(at, upto))
            at = upto

    def gather(self) -> None:
        """Sum up the calls since the last time."""
        taken = self._source.take()
        self._fresh.extend(_Batch(self._fresh.end, taken.size, taken.tally, taken.refused))

    def flush(self) -> None:
        """Bring what was gathered to the database. Raises `StateUnavailable` and keeps it where that fails."""
        self.gather()
        try:
            self._settle()
            self._write()
        except Conflict:
            _LOG.warning("usage of %s is counted anew from its entries", self._source.log_id)
            batch = self._uncertain or self._fresh
            batch.extend(self._fresh)
            self._told(batch.sums(), {})
            self._fresh, self._uncertain = _Batch(batch.end, batch.end, refused=batch.refused), None
            self._replay(batch.end)

    def _settle(self) -> None:
        """Find out what became of a commit whose end is not known."""
        batch = self._uncertain
        if batch is None:
            return
        counted = self._store.counted(self._source.log_id)
        if counted == batch.end and batch.end > batch.start:
            self._told(batch.sums(), {})
        else:
            # Where it was neither, writing is a conflict, and the entries are read again.
            batch.extend(self._fresh)
            self._fresh = batch
        self._uncertain = None

    def _write(self) -> None:
        batch = self._fresh
        if not batch.tally and not batch.refused and batch.end - batch.start < _ENTRIES_BEHIND:
            return
        sums = batch.sums()
        self._fresh, self._uncertain = _Batch(batch.end, batch.end), batch
        totals = self._store.add(self._source.log_id, batch.start, batch.end, sums)
        self._uncertain = None
        self._told(sums, totals)

    def _told(self, sums: UsageTally, totals: Mapping[tuple[str, int], int]) -> None:
        if self._allowance is not None:
            self._allowance.stored(sums.wraps(), totals)
