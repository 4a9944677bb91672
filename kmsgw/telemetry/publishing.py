"""Showing the figures of a process once a second on the node's board, and what the process takes of the machine."""

import logging
import os
import resource
import threading
from pathlib import Path
from typing import Final, Protocol

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.telemetry import metric_table as table
from kmsgw.telemetry.samples import Notice, Samples

PUBLISH_SECONDS: Final = 1.0
"""How often a process shows its figures. A scrape may be as old."""

_PAGE: Final = resource.getpagesize()
_LOG = logging.getLogger(__name__)


def add_process(samples: Samples, worker: str) -> None:
    """Add what this process takes of the machine."""
    times = os.times()
    samples.add(table.PROCESS_CPU, times.user + times.system, worker)
    resident = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE
    samples.add(table.PROCESS_RESIDENT, resident, worker)
    samples.add(table.PROCESS_DESCRIPTORS, len(os.listdir("/proc/self/fd")), worker)  # noqa: PTH208  names alone
    samples.add(table.PROCESS_THREADS, len(os.listdir("/proc/self/task")), worker)  # noqa: PTH208


class Figures(Protocol):
    """What a process has to show."""

    def read(self) -> Samples:
        """Return its figures as of now."""


class Publisher:
    """Shows the figures of a process, in a thread of its own."""

    def __init__(self, figures: Figures, notice: Notice, clock: Clock = SYSTEM_CLOCK) -> None:
        self._figures = figures
        self._notice = notice
        self._clock = clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="figures", daemon=True)

    def start(self) -> None:
        """Show them now, and then once a second."""
        self.publish()
        self._thread.start()

    def publish(self) -> None:
        """Show them now."""
        self._notice.publish(self._figures.read(), self._clock.monotonic())

    def stop(self) -> None:
        """Show them a last time: what was counted outlives the worker."""
        self._stopped.set()
        self._thread.join()
        self.publish()

    def _run(self) -> None:
        while not self._stopped.wait(PUBLISH_SECONDS):
            try:
                self.publish()
            except Exception:  # noqa: BLE001  figures that can't be read must not end the showing of the next
                _LOG.exception("the figures of this process can't be shown")
