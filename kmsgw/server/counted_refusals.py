"""One record for many refusals that came before anything was read, so that a flood of them does not fill the log.

The first refusal of a kind (principal, method, reason) is recorded whole. Those that follow within a second are
answered with its request id, and counted; then a second record under that id says how many they were. So each answer
still stands on a record that was durable before it left, and each first record has its count: where that is missing,
the worker died within that second, and what is unknown is the number alone (docs/audit-log.md).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from kmsgw.audit.record import AuditRecord, Outcome
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import AuditUnavailable, KmsgwError, Overloaded, Unauthenticated
from kmsgw.operations.keeper import Rounds
from kmsgw.operations.ports import AuditLog
from kmsgw.server.quota import Account, Rate

WINDOW_SECONDS: Final = 1.0
"""How long refusals are counted under one record."""

FIRST_NOTE: Final = "refusals of this kind are counted under this request id for a second"
"""Note of the record that others are counted under."""

STRANGERS: Final = Rate(50.0, float("inf"), 2.0)
"""Refusals of callers that nobody knows, a second, that have a record each: others are counted."""

_ROUND_SECONDS: Final = 0.25


class Kind(NamedTuple):
    """What makes refusals alike. The names are bounded by the configuration and the table of RPCs, not by callers."""

    principal_id: str
    method: str
    reason: str


@dataclass(slots=True)
class _Window:
    first: AuditRecord
    index: int
    began: float
    more: int = 0
    size: int = 0


class CountedRefusals:
    """The refusals that are being counted on one worker. Safe for threads."""

    def __init__(self, audit: AuditLog, clock: Clock = SYSTEM_CLOCK) -> None:
        self._audit = audit
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[Kind, _Window] = {}
        self._strangers = Account(STRANGERS)
        self._rounds = Rounds("refusals", _ROUND_SECONDS, self._round)

    def start(self) -> None:
        """Begin to record counts whose second is over, in a thread of its own."""
        self._rounds.start()

    def stop(self) -> None:
        """Record every count. To be called after the last answer, and before the log is closed."""
        self._rounds.stop()
        self.close(0.0)

    def is_one_of_many(self, error: KmsgwError) -> bool:
        """Tell whether a refusal, from before the message was read, is counted with others of its kind."""
        if isinstance(error, Unauthenticated):
            return self._strangers.take(self._clock.monotonic(), 1, 0) > 0
        return isinstance(error, Overloaded)

    def record(self, kind: Kind, size: int, make: Callable[[], AuditRecord]) -> tuple[str, int]:
        """Record a refusal of a request of so many bytes; return the request id and index that its answer stands on.

        `make` makes the record where it is the first of its kind. Raises `AuditUnavailable`.
        """
        now = self._clock.monotonic()
        with self._lock:
            window = self._windows.get(kind)
            if window is not None and now - window.began < WINDOW_SECONDS:
                window.more += 1
                window.size += size
                return window.first.request_id, window.index
            if window is not None:
                self._close(kind, window, now)
            first = make()._replace(note=FIRST_NOTE)
            index = self._audit.append(first.encode())
            self._windows[kind] = _Window(first, index, now)
            return first.request_id, index

    def close(self, after: float = WINDOW_SECONDS) -> None:
        """Record the counts of the windows that are so many seconds old, and wait until they are durable.

        Raises `AuditUnavailable`; what was not recorded then is kept for the next time.
        """
        index: int | None = None
        with self._lock:
            now = self._clock.monotonic()
            for kind, window in list(self._windows.items()):
                if now - window.began >= after:
                    index = self._close(kind, window, now)
        if index is not None:
            self._audit.wait(index)

    def _close(self, kind: Kind, window: _Window, now: float) -> int:
        first = window.first
        record = AuditRecord(
            time=self._clock.now(),
            request_id=first.request_id,
            principal=first.principal,
            method=first.method,
            outcome=Outcome.REFUSED,
            status=first.status,
            reason=first.reason,
            bytes_in=window.size,
            duration_us=int((now - window.began) * 1e6),
            note="refusals that were counted",
            refusals=1 + window.more,
        )
        index = self._audit.append(record.encode())
        del self._windows[kind]
        return index

    def _round(self) -> None:
        try:
            self.close()
        except AuditUnavailable:
            # The health of the audit says so already; what is counted waits for it.
            return
