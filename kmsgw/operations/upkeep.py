"""A worker's work beside its calls: usage to the database, and its turns as the keeper of the installation."""

import threading
from collections.abc import Callable

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.operations.keeper import ROUND_SECONDS, Keeper, Rounds
from kmsgw.operations.usage import FLUSH_SECONDS, GATHER_SECONDS, UsageAccount


class Upkeep:
    """Two threads: a provider that does not answer a rotation must not hold up the counting.

    `begin` comes before the first call, `finish` after the last one and the closing of the audit log.
    """

    def __init__(
        self, account: UsageAccount, keeper: Keeper, first: Callable[[], None], *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`first` is done once, after the start, by the keeper's thread."""
        self._account = account
        self._keeper = keeper
        self._first: Callable[[], None] | None = first
        self._clock = clock
        self._lock = threading.Lock()
        self._flushed = clock.monotonic()
        self._threads = (
            Rounds("usage", GATHER_SECONDS, self._count),
            Rounds("keeper", ROUND_SECONDS, self._keep),
        )

    def begin(self) -> None:
        """Count what earlier processes left in the log, then start. Raises `StateUnavailable` and `AuditDamaged`."""
        self._account.catch_up()
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """Begin nothing more."""
        for each in self._threads:
            each.stop()

    def finish(self) -> None:
        """Bring the last counts to the database. Raises `StateUnavailable`: then the next start does it."""
        with self._lock:
            self._account.flush()

    def _count(self) -> None:
        with self._lock:
            if self._clock.monotonic() - self._flushed < FLUSH_SECONDS:
                self._account.gather()
                return
            self._flushed = self._clock.monotonic()
            self._account.flush()

    def _keep(self) -> float:
        first, self._first = self._first, None
        if first is not None:
            first()
        return self._keeper.round()
