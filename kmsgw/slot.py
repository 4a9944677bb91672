"""A place for a process that `kmsgwd` keeps running, and how soon one that died is started again."""

from dataclasses import dataclass

from kmsgw.forking import Process
from kmsgw.launch import Launched

LONGEST_PAUSE_SECONDS = 5.0
"""What passes at most before a process that dies again and again is started once more."""

_STEADY_SECONDS = 10.0
_FIRST_PAUSE = 0.1


@dataclass(slots=True)
class Slot:
    """A place for a worker process; it outlives the processes that fill it. ``launched`` is there until it serves."""

    name: str
    process: Process | None = None
    launched: Launched | None = None
    started: float = 0.0
    deaths: int = 0
    start_at: float = 0.0

    def bury(self, now: float) -> int:
        """Note that the process ended; return its status. One that dies again and again is started ever later."""
        assert self.process is not None
        status = self.process.returncode
        assert status is not None
        self.deaths = 0 if now - self.started > _STEADY_SECONDS else self.deaths + 1
        self.start_at = now + (min(_FIRST_PAUSE * 2**self.deaths, LONGEST_PAUSE_SECONDS) if self.deaths else 0.0)
        self.process = None
        if self.launched is not None:
            self.launched.close()
            self.launched = None
        return status
