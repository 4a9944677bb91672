"""What a worker counts and is, as samples, shown once a second on the node's board."""

import logging
import os
import platform
import resource
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from kmsgw import __version__
from kmsgw.audit.log import DurableLog
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import Status
from kmsgw.server.health import HealthMonitor
from kmsgw.telemetry import metric_table as table
from kmsgw.telemetry.meters import CallMeter, Meters
from kmsgw.telemetry.samples import Notice, Samples

PUBLISH_SECONDS: Final = 1.0
"""How often a worker shows its figures. A scrape may be as old."""

_PAGE: Final = resource.getpagesize()
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class WorkerFigures:
    """The figures of one worker. ``handshakes`` returns how many TLS handshakes were begun."""

    worker: str
    loop: str
    meters: Meters
    calls: CallMeter
    audit: DurableLog
    health: HealthMonitor
    handshakes: Callable[[], int]

    def read(self) -> Samples:
        """Return them as they are now."""
        samples = Samples()
        python = platform.python_version()
        samples.add(table.BUILD_INFO, 1, self.worker, __version__, python, grpc.__version__, self.loop)
        samples.add(table.HANDSHAKES, self.handshakes(), self.worker)
        self._add_calls(samples)
        self._add_caches_and_providers(samples)
        self._add_audit(samples)
        for part, fault in self.health.faults.items():
            samples.add(table.PART_SERVING, 0 if fault else 1, self.worker, part)
        self._add_process(samples)
        return samples

    def _add_calls(self, samples: Samples) -> None:
        for kind, spread in self.calls.read().items():
            calls = sum(spread.counts)
            samples.add(table.CALLS, calls, self.worker, kind.method, kind.status)
            samples.add(table.CALL_SECONDS, spread, self.worker, kind.method, kind.outcome)
            if kind.reason:
                samples.add(table.CALL_ERRORS, calls, self.worker, kind.method, kind.reason)
            if kind.status == Status.RESOURCE_EXHAUSTED.value:
                samples.add(table.CALLS_SHED, calls, self.worker, kind.reason)

    def _add_caches_and_providers(self, samples: Samples) -> None:
        for cache, lookups in list(self.meters.caches.items()):
            samples.add(table.CACHE_LOOKUPS, lookups.hits, self.worker, cache, "hit")
            samples.add(table.CACHE_LOOKUPS, lookups.misses, self.worker, cache, "miss")
        for call, spread in self.meters.providers.read().items():
            samples.add(table.PROVIDER_CALL_SECONDS, spread, self.worker, call.provider, call.verb)
            if call.reason:
                errors = sum(spread.counts)
                samples.add(table.PROVIDER_ERRORS, errors, self.worker, call.provider, call.verb, call.reason)

    def _add_audit(self, samples: Samples) -> None:
        entries, flush, lag = self.meters.audit.read()
        samples.add(table.AUDIT_GROUP_ENTRIES, entries, self.worker)
        samples.add(table.AUDIT_FLUSH_SECONDS, flush, self.worker)
        samples.add(table.AUDIT_LAG_SECONDS, lag, self.worker)
        signed = self.audit.checkpoint_size
        size = self.audit.size
        samples.add(table.AUDIT_ENTRIES, size, self.worker)
        samples.add(table.AUDIT_UNSIGNED, max(0, size - signed), self.worker)
        samples.add(table.AUDIT_DROPPED, self.audit.dropped, self.worker)

    def _add_process(self, samples: Samples) -> None:
        times = os.times()
        samples.add(table.PROCESS_CPU, times.user + times.system, self.worker)
        resident = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE
        samples.add(table.PROCESS_RESIDENT, resident, self.worker)
        samples.add(table.PROCESS_DESCRIPTORS, len(os.listdir("/proc/self/fd")), self.worker)  # noqa: PTH208  names alone
        samples.add(table.PROCESS_THREADS, len(os.listdir("/proc/self/task")), self.worker)  # noqa: PTH208


class Publisher:
    """Shows a worker's figures, in a thread of its own."""

    def __init__(self, figures: WorkerFigures, notice: Notice, clock: Clock = SYSTEM_CLOCK) -> None:
        self._figures = figures
        self._notice = notice
        self._clock = clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="figures", daemon=True)

    def start(self) -> None:
        """Show them now, and then once a second."""
        self.publish()
        self._thread.start()

    def publish(self) -> None:
        """Show them now."""
        self._notice.publish(self._figures.read(), self._clock.monotonic())

    def stop(self) -> None:
        """Show them a last time: what was counted outlives the worker."""
        self._stopped.set()
        self._thread.join()
        self.publish()

    def _run(self) -> None:
        while not self._stopped.wait(PUBLISH_SECONDS):
            try:
                self.publish()
            except Exception:  # noqa: BLE001  figures that can't be read must not end the showing of the next
                _LOG.exception("the figures of this worker can't be shown")
