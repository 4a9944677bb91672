"""Samples, and how processes show them to each other."""

import json
from collections.abc import Mapping
from typing import Final

from kmsgw.telemetry.board import Board
from kmsgw.telemetry.meters import Spread
from kmsgw.telemetry.metric_table import METRICS, Metric, MetricKind

_TABLE: Final = {metric.name: metric for metric in METRICS}


class Samples:
    """Values of metrics at one moment. Adding checks them against the table, so that no other can be shown."""

    def __init__(self) -> None:
        self._values: dict[str, dict[tuple[str, ...], float | Spread]] = {}

    def add(self, metric: Metric, value: float | Spread, *labels: str) -> None:
        """Add a value with the metric's labels in their order; values of a counter or histogram are summed up."""
        assert metric is _TABLE.get(metric.name), "a metric stands in the table"
        assert len(labels) == len(metric.labels), f"{metric.name} has the labels {metric.labels}"
        assert isinstance(value, Spread) is (metric.kind is MetricKind.HISTOGRAM)
        values = self._values.setdefault(metric.name, {})
        before = values.get(labels)
        if before is not None and metric.kind is not MetricKind.GAUGE:
            value = _sum(before, value)
        values[labels] = value

    def encode(self) -> bytes:
        """Return them as bytes, to be shown on a board."""
        return json.dumps([[name, list(values.items())] for name, values in self._values.items()]).encode()

    def take_over(self, encoded: bytes, *, but: frozenset[MetricKind] = frozenset()) -> None:
        """Add what `encode` returned, but kinds that are not wanted. Names that are not in the table are left out."""
        for name, values in json.loads(encoded or b"[]"):
            metric = _TABLE.get(name)
            if metric is None or metric.kind in but:
                continue
            for labels, value in values:
                self.add(metric, Spread(tuple(value[0]), value[1]) if isinstance(value, list) else value, *labels)

    def of(self, metric: Metric) -> Mapping[tuple[str, ...], float | Spread]:
        """Return the values of a metric by its labels."""
        return self._values.get(metric.name, {})


class Notice:
    """What one process shows on the board: its samples, and when."""

    def __init__(self, board: Board, slot: int) -> None:
        self._board = board
        self._slot = slot

    def publish(self, samples: Samples, now: float) -> None:
        """Show samples as of `now`, by the monotonic clock, which all processes of a machine share."""
        self._board.write(self._slot, b"%.3f\n%b" % (now, samples.encode()))

    def read(self) -> tuple[float, bytes]:
        """Return when the process last showed something, and what; minus infinity and nothing where it did not."""
        time, _, encoded = self._board.read(self._slot).partition(b"\n")
        return (float(time), encoded) if time else (float("-inf"), b"")


def _sum(one: float | Spread, other: float | Spread) -> float | Spread:
    if isinstance(one, Spread) and isinstance(other, Spread):
        return Spread(tuple(map(sum, zip(one.counts, other.counts, strict=True))), one.total + other.total)
    assert not isinstance(one, Spread)
    assert not isinstance(other, Spread)
    return one + other
