"""Figures of slices: from h2load's log of requests to rates and percentiles, and from many slices to one figure."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Answered:
    """One request of h2load's log. Times in seconds; ``status`` is the HTTP status, -1 where there was no answer."""

    start: float
    seconds: float
    status: int

    @property
    def end(self) -> float:
        """When the answer was there, as seconds of the system's clock."""
        return self.start + self.seconds


class UnreadableLogError(Exception):
    """A line of h2load's log is not one; its text says which."""


def parse_log(text: str) -> list[Answered]:
    """Read h2load's log: start in µs since the epoch, HTTP status, µs to the end of the answer, and maybe more.

    A last line without its end is left out: h2load may end while it writes. Raises `UnreadableLogError`.
    """
    whole, _, _ = text.rpartition("\n")
    found: list[Answered] = []
    for number, line in enumerate(whole.splitlines(), 1):
        fields = line.split("\t")
        try:
            start, status, took = (int(each) for each in fields[:3])
        except ValueError:
            raise UnreadableLogError(f"line {number} of h2load's log: {line!r}") from None
        found.append(Answered(start / 1e6, took / 1e6, status))
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent are not above (nearest rank); NaN where there are none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice of one server.

    ``calls_per_s``, latencies, CPU and the generator's share are all of one window within it: the same calls, the same
    seconds. ``acknowledged`` and ``failed`` count the whole slice. Shares are parts of the machine's CPU: the
    generator's, the servers', and that of everything else, which should be next to nothing. ``shed`` are calls that the
    server refused for want of room: they are in no other figure but the latencies.
    """

    calls_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: float
    rss_mb: float
    generator_share: float
    server_share: float
    other_share: float
    acknowledged: int
    failed: int
    shed: int = 0

    def without(self, shed: int, seconds: float) -> "Slice":
        """Return the slice without so many calls that were shed, of a window of so many seconds.

        Their answers look like any others to the generator. So as not to flatter the server, all are taken to have
        come within the window; CPU is that of the calls that are left.
        """
        if not shed:
            return self
        left = max(0.0, self.calls_per_s - shed / seconds)
        return replace(
            self,
            calls_per_s=left,
            cpu_s_per_1000=self.cpu_s_per_1000 * self.calls_per_s / left if left else math.nan,
            acknowledged=max(0, self.acknowledged - shed),
            shed=self.shed + shed,
        )


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a slice, in seconds of the system's clock, and the CPU seconds that were used in it."""

    start: float
    end: float
    server_cpu_s: float
    generator_cpu_s: float
    busy_cpu_s: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


def slice_of(log: Sequence[Answered], window: Window, rss_mb: float, cores: int) -> Slice:
    """Return the figures of a slice. Only answers with status 200 count, in the window where they ended."""
    good = [each for each in log if each.status == 200]
    inside = [each.seconds for each in good if window.start <= each.end < window.end]
    machine = window.seconds * cores
    return Slice(
        calls_per_s=len(inside) / window.seconds,
        p50_ms=percentile(inside, 50) * 1e3,
        p99_ms=percentile(inside, 99) * 1e3,
        cpu_s_per_1000=window.server_cpu_s / len(inside) * 1e3 if inside else math.nan,
        rss_mb=rss_mb,
        generator_share=window.generator_cpu_s / machine,
        server_share=window.server_cpu_s / machine,
        # The kernel counts in ticks of 10 ms, each sum by itself: the rest can come out below nothing.
        other_share=max(0.0, window.busy_cpu_s - window.server_cpu_s - window.generator_cpu_s) / machine,
        acknowledged=len(good),
        failed=len(log) - len(good),
    )


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ratios pair by pair: the two slices of a pair follow each other, so that a machine that drifts hits both."""

    median: float
    min: float
    max: float
    pairs: tuple[float, ...]

    @classmethod
    def of(cls, pairs: Sequence[tuple[float, float]]) -> "Ratio":
        """Return the ratios of first over second."""
        found = tuple(first / second if second else math.nan for first, second in pairs)
        return cls(statistics.median(found), min(found), max(found), found)


def middle(slices: Sequence[Slice]) -> Slice:
    """Return the median of each figure over slices; the most of resident memory, acknowledged and failed, all shed."""

    def median(name: str) -> float:
        return float(statistics.median(getattr(each, name) for each in slices))

    return Slice(
        median("calls_per_s"),
        median("p50_ms"),
        median("p99_ms"),
        median("cpu_s_per_1000"),
        max(each.rss_mb for each in slices),
        median("generator_share"),
        median("server_share"),
        median("other_share"),
        max(each.acknowledged for each in slices),
        max(each.failed for each in slices),
        sum(each.shed for each in slices),
    )
