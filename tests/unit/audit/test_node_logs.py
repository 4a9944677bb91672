"""The logs that auditors read over the gateway are those of the signed index, by its keys alone."""

import os
import re
import shutil
from pathlib import Path

import pytest

from kmsgw.audit.node_index import write_index
from kmsgw.audit.node_logs import NodeLogs
from kmsgw.errors import AuditDamaged
from kmsgw.seed_file import load_secret
from kmsgw.tlog.follow import LogFollower
from kmsgw.tlog.node_index import INDEX_PATH
from kmsgw.tlog.note import SigningKey
from tests.unit.tlog.memory_log import MemoryLog

_NODE = "kmsgw.example/log/node1"
_KEY = SigningKey.of_seed(f"{_NODE}/worker-0", bytes(32))


def _put(folder: Path, log: MemoryLog) -> None:
    for path, data in {**log.files, "verifier.key": f"{log.key.verifier}\n".encode()}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A folder with one log, and its index."""
    (tmp_path / "keys").mkdir(mode=0o700)
    _put(tmp_path / "audit" / "worker-0", MemoryLog(_KEY, [b"true"]))
    running = {"worker-0": [_KEY.verifier]}
    write_index(tmp_path / "audit", _NODE, tmp_path / "keys" / "node.key", running, {}, [])
    return tmp_path


def _logs(node: Path) -> NodeLogs:
    key = SigningKey.of_seed(_NODE, load_secret(node / "keys" / "node.key")).verifier
    return NodeLogs(node / "audit", lambda: key)


def test_the_logs_of_the_index_are_found(node: Path) -> None:
    (found,) = _logs(node).find()
    assert found.verifier == _KEY.verifier
    assert [raw for _, raw in found.reader().entries()] == [b"true"]


def test_a_log_that_somebody_put_beside_them_is_none(node: Path) -> None:
    _put(node / "audit" / "worker-9", MemoryLog(SigningKey.of_seed(f"{_NODE}/worker-9", bytes([7]) * 32), [b"forged"]))
    assert [log.verifier for log in _logs(node).find()] == [_KEY.verifier]


def test_a_log_that_was_replaced_with_its_key_is_damaged(node: Path) -> None:
    _put(node / "audit" / "worker-0", MemoryLog(SigningKey.of_seed(_KEY.name, bytes([7]) * 32), [b"forged"]))
    (found,) = _logs(node).find()
    with pytest.raises(AuditDamaged, match="not signed"):
        found.reader()


def test_without_its_index_nothing_is_found(node: Path) -> None:
    (node / "audit" / INDEX_PATH).unlink()
    with pytest.raises(AuditDamaged, match="index"):
        _logs(node).find()


def test_a_listed_log_that_is_gone_is_told_as_missing_and_not_left_out(node: Path) -> None:
    other = SigningKey.of_seed(f"{_NODE}/worker-1", bytes([1]) * 32)
    _put(node / "audit" / "worker-1", MemoryLog(other, [b"true"]))
    running = {"worker-0": [_KEY.verifier], "worker-1": [other.verifier]}
    write_index(node / "audit", _NODE, node / "keys" / "node.key", running, {}, [])
    shutil.rmtree(node / "audit" / "worker-1")
    there, gone = _logs(node).find()
    assert [raw for _, raw in there.reader().entries()] == [b"true"]
    with pytest.raises(AuditDamaged, match=f"{re.escape(other.name)}: the log is missing"):
        gone.reader()
    with pytest.raises(AuditDamaged, match="worker-1: the log is missing"):
        LogFollower(gone.fetch, gone.verifier, None).poll(1)


@pytest.mark.parametrize("path", ["checkpoint", "tile/entries/000.p/1"])
def test_a_pipe_in_place_of_a_file_is_told_and_not_waited_for(node: Path, path: str) -> None:
    (node / "audit" / "worker-0" / path).unlink()
    os.mkfifo(node / "audit" / "worker-0" / path)
    (found,) = _logs(node).find()
    with pytest.raises(AuditDamaged, match=re.escape(f"worker-0/{path} can't be read: Not a regular file")):
        list(found.reader().entries())


def test_a_pipe_in_place_of_the_index_is_told_and_not_waited_for(node: Path) -> None:
    (node / "audit" / INDEX_PATH).unlink()
    os.mkfifo(node / "audit" / INDEX_PATH)
    with pytest.raises(AuditDamaged, match="index: the signed index of the logs can't be read: Not a regular file"):
        _logs(node).find()


def test_an_index_that_is_put_back_while_auditors_read_is_damaged(node: Path) -> None:
    path = node / "audit" / INDEX_PATH
    older = path.read_bytes()
    running = {"worker-0": [_KEY.verifier]}
    write_index(node / "audit", _NODE, node / "keys" / "node.key", running, {}, [_KEY.verifier])
    logs = _logs(node)
    logs.find()
    path.write_bytes(older)
    with pytest.raises(AuditDamaged, match="has number 1 and had 2: it was rolled back"):
        logs.find()
