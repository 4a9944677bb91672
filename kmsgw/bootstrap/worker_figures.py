"""What a worker counts and is, as samples, shown once a second on the node's board."""

import platform
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from kmsgw import __version__
from kmsgw.audit.log import DurableLog
from kmsgw.bootstrap.evidence import Evidence
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import Status
from kmsgw.server.health import HealthMonitor
from kmsgw.telemetry import metric_table as table
from kmsgw.telemetry.meters import CallMeter, Meters
from kmsgw.telemetry.publishing import add_process
from kmsgw.telemetry.samples import Samples


@dataclass(slots=True)
class WorkerFigures:
    """The figures of one worker. ``handshakes`` returns how many TLS handshakes were begun."""

    worker: str
    loop: str
    meters: Meters
    calls: CallMeter
    audit: DurableLog
    evidence: Evidence
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
        self._add_evidence(samples)
        for part, fault in self.health.faults.items():
            samples.add(table.PART_SERVING, 0 if fault else 1, self.worker, part)
        add_process(samples, self.worker)
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

    def _add_evidence(self, samples: Samples) -> None:
        now = SYSTEM_CLOCK.monotonic()
        for each in self.evidence.cosigning.standings:
            since = each.since
            samples.add(table.AUDIT_COSIGNED, each.cosigned, self.worker, each.witness)
            lag = 0.0 if since is None else now - since
            samples.add(table.AUDIT_COSIGNING_LAG, lag, self.worker, each.witness)
            samples.add(table.AUDIT_CONTRADICTED, int(each.contradicted), self.worker, each.witness)
            for cause, count in each.failures.items():
                samples.add(table.AUDIT_COSIGNING_FAILURES, count, self.worker, each.witness, cause.value)
        samples.add(table.STATE_ROLLED_BACK, int(self.evidence.guard.state_rolled_back), self.worker)
