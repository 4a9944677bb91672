"""Latencies in a high-dynamic-range histogram: 3 significant digits from a microsecond to an hour.

Locust keeps whole milliseconds, which are coarser than most calls are long. Histograms of several processes merge
without loss. The encoded form is HdrHistogram's V2, compressed, in base64: its other implementations read it too.
"""

from collections.abc import Sequence
from typing import Final

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

_MICROSECONDS: Final = 1_000_000
_LONGEST: Final = 3_600 * _MICROSECONDS
_DIGITS: Final = 3


class LatencyHistogram:
    """How often which latency was seen. Everything in and out is in seconds."""

    def __init__(self) -> None:
        self._counts = HdrHistogram(1, _LONGEST, _DIGITS)

    @classmethod
    def decode(cls, encoded: str) -> "LatencyHistogram":
        """Return the histogram that `encode` made this of."""
        decoded = cls()
        decoded.add(encoded)
        return decoded

    def record(self, seconds: float) -> None:
        """Count a latency. Under a microsecond counts as one, over an hour as an hour."""
        self._counts.record_value(min(max(round(seconds * _MICROSECONDS), 1), _LONGEST))

    def add(self, encoded: str) -> None:
        """Add what another histogram has counted, in its encoded form."""
        self._counts.decode_and_add(encoded)

    def merge(self, other: "LatencyHistogram") -> None:
        """Add what another histogram has counted."""
        self._counts.add(other._counts)  # noqa: SLF001 - the same class

    def encode(self) -> str:
        """Return the histogram as text."""
        return str(self._counts.encode(), "ascii")

    @property
    def count(self) -> int:
        """How many latencies were recorded."""
        return int(self._counts.get_total_count())

    @property
    def mean(self) -> float:
        """The mean; 0 where nothing was recorded."""
        return float(self._counts.get_mean_value()) / _MICROSECONDS

    @property
    def longest(self) -> float:
        """The longest latency; 0 where nothing was recorded."""
        return float(self._counts.get_max_value()) / _MICROSECONDS

    def percentiles(self, of: Sequence[float]) -> tuple[float, ...]:
        """Return the latencies that so many per cent of all do not exceed; zeros where nothing was recorded."""
        if not self.count:
            return (0.0,) * len(of)
        found = self._counts.get_percentile_to_value_dict(list(of))
        return tuple(float(found[percent]) / _MICROSECONDS for percent in of)
