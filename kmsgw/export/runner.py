"""Running targets: a thread for each, so that one that hangs holds up no other, and delays that grow with failures."""

import logging
import secrets
import threading
from collections import Counter
from typing import Final

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import KmsgwError
from kmsgw.export.failure import DeliveryFailed, FailureKind
from kmsgw.export.target import Target

_LOG = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5
"""How often each log is looked at; workers sign once a second."""

FIRST_DELAY: Final = 0.5
LONGEST_DELAY: Final = 60.0
"""Longest wait after a failure, in seconds, unless the receiver itself names a longer one."""

LONGEST_NAMED_DELAY: Final = 600.0
"""Longest wait that a receiver can name."""

_RANDOM: Final = secrets.SystemRandom()


def delay_after(failures: int, named: float | None, jitter: float) -> float:
    """Return how long to wait after so many failures in a row: half to all of a delay that doubles.

    `jitter` is random in [0, 1), so that the nodes of a cluster do not come back together.
    """
    grown = min(LONGEST_DELAY, FIRST_DELAY * float(1 << min(failures - 1, 16)))
    return max(grown * (0.5 + jitter / 2), min(named or 0.0, LONGEST_NAMED_DELAY))


class TargetThread:
    """Runs one target until it is stopped. ``failures`` counts what went wrong, by kind; ``failing`` is 1 meanwhile."""

    def __init__(self, target: Target, clock: Clock = SYSTEM_CLOCK) -> None:
        self.target = target
        self.failures: Counter[FailureKind] = Counter()
        self.failing: FailureKind | None = None
        self._in_a_row = 0
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"export {target.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Have it end after a last round. Does not wait: see `join`."""
        self._stopping.set()

    def join(self, seconds: float) -> bool:
        """Wait so long for the end; tell whether it came. A thread that hangs in its target dies with the process."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self.step())
        # What the workers signed at their end goes too, but not to who does not take it now.
        if self.failing is None:
            while self.step() == 0.0 and self.failing is None:
                pass
        try:
            self.target.close()
        except KmsgwError as error:
            _LOG.warning("%s: the last entries are not confirmed and come again: %s", self.target.name, error)

    def step(self) -> float:
        """Do one round; return how many seconds to wait before the next."""
        try:
            more = self.target.work()
        except DeliveryFailed as error:
            return self._failed(error.kind, str(error), error.retry_after)
        except KmsgwError as error:
            return self._failed(FailureKind.LOG, str(error), None)
        except Exception:  # noqa: BLE001  one target that has a fault must not end the export to others
            _LOG.exception("%s: a fault of kmsgw", self.target.name)
            return self._failed(FailureKind.LOG, "a fault of kmsgw", None)
        if self.target.faults:
            self.failures[FailureKind.LOG] += 1
        if self.failing is not None:
            _LOG.info("%s: export goes on after %d failures", self.target.name, self._in_a_row)
            self.failing, self._in_a_row = None, 0
        return 0.0 if more else POLL_SECONDS

    def _failed(self, kind: FailureKind, text: str, named: float | None) -> float:
        self.failures[kind] += 1
        self._in_a_row += 1
        delay = delay_after(self._in_a_row, named, _RANDOM.random())
        # Said once for each kind, and not with each attempt: a receiver that is away for a night fills no disk.
        if self.failing is not kind:
            _LOG.warning(
                "%s: export stands still and is tried again, now after %.1f s: %s", self.target.name, delay, text
            )
            self.failing = kind
        return delay
