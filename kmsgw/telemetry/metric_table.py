"""Every metric that a node can show, with its labels. What is not in this table can't be shown.

Labels are bounded: methods, statuses, reasons, providers and workers are lists that nobody outside can lengthen. Only
`kmsgw_key_…` has an identifier as a label, for at most `MOST_KEYS` keys of a node.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kmsgw.telemetry.meters import COUNT_BOUNDS, SECONDS_BOUNDS

MOST_KEYS: Final = 500
"""Keys that are shown one by one: those with the least budget left, then the oldest. `kmsgw_keys` counts all."""


class MetricKind(StrEnum):
    """Kinds of metric, as Prometheus has them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric. Seconds, bytes and ratios are in the name; a counter's ends in ``_total``."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


_COUNTER, _GAUGE, _HISTOGRAM = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

BUILD_INFO: Final = Metric(
    "kmsgw_build_info",
    _GAUGE,
    "Always 1; what runs is in the labels.",
    ("worker", "version", "python", "grpcio", "loop"),
)
CALLS: Final = Metric(
    "kmsgw_calls_total", _COUNTER, "Calls that were answered, by gRPC status.", ("worker", "method", "status")
)
CALL_ERRORS: Final = Metric(
    "kmsgw_call_errors_total", _COUNTER, "Calls that were refused or failed, by reason.", ("worker", "method", "reason")
)
CALLS_SHED: Final = Metric(
    "kmsgw_calls_shed_total",
    _COUNTER,
    "Calls that were refused under load, by reason.",
    ("worker", "reason"),
)
CALL_SECONDS: Final = Metric(
    "kmsgw_call_seconds",
    _HISTOGRAM,
    "From a call's message to its durable record: outcome ok, refused by a rule, or failed by a fault.",
    ("worker", "method", "outcome"),
    SECONDS_BOUNDS,
)
CACHE_LOOKUPS: Final = Metric(
    "kmsgw_cache_lookups_total", _COUNTER, "Lookups in a cache: result hit or miss.", ("worker", "cache", "result")
)
PROVIDER_CALL_SECONDS: Final = Metric(
    "kmsgw_provider_call_seconds",
    _HISTOGRAM,
    "Calls to a key provider, failed ones too.",
    ("worker", "provider", "verb"),
    SECONDS_BOUNDS,
)
PROVIDER_ERRORS: Final = Metric(
    "kmsgw_provider_errors_total",
    _COUNTER,
    "Calls to a key provider that failed, by reason.",
    ("worker", "provider", "verb", "reason"),
)
AUDIT_GROUP_ENTRIES: Final = Metric(
    "kmsgw_audit_group_entries", _HISTOGRAM, "Entries that became durable together.", ("worker",), COUNT_BOUNDS
)
AUDIT_FLUSH_SECONDS: Final = Metric(
    "kmsgw_audit_flush_seconds", _HISTOGRAM, "Writing a group of entries to the disk.", ("worker",), SECONDS_BOUNDS
)
AUDIT_LAG_SECONDS: Final = Metric(
    "kmsgw_audit_lag_seconds",
    _HISTOGRAM,
    "From the first entry of a group to the durability of all.",
    ("worker",),
    SECONDS_BOUNDS,
)
AUDIT_ENTRIES: Final = Metric(
    "kmsgw_audit_entries_total", _COUNTER, "Durable entries of the worker's log, of all time.", ("worker",)
)
AUDIT_UNSIGNED: Final = Metric(
    "kmsgw_audit_unsigned_entries", _GAUGE, "Durable entries that no checkpoint signs for yet.", ("worker",)
)
AUDIT_DROPPED: Final = Metric(
    "kmsgw_audit_dropped_entries_total",
    _COUNTER,
    "Entries that were refused for want of room.",
    ("worker",),
)
EXPORTER_UP: Final = Metric("kmsgw_exporter_up", _GAUGE, "1 while the exporter shows fresh figures, else 0.")
EXPORT_FAILING: Final = Metric(
    "kmsgw_export_failing", _GAUGE, "1 while the last attempt at a target failed, else 0.", ("target",)
)
EXPORT_FAILURES: Final = Metric(
    "kmsgw_export_failures_total", _COUNTER, "Attempts at a target that failed, by kind.", ("target", "kind")
)
EXPORT_ENTRIES: Final = Metric(
    "kmsgw_export_entries_total",
    _COUNTER,
    "Entries of a worker's log that have arrived at a target, of all time.",
    ("target", "worker"),
)
EXPORT_SKIPPED: Final = Metric(
    "kmsgw_export_skipped_entries_total",
    _COUNTER,
    "Entries that a target rejected and that were passed over.",
    ("target",),
)
EXPORT_LAG_ENTRIES: Final = Metric(
    "kmsgw_export_lag_entries",
    _GAUGE,
    "Signed entries of a worker's log that have not arrived at a target for certain.",
    ("target", "worker"),
)
EXPORT_LAG_SECONDS: Final = Metric(
    "kmsgw_export_lag_seconds",
    _GAUGE,
    "Age of the oldest entry that has not arrived at a target for certain; 0 without one.",
    ("target", "worker"),
)
AUDIT_COSIGNED: Final = Metric(
    "kmsgw_audit_cosigned_entries", _GAUGE, "Entries under the newest cosignature of a witness.", ("worker", "witness")
)
AUDIT_COSIGNING_LAG: Final = Metric(
    "kmsgw_audit_cosigning_lag_seconds",
    _GAUGE,
    "For how long entries have waited for a witness's cosignature; 0 where all have it.",
    ("worker", "witness"),
)
AUDIT_COSIGNING_FAILURES: Final = Metric(
    "kmsgw_audit_cosigning_failures_total",
    _COUNTER,
    "Times that a witness did not cosign, by cause.",
    ("worker", "witness", "cause"),
)
AUDIT_CONTRADICTED: Final = Metric(
    "kmsgw_audit_contradicted",
    _GAUGE,
    "1 while a witness knows a longer or another log than the one that is there.",
    ("worker", "witness"),
)
STATE_ROLLED_BACK: Final = Metric(
    "kmsgw_state_rolled_back", _GAUGE, "1 once the database was older than before while the worker ran.", ("worker",)
)
PART_SERVING: Final = Metric(
    "kmsgw_part_serving", _GAUGE, "1 while a part of the worker serves, as in gRPC health, else 0.", ("worker", "part")
)
HANDSHAKES: Final = Metric(
    "kmsgw_handshakes_total", _COUNTER, "TLS handshakes that were begun on the gRPC port.", ("worker",)
)
PROCESS_CPU: Final = Metric("kmsgw_process_cpu_seconds_total", _COUNTER, "CPU time of the process.", ("worker",))
PROCESS_RESIDENT: Final = Metric("kmsgw_process_resident_bytes", _GAUGE, "Resident memory of the process.", ("worker",))
PROCESS_DESCRIPTORS: Final = Metric(
    "kmsgw_process_descriptors", _GAUGE, "Open file descriptors of the process.", ("worker",)
)
PROCESS_THREADS: Final = Metric("kmsgw_process_threads", _GAUGE, "Threads of the process.", ("worker",))
WORKER_UP: Final = Metric("kmsgw_worker_up", _GAUGE, "1 while a worker shows fresh figures, else 0.", ("worker",))
WORKER_RESTARTS: Final = Metric(
    "kmsgw_worker_restarts_total", _COUNTER, "Times that kmsgwd started the worker again.", ("worker",)
)
CONNECTIONS: Final = Metric("kmsgw_connections", _GAUGE, "Open connections to the node's gRPC port.")
KEYS: Final = Metric("kmsgw_keys", _GAUGE, "Keys by state.", ("state",))
KEY_AGE: Final = Metric("kmsgw_key_age_seconds", _GAUGE, "Age of a key's newest version.", ("key",))
KEY_BUDGET: Final = Metric(
    "kmsgw_key_budget_left_ratio",
    _GAUGE,
    "What is left of the budget of a key's newest version before it is rotated, 1 to 0; the least of all its budgets.",
    ("key",),
)
KEYS_NOT_SHOWN: Final = Metric("kmsgw_keys_not_shown", _GAUGE, "Enabled keys beyond those that are shown one by one.")
OFFICERS: Final = Metric("kmsgw_officers", _GAUGE, "Officers by the state of their second factor.", ("state",))
SESSIONS: Final = Metric("kmsgw_sessions", _GAUGE, "Sessions of officers that have not expired.")
CERTIFICATE_EXPIRES: Final = Metric(
    "kmsgw_certificate_expires_time_seconds", _GAUGE, "When the server's certificate ends, in seconds since 1970."
)
CRL_EXPIRES: Final = Metric(
    "kmsgw_crl_expires_time_seconds", _GAUGE, "When the first CRL must be published anew, in seconds since 1970."
)
STATE_READABLE: Final = Metric("kmsgw_state_readable", _GAUGE, "1 where keys, usage and officers could be read.")

