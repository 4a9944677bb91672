"""From measurements to results, and the judgement over them. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from loadtests.histogram import LatencyHistogram
from loadtests.knee import Point, find_knee
from loadtests.method import Method
from loadtests.options import Loop, Thresholds
from loadtests.plan import SETTLING, ShapeName
from loadtests.recorder import Measurements
from loadtests.results import Conditions, Figures, Results, StageResult, StageRun, Verdict

NOT_ANSWERED: Final = "NOT_ANSWERED"
"""Reason of open-loop calls that were due and had no answer when the run ended."""


def conclude(
    measured: Measurements, runs: Sequence[StageRun], conditions: Conditions, thresholds: Thresholds
) -> Results:
    """Return what the measurements of all processes show."""
    stages = tuple(_stage(measured, number, run, conditions.loop) for number, run in enumerate(runs))
    seconds = sum(run.seconds for run in runs)
    by_method = {method: _merged(measured, range(len(runs)), (method,)) for method in Method}
    failed_by_method = Counter[Method]()
    for (stage, method, _), count in measured.failures.items():
        failed_by_method[method] += count if stage != SETTLING else 0
    failures = _failures(measured, conditions.loop)
    answered = sum(each.count for each in measured.latencies.values())
    results = Results(
        conditions=conditions,
        stages=stages,
        methods={
            method.value: _figures(each, failed_by_method[method])
            for method, each in by_method.items()
            if each.count or failed_by_method[method]
        },
        measured=_figures(_merged(measured, range(len(runs)), Method), sum(stage.figures.failed for stage in stages)),
        throughput=sum(stage.throughput * stage.run.seconds for stage in stages) / seconds if seconds else 0.0,
        error_rate=failures.total() / max(1, answered + failures.total()),
        failures=dict(failures.most_common()),
        knee=find_knee([_point(stage) for stage in stages]) if conditions.shape is ShapeName.STEP else None,
        verdicts=(),
        histograms={method.value: each.encode() for method, each in by_method.items() if each.count},
    )
    return replace(results, verdicts=judge(results, thresholds))


def judge(results: Results, thresholds: Thresholds) -> tuple[Verdict, ...]:
    """Return a verdict for every threshold. A run that measured nothing keeps to none."""
    if results.measured.calls == 0:
        return (Verdict(holds=False, text="no call was measured"),)
    verdicts = [
        Verdict(
            results.error_rate <= thresholds.error_rate,
            f"failed: {results.error_rate:.4%} of the calls, at most {thresholds.error_rate:.4%}",
        )
    ]
    if thresholds.p99_ms:
        found = results.measured.p99 * 1e3
        verdicts.append(Verdict(found <= thresholds.p99_ms, f"p99: {found:.2f} ms, at most {thresholds.p99_ms:g} ms"))
    if thresholds.throughput:
        verdicts.append(
            Verdict(
                results.throughput >= thresholds.throughput,
                f"throughput: {results.throughput:.0f} answers a second, at least {thresholds.throughput:g}",
            )
        )
    return tuple(verdicts)


def _stage(measured: Measurements, number: int, run: StageRun, loop: Loop) -> StageResult:
    failed = sum(count for (stage, _, _), count in measured.failures.items() if stage == number)
    if loop is Loop.OPEN:
        failed += max(0, measured.due[number] - measured.finished[number])
    throughput = measured.completed[number] / run.seconds if run.seconds else 0.0
    late = measured.lateness[number].percentiles((99.0,))[0] if number in measured.lateness else 0.0
    return StageResult(run, throughput, _figures(_merged(measured, (number,), Method), failed), late)


def _failures(measured: Measurements, loop: Loop) -> Counter[str]:
    failures = Counter[str]()
    for (_, _, reason), count in measured.failures.items():
        failures[reason] += count
    if loop is Loop.OPEN and measured.unanswered > 0:
        failures[NOT_ANSWERED] = measured.unanswered
    return failures


def _merged(measured: Measurements, stages: Iterable[int], methods: Iterable[Method]) -> LatencyHistogram:
    wanted = {(stage, method) for stage in stages for method in methods}
    merged = LatencyHistogram()
    for key, histogram in measured.latencies.items():
        if key in wanted:
            merged.merge(histogram)
    return merged


def _figures(histogram: LatencyHistogram, failed: int) -> Figures:
    p50, p90, p99, p999 = histogram.percentiles((50.0, 90.0, 99.0, 99.9))
    return Figures(histogram.count + failed, failed, histogram.mean, p50, p90, p99, p999, histogram.longest)


def _point(stage: StageResult) -> Point:
    return Point(stage.run.level, stage.throughput, stage.figures.mean)
