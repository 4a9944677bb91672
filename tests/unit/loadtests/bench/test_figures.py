"""Figures: reading h2load's log, percentiles, windows, ratios pair by pair."""

import math

import pytest

from loadtests.bench.figures import Answered, Ratio, UnreadableLogError, Window, middle, parse_log, percentile, slice_of
from tests.unit.loadtests.bench.examples import made_slice


def test_a_line_of_the_log_is_start_status_and_time_taken_in_microseconds() -> None:
    found = parse_log("1795310266716973\t200\t20091\n1795310266712495\t-1\t24579\n")

    assert [(each.status, each.seconds) for each in found] == [(200, 0.020091), (-1, 0.024579)]
    assert found[0].end - 1795310266.716973 == pytest.approx(0.020091, abs=1e-6)


def test_columns_that_a_later_h2load_may_add_are_ignored() -> None:
    assert parse_log("1000000\t200\t5\tmore\n") == [Answered(1.0, 5e-6, 200)]


def test_a_last_line_that_was_cut_is_left_out() -> None:
    assert len(parse_log("1000000\t200\t5\n1000000\t20")) == 1


@pytest.mark.parametrize("line", ["", "1000000\t200", "a\tb\tc"])
def test_a_line_that_is_none_of_a_log_is_an_error_that_names_it(line: str) -> None:
    with pytest.raises(UnreadableLogError, match="line 2"):
        parse_log(f"1000000\t200\t5\n{line}\n1000000\t200\t5\n")


@pytest.mark.parametrize(("percent", "value"), [(50, 50.0), (99, 99.0), (100, 100.0), (1, 1.0), (0.1, 1.0)])
def test_a_percentile_is_the_nearest_rank(percent: float, value: float) -> None:
    assert percentile([float(each) for each in range(100, 0, -1)], percent) == value


def test_a_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 99))


def test_only_answers_that_ended_in_the_window_count_for_rate_and_latency() -> None:
    log = [
        Answered(9.0, 0.5, 200),  # ended before
        Answered(9.9, 0.2, 200),  # began before, ended within
        Answered(10.5, 0.1, 200),
        Answered(11.9, 0.2, 200),  # ended after
    ]

    found = slice_of(
        log, Window(10.0, 12.0, server_cpu_s=1.0, generator_cpu_s=0.4, busy_cpu_s=1.6), rss_mb=5.0, cores=2
    )

    assert found.calls_per_s == 1.0
    assert (found.p50_ms, found.p99_ms) == pytest.approx((100.0, 200.0))
    assert found.cpu_s_per_1000 == 500.0
    assert (found.server_share, found.generator_share, found.other_share) == pytest.approx((0.25, 0.1, 0.05))
    assert (found.acknowledged, found.failed, found.rss_mb) == (4, 0, 5.0)


def test_a_call_without_an_answer_or_with_another_status_has_failed_and_counts_nowhere_else() -> None:
    log = [Answered(10.0, 0.1, 200), Answered(10.0, 0.1, -1), Answered(10.0, 0.1, 400), Answered(10.0, 0.1, 204)]

    found = slice_of(log, Window(10.0, 11.0, 1.0, 1.0, 2.0), 1.0, 1)

    assert (found.calls_per_s, found.acknowledged, found.failed) == (1.0, 1, 3)


def test_a_slice_without_an_answer_has_no_latency_and_no_cost() -> None:
    found = slice_of([], Window(10.0, 11.0, 1.0, 1.0, 2.0), 1.0, 1)

    assert found.calls_per_s == 0
    assert all(math.isnan(each) for each in (found.p50_ms, found.p99_ms, found.cpu_s_per_1000))


def test_ratios_are_made_pair_by_pair_and_not_of_medians() -> None:
    # The machine is ten times as fast in the last pair; medians of each side would say 2.5.
    found = Ratio.of([(20.0, 10.0), (25.0, 12.5), (400.0, 100.0)])

    assert (found.median, found.min, found.max, found.pairs) == (2.0, 2.0, 4.0, (2.0, 2.0, 4.0))


def test_a_ratio_over_nothing_is_no_number() -> None:
    assert math.isnan(Ratio.of([(1.0, 0.0)]).median)


def test_the_middle_of_slices_is_the_median_of_each_figure_and_the_most_memory() -> None:
    found = middle(
        [made_slice(calls=10, p99=9.0, rss=1.0), made_slice(calls=30, p99=3.0, rss=700.0), made_slice(calls=20)]
    )

    assert (found.calls_per_s, found.p99_ms, found.rss_mb) == (20.0, 3.0, 700.0)
