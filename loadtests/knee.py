"""The knee of a latency curve: up to where more load is worth its latency.

It is where throughput divided by mean latency, the "power" of a system, is highest (L. Kleinrock, "Power and
deterministic rules of thumb for probabilistic problems in computer communications", ICC 1979). Below it, more load
brings more throughput than waiting; beyond it, more waiting than throughput.
"""

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_POINTS = 3
"""A curve of fewer points has no knee that could be told from an end."""


@dataclass(frozen=True, slots=True)
class Point:
    """What a level of load brought: answers a second and the mean latency in seconds."""

    level: int
    throughput: float
    latency: float


@dataclass(frozen=True, slots=True)
class Knee:
    """The level with the highest power. ``reached`` is false where it is the last: the knee may lie beyond."""

    level: int
    throughput: float
    reached: bool


def find_knee(points: Sequence[Point]) -> Knee | None:
    """Return the knee of a curve, its points in any order; None where fewer than three levels were answered."""
    curve = sorted((point for point in points if point.throughput > 0 < point.latency), key=lambda point: point.level)
    if len({point.level for point in curve}) < LEAST_POINTS:
        return None
    best = max(curve, key=lambda point: point.throughput / point.latency)
    return Knee(best.level, best.throughput, best.level < max(point.level for point in points))
