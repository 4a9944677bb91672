"""A witness takes the logs of a node from its signed index, and notices an index that was put back."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kmsgw.tlog.hashing import EMPTY_ROOT
from kmsgw.tlog.node_index import IndexedLog, LostLog, NodeIndex
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.witness.answer import INDEX_NUMBER_TYPE, Answer
from kmsgw.witness.nodes import IndexFault
from kmsgw.witness.request import AddCheckpoint
from tests.unit.tlog.memory_log import MemoryLog
from tests.unit.witness.test_witness import KEY, LOG, NODE, Bench

_WORKERS = [SigningKey.of_seed(f"{NODE.name}/worker-{n}", bytes([n]) * 32) for n in range(40)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _index(number: int, workers: Sequence[SigningKey] = _WORKERS[:1], key: SigningKey = NODE) -> bytes:
    logs = tuple(IndexedLog(f"worker-{n}", each.name, (each.verifier,)) for n, each in enumerate(workers))
    return NodeIndex(key.name, number, logs, (KEY.verifier,)).sign(key)


def _ask(bench: Bench, worker: SigningKey) -> int:
    note = MemoryLog(worker, [b"1"]).files["checkpoint"]
    return bench.witness.add_checkpoint(AddCheckpoint(0, (), note).encode()).status


def test_the_logs_of_an_index_are_cosigned_and_no_others(bench: Bench) -> None:
    assert _ask(bench, _WORKERS[0]) == 404
    assert bench.witness.add_index(_index(1)).status == 200
    assert _ask(bench, _WORKERS[0]) == 200
    assert _ask(bench, _WORKERS[1]) == 404
    assert bench.witness.add_index(_index(2, _WORKERS[:2])).status == 200
    assert _ask(bench, _WORKERS[1]) == 200
    assert {*bench.witness.origins()} == {LOG.name, _WORKERS[0].name, _WORKERS[1].name}
    assert bench.index_faults == []


def test_the_newest_index_is_remembered_over_a_start(bench: Bench) -> None:
    bench.witness.add_index(_index(2, _WORKERS[:2]))
    again = bench.nodes()
    assert again.keys_of(_WORKERS[1].name) == (_WORKERS[1].verifier,)
    assert again.add(_index(1)).status == 409


def test_an_index_is_believed_by_the_key_of_its_node_alone(bench: Bench) -> None:
    impostor = SigningKey.of_seed(NODE.name, bytes([9]) * 32)
    stranger = SigningKey.of_seed("example.com/stranger", bytes([9]) * 32)
    good = _index(1)
    assert bench.witness.add_index(_index(1, key=stranger)).status == 404
    assert bench.witness.add_index(_index(1, key=impostor)).status == 403
    assert bench.witness.add_index(good.replace(b"number 1", b"number 2")).status == 403
    assert bench.witness.add_index(b"").status == 400
    assert bench.witness.add_index(good[:-1]).status == 400
    body = f"{NODE.name}\nno index\n".encode()
    assert bench.witness.add_index(body + b"\n" + NODE.signature_line(body)).status == 400
    assert _ask(bench, _WORKERS[0]) == 404


def test_an_older_index_is_answered_with_the_number_that_is_known(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.witness.add_index(_index(3, _WORKERS[:2]))
    for _ in range(30):
        assert bench.witness.add_index(_index(2)) == Answer(409, b"3\n", INDEX_NUMBER_TYPE)
    assert bench.index_faults == [IndexFault.ROLLED_BACK] * 30
    assert [each.levelno for each in caplog.records] == [logging.WARNING], "it is public, and written once"
    assert bench.witness.add_index(_index(3, _WORKERS[:2])).status == 200
    assert _ask(bench, _WORKERS[1]) == 200


def test_another_index_of_the_same_number_and_one_that_lost_a_log_are_alerts(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.witness.add_index(_index(3, _WORKERS[:2]))
    assert bench.witness.add_index(_index(3, _WORKERS[:3])) == Answer(409, b"3\n", INDEX_NUMBER_TYPE)
    lost = bench.witness.add_index(_index(4))
    assert (lost.status, lost.body) == (
        422,
        f"The index lacks {_WORKERS[1].name}, which an older one lists.\n".encode(),
    )
    elsewhere = [*_WORKERS[:2], SigningKey.of_seed("example.com/other/worker-0", bytes(32))]
    assert bench.witness.add_index(_index(4, elsewhere)).status == 422
    assert bench.index_faults == [IndexFault.FORKED, IndexFault.SHRUNK, IndexFault.SHRUNK]
    assert [each.levelno for each in caplog.records] == [logging.CRITICAL] * 2
    assert _ask(bench, _WORKERS[1]) == 200, "what was known stays known"


def test_a_log_that_an_index_says_is_lost_is_not_lacking(bench: Bench) -> None:
    bench.witness.add_index(_index(3, _WORKERS[:2]))
    index = NodeIndex.open(_index(4), NODE.verifier)
    gone = LostLog(_WORKERS[1].name, 0, EMPTY_ROOT, (_WORKERS[1].verifier,))
    assert bench.witness.add_index(replace(index, lost=(gone,)).sign(NODE)).status == 200
    assert bench.index_faults == []


def test_an_index_of_many_logs_with_long_keys_is_read(bench: Bench) -> None:
    logs = []
    for worker in _WORKERS:
        long = SigningKey.of_seed(worker.name, bytes(32), SignatureKind.ML_DSA_44)
        logs.append(IndexedLog(worker.name.rpartition("/")[2], worker.name, (worker.verifier, long.verifier)))
    raw = NodeIndex(NODE.name, 1, tuple(logs)).sign(NODE)
    assert len(raw) > 65_536
    assert bench.witness.add_index(raw).status == 200
    assert _ask(bench, _WORKERS[39]) == 200
