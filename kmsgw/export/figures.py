"""What the exporter counts: how far behind each target is, and what went wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.export.otlp import OtlpSink
from kmsgw.export.runner import TargetThread
from kmsgw.telemetry import metric_table as table
from kmsgw.telemetry.samples import Samples


@dataclass(frozen=True, slots=True)
class ExportFigures:
    """The figures of all targets. A target that hangs is shown with its growing lag: nothing here waits for it."""

    threads: Sequence[TargetThread]
    otlp: dict[str, OtlpSink]
    clock: Clock = SYSTEM_CLOCK

    def read(self) -> Samples:
        """Return them as of now."""
        samples = Samples()
        now = self.clock.now()
        for thread in self.threads:
            name = thread.target.name
            samples.add(table.EXPORT_FAILING, int(thread.failing is not None or bool(thread.target.faults)), name)
            for kind, count in list(thread.failures.items()):
                samples.add(table.EXPORT_FAILURES, count, name, kind.value)
            if name in self.otlp:
                samples.add(table.EXPORT_SKIPPED, self.otlp[name].skipped, name)
            for log, feed in list(thread.target.feeds.items()):
                delivered, since = feed.delivered, feed.waiting_since
                lag = max(0, feed.claimed_size() - delivered)
                samples.add(table.EXPORT_ENTRIES, delivered, name, log)
                samples.add(table.EXPORT_LAG_ENTRIES, lag, name, log)
                age = max(0.0, (now - since).total_seconds()) if lag and since is not None else 0.0
                samples.add(table.EXPORT_LAG_SECONDS, age, name, log)
        return samples
