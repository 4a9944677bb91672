"""Load shapes: how much load, how long, in what order. Pure; `shape.py` hands them to Locust.

A level is a number of users in the closed loop, and of calls a second in the open loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SETTLING = -1
"""Number of no stage: the load is changing, and nothing that happens now counts for a level."""


class ShapeName(StrEnum):
    """The load shapes."""

    CONSTANT = "constant"
    STEP = "step"
    SPIKE = "spike"
    SOAK = "soak"


@dataclass(frozen=True, slots=True)
class Stage:
    """A level for a time, in seconds. The first `settle` of them are not measured."""

    level: int
    seconds: float
    settle: float = 0.0

    def __post_init__(self) -> None:
        if self.level < 1 or not 0 <= self.settle < self.seconds:
            raise ValueError("a stage has a level from 1, and lasts longer than it takes to settle")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a plan is: the stage by number and whether it has settled."""

    number: int
    stage: Stage
    settled: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages in their order."""

    stages: tuple[Stage, ...]

    def at(self, elapsed: float) -> Position | None:
        """Return the position after so many seconds, None after the end."""
        for number, stage in enumerate(self.stages):
            if elapsed < stage.seconds:
                return Position(number, stage, elapsed >= stage.settle)
            elapsed -= stage.seconds
        return None


def step(levels: Sequence[int], seconds: float, settle: float) -> Plan:
    """Go through all levels, each for so many seconds: finds how much the gateway takes."""
    return Plan(tuple(Stage(level, seconds, settle) for level in levels))


def spike(base: int, peak: int, seconds: float, settle: float) -> Plan:
    """Go from a base to a peak at once, and back: shows whether and how fast the gateway recovers."""
    calm = Stage(base, seconds, settle)
    return Plan((calm, Stage(peak, seconds, settle), calm, calm))


def soak(level: int, total: float, window: float, settle: float) -> Plan:
    """Hold a level in windows of so many seconds, which are compared: shows what grows with time."""
    windows = max(1, round(total / window))
    return Plan((Stage(level, window, settle), *(Stage(level, window) for _ in range(windows - 1))))


def constant(level: int, seconds: float, settle: float) -> Plan:
    """Hold a level."""
    return Plan((Stage(level, seconds, settle),))
