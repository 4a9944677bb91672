"""Answers that have not left yet, so that who does not read them does not fill the memory.

HTTP/2 lets a caller say how much it will take. With a window of 0 it takes nothing, and every answer stays here for as
long as its connection (threat 19). So the bytes of a principal's answers are counted until they have left: who has too
many of them gets no more, and an answer that does not leave takes its call with it.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import Overloaded, Reason

MOST_BYTES: Final = 32 * 1024 * 1024
"""Bytes of a principal's answers that may wait to leave a worker, before its further calls are refused.

Calls that are under way then are still answered: as many as there are threads, of 5 MiB at most.
"""

UNREAD_SECONDS: Final = 30.0
"""A call whose answer has not left after this is cancelled."""

_OVERHEAD_BYTES: Final = 1024
"""What an answer counts beside its message."""

_TICK_SECONDS: Final = 1.0

_LOG = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Answer:
    """An answer on its way to `principal_id`; empty for who is nobody's."""

    principal_id: str
    size: int
    since: float
    cancel: Callable[[], None]
    cancelled: bool = False


class UnreadAnswers:
    """Counts the answers of one worker until they have left. Safe for threads; `tick` is for one thread."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._answers: dict[Answer, None] = {}
        self._bytes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to cancel what does not leave, in a thread of its own."""
        threading.Thread(target=self._run, name="unread", daemon=True).start()

    def stop(self) -> None:
        """Cancel no more."""
        self._stopped.set()

    def admit(self, principal_id: str) -> None:
        """Raise `Overloaded` where the principal leaves too much unread."""
        if self._bytes.get(principal_id, 0) > MOST_BYTES:
            raise Overloaded(
                "Too many answers to this caller wait to be read.",
                reason=Reason.LIMIT_REACHED,
                advice="Read the answers that have come before you ask for more.",
                retry_after=1.0,
            )

    def sent(self, principal_id: str, message_bytes: int, cancel: Callable[[], None]) -> Answer:
        """Count an answer until `left` is told of it. `cancel` ends its call from another thread."""
        answer = Answer(principal_id, message_bytes + _OVERHEAD_BYTES, self._clock.monotonic(), cancel)
        with self._lock:
            self._answers[answer] = None
            self._bytes[principal_id] = self._bytes.get(principal_id, 0) + answer.size
        return answer

    def left(self, answer: Answer) -> None:
        """Count an answer no more: it has left, or its call has ended."""
        with self._lock:
            if self._answers.pop(answer, answer) is answer:
                return
            rest = self._bytes[answer.principal_id] - answer.size
            if rest:
                self._bytes[answer.principal_id] = rest
            else:
                del self._bytes[answer.principal_id]

    def tick(self) -> None:
        """Cancel the calls whose answers are overdue, each once."""
        before = self._clock.monotonic() - UNREAD_SECONDS
        with self._lock:
            late = [each for each in self._answers if each.since <= before and not each.cancelled]
        for each in late:
            each.cancelled = True
            try:
                each.cancel()
            except Exception:  # noqa: BLE001  without this thread no other would be cancelled any more
                _LOG.exception("a call whose answer is not read could not be cancelled")

    def _run(self) -> None:
        while not self._stopped.wait(_TICK_SECONDS):
            self.tick()
