"""When a witness raises an alert: for what only the holder of a log's key can send, and for what goes on.

Checkpoints are public, and whoever can reach a witness can send one again. So a checkpoint that is merely old, or comes
with a wrong proof, says nothing of its log: the log itself comes again with the newest one, and is cosigned. The rules:

- As many entries with another root: two signed checkpoints that exclude each other. An alert at once.
- Fewer entries, signed later by the log's own clock than those that were cosigned: the log was rolled back and signs
  again. An alert at once. ML-DSA-44 signatures tell that time; Ed25519 alone does not.
- Fewer entries, of any time: a doubt. Where doubts come for `PATIENCE_SECONDS` and nothing of the log could be cosigned
  meanwhile, it is the log itself that sends them. Then an alert.
- More entries with a wrong proof: the same.
"""

import logging
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from kmsgw.clock import Clock

PATIENCE_SECONDS: Final = 600.0
"""For how long doubts may come without anything being cosigned: twice what a log that stands still waits to ask."""

LINE_SECONDS: Final = 600.0
"""A line of one kind for one log is written at most so often; the next says how many were left out."""

CLOCK_MARGIN_SECONDS: Final = 300
"""By how much a smaller checkpoint must have been signed later: a log's clock may be set back by less."""

_LOG = logging.getLogger(__name__)


class Contradiction(StrEnum):
    """How a signed checkpoint contradicts the one that was cosigned before."""

    SHRUNK = "shrunk"
    """It has fewer entries, and comes from the log itself: the log was rolled back."""

    FORKED = "forked"
    """It is of the same size and another root: the log was rewritten."""

    UNPROVEN = "unproven"
    """The log itself does not show that its tree begins with the one cosigned: it was rewritten."""


class Doubt(StrEnum):
    """What is refused and may have been sent by anybody. Each becomes a contradiction if it goes on."""

    STALE = "stale"
    """Fewer entries than were cosigned."""

    UNPROVEN = "unproven"
    """A proof that does not lead from what was cosigned to a longer tree."""

    @property
    def contradiction(self) -> Contradiction:
        """What it becomes."""
        return Contradiction.SHRUNK if self is Doubt.STALE else Contradiction.UNPROVEN


@dataclass(slots=True)
class _Written:
    """Lines of one kind: when the last was written, and how many were left out since."""

    at: float
    left_out: int = 0


@dataclass(slots=True)
class _Suspicion:
    """What came of one log since it was cosigned last."""

    since: dict[Doubt, float] = field(default_factory=dict)
    written: dict[tuple[int, StrEnum], _Written] = field(default_factory=dict)


class Suspicions:
    """What a witness makes of doubts, for each log. In memory: after a start, patience begins anew. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._logs: dict[str, _Suspicion] = {}

    def cosigned(self, origin: str) -> None:
        """Forget doubts: the log has come and has shown that it only grew, so they were somebody else's."""
        with self._lock:
            if origin in self._logs:
                self._logs[origin].since.clear()

    def lasts(self, origin: str, doubt: Doubt) -> bool:
        """Take note of a doubt; tell whether it has gone on for so long that only the log can have sent it."""
        now = self._clock.monotonic()
        with self._lock:
            since = self._logs.setdefault(origin, _Suspicion()).since.setdefault(doubt, now)
        return now - since >= PATIENCE_SECONDS

    def write(self, level: int, kind: StrEnum, origin: str, text: str) -> None:
        """Write a line, unless one of the level and kind was written of that log a short while ago."""
        now = self._clock.monotonic()
        with self._lock:
            written = self._logs.setdefault(origin, _Suspicion()).written
            # Kinds of both enumerations may have one name, and a doubt must not keep back an alert.
            last = written.get((level, kind))
            if last is not None and now - last.at < LINE_SECONDS:
                last.left_out += 1
                return
            written[level, kind] = _Written(now)
        more = f" ({last.left_out} more since the last such line)" if last is not None and last.left_out else ""
        _LOG.log(level, "%s: %s, %s%s", origin, kind.value, text, more)
