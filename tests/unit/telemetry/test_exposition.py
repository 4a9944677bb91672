"""Samples and their text: only what is in the table, and counters that add up."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kmsgw.telemetry import metric_table as table
from kmsgw.telemetry.board import Board
from kmsgw.telemetry.exposition import exposition
from kmsgw.telemetry.meters import SECONDS_BOUNDS, Distribution, Spread
from kmsgw.telemetry.metric_table import METRICS, Metric, MetricKind
from kmsgw.telemetry.samples import Notice, Samples


def value_of(metric: Metric) -> float | Spread:
    if metric.kind is not MetricKind.HISTOGRAM:
        return 3.0
    spread = Distribution(metric.bounds)
    spread.add(metric.bounds[2])
    return spread.read()


def everything() -> Samples:
    samples = Samples()
    for metric in METRICS:
        samples.add(metric, value_of(metric), *metric.labels)
    return samples


def read(samples: Samples) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(exposition(samples).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.values()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_metric_is_exposed_with_help_and_labels() -> None:
    text = exposition(everything()).decode()
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.help}" in text
        assert f"# TYPE {metric.name} {metric.kind.value}" in text
    for family in text_string_to_metric_families(text):
        metric = next(
            each for each in METRICS if each.name.removesuffix("_total") == family.name.removesuffix("_total")
        )
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


def test_buckets_are_cumulative_and_end_with_all() -> None:
    samples = Samples()
    spread = Distribution()
    for value in (0.0, 0.0, 0.001, 100.0):
        spread.add(value)
    samples.add(table.CALL_SECONDS, spread.read(), "worker-0", "m", "ok")
    found = read(samples)
    assert found["kmsgw_call_seconds_bucket", (str(SECONDS_BOUNDS[0]), "m", "ok", "worker-0")] == 2
    assert found["kmsgw_call_seconds_bucket", (str(SECONDS_BOUNDS[-1]), "m", "ok", "worker-0")] == 3
    assert found["kmsgw_call_seconds_bucket", ("+Inf", "m", "ok", "worker-0")] == 4
    assert found["kmsgw_call_seconds_count", ("m", "ok", "worker-0")] == 4


def test_counters_and_histograms_of_equal_labels_add_up_and_gauges_do_not() -> None:
    samples = everything()
    samples.take_over(everything().encode())
    found = read(samples)
    assert found["kmsgw_calls_total", ("method", "status", "worker")] == 6
    assert found["kmsgw_audit_flush_seconds_count", ("worker",)] == 2
    assert found["kmsgw_worker_up", ("worker",)] == 3


def test_what_a_worker_shows_comes_back_whole() -> None:
    board = Board.make(1)
    notice = Notice(board, 0)
    assert notice.read() == (float("-inf"), b"")
    notice.publish(everything(), 12.5)
    shown, encoded = notice.read()
    samples = Samples()
    samples.take_over(encoded)
    assert shown == 12.5
    assert exposition(samples) == exposition(everything())
    board.close()


def test_of_a_worker_that_is_down_counts_are_kept_and_gauges_are_not() -> None:
    samples = Samples()
    samples.take_over(everything().encode(), but=frozenset({MetricKind.GAUGE}))
    names = {name for name, _ in read(samples)}
    assert "kmsgw_calls_total" in names
    assert "kmsgw_process_resident_bytes" not in names


def test_a_metric_that_is_not_in_the_table_can_not_be_shown() -> None:
    stray = Metric("kmsgw_secrets", MetricKind.GAUGE, "No.")
    with pytest.raises(AssertionError):
        Samples().add(stray, 1)
    samples = Samples()
    samples.take_over(b'[["kmsgw_secrets", [[[], 1]]]]')
    assert exposition(samples) == b""


def test_labels_are_those_of_the_table() -> None:
    with pytest.raises(AssertionError, match="labels"):
        Samples().add(table.WORKER_UP, 1)
