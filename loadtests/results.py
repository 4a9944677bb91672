"""What a run has shown: figures for each stage and method, the knee, and whether the thresholds hold. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter

from loadtests.knee import Knee
from loadtests.options import Loop
from loadtests.plan import ShapeName


@dataclass(frozen=True, slots=True)
class Figures:
    """How many calls there were, how many of them failed, and the latencies of those answered, in seconds."""

    calls: int
    failed: int
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    longest: float

    @property
    def error_rate(self) -> float:
        """The part of the calls that failed, 0 to 1."""
        return self.failed / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class StageRun:
    """A stage as it took place: measured from ``start`` (seconds after the run's) for so many seconds."""

    level: int
    start: float
    seconds: float


@dataclass(frozen=True, slots=True)
class StageResult:
    """A stage. ``throughput`` is how many answers a second came while it lasted.

    ``lateness`` is the 99th percentile, in seconds, of how late the load generator itself started open-loop calls.
    """

    run: StageRun
    throughput: float
    figures: Figures
    lateness: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a threshold holds. ``text`` says what was demanded and what was found."""

    holds: bool
    text: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """Under which a run took place. ``users`` names Locust's users, ``processes`` how many calls each process made."""

    started: str
    loop: Loop
    shape: ShapeName
    users: tuple[str, ...]
    processes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Results:
    """A run.

    ``measured`` and ``methods`` leave out what happened while the load settled; ``error_rate`` and ``failures``, by
    reason, leave out nothing. ``histograms`` holds the latencies in microseconds of each method as HdrHistogram V2.
    """

    conditions: Conditions
    stages: tuple[StageResult, ...]
    methods: Mapping[str, Figures]
    measured: Figures
    throughput: float
    error_rate: float
    failures: Mapping[str, int]
    knee: Knee | None
    verdicts: tuple[Verdict, ...]
    histograms: Mapping[str, str]

    @property
    def holds(self) -> bool:
        """Whether every threshold holds."""
        return all(verdict.holds for verdict in self.verdicts)


_ADAPTER: Final = TypeAdapter(Results)


def to_json(results: Results) -> bytes:
    """Return the results as JSON."""
    return _ADAPTER.dump_json(results, indent=1)


def from_json(text: bytes) -> Results:
    """Return the results that `to_json` wrote. Raises `ValueError` where it is something else."""
    return _ADAPTER.validate_json(text)
