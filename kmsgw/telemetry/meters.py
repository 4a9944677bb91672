"""Counting in a worker: plain integers under a lock, because each call pays for it.

A call costs about half a microsecond here, where prometheus_client takes 5 in one process and 10 across processes
(docs/adr/0018). What is counted is read once a second, and shown to others by `kmsgw.telemetry.board`.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, NamedTuple

from kmsgw.errors import KmsgwError, Reason, Status

SECONDS_BOUNDS: Final = tuple(round(1e-4 * 2 ** (step / 2), 6) for step in range(34))
"""Upper bounds of the buckets of durations: 100 µs to 9.3 s, two to a doubling: a quantile is at most 41 % off."""

COUNT_BOUNDS: Final = tuple(float(2**step) for step in range(11))
"""Upper bounds of the buckets of counts: 1 to 1,024."""

OTHER_METHOD: Final = "other"
"""Stands for every method that the gateway does not have: callers choose those names, and could choose a million."""

_FAILED: Final = frozenset({Status.UNAVAILABLE, Status.INTERNAL, Status.DEADLINE_EXCEEDED})


class Spread(NamedTuple):
    """A distribution as read: how many values were in each bucket, the last without bound, and their sum."""

    counts: tuple[int, ...]
    total: float


class Distribution:
    """Values in buckets of fixed bounds. Not safe for threads: its owner has the lock."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS_BOUNDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value. A bucket holds what is at most its bound."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def read(self) -> Spread:
        """Return what was counted."""
        return Spread(tuple(self.counts), self.total)


@dataclass(slots=True)
class Lookups:
    """How often a cache had what was asked for. Adding takes no lock: a count lost between threads does no harm."""

    hits: int = 0
    misses: int = 0


class CallKind(NamedTuple):
    """What calls are told apart by: method, and how they ended. ``reason`` is empty where they succeeded."""

    method: str
    status: str
    reason: str
    outcome: str


class CallMeter:
    """How many calls ended how, and how long they took. Safe for threads."""

    def __init__(self, methods: frozenset[str]) -> None:
        """Count each of `methods` by itself, and every other as `OTHER_METHOD`."""
        self._lock = threading.Lock()
        self._answered = {method: Distribution() for method in (*methods, OTHER_METHOD)}
        self._others: dict[CallKind, Distribution] = {}

    def ended(self, method: str, error: KmsgwError | None, seconds: float) -> None:
        """Count a call that ended now, its record durable, after so many seconds in the gateway."""
        spread = self._answered.get(method) if error is None else None
        if spread is None:
            spread = self._other(method, error)
        # Not `spread.add`: a call of a method would be half of the cost.
        place = bisect_left(SECONDS_BOUNDS, seconds)
        with self._lock:
            spread.counts[place] += 1
            spread.total += seconds

    def read(self) -> Mapping[CallKind, Spread]:
        """Return what was counted since the start."""
        with self._lock:
            found = {CallKind(method, "OK", "", "ok"): spread.read() for method, spread in self._answered.items()}
            found |= {kind: spread.read() for kind, spread in self._others.items()}
        return {kind: spread for kind, spread in found.items() if any(spread.counts)}

    def _other(self, method: str, error: KmsgwError | None) -> Distribution:
        known = method if method in self._answered else OTHER_METHOD
        if error is None:
            return self._answered[known]
        outcome = "failed" if error.status in _FAILED else "refused"
        kind = CallKind(known, error.status.value, error.reason.value, outcome)
        with self._lock:
            return self._others.setdefault(kind, Distribution())


class ProviderCall(NamedTuple):
    """What provider calls are told apart by. ``reason`` is empty where they succeeded."""

    provider: str
    verb: str
    reason: str


class ProviderMeter:
    """How many calls went to each key provider, how they ended, and how long they took. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spreads: dict[ProviderCall, Distribution] = {}
        self._watchers: tuple[Callable[[ProviderCall, float, float], None], ...] = ()

    def watch(self, watcher: Callable[[ProviderCall, float, float], None]) -> None:
        """Tell `watcher` of each call, in the thread that made it, with begin and end by `time.perf_counter`."""
        self._watchers = (*self._watchers, watcher)

    @contextmanager
    def calling(self, provider: str, verb: str) -> Iterator[None]:
        """Measure a block that calls a provider once."""
        began = perf_counter()
        reason = ""
        try:
            yield
        except KmsgwError as error:
            reason = error.reason.value
            raise
        except BaseException:
            reason = Reason.INTERNAL.value
            raise
        finally:
            ended = perf_counter()
            kind = ProviderCall(provider, verb, reason)
            with self._lock:
                self._spreads.setdefault(kind, Distribution()).add(ended - began)
            for watcher in self._watchers:
                watcher(kind, began, ended)

    def read(self) -> Mapping[ProviderCall, Spread]:
        """Return what was counted since the start."""
        with self._lock:
            return {kind: spread.read() for kind, spread in self._spreads.items()}


class AuditMeter:
    """How the audit log keeps up. Written by one thread at a time, the one that leads a flush; read by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries = Distribution(COUNT_BOUNDS)
        self._flush = Distribution()
        self._lag = Distribution()

    def flushed(self, entries: int, seconds: float, lag: float) -> None:
        """Count a group: its entries, how long its flush took, and for how long its first entry had waited."""
        with self._lock:
            self._entries.add(entries)
            self._flush.add(seconds)
            self._lag.add(lag)

    def read(self) -> tuple[Spread, Spread, Spread]:
        """Return the distributions of entries in a group, seconds of a flush, and seconds of the longest wait."""
        with self._lock:
            return self._entries.read(), self._flush.read(), self._lag.read()


@dataclass(frozen=True, slots=True)
class Meters:
    """What a worker counts besides calls. ``caches`` is by the name of the cache."""

    providers: ProviderMeter = field(default_factory=ProviderMeter)
    audit: AuditMeter = field(default_factory=AuditMeter)
    caches: dict[str, Lookups] = field(default_factory=dict)