METRICS: Final = (
    BUILD_INFO,
    CALLS,
    CALL_ERRORS,
    CALLS_SHED,
    CALL_SECONDS,
    CACHE_LOOKUPS,
    PROVIDER_CALL_SECONDS,
    PROVIDER_ERRORS,
    AUDIT_GROUP_ENTRIES,
    AUDIT_FLUSH_SECONDS,
    AUDIT_LAG_SECONDS,
    AUDIT_ENTRIES,
    AUDIT_UNSIGNED,
    AUDIT_DROPPED,
    AUDIT_COSIGNED,
    AUDIT_COSIGNING_LAG,
    AUDIT_COSIGNING_FAILURES,
    AUDIT_CONTRADICTED,
    STATE_ROLLED_BACK,
    EXPORTER_UP,
    EXPORT_FAILING,
    EXPORT_FAILURES,
    EXPORT_ENTRIES,
    EXPORT_SKIPPED,
    EXPORT_LAG_ENTRIES,
    EXPORT_LAG_SECONDS,
    PART_SERVING,
    HANDSHAKES,
    PROCESS_CPU,
    PROCESS_RESIDENT,
    PROCESS_DESCRIPTORS,
    PROCESS_THREADS,
    WORKER_UP,
    WORKER_RESTARTS,
    CONNECTIONS,
    KEYS,
    KEY_AGE,
    KEY_BUDGET,
    KEYS_NOT_SHOWN,
    OFFICERS,
    SESSIONS,
    CERTIFICATE_EXPIRES,
    CRL_EXPIRES,
    STATE_READABLE,
)
"""All of them, in the order of the exposition."""
