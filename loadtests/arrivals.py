"""Open loop: calls that start when they are due, however slow the answers are.

In a closed loop a slow answer keeps its caller from sending more, so that the load falls just when the gateway is slow
and most of the waiting is never measured (coordinated omission). Here each call has an intended start, which nothing
moves, and its latency counts from there.
"""

import math


class Arrivals:
    """The intended starts of one user's calls: `rate` a second at equal distances, the first at `start`.

    The caller takes one after the other and never skips: what is late keeps its intended start.
    """

    def __init__(self, rate: float, start: float) -> None:
        if rate <= 0:
            raise ValueError("an arrival rate is above 0")
        self._gap = 1 / rate
        self._start = start
        self._taken = 0

    def take(self) -> float:
        """Return the intended start of the next call. It may lie in the past."""
        moment = self._start + self._taken * self._gap
        self._taken += 1
        return moment

    def overdue(self, now: float) -> int:
        """Return how many calls should have started by `now` and were not taken."""
        due = math.floor((now - self._start) / self._gap) + 1
        return max(0, due - self._taken)
