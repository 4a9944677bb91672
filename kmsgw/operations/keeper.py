"""What has to be done in time without anybody asking: by one worker of the whole installation, every second.

Each worker has a keeper, and the lease of one duty decides whose keeper works. The lease only saves work and noise:
clocks differ and processes stall, so two may hold it for a while, and every chore is safe when two do it at once.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import KmsgwError

LEASE: Final = timedelta(seconds=5)
"""How long a duty stays with a worker that is not heard of."""

ROUND_SECONDS: Final = 1.0
"""How often a keeper looks."""

_DUTY: Final = "keeper"
_BUSY_SHARE: Final = 20

_LOG = logging.getLogger(__name__)

Chore = Callable[[datetime], object]
"""Does what is due at a time. It may raise a `KmsgwError`, and is called again in the next round."""


class Duties(Protocol):
    """Who of all workers does what."""

    def hold(self, name: str, holder: str, now: datetime, lease: timedelta) -> bool:
        """Take a duty that nobody has, or keep it; tell whether `holder` has it now. Raises `StateUnavailable`."""


class Rounds:
    """A thread that does one thing again and again. It ends with its process, or with `stop`."""

    def __init__(self, name: str, seconds: float, work: Callable[[], float | None]) -> None:
        """`work` may return after how many seconds it wants to be called again, if not after `seconds`."""
        self._seconds = seconds
        self._work = work
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin, with a first round after the first pause."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Begin no more rounds, and wait so many seconds for the one under way."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        pause = self._seconds
        while not self._stopped.wait(pause):
            try:
                pause = self._work() or self._seconds
            except KmsgwError as error:
                _LOG.warning("%s: %s", self._thread.name, error.message)
                pause = self._seconds
            except Exception:  # noqa: BLE001  a fault in one round must not end all that come
                _LOG.exception("%s failed", self._thread.name)
                pause = self._seconds


class Keeper:
    """Does the chores of the installation while it holds the lease. For one thread."""

    def __init__(
        self, duties: Duties, holder: str, chores: Mapping[str, Chore], *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`holder` names this process among those of all nodes."""
        self._duties = duties
        self._holder = holder
        self._chores = dict(chores)
        self._clock = clock

    def round(self) -> float:
        """Do what is due, if it is this worker's turn; return after how many seconds to come back.

        Where there is much to look at, the rounds come less often: they take a twentieth of the time at most. Raises
        `StateUnavailable`.
        """
        began = self._clock.monotonic()
        if self._duties.hold(_DUTY, self._holder, self._clock.now(), LEASE):
            for name, chore in self._chores.items():
                self._do(name, chore)
        return max(ROUND_SECONDS, min(LEASE.total_seconds() / 2, _BUSY_SHARE * (self._clock.monotonic() - began)))

    def _do(self, name: str, chore: Chore) -> None:
        try:
            chore(self._clock.now())
        except KmsgwError as error:
            _LOG.warning("%s: %s", name, error.message)
        except Exception:  # noqa: BLE001  the other chores must be done all the same
            _LOG.exception("%s failed", name)
