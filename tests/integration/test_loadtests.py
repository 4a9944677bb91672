"""The load tests: what they measure and conclude, and short real runs of Locust against a real gateway."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kmsgw.errors import ConfigurationError
from kmsgw.v1 import crypto_service_pb2
from loadtests import options, report
from loadtests.arrivals import Arrivals
from loadtests.conclusion import NOT_ANSWERED, conclude
from loadtests.free_port import free_port
from loadtests.histogram import LatencyHistogram
from loadtests.knee import Knee, Point, find_knee
from loadtests.method import MIX, Method, draw
from loadtests.options import Loop, Thresholds
from loadtests.payload import MAX_BYTES, Payloads, Sizes
from loadtests.plan import SETTLING, Plan, ShapeName, Stage, constant, soak, spike, step
from loadtests.recorder import Measurements, Recorder
from loadtests.results import Conditions, Results, StageRun, from_json, to_json
from loadtests.run import gateway
from tests.fakes.clock import SetClock
from tests.support.gateway import make_folder
from tests.support.officers import enrolled
from tests.support.patience import patient

ROOT = Path(__file__).resolve().parents[2]
USERS = (
    *("EncryptUser", "DecryptUser", "ReEncryptUser", "RewrapUser"),
    *("DataKeyUser", "WrappedDataKeyUser", "RandomBytesUser"),
    *("ComputeMacUser", "VerifyMacUser", "LeaseUser", "EncryptStreamUser", "DecryptStreamUser"),
    *("BatchEncryptUser", "BatchDecryptUser", "BatchReEncryptUser", "BatchRewrapUser"),
    *("BatchDataKeyUser", "BatchWrappedDataKeyUser"),
)


# --- open loop -------------------------------------------------------------------------------------------------------


def test_intended_starts_lie_at_equal_distances_and_do_not_move_when_taken_late() -> None:
    arrivals = Arrivals(rate=10, start=100.0)

    assert [arrivals.take() for _ in range(4)] == pytest.approx([100.0, 100.1, 100.2, 100.3])


def test_calls_that_nobody_took_in_time_are_overdue() -> None:
    arrivals = Arrivals(rate=10, start=100.0)
    arrivals.take()

    assert arrivals.overdue(99.0) == 0
    assert arrivals.overdue(100.05) == 0
    assert arrivals.overdue(100.25) == 2


def test_open_loop_latency_counts_from_the_intended_start() -> None:
    clock = SetClock()
    recorder = Recorder(clock)
    recorder.enter(0)
    arrivals = Arrivals(rate=10, start=clock.monotonic())

    # One answer takes a second; the nine calls that were due meanwhile are sent after it and answered in 1 ms each.
    latencies = []
    for took in (1.0, *[0.001] * 9):
        intended = arrivals.take()
        recorder.due(intended)
        recorder.started(intended)
        clock.sleep(took)
        latencies.append(recorder.answered(Method.ENCRYPT, intended))

    waited = [1.0, *(1.0 - 0.1 * late + 0.001 * late for late in range(1, 10))]
    assert latencies == pytest.approx(waited)
    measured = recorder.take()
    (median,) = measured.latencies[0, Method.ENCRYPT].percentiles((50.0,))
    assert median == pytest.approx(sorted(waited)[4], rel=1e-3), "measured from the send it would be 1 ms"
    assert measured.lateness[0].longest == pytest.approx(0.9, rel=2e-2)
    assert measured.unanswered == 0


def test_a_call_is_booked_to_the_stage_in_which_it_was_meant_to_start() -> None:
    clock = SetClock()
    recorder = Recorder(clock)
    before = clock.monotonic()
    clock.sleep(1)
    recorder.enter(0)
    first = clock.monotonic()
    clock.sleep(1)
    recorder.enter(1)

    recorder.answered(Method.DECRYPT, before)
    recorder.answered(Method.DECRYPT, first)
    recorder.failed(Method.DECRYPT, first, "UNAVAILABLE")

    measured = recorder.take()
    assert {key[0]: each.count for key, each in measured.latencies.items()} == {SETTLING: 1, 0: 1}
    assert measured.failures == {(0, Method.DECRYPT, "UNAVAILABLE"): 1}
    assert measured.completed == {1: 2}, "throughput counts when answers came"


# --- histograms ------------------------------------------------------------------------------------------------------


def test_percentiles_keep_three_digits_below_a_millisecond() -> None:
    histogram = LatencyHistogram()
    for microseconds in range(1, 1001):
        histogram.record(microseconds / 1e6)

    assert histogram.percentiles((50.0, 99.0, 99.9)) == pytest.approx((500e-6, 990e-6, 999e-6), rel=1e-3)
    assert histogram.percentiles(()) == ()
    assert LatencyHistogram().percentiles((50.0, 99.9)) == (0.0, 0.0)


def test_histograms_of_two_workers_merge_as_if_one_had_measured_all() -> None:
    source = random.Random(1)
    latencies = [source.lognormvariate(-6, 1) for _ in range(4000)]
    workers = (Recorder(SetClock()), Recorder(SetClock()))
    alone = LatencyHistogram()
    for number, latency in enumerate(latencies):
        workers[number % 2].answered(Method.ENCRYPT, -latency)  # their clocks stand at 0
        alone.record(latency)

    master = Measurements()
    calls = [master.add(json.loads(json.dumps(worker.take().message()))) for worker in workers]

    assert calls == [2000, 2000]
    merged = master.latencies[SETTLING, Method.ENCRYPT]
    assert merged.count == 4000
    assert merged.percentiles((50.0, 99.0, 99.9)) == pytest.approx(alone.percentiles((50.0, 99.0, 99.9)), rel=1e-3)


def test_what_was_taken_is_not_reported_twice() -> None:
    recorder = Recorder(SetClock())
    recorder.failed(Method.ENCRYPT, 0.0, "UNAVAILABLE")

    assert recorder.take().calls == 1
    assert recorder.take().calls == 0


# --- the knee --------------------------------------------------------------------------------------------------------


def test_the_knee_is_where_throughput_no_longer_follows_the_load() -> None:
    # Four servers of 10 ms each: beyond four users only the waiting grows.
    curve = [Point(users, min(users, 4) / 0.01, 0.01 * max(users, 4) / 4) for users in (1, 2, 4, 8, 16)]

    assert find_knee(curve) == Knee(4, 400.0, reached=True)
    assert find_knee(curve[::-1]) == Knee(4, 400.0, reached=True)


def test_the_knee_of_an_open_loop_is_before_latency_explodes() -> None:
    curve = [
        Point(*each)
        for each in ((500, 500, 0.001), (1000, 1000, 0.0011), (2000, 2000, 0.0015), (3000, 2400, 0.8), (4000, 2300, 2))
    ]

    assert find_knee(curve) == Knee(2000, 2000, reached=True)


def test_a_load_that_is_carried_to_its_end_has_no_knee_yet() -> None:
    knee = find_knee([Point(users, users / 0.01, 0.01) for users in (1, 2, 4)])

    assert knee == Knee(4, 400.0, reached=False)


def test_a_level_without_answers_lies_beyond_the_knee() -> None:
    knee = find_knee([Point(1, 100, 0.01), Point(2, 200, 0.01), Point(4, 400, 0.01), Point(8, 0, 0.0)])

    assert knee == Knee(4, 400, reached=True)


@pytest.mark.parametrize("points", [[], [Point(1, 100, 0.01), Point(2, 150, 0.02)], [Point(1, 100, 0.01)] * 3])
def test_fewer_than_three_levels_have_no_knee(points: list[Point]) -> None:
    assert find_knee(points) is None


# --- shapes ----------------------------------------------------------------------------------------------------------


def levels(plan: Plan, moments: tuple[float, ...]) -> list[tuple[int, bool] | None]:
    """Return the level at each moment and whether it has settled."""
    positions = [plan.at(moment) for moment in moments]
    return [(each.stage.level, each.settled) if each else None for each in positions]


def test_steps_follow_each_other_and_settle_first() -> None:
    plan = step((1, 2), seconds=10, settle=2)

    assert levels(plan, (0, 2, 9.9, 10, 12, 20)) == [(1, False), (1, True), (1, True), (2, False), (2, True), None]


def test_a_spike_returns_to_its_base_and_stays_to_show_the_recovery() -> None:
    plan = spike(base=5, peak=50, seconds=10, settle=0)

    assert [stage.level for stage in plan.stages] == [5, 50, 5, 5]


def test_a_soak_is_cut_into_windows_of_one_level_and_settles_once() -> None:
    plan = soak(level=7, total=60, window=20, settle=5)

    assert plan.stages == (Stage(7, 20, 5), Stage(7, 20), Stage(7, 20))


def test_a_constant_load_ends_after_its_time() -> None:
    assert levels(constant(3, seconds=5, settle=1), (0.5, 1, 5)) == [(3, False), (3, True), None]


@pytest.mark.parametrize("stage", [(0, 10, 0), (1, 10, 10), (1, 10, -1)])
def test_a_stage_without_load_or_measured_time_is_refused(stage: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="a stage has a level"):
        Stage(*stage)


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_the_mix_is_80_reads_15_writes_and_5_data_keys_in_a_hundred() -> None:
    source = random.Random(2)
    drawn = [draw(MIX, source) for _ in range(10_000)]

    assert sum(MIX.values()) == 100
    assert drawn.count(Method.DECRYPT) == pytest.approx(8000, abs=150)
    assert drawn.count(Method.ENCRYPT) == pytest.approx(1500, abs=150)
    assert sum(MIX[method] for method in MIX if "DataKey" in method) == 5


def test_every_method_of_the_data_plane_can_be_put_under_load() -> None:
    contract = set(crypto_service_pb2.DESCRIPTOR.services_by_name["CryptoService"].methods_by_name)

    assert {method.value for method in Method} == contract | {"BatchGenerateDataKeyWithoutPlaintext"}


def test_payload_sizes_follow_the_distribution_within_the_contract() -> None:
    payloads = Payloads(Sizes(median=1024, spread=1.2), contexts=3, source=random.Random(3))
    sizes = sorted(len(payloads.plaintext()) for _ in range(2000))

    assert sizes[1000] == pytest.approx(1024, rel=0.15)
    assert sizes[-1] <= MAX_BYTES
    assert sizes[0] < 100
    assert sizes[-1] > 10_000
    assert [len(payloads.long(size)) for size in (1, MAX_BYTES, 5 * MAX_BYTES + 1)] == [1, MAX_BYTES, 5 * MAX_BYTES + 1]
    assert len({payloads.context()["patient"] for _ in range(200)}) == 3
    assert {Sizes(64, 0).draw(payloads.source) for _ in range(9)} == {64}


# --- options ---------------------------------------------------------------------------------------------------------


def given(**values: object) -> options.Options:
    """Return options read from values."""
    return options.read({"kmsgw_folder": "kms", **{f"kmsgw_{name}": value for name, value in values.items()}})


def test_a_level_of_an_open_loop_is_calls_a_second() -> None:
    assert given(loop="open", rate=10, levels="200").users(200) == 20
    assert given(loop="closed").users(200) == 200


def test_users_and_run_time_of_locust_fill_in_what_the_levels_leave_open() -> None:
    assert given().plan(6, 30.0).stages == (Stage(6, 30.0, 2.0),)
    assert [stage.level for stage in given(loop="open", shape="step").plan(3, None).stages] == [30, 60, 120, 240]


def test_every_fault_of_the_options_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        given(folder="", loop="open", rate="7", levels="1,x", timeout="never", max_error_rate=2)

    assert [fault.split(" ")[0] for fault in caught.value.faults] == [
        "--kmsgw-levels",
        "--kmsgw-timeout",
        "--kmsgw-max-error-rate",
        "--kmsgw-folder",
    ]


# --- results ---------------------------------------------------------------------------------------------------------


def measurements(recorder: Recorder, clock: SetClock) -> Measurements:
    """Return a stage of two seconds: 100 answers of 10 ms, two failures, and three calls that were never answered."""
    recorder.enter(0)
    recorder.due(clock.monotonic(), 105)
    for _ in range(100):
        begun = clock.monotonic()
        clock.sleep(0.01)
        recorder.answered(Method.ENCRYPT, begun)
    for _ in range(2):
        recorder.failed(Method.DECRYPT, clock.monotonic(), "UNAVAILABLE")
    return recorder.take()


def concluded(loop: Loop, thresholds: Thresholds) -> Results:
    """Return the results of `measurements`."""
    clock = SetClock()
    about = Conditions("2026-01-01T00:00:00+00:00", loop, ShapeName.CONSTANT, ("MixedUser",), {"one": 102})
    return conclude(measurements(Recorder(clock), clock), [StageRun(50, 0.0, 2.0)], about, thresholds)


def test_calls_that_were_due_and_never_answered_have_failed() -> None:
    opened = concluded(Loop.OPEN, Thresholds())

    assert opened.failures == {NOT_ANSWERED: 3, "UNAVAILABLE": 2}
    assert opened.error_rate == pytest.approx(5 / 105)
    assert opened.measured.calls == 105
    assert concluded(Loop.CLOSED, Thresholds()).failures == {"UNAVAILABLE": 2}


@pytest.mark.parametrize(
    ("thresholds", "missed"),
    [
        (Thresholds(p99_ms=11, error_rate=0.05, throughput=49), ()),
        (Thresholds(error_rate=0.04), ("failed: 4.7619% of the calls, at most 4.0000%",)),
        (Thresholds(p99_ms=9, error_rate=1), ("p99: 10.01 ms, at most 9 ms",)),
        (Thresholds(throughput=51, error_rate=1), ("throughput: 50 answers a second, at least 51",)),
    ],
)
def test_each_threshold_is_judged_and_says_what_it_found(thresholds: Thresholds, missed: tuple[str, ...]) -> None:
    results = concluded(Loop.OPEN, thresholds)

    assert tuple(verdict.text for verdict in results.verdicts if not verdict.holds) == missed
    assert results.holds is not bool(missed)


def test_a_run_that_measured_nothing_keeps_to_no_threshold() -> None:
    about = Conditions("now", Loop.CLOSED, ShapeName.STEP, (), {})

    assert not conclude(Measurements(), [], about, Thresholds()).holds


def test_results_survive_their_file_and_the_report_shows_loops_apart_and_needs_nothing_else() -> None:
    closed, opened = concluded(Loop.CLOSED, Thresholds()), concluded(Loop.OPEN, Thresholds(p99_ms=1))
    assert from_json(to_json(opened)) == opened

    stage = closed.stages[0]
    stepped = replace(
        closed,
        conditions=replace(closed.conditions, shape=ShapeName.STEP),
        stages=tuple(replace(stage, run=StageRun(level, level, 2.0)) for level in (1, 10, 100)),
        knee=Knee(10, 500.0, reached=True),
    )
    page = report.page([stepped, opened]).decode()

    assert page.index("Closed loop, step") < page.index("Open loop, constant")
    assert "Knee at 10 users" in page
    assert "Latency by load" in page
    assert all(name in page for name in ("p50", "p90", "p99", "p99.9", "MISSED: p99: 10.01 ms", NOT_ANSWERED))
    assert not re.search(r"https?:|src=|href=|@import|url\(|<script", page), "the page fetches something"


# --- real runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a gateway that runs, with a principal for ReEncrypt."""
    made = tmp_path_factory.mktemp("loadtest") / "kms"
    with gateway(made):
        yield made


