"""Holding answers back: who asks beyond its quota again and again waits for each refusal, at no cost but memory.

A caller that answers each refusal with the next call gets as many refusals as the worker can make, and all others wait
behind those. Where refusals take their time, so do its calls: with N of them in flight it makes N / `LONGEST_SECONDS` a
second. Only a transport that holds no thread for a call can do this (`kmsgw.server.direct`).
"""

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import Overloaded, Reason
from kmsgw.server.passage import Reply

LONGEST_SECONDS: Final = 0.5
"""How long a refusal is held back at most; half of what it says to wait, where that is less."""

MOST_HELD: Final = 8192
"""Refusals of a worker that are held at once; more are answered as they come."""

_GOLDEN: Final = 0.618034
"""Multiples of the golden ratio are spread evenly over the unit interval, however many there are."""

_LOG = logging.getLogger(__name__)


class Holding:
    """Refusals that wait for their time. Safe for threads; one thread of its own sends them, once started."""

    def __init__(self, send: Callable[[Any, Reply], None]) -> None:
        """Send with `send`, which is given a call as `take` was, and its reply."""
        self._send = send
        self._held: list[tuple[float, int, Any, Reply]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()

    def start(self) -> None:
        """Begin to send what is due. The thread ends with its process."""
        threading.Thread(target=self._run, name="holding", daemon=True).start()

    def take(self, call: Any, reply: Reply) -> bool:
        """Hold a reply back if it is a refusal by quota, and tell whether it was. Else it is the caller's to send."""
        error = reply.error
        if not isinstance(error, Overloaded) or error.reason is not Reason.QUOTA_EXCEEDED:
            return False
        longest = min(LONGEST_SECONDS, (error.retry_after or 0.0) / 2)
        with self._changed:
            if len(self._held) >= MOST_HELD:
                return False
            # Spread over the second half, evenly: together, they would come back together, and others wait behind them.
            number = next(self._numbers)
            due = SYSTEM_CLOCK.monotonic() + longest * (1 + number * _GOLDEN % 1) / 2
            heapq.heappush(self._held, (due, number, call, reply))
            if self._held[0][0] == due:
                self._changed.notify()
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._held or (rest := self._held[0][0] - SYSTEM_CLOCK.monotonic()) > 0:
                    self._changed.wait(rest if self._held else None)
                _, _, call, reply = heapq.heappop(self._held)
            try:
                self._send(call, reply)
            except Exception:  # noqa: BLE001  without this thread no refusal would be answered any more
                _LOG.exception("a refusal could not be sent")
