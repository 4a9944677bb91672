"""A circuit before a key provider: after calls that ended late, it asks the provider no more, for a while. Pure.

Closed, it lets every call through. So many late failures in a row open it. Open, it refuses for a while, then it lets
one call through to try (half-open): where that is answered in time, it closes, else it opens again.
"""

import threading
from typing import Final

LATE_SECONDS: Final = 0.5
"""A call that failed after so long was late. One that fails sooner holds nobody up, and does not count."""

LATE_LIMIT: Final = 3
"""Late failures in a row that open the circuit."""

OPEN_SECONDS: Final = 1.0
"""How long it stays open before one call may try."""


class Circuit:
    """One provider's circuit. Safe for threads. Times are of the monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._late = 0
        self._until = 0.0
        self._lock = threading.Lock()

    @property
    def closed(self) -> bool:
        """Whether every call gets through."""
        return self._late < LATE_LIMIT

    def ask(self, now: float) -> float:
        """Return 0.0 where a call may go, else the seconds until one may try."""
        if self._late < LATE_LIMIT:
            return 0.0
        with self._lock:
            if self._late < LATE_LIMIT:
                return 0.0
            if now < self._until:
                return self._until - now
            # This one tries. If it never comes back, another does after as long again.
            self._until = now + OPEN_SECONDS
            return 0.0

    def answered(self) -> None:
        """Take note of a call that the provider answered, or failed soon."""
        if self._late:
            with self._lock:
                self._late = 0

    def failed_late(self, now: float) -> None:
        """Take note of a call that failed late."""
        with self._lock:
            self._late += 1
            if self._late >= LATE_LIMIT:
                self._until = now + OPEN_SECONDS
