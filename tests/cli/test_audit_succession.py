"""`kmsgw audit repair --set-aside`, `--lost`: the old log is never forgotten, and the new one says why it began."""

import json
import shutil
from pathlib import Path

import pytest

from kmsgw.audit.aside_logs import AsideLog, read_aside_logs
from kmsgw.audit.node_index import write_index
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.node_index import NodeIndex
from kmsgw.tlog.note import VerifierKey
from tests.cli.command_line import kmsgw
from tests.unit.audit.logs import append_all, numbered, open_log

DO = ("--yes", "--reason", "Disk replaced")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = open_log(tmp_path)
    append_all(log, numbered(0, 300))
    log.close()
    shutil.copy(tmp_path / "keys" / "w0.seed", tmp_path / "keys" / "log.key")
    return tmp_path / "log"


def test_what_was_said_when_a_log_was_set_aside_is_in_the_one_that_begins_later(folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    key = VerifierKey.parse((folder / "verifier.key").read_text())
    write_index(tmp_path, "example.com/log/node1", keys / "node.key", {"log": [key]}, {}, [])
    assert kmsgw("audit", "repair", str(folder), "--set-aside", *DO).code == 0
    (aside,) = tmp_path.glob("log.aside-*")
    shown = kmsgw("audit", "repair", str(folder), "--lost", "--begin-anew", str(keys))
    assert "is not lost" in shown.stderr
    done = kmsgw("audit", "repair", str(folder), "--lost", "--begin-anew", str(keys), "--yes", "--reason", "Go on")
    assert done.code == 0, done.stderr
    assert f"No note of it is in {tmp_path.parent / (tmp_path.name + '-witness')}; give" in done.stderr
    first = json.loads(kmsgw("audit", "search", str(folder), "--method", "BeginAuditLog", "-o", "json").text)
    assert (first["entry"]["change"]["folder"], first["entry"]["change"]["reason"]) == (aside.name, "Go on")
    assert first["entry"]["change"]["set_aside"].endswith(": Disk replaced")
    node = NodeIndex.open((tmp_path / "index").read_bytes(), VerifierKey.parse((tmp_path / "index.key").read_text()))
    then = Checkpoint.open((aside / "checkpoint").read_bytes(), key)
    assert read_aside_logs(tmp_path, node) == {key.name: AsideLog(then, told=True)}
    verified = kmsgw("audit", "verify", str(tmp_path), "--index-key", str(tmp_path / "index.key"))
    assert verified.code == 0, verified.stderr


def test_a_lost_log_is_shown_by_verify_for_ever(folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    key = VerifierKey.parse((folder / "verifier.key").read_text())
    write_index(tmp_path, "example.com/log/node1", keys / "node.key", {"log": [key]}, {}, [])
    do = ("audit", "repair", str(folder), "--lost", "--begin-anew", str(keys), *DO)
    refused = kmsgw(*do)
    assert refused.code == 1
    assert "a log is there" in refused.stderr
    shutil.copytree(folder, tmp_path.parent / f"{tmp_path.name}-mirror")
    shutil.rmtree(folder)
    assert kmsgw("audit", "verify", str(tmp_path)).code != 0
    done = kmsgw(*do, "--from", str(tmp_path.parent / f"{tmp_path.name}-mirror"))
    assert done.code == 0, done.stderr
    verified = kmsgw("audit", "verify", str(tmp_path), "--index-key", str(tmp_path / "index.key"), "-o", "json")
    assert verified.code == 0, verified.stderr
    assert [(each["origin"], each["result"], each["size"]) for each in json.loads(verified.text)] == [
        ("example.com/log/node1/w0.2", "ok", 1),
        ("example.com/log/node1/w0", "lost", 300),
    ]
    assert "Lost, as the node's index says" in verified.stderr
    assert kmsgw("audit", "verify", str(tmp_path), "--verifier-key", str(key)).code == 5, "who kept its key misses it"


def test_options_that_do_not_go_together_are_refused(folder: Path, tmp_path: Path) -> None:
    for options in (("--lost",), ("--begin-anew", "k"), ("--lost", "--set-aside", "--begin-anew", "k")):
        refused = kmsgw("audit", "repair", str(folder), *options)
        assert refused.code == 1, options
    gone = kmsgw("audit", "repair", str(tmp_path / "gone"), "--lost", "--begin-anew", str(tmp_path / "keys"))
    assert gone.code == 1
    assert "No signed index says" in gone.stderr
