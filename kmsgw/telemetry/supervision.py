"""What metrics need of `kmsgwd`: the address, memory that outlives the workers, and how often they were started."""

import logging
import socket
import time

from kmsgw.telemetry.board import Board
from kmsgw.telemetry.metric_table import WORKER_RESTARTS
from kmsgw.telemetry.samples import Notice, Samples

_LOG = logging.getLogger(__name__)


class SupervisedMetrics:
    """The supervisor's side. Slot 0 of the board is its own, the last the exporter's, the others the workers'."""

    def __init__(self, reservation: socket.socket, host: str, workers: int) -> None:
        """Take a socket that holds the address for the workers."""
        self._reservation = reservation
        self.address = f"{host}:{reservation.getsockname()[1]}"
        self.board = Board.make(workers + 2)
        self._notice = Notice(self.board, 0)
        self._starts: dict[str, int] = {}
        _LOG.info("metrics are at https://%s/metrics", self.address)

    def started(self, worker: str) -> None:
        """Count a start of a worker."""
        self._starts[worker] = self._starts.get(worker, 0) + 1
        samples = Samples()
        for name, starts in self._starts.items():
            samples.add(WORKER_RESTARTS, starts - 1, name)
        self._notice.publish(samples, time.monotonic())

    def close(self) -> None:
        """Let go of the address and the memory."""
        self._reservation.close()
        self.board.close()
