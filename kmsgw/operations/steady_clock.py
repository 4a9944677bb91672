"""Whether the clock may be believed for what can't be undone (threat 3).

The wall clock is compared with a clock that nobody can set: where it has run ahead of that, or fallen behind, by more
than a tolerance since this process began, somebody has set it. What destroys then waits until the gateway is started
anew, by somebody who has looked at the clock.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from kmsgw.clock import SYSTEM_CLOCK, Clock

TOLERANCE: Final = timedelta(minutes=5)
"""What a clock is set by in good faith: more than NTP steps on a machine that runs."""

_REMIND_SECONDS: Final = 300.0
_LOG = logging.getLogger(__name__)


class SteadyClock:
    """The wall clock since this object was made, against the monotonic one. For one thread."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK, tolerance: timedelta = TOLERANCE) -> None:
        self._clock = clock
        self._tolerance = tolerance
        self._wall = clock.now()
        self._monotonic = clock.monotonic()
        self._reminded = float("-inf")

    def has_jumped(self) -> bool:
        """Tell whether the wall clock was set by more than the tolerance."""
        passed = timedelta(seconds=self._clock.monotonic() - self._monotonic)
        return abs(self._clock.now() - self._wall - passed) > self._tolerance

    def guarded(self, chore: Callable[[datetime], object]) -> Callable[[datetime], object]:
        """Return a chore that is not done while the clock has jumped; the log says so every five minutes."""

        def run(now: datetime) -> object:
            if not self.has_jumped():
                return chore(now)
            if self._clock.monotonic() - self._reminded >= _REMIND_SECONDS:
                self._reminded = self._clock.monotonic()
                _LOG.error("the clock was set: nothing is destroyed until it is put right, or kmsgwd is started anew")
            return None

        return run
