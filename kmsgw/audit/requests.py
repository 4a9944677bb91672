"""Finding a request in the audit logs of this node, for `PolicyService.Explain`."""

import threading
from datetime import UTC, datetime, timedelta

from kmsgw.audit.record import Outcome, Phase
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import ResourceExhausted
from kmsgw.operations.control.audit_ports import AuditLogs
from kmsgw.operations.control.policies import RecordedRequest
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.search import find_request, request_time

_YOUNG = timedelta(seconds=10)
_WAIT_SECONDS = 3.0
_PAUSE_SECONDS = 0.1
_AT_ONCE = 2
_RETRY_SECONDS = 1.0


class NodeRequests:
    """The requests that this node's workers recorded, each worker in one of `logs`."""

    def __init__(self, logs: AuditLogs, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._logs = logs
        self._clock = clock
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def find(self, request_id: str) -> RecordedRequest | None:
        """Return the recorded request, or None. A request so young that it may be in no checkpoint yet is waited for.

        Raises `AuditDamaged` where a log is not what its checkpoint says, and `ResourceExhausted` where two others are
        being looked for: a look takes seconds, and who asks about ids that never were must not hold every thread.
        """
        made = request_time(request_id)
        if made is None:
            return None
        if not self._places.acquire(blocking=False):
            raise ResourceExhausted(
                "Too many requests are looked for in the audit log.",
                advice="Ask again in a moment, one after the other.",
                retry_after=_RETRY_SECONDS,
            )
        try:
            return self._find(request_id, made)
        finally:
            self._places.release()

    def _find(self, request_id: str, made: datetime) -> RecordedRequest | None:
        give_up = self._clock.monotonic() + _WAIT_SECONDS
        while True:
            found = find_request([log.reader() for log in self._logs.find()], request_id)
            if found:
                return _recorded(found)
            if self._clock.now() - made > _YOUNG or self._clock.monotonic() > give_up:
                return None
            self._clock.sleep(_PAUSE_SECONDS)


def _recorded(entries: list[LoggedEntry]) -> RecordedRequest:
    """Return what the entries of one request say: its intent, if any, and its outcome."""
    ends = [each for each in entries if each.text("phase") != Phase.INTENT] or entries[-1:]
    # Of a batch several entries may tell: whoever asks wants to know of what was refused.
    last = next((each for each in ends if each.text("outcome") == Outcome.REFUSED), ends[-1])
    roles = last.fields("principal").get("roles")
    return RecordedRequest(
        principal_id=last.principal(),
        tenant=last.principal("tenant"),
        roles=tuple(map(str, roles)) if isinstance(roles, list) else (),
        action=last.text("action"),
        key_id=last.text("key_id"),
        done=last.text("outcome") == Outcome.OK,
        reason=last.text("reason"),
        policies=last.texts("policies"),
        note=last.text("note"),
        time=last.time or datetime.fromtimestamp(0, UTC),
        alias=last.text("alias"),
        purpose=last.text("purpose"),
    )
