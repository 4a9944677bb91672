"""Pruning in the worker that writes the log, in a slow thread of its own."""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from kmsgw.audit.log import DurableLog
from kmsgw.audit.pruning import LogPruner
from kmsgw.audit.retention import Retention
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.config import Settings
from kmsgw.errors import AuditUnavailable
from kmsgw.operations.keeper import Rounds
from kmsgw.operations.steady_clock import SteadyClock

_SOON_SECONDS: Final = 60.0
_ROUND_SECONDS: Final = 3600.0
_PAUSE_SECONDS: Final = 0.005
"""Between two bundles, of which each takes 2 ms: so the calls have the processor."""

_LOG = logging.getLogger(__name__)


class RetentionRounds:
    """A thread that prunes once an hour what is past its age, a million entries at a time."""

    def __init__(self, settings: Settings, worker: str, log: DurableLog, floors: Sequence[Callable[[], int]]) -> None:
        """Prune the log of a worker; each of `floors` says how many entries somebody has got who needs all of them."""
        wanted = settings.audit.retention
        self._pruner = LogPruner(
            settings.audit.folder / worker,
            log,
            Retention(wanted.operations_months, wanted.acts_months),
            floors=floors,
            pause=self._pause,
        )
        self._stopping = threading.Event()
        self._pruned = False
        # As with the destruction of keys: a clock that was set must not make entries old.
        self._prune = SteadyClock().guarded(self._prune_now)
        self._rounds = Rounds("retention", _SOON_SECONDS, self._round)

    def start(self) -> None:
        """Begin, a minute after the start of the worker."""
        self._rounds.start()

    def stop(self) -> None:
        """Stop as soon as may be; what a pruning has left to do is done after the next start."""
        self._stopping.set()
        self._rounds.stop()

    def _pause(self) -> None:
        if self._stopping.wait(_PAUSE_SECONDS):
            raise AuditUnavailable("The pruning of the audit log is stopped.", advice="It goes on after the start.")

    def _round(self) -> float:
        self._pruned = False
        self._prune(SYSTEM_CLOCK.now())
        return _SOON_SECONDS if self._pruned else _ROUND_SECONDS

    def _prune_now(self, now: datetime) -> None:
        plan = self._pruner.prune(now)
        self._pruned = plan is not None
        if plan is not None:
            _LOG.info("pruned %d entries of the audit log, before entry %d", plan.removed, plan.before)
