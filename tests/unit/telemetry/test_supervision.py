"""What kmsgwd shows of its workers: how often each was started again."""

import socket

from kmsgw.telemetry.board import Board
from kmsgw.telemetry.metric_table import WORKER_RESTARTS
from kmsgw.telemetry.samples import Notice, Samples
from kmsgw.telemetry.supervision import SupervisedMetrics


def test_the_first_start_of_a_worker_is_no_restart() -> None:
    reservation = socket.create_server(("127.0.0.1", 0))
    port = reservation.getsockname()[1]
    metrics = SupervisedMetrics(reservation, "127.0.0.1", 2)
    for worker in ("worker-0", "worker-1", "worker-1", "worker-1"):
        metrics.started(worker)
    samples = Samples()
    samples.take_over(Notice(Board(metrics.board.descriptor), 0).read()[1])
    assert samples.of(WORKER_RESTARTS) == {("worker-0",): 0, ("worker-1",): 2}
    assert metrics.address == f"127.0.0.1:{port}"
    assert metrics.board.slots == 4
    metrics.close()
