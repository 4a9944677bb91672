"""Looking for recorded requests: bounded, since each look takes a thread for seconds."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kmsgw.audit.node_logs import NodeLogs
from kmsgw.audit.requests import NodeRequests
from kmsgw.errors import ResourceExhausted
from kmsgw.model.request_id import new_request_id
from kmsgw.tlog.node_index import INDEX_PATH, NodeIndex
from kmsgw.tlog.note import SigningKey
from tests.fakes.clock import SetClock

KEY = SigningKey.of_seed("kmsgw.example/log/node1", bytes(32))


class Gate(SetClock):
    """A clock whose sleepers wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep = threading.Semaphore(0)
        self.open = threading.Event()

    def sleep(self, seconds: float) -> None:
        self.asleep.release()
        assert self.open.wait(60)
        super().sleep(seconds)


def test_a_third_look_is_refused_while_two_wait_and_taken_afterwards(tmp_path: Path) -> None:
    gate = Gate()
    (tmp_path / INDEX_PATH).write_bytes(NodeIndex(KEY.name, 1, ()).sign(KEY))
    requests = NodeRequests(NodeLogs(tmp_path, lambda: KEY.verifier), clock=gate)
    young = new_request_id(gate.now())
    looking = [threading.Thread(target=requests.find, args=(young,)) for _ in range(2)]
    for each in looking:
        each.start()
        assert gate.asleep.acquire(timeout=60)

    with pytest.raises(ResourceExhausted):
        requests.find(young)

    gate.open.set()
    for each in looking:
        each.join(60)
    assert requests.find(new_request_id(datetime(2026, 1, 1, tzinfo=UTC))) is None
