"""The gateway's own acts in the audit log: an intent and an outcome, as of every change of state, and no principal."""

from kmsgw.audit.record import AuditRecord, Outcome, Phase
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import KmsgwError, Status
from kmsgw.operations.acts import GatewayAct
from kmsgw.operations.ports import AuditLog

_FAILED = frozenset({Status.UNAVAILABLE, Status.INTERNAL, Status.DEADLINE_EXCEEDED})


class AuditedActs:
    """An `ActRecord` over one worker's log. For one thread."""

    def __init__(self, log: AuditLog, clock: Clock = SYSTEM_CLOCK) -> None:
        self._log = log
        self._clock = clock
        self._began: dict[str, float] = {}

    def intend(self, act: GatewayAct) -> None:
        """Record what is about to be done, durably. Raises `AuditUnavailable`."""
        self._began[act.request_id] = self._clock.monotonic()
        self._write(act, None, Phase.INTENT, 0)

    def conclude(self, act: GatewayAct, error: KmsgwError | None) -> None:
        """Record how it ended, durably. Raises `AuditUnavailable`."""
        ended = self._clock.monotonic()
        took = ended - self._began.pop(act.request_id, ended)
        self._write(act, error, Phase.OUTCOME, int(took * 1e6))

    def _write(self, act: GatewayAct, error: KmsgwError | None, phase: Phase, duration: int) -> None:
        failed = error is not None and error.status in _FAILED
        refused = Outcome.FAILED if failed else Outcome.REFUSED
        record = AuditRecord(
            time=act.now,
            request_id=act.request_id,
            principal=None,
            method=act.method,
            outcome=Outcome.OK if error is None else refused,
            status="OK" if error is None else error.status.value,
            action=act.action,
            phase=phase,
            key_id=act.key_id,
            key_version=act.key_version,
            reason="" if error is None else error.reason.value,
            duration_us=duration,
            change=act.change,
        )
        self._log.wait(self._log.append(record.encode()))
