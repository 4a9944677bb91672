"""The audit log of one worker, and the end of the worker where its log has ended."""

import logging
from collections.abc import Callable

from kmsgw.audit.log import DurableLog
from kmsgw.bootstrap.evidence import further_keys, log_origin
from kmsgw.config import Settings
from kmsgw.errors import AuditUnavailable
from kmsgw.surroundings import require_log, signing_key_file
from kmsgw.telemetry.meters import AuditMeter

_LOG = logging.getLogger(__name__)


def open_worker_log(settings: Settings, worker: str, on_fatal: Callable[[], None], meter: AuditMeter) -> DurableLog:
    """Return a worker's log, opened. Raises `ConfigurationError`, `AuditDamaged` and `AuditUnavailable`."""
    require_log(settings.audit, worker)
    return DurableLog.open(
        settings.audit.folder / worker,
        origin=log_origin(settings, worker),
        key_file=signing_key_file(settings.audit, worker),
        phase=_phase(worker, settings.server.workers),
        on_fatal=lambda why: _end(why, on_fatal),
        meter=meter,
        further_keys=further_keys(settings, worker),
    )


def _phase(worker: str, workers: int) -> float:
    """Return by which part of an interval a worker writes its tiles later than the first: all share a disk."""
    return int(worker.rpartition("-")[2]) % workers / workers


def probe_log(audit: DurableLog, on_fatal: Callable[[], None]) -> None:
    """Probe the log. Where it has ended for good, so does the worker: its callers find another that records."""
    try:
        audit.probe()
    except AuditUnavailable as error:
        if audit.ended:
            _end(error.message, on_fatal)
        raise


def _end(why: str, on_fatal: Callable[[], None]) -> None:
    _LOG.critical("%s", why)
    on_fatal()
