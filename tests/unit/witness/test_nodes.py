"""A witness takes the logs of a node from its signed index, and notices an index that was put back."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kmsgw.tlog.hashing import EMPTY_ROOT, leaf_hash
from kmsgw.tlog.node_index import IndexedLog, LostLog, NodeIndex
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.witness.answer import INDEX_NUMBER_TYPE, Answer
from kmsgw.witness.index_fault import IndexFault
from kmsgw.witness.request import AddCheckpoint
from kmsgw.witness.state import origin_name
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


def _lost(number: int, size: int, root: bytes = EMPTY_ROOT, key: SigningKey = _WORKERS[1]) -> bytes:
    """Sign an index that lists the first worker's log, and says that the second's is lost."""
    index = NodeIndex.open(_index(number), NODE.verifier)
    gone = LostLog(_WORKERS[1].name, size, root, (key.verifier,))
    return replace(index, lost=(gone,)).sign(NODE)


def test_a_log_that_an_index_says_is_lost_is_an_alert_and_is_still_served_and_checked(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.witness.add_index(_index(3, _WORKERS[:2]))
    log = MemoryLog(_WORKERS[1], [b"1"])
    assert _ask(bench, _WORKERS[1]) == 200
    for _ in range(2):
        assert bench.witness.add_index(_lost(4, 1, leaf_hash(b"1"))).status == 200
    assert bench.index_faults == [IndexFault.LOST], "once, and the node is not locked out"
    assert [each.levelno for each in caplog.records] == [logging.WARNING]
    name = _WORKERS[1].name
    assert bench.witness.origin_of(origin_name(name)) == name
    assert list(bench.witness.lost()) == list(bench.nodes().lost()) == [name]
    again = AddCheckpoint(1, (), log.files["checkpoint"]).encode()
    assert bench.witness.add_checkpoint(again).status == 200
    assert bench.witness.add_index(_index(5, _WORKERS[:2])).status == 200, "a copy of it may turn up"
    assert list(bench.witness.lost()) == []


@pytest.mark.parametrize(("size", "root"), [(0, EMPTY_ROOT), (1, bytes(32))])
def test_a_log_that_is_lost_with_less_or_another_tree_than_was_cosigned_is_an_alert_of_its_own(
    bench: Bench, caplog: pytest.LogCaptureFixture, size: int, root: bytes
) -> None:
    bench.witness.add_index(_index(3, _WORKERS[:2]))
    assert _ask(bench, _WORKERS[1]) == 200
    assert bench.witness.add_index(_lost(4, size, root)).status == 200
    assert bench.index_faults == [IndexFault.LOST_UNLIKE]
    assert [each.levelno for each in caplog.records] == [logging.WARNING]


def test_each_lost_log_has_a_line_of_its_own(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.witness.add_index(_index(3, _WORKERS[:3]))
    gone = tuple(LostLog(each.name, 0, EMPTY_ROOT, (each.verifier,)) for each in _WORKERS[1:3])
    index = replace(NodeIndex.open(_index(4), NODE.verifier), lost=gone)
    assert bench.witness.add_index(index.sign(NODE)).status == 200
    assert bench.index_faults == [IndexFault.LOST] * 2
    assert [each.getMessage().partition(":")[0] for each in caplog.records] == [each.origin for each in gone]


def test_what_a_witness_s_first_index_says_is_lost_is_an_alert_only_where_it_cosigned_that_log(bench: Bench) -> None:
    assert bench.witness.add_index(_lost(4, 1)).status == 200
    assert bench.index_faults == []
    other = Bench(bench.state.folder / "other")
    with other.state.holding(_WORKERS[1].name) as held:
        held.replace(MemoryLog(_WORKERS[1], [b"1"]).files["checkpoint"])
    assert other.witness.add_index(_lost(4, 0)).status == 200
    assert other.index_faults == [IndexFault.LOST_UNLIKE]


def test_an_index_can_neither_change_the_first_key_of_a_log_nor_its_word_on_a_lost_one(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    other = SigningKey.of_seed(_WORKERS[1].name, bytes([77]) * 32)
    bench.witness.add_index(_index(3, _WORKERS[:2]))
    assert bench.witness.add_index(_index(4, [_WORKERS[0], other])).status == 422
    assert bench.witness.add_index(_lost(4, 5, key=other)).status == 422
    assert bench.witness.add_index(_lost(4, 5)).status == 200
    for refused in (_lost(5, 4), _lost(5, 6), _lost(5, 5, bytes(32)), _index(5, [_WORKERS[0], other])):
        assert bench.witness.add_index(refused).status == 422
    assert bench.witness.add_index(_lost(5, 5)).status == 200
    assert bench.index_faults == [IndexFault.ALTERED] * 2 + [IndexFault.LOST] + [IndexFault.ALTERED] * 4
    assert [each.levelno for each in caplog.records] == [logging.CRITICAL, logging.WARNING], "bounded"
    assert _ask(bench, other) == 403
    assert _ask(bench, _WORKERS[1]) == 200


def test_a_key_that_an_index_puts_beside_that_of_a_log_can_t_sign_for_it(bench: Bench) -> None:
    beside = SigningKey.of_seed(_WORKERS[0].name, bytes([78]) * 32)
    bench.witness.add_index(_index(3))
    both = IndexedLog("worker-0", _WORKERS[0].name, (_WORKERS[0].verifier, beside.verifier))
    assert bench.witness.add_index(NodeIndex(NODE.name, 4, (both,)).sign(NODE)).status == 200, "as for ML-DSA-44"
    assert _ask(bench, beside) == 403
    assert _ask(bench, _WORKERS[0]) == 200


@pytest.mark.parametrize("number", [1, 4])
def test_an_index_lists_no_logs_of_a_node_whose_name_is_below_its_own(bench: Bench, number: int) -> None:
    deeper = SigningKey.of_seed(f"{NODE.name}/deeper/worker-0", bytes(32))
    if number > 1:
        bench.witness.add_index(_index(3))
    assert bench.witness.add_index(_index(number, [_WORKERS[0], deeper])).status == 422
    gone = LostLog(deeper.name, 0, EMPTY_ROOT, (deeper.verifier,))
    index = replace(NodeIndex.open(_index(number), NODE.verifier), lost=(gone,))
    assert bench.witness.add_index(index.sign(NODE)).status == 422
    assert bench.index_faults == [IndexFault.SHRUNK] * 2
    assert _ask(bench, deeper) == 404


def test_refused_indexes_are_kept_with_the_one_that_was_known(bench: Bench) -> None:
    known = _index(3, _WORKERS[:2])
    bench.witness.add_index(known)
    forked, shrunk = _index(3, _WORKERS[:3]), _index(4)
    for refused in (forked, shrunk, _index(2)):
        assert bench.witness.add_index(refused).status in (409, 422)
    folder = bench.state.folder / origin_name(str(NODE.verifier))
    kept = {path.name.rpartition("-")[0]: path.read_bytes() for path in folder.glob("refused-*")}
    assert kept == {
        "refused-forked": forked,
        "refused-known-forked": known,
        "refused-shrunk": shrunk,
        "refused-known-shrunk": known,
    }


def test_an_index_of_many_logs_with_long_keys_is_read(bench: Bench) -> None:
    logs = []
    for worker in _WORKERS:
        long = SigningKey.of_seed(worker.name, bytes(32), SignatureKind.ML_DSA_44)
        logs.append(IndexedLog(worker.name.rpartition("/")[2], worker.name, (worker.verifier, long.verifier)))
    raw = NodeIndex(NODE.name, 1, tuple(logs)).sign(NODE)
    assert len(raw) > 65_536
    assert bench.witness.add_index(raw).status == 200
    assert _ask(bench, _WORKERS[39]) == 200
