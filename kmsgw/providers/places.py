"""Places at a key provider: how many calls may be out at once, so that a slow one does not hold every thread.

While the provider is lively, who finds no place waits for one: that takes milliseconds. Once the oldest call has been
out for longer than a grace, the provider is slow, and whoever finds no place is refused at once.
"""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import Overloaded

GRACE_SECONDS: Final = 0.5
"""A provider whose oldest call is out for longer is slow."""

LIVELY_SECONDS: Final = 0.05
"""A provider whose oldest call is out for less is lively: then no caller can keep another waiting for long."""

_QUEUE_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 1.0


class SharedPlaces:
    """Places that all providers of a worker share, beyond those that each has of its own."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self.changed = threading.Condition(threading.Lock())


class Places:
    """The places of one provider on one worker. Safe for threads.

    While the provider is not lively, a caller may take half of them.
    """

    def __init__(
        self, provider: str, most: int, *, own: int = 1, shared: SharedPlaces | None = None, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """`own` of them are this provider's whatever others take, the rest is `shared`."""
        assert most >= own > 0
        self._provider = provider
        self._most = most
        self._own = own
        self._shared = shared if shared is not None else SharedPlaces(most)
        self._changed = self._shared.changed
        self._clock = clock
        self._numbers = itertools.count()
        self._out: dict[int, float] = {}
        self._of: dict[str, int] = {}

    @property
    def taken(self) -> int:
        """Places that are taken now."""
        return len(self._out)

    @contextmanager
    def place(self, caller: str) -> Iterator[None]:
        """Hold a place for a block. Raises `Overloaded` where there is none, at once if the provider is slow."""
        number = self._enter(caller)
        try:
            yield
        finally:
            self._leave(caller, number)

    def _enter(self, caller: str) -> int:
        arrived = now = self._clock.monotonic()
        with self._changed:
            while not self._is_free(caller, now):
                oldest = next(iter(self._out.values()))
                patience = min(oldest + GRACE_SECONDS, arrived + _QUEUE_SECONDS) - now
                if patience <= 0:
                    raise self._none_free()
                self._changed.wait(patience)
                now = self._clock.monotonic()
            number = next(self._numbers)
            self._shared.taken += len(self._out) >= self._own
            self._out[number] = now
            self._of[caller] = self._of.get(caller, 0) + 1
        return number

    def _is_free(self, caller: str, now: float) -> bool:
        taken = len(self._out)
        if not taken:
            return True
        lively = now - next(iter(self._out.values())) < LIVELY_SECONDS
        if not lively and self._of.get(caller, 0) >= max(1, self._most // 2):
            return False
        return taken < self._own or (taken < self._most and self._shared.taken < self._shared.most)

    def _leave(self, caller: str, number: int) -> None:
        with self._changed:
            del self._out[number]
            self._shared.taken -= len(self._out) >= self._own
            mine = self._of[caller] - 1
            if mine:
                self._of[caller] = mine
            else:
                del self._of[caller]
            self._changed.notify_all()

    def _none_free(self) -> Overloaded:
        return Overloaded(
            f"Too many calls wait for the key provider {self._provider!r}.",
            advice="It is slow: wait as long as the answer says. What is cached still serves.",
            retry_after=_RETRY_SECONDS,
        )
