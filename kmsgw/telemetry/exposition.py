"""Samples as the text that Prometheus reads."""

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from kmsgw.telemetry.meters import Spread
from kmsgw.telemetry.metric_table import METRICS, Metric, MetricKind
from kmsgw.telemetry.samples import Samples

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
"""Type of `exposition`'s text."""


def exposition(samples: Samples) -> bytes:
    """Return the text in the Prometheus exposition format 0.0.4."""
    return generate_latest(_Collector(samples))


class _Collector(Collector):
    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            values = self._samples.of(metric)
            if values:
                yield _family(metric, values.items())


def _family(metric: Metric, values: Iterable[tuple[tuple[str, ...], float | Spread]]) -> Family:
    counter, histogram = None, None
    if metric.kind is MetricKind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in values:
            assert isinstance(value, Spread)
            histogram.add_metric(labels, _buckets(metric.bounds, value.counts), value.total)
        return histogram
    make = CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily
    counter = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in values:
        assert not isinstance(value, Spread)
        counter.add_metric(labels, value)
    return counter


def _buckets(bounds: tuple[float, ...], counts: tuple[int, ...]) -> list[tuple[str, float]]:
    """Return cumulative buckets. Bounds that hold nothing new between others stay: a quantile needs them all."""
    found, total = [], 0
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        total += count
        found.append((bound, float(total)))
    return found
