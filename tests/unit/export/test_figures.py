"""What the exporter shows of each target, also of one that hangs."""

from datetime import timedelta
from pathlib import Path

from kmsgw.export.failure import DeliveryFailed, FailureKind
from kmsgw.export.figures import ExportFigures
from kmsgw.export.runner import TargetThread
from kmsgw.export.target import EntryTarget
from kmsgw.telemetry import metric_table as table
from kmsgw.tlog.tiles import CHECKPOINT_PATH
from tests.cli.sample_log import START, record, sample_log
from tests.fakes.clock import SetClock
from tests.unit.export.test_runner import Received

SIEM = ("siem", "worker-0")


def test_lag_grows_while_a_target_takes_nothing_and_ends_with_it(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 300)
    sink, clock = Received(), SetClock()
    sink.confirm_seconds = 0.0
    clock.time = START + timedelta(seconds=400)
    thread = TargetThread(EntryTarget("siem", tmp_path, sink, clock))
    figures = ExportFigures([thread], {}, clock)
    sink.broken = DeliveryFailed(FailureKind.TIMEOUT, "Slow.")
    thread.step()
    shown = figures.read()
    assert shown.of(table.EXPORT_LAG_ENTRIES) == {SIEM: 300}
    assert shown.of(table.EXPORT_LAG_SECONDS) == {SIEM: 400}
    assert shown.of(table.EXPORT_ENTRIES) == {SIEM: 0}
    assert shown.of(table.EXPORT_FAILING) == {("siem",): 1}
    assert shown.of(table.EXPORT_FAILURES) == {("siem", "timeout"): 1}

    sink.broken = None
    while thread.step() == 0.0:
        pass
    shown = figures.read()
    assert shown.of(table.EXPORT_LAG_ENTRIES) == shown.of(table.EXPORT_LAG_SECONDS) == {SIEM: 0}
    assert shown.of(table.EXPORT_ENTRIES) == {SIEM: 300}
    assert shown.of(table.EXPORT_FAILING) == {("siem",): 0}

    log.append(record(300))
    assert figures.read().of(table.EXPORT_LAG_ENTRIES) == {SIEM: 1}
    (log.folder / CHECKPOINT_PATH).write_bytes(b"nothing")
    thread.step()
    assert figures.read().of(table.EXPORT_FAILING) == {("siem",): 1}
