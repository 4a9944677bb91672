"""What is known of a log that was set aside is what the log after it says, and tells a later rollback from an older."""

import json
from base64 import b64encode
from pathlib import Path

import pytest

from kmsgw.audit.aside_logs import AsideLog, read_aside_logs
from kmsgw.audit.generation import BEGIN_METHOD
from kmsgw.audit.kept_checkpoints import OWN_MEMORY
from kmsgw.audit.log import DurableLog
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.node_index import IndexedLog, NodeIndex
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.reader import LogReader
from tests.unit.tlog.memory_log import MemoryLog

NODE = "example.com/log/node1"
BEFORE = f"{NODE}/worker-0"
KNOWN = {"memory": OWN_MEMORY, "size": 3, "root": b64encode(bytes(32)).decode()}
CHANGE: dict[str, object] = {"before": BEFORE, "folder": "worker-0.aside-1", "lost": False, "known": [KNOWN]}


def told_by(folder: Path, **fields: object) -> dict[str, AsideLog]:
    log = DurableLog.open(folder / "w", origin=f"{NODE}/w", key_file=folder / "keys" / "w.key", interval=None)
    log.append(json.dumps({"method": BEGIN_METHOD, "change": CHANGE, **fields}).encode())
    log.close()
    gone = IndexedLog("gone", f"{NODE}/gone", (log.verifier,))
    index = NodeIndex(NODE, 1, (gone, IndexedLog("w", f"{NODE}/w", (log.verifier,))))
    return dict(read_aside_logs(folder, index))


def test_the_first_entry_of_the_log_after_it_says_how_long_it_was(tmp_path: Path) -> None:
    assert told_by(tmp_path) == {BEFORE: AsideLog(Checkpoint(BEFORE, 3, bytes(32)), told=True)}


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "/kmsgw.v1.KeyService/CreateKey"},
        {"request_id": "a call that asked for this method"},
        {"change": "none"},
        {"change": {**CHANGE, "lost": True}},
        {"change": {**CHANGE, "before": 7}},
    ],
)
def test_another_first_entry_says_nothing(tmp_path: Path, fields: dict[str, object]) -> None:
    assert told_by(tmp_path, **fields) == {}


@pytest.mark.parametrize(
    "known",
    [None, [], [7], *([{**KNOWN, name: wrong}] for name, wrong in [("size", -1), ("root", "AA"), ("memory", "w1")])],
)
def test_without_a_checkpoint_of_its_own_it_had_none(tmp_path: Path, known: object) -> None:
    assert told_by(tmp_path, change={**CHANGE, "known": known}) == {BEFORE: AsideLog(None, told=True)}


def test_a_log_is_still_what_it_was_where_it_begins_with_that() -> None:
    key = SigningKey.of_seed(BEFORE, bytes(32))
    log = MemoryLog(key, [b"1", b"2", b"3"])
    then = Checkpoint.open(log.files["checkpoint"], key.verifier)

    def is_still(aside: AsideLog, files: MemoryLog) -> bool:
        reader = LogReader(files.fetch)
        reader.checkpoint(key.verifier)
        return aside.is_still(reader)

    aside = AsideLog(then, told=True)
    assert is_still(aside, log)
    log.extend([b"taken over at a start"])
    assert is_still(aside, log)
    assert not is_still(aside, MemoryLog(key, [b"1", b"2"]))
    assert not is_still(aside, MemoryLog(key, [b"1", b"2", b"other", b"4"]))
    assert not is_still(AsideLog(None, told=True), log), "there was nothing that could be read"
    assert is_still(AsideLog(), log), "nobody says"