def locust(folder: Path, report: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run Locust against the gateway of a folder."""
    port = str(free_port())
    command = [
        *(sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary"),
        *("--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--master-port", port),
        *("--kmsgw-folder", str(folder), "--kmsgw-report", str(report), "--kmsgw-envelopes", "20", *more),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def figures(report: Path) -> Mapping[str, object]:
    """Return the figures beside a report, as plain JSON."""
    found: dict[str, object] = json.loads(report.with_suffix(".json").read_bytes())
    return found


def test_two_workers_go_through_the_steps_and_their_histograms_are_merged(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "step.html"
    steps = ("--kmsgw-shape", "step", "--kmsgw-levels", "2,4,6", "--kmsgw-stage-seconds", "3")

    run = locust(folder, page, "--processes", "2", *steps, "--kmsgw-settle-seconds", "1")

    assert run.returncode == 0, run.stdout + run.stderr
    results = from_json(page.with_suffix(".json").read_bytes())
    assert results.failures == {}
    assert [stage.run.level for stage in results.stages] == [2, 4, 6]
    assert all(stage.figures.calls > 0 and 1 < stage.run.seconds < patient(6) for stage in results.stages)
    assert results.knee is not None
    by_process = results.conditions.processes
    assert len(by_process) == 2
    merged = sum(LatencyHistogram.decode(each).count for each in results.histograms.values())
    assert max(by_process.values()) < merged <= sum(by_process.values()), "one worker's histogram is missing"
    assert merged == results.measured.calls == sum(stage.figures.calls for stage in results.stages)
    assert results.measured.p50 <= results.measured.p90 <= results.measured.p99 <= results.measured.p999
    assert "Latency by load" in page.read_text()


def test_an_impossible_threshold_fails_an_open_loop_over_every_method(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "open.html"
    # A user of each, two calls a second.
    load = ("--kmsgw-loop", "open", "--kmsgw-rate", "2", "--kmsgw-levels", str(2 * len(USERS)), "--run-time", "5s")
    sizes = ("--kmsgw-batch", "5", "--kmsgw-stream-bytes", "70000")

    run = locust(folder, page, *USERS, *load, *sizes, "--kmsgw-settle-seconds", "1", "--kmsgw-p99-ms", "0.001")

    assert run.returncode == 1, run.stdout + run.stderr
    assert "at most 0.001 ms" in run.stderr
    found = figures(page)
    assert found["failures"] == {}
    assert set(found["methods"]) == {method.value for method in Method}  # type: ignore[call-overload]
    assert "Open loop, constant" in page.read_text()


def test_a_run_that_cannot_start_says_why_and_fails(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "none.html"

    run = locust(folder, page, "ReEncryptUser", "--kmsgw-re-encrypter", "nobody", "--run-time", "1s")

    assert run.returncode == 1
    assert "the folder has no profile 'nobody'" in run.stderr
    assert "Traceback" not in run.stderr
    assert not page.exists()


def test_where_officers_log_in_the_key_is_made_by_one_and_locust_says_so(tmp_path: Path) -> None:
    page = tmp_path / "key.html"
    kms = make_folder(tmp_path / "kms", workers=1, second_factor=True).start()
    try:
        missing = locust(kms.folder, page, "--run-time", "1s")
        officer = kms.client("key-officer")
        device, recovery = enrolled(officer)
        session = officer.login(recovery[0]).session
        officer.proving(session=session, code=device.code()).keys.create("loadtest")
        found = locust(kms.folder, page, "EncryptUser", "--run-time", "1s", "--kmsgw-settle-seconds", "0")
    finally:
        kms.stop()

    assert missing.returncode == 1
    assert "the key 'loadtest' can't be used: ACCESS_DENIED" in missing.stderr
    assert "Make it with `kmsgw key create loadtest`" in missing.stderr
    assert "Traceback" not in missing.stderr
    assert found.returncode == 0, found.stdout + found.stderr
