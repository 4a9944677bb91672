"""When a log's entries become tiles: each interval, at a time of the worker's own, and never at the cost of calls.

One thread does it beside the one that answers calls, and only one of both can run Python at a time. Without a pause
the entries of a second take 5 to 20 ms, in which all calls wait: every hundredth call, and so the 99th percentile
(docs/adr/0032).
"""

import math
import threading
from typing import Final

from kmsgw.clock import SYSTEM_CLOCK, Clock

PAUSE_SECONDS: Final = 0.002
"""How long calls have the interpreter for themselves between two steps."""

PAUSED_SHARE: Final = 0.4
"""Part of an interval after which nothing pauses any more, so that the checkpoint of each interval is in time."""


class Turns:
    """The times of one log's integrations, and the pauses in them. For one thread; `stopping` ends every wait."""

    def __init__(self, interval: float, phase: float, stopping: threading.Event, clock: Clock = SYSTEM_CLOCK) -> None:
        """Take turns every `interval` seconds. `phase`, from 0 to before 1, is the part of it that the turn is late by.

        All workers of a machine have one monotonic clock: with phases of their own they do not write at once.
        """
        assert interval > 0
        assert 0 <= phase < 1
        self._interval = interval
        self._phase = phase
        self._stopping = stopping
        self._clock = clock
        self._paused_until = 0.0

    def wait(self) -> bool:
        """Wait for the next turn; tell whether it has come. False where the log is to stop."""
        stopped = self._stopping.wait(self.seconds_left())
        self._paused_until = self._clock.monotonic() + self._interval * PAUSED_SHARE
        return not stopped

    def seconds_left(self) -> float:
        """Return the seconds until the next turn: more than 0, at most the interval. One that is over is left out."""
        now = self._clock.monotonic() / self._interval - self._phase
        return (math.floor(now) + 1 - now) * self._interval

    def give_way(self) -> None:
        """Pause between two steps of this turn, unless it has taken long already or the log is to stop."""
        if self._clock.monotonic() < self._paused_until and not self._stopping.is_set():
            # Not a pause of 0: whoever waits for the interpreter must be woken, and this thread would be there first.
            self._clock.sleep(PAUSE_SECONDS)
