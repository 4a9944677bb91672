"""What one process measures, and what the measurements of several processes are together. No I/O.

Each call is booked to the stage in which it was meant to start. Calls that were due are counted apart from those that
finished, so that what was never answered is not forgotten: it would have been the slowest.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TypedDict

from kmsgw.clock import Clock
from loadtests.histogram import LatencyHistogram
from loadtests.method import Method
from loadtests.plan import SETTLING


class Message(TypedDict):
    """Measurements as a worker sends them. Histograms are encoded; triples start with a stage's number."""

    latencies: list[tuple[int, str, str]]
    failures: list[tuple[int, str, str, int]]
    due: list[tuple[int, int]]
    finished: list[tuple[int, int]]
    completed: list[tuple[int, int]]
    lateness: list[tuple[int, str]]


@dataclass(slots=True)
class Measurements:
    """Latencies of answered calls and failures by reason, for each stage and method; and counts by stage.

    ``due`` and ``finished`` count by the intended start, in the open loop only. ``completed`` counts answers by the
    stage in which they came. ``lateness`` is how late the load generator itself started its calls, by stage.
    """

    latencies: defaultdict[tuple[int, Method], LatencyHistogram] = field(
        default_factory=lambda: defaultdict(LatencyHistogram)
    )
    failures: Counter[tuple[int, Method, str]] = field(default_factory=Counter)
    due: Counter[int] = field(default_factory=Counter)
    finished: Counter[int] = field(default_factory=Counter)
    completed: Counter[int] = field(default_factory=Counter)
    lateness: defaultdict[int, LatencyHistogram] = field(default_factory=lambda: defaultdict(LatencyHistogram))

    @property
    def calls(self) -> int:
        """How many calls ended, well or not."""
        return sum(histogram.count for histogram in self.latencies.values()) + self.failures.total()

    @property
    def unanswered(self) -> int:
        """How many calls were due and never finished; right only when the load has ended."""
        return self.due.total() - self.finished.total()

    def message(self) -> Message:
        """Return the measurements in a form that can be sent."""
        return {
            "latencies": [(stage, method.value, each.encode()) for (stage, method), each in self.latencies.items()],
            "failures": [(stage, method.value, why, n) for (stage, method, why), n in self.failures.items()],
            "due": list(self.due.items()),
            "finished": list(self.finished.items()),
            "completed": list(self.completed.items()),
            "lateness": [(stage, each.encode()) for stage, each in self.lateness.items()],
        }

    def add(self, message: Message) -> int:
        """Add the measurements of a message, and return how many calls they are."""
        calls = 0
        for stage, name, encoded in message["latencies"]:
            added = LatencyHistogram.decode(encoded)
            self.latencies[stage, Method(name)].merge(added)
            calls += added.count
        for stage, name, why, count in message["failures"]:
            self.failures[stage, Method(name), why] += count
            calls += count
        self.due.update(dict(message["due"]))
        self.finished.update(dict(message["finished"]))
        self.completed.update(dict(message["completed"]))
        for stage, encoded in message["lateness"]:
            self.lateness[stage].add(encoded)
        return calls


class Recorder:
    """Takes the measurements of one process. Moments are those of the clock's `monotonic`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moments: list[float] = []
        self._stages: list[int] = [SETTLING]
        self._measured = Measurements()

    def enter(self, stage: int) -> None:
        """Book what starts from now on to this stage."""
        self._moments.append(self._clock.monotonic())
        self._stages.append(stage)

    def start_over(self) -> None:
        """Forget what was measured; the stage stays."""
        self._moments, self._stages = [], self._stages[-1:]
        self._measured = Measurements()

    def due(self, intended: float, count: int = 1) -> None:
        """Count calls that are due, before they start."""
        self._measured.due[self._stage(intended)] += count

    def started(self, intended: float) -> None:
        """Note that a call starts now that was meant to start at `intended`."""
        self._measured.lateness[self._stage(intended)].record(self._clock.monotonic() - intended)

    def answered(self, method: Method, intended: float) -> float:
        """Record an answer that came now, and return its latency in seconds from the intended start."""
        now = self._clock.monotonic()
        stage = self._stage(intended)
        self._measured.latencies[stage, method].record(now - intended)
        self._measured.finished[stage] += 1
        self._measured.completed[self._stages[-1]] += 1
        return now - intended

    def failed(self, method: Method, intended: float, reason: str) -> float:
        """Record a failure that came now, and return the seconds from the intended start."""
        stage = self._stage(intended)
        self._measured.failures[stage, method, reason] += 1
        self._measured.finished[stage] += 1
        return self._clock.monotonic() - intended

    def take(self) -> Measurements:
        """Return what was measured since the last time."""
        taken, self._measured = self._measured, Measurements()
        return taken

    def _stage(self, moment: float) -> int:
        return self._stages[bisect_right(self._moments, moment)]
