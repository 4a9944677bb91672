"""Pruning in the worker that writes the log, in a slow thread of its own."""

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from kmsgw.audit.acts import AuditedActs
from kmsgw.audit.export_cursor import EXPORT_KEY, exported_through
from kmsgw.audit.forgetting import Forgetting
from kmsgw.audit.log import DurableLog
from kmsgw.audit.pruning import LogPruner
from kmsgw.audit.pseudonyms import PseudonymKeys, Pseudonyms
from kmsgw.audit.retention import Retention
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.config import Settings
from kmsgw.errors import AuditUnavailable, ConfigurationError
from kmsgw.operations.keeper import Rounds
from kmsgw.operations.steady_clock import SteadyClock
from kmsgw.seed_file import load_secret

_ROUND_SECONDS: Final = 60.0
_PRUNING_SECONDS: Final = 3600.0
_PAUSE_SECONDS: Final = 0.002
"""After each 32 entries and each file. A bundle takes 7 ms in all, and this lets calls in every quarter of one."""

_LOG = logging.getLogger(__name__)


def persons_of(settings: Settings) -> Pseudonyms | None:
    """Return what puts pseudonyms in the place of names in entries, or None where nobody wants that.

    The keys of this month and the next are made. Raises `ConfigurationError`.
    """
    wanted = settings.audit.pseudonyms
    if not wanted.end_users and not wanted.principals:
        return None
    keys = PseudonymKeys(settings.audit.keys)
    try:
        keys.prepare(SYSTEM_CLOCK.now())
    except OSError as error:
        raise ConfigurationError(
            [f"audit.keys: {error.filename}: {error.strerror}"],
            advice="Let the gateway write its folder, or make room.",
        ) from None
    return Pseudonyms(keys, end_users=wanted.end_users, principals=wanted.principals)


def _exported(settings: Settings, log: DurableLog) -> list[Callable[[], int]]:
    """Return what says how far every target of the configuration has got the log; empty where none is waited for."""
    names = [each.name for each in settings.audit.export]
    if not names or not settings.audit.retention.wait_for_export:
        return []

    def through() -> int:
        # Of those configured alone: what a target that is no more has not got would stay for ever.
        found = exported_through(
            settings.audit.folder, log.verifier, names, load_secret(settings.audit.keys / EXPORT_KEY)
        )
        return min(found[name] for name in names)

    return [through]


class RetentionRounds:
    """A thread that once an hour prunes what is past its age, a million entries at a time, and looks after pseudonyms.

    The first worker of a node destroys the keys of pseudonyms, asked for or past their age, within a minute.
    """

    def __init__(self, settings: Settings, worker: str, log: DurableLog, floors: Sequence[Callable[[], int]]) -> None:
        """Prune the log of a worker; each of `floors` says how many entries somebody has got who needs all of them."""
        wanted = settings.audit.retention
        self._pruner = LogPruner(
            settings.audit.folder / worker,
            log,
            Retention(wanted.operations_months, wanted.acts_months),
            floors=[*floors, *_exported(settings, log)],
            pause=self._pause,
        )
        pseudonyms = settings.audit.pseudonyms
        self._keys = PseudonymKeys(settings.audit.keys) if pseudonyms.end_users or pseudonyms.principals else None
        self._stopping = threading.Event()
        self._next_pruning = 0.0
        # As with the destruction of keys: a clock that was set must not make entries or keys old.
        clock = SteadyClock()
        self._prune = clock.guarded(self._prune_now)
        self._forget: Callable[[datetime], object] = lambda _now: None
        if worker == "worker-0":
            forgetting = Forgetting(settings.audit.keys, AuditedActs(log), pseudonyms.forget_after_months)
            self._forget = clock.guarded(forgetting.run_due)
        self._rounds = Rounds("retention", _ROUND_SECONDS, self._round)

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

    def _round(self) -> None:
        now = SYSTEM_CLOCK.now()
        if self._keys is not None:
            self._keys.prepare(now)
        self._forget(now)
        if SYSTEM_CLOCK.monotonic() >= self._next_pruning:
            # Set before, so that what fails is tried again in an hour, and what there is more of in a minute.
            self._next_pruning = SYSTEM_CLOCK.monotonic() + _PRUNING_SECONDS
            self._prune(now)

    def _prune_now(self, now: datetime) -> None:
        plan = self._pruner.prune(now)
        if plan is not None:
            self._next_pruning = 0.0
            _LOG.info("pruned %d entries of the audit log, before entry %d", plan.removed, plan.before)
