"""`kmsgw audit repair --set-aside`, `--lost`: the old log is never forgotten, and the new one says why it began."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kmsgw.audit import generation, node_index, succession
from kmsgw.audit.aside_logs import AsideLog, read_aside_logs
from kmsgw.audit.log import DurableLog
from kmsgw.audit.mending import put_left_aside, said_of_left
from kmsgw.audit.node_index import write_index
from kmsgw.audit.succession import is_beginning
from kmsgw.cli import audit_succession
from kmsgw.durable_files import write_file
from kmsgw.seed_file import load_or_create_secret
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.node_index import NodeIndex
from kmsgw.tlog.note import VerifierKey
from tests.cli.command_line import Transcript, kmsgw
from tests.unit.audit.logs import append_all, closed_log, numbered, open_log

DO = ("--yes", "--reason", "Disk replaced")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return closed_log(tmp_path, 300)


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


def _left(folder: Path, keys: Path, log: DurableLog, count: int) -> VerifierKey:
    """Let a log have signed for its entries and so many more be durable; then its signed tree is gone."""
    append_all(log, numbered(300, 300 + count))
    kept = {name: (folder / name).read_bytes() for name in ("wal", "verifier.key")}
    log.close()
    shutil.copy(keys / "w0.seed", keys / "log.key")
    shutil.rmtree(folder)
    folder.mkdir()
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    key = VerifierKey.parse((folder / "verifier.key").read_text())
    write_index(folder.parent, "example.com/log/node1", keys / "node.key", {"log": [key]}, {}, [])
    return key


def test_a_write_ahead_file_that_is_left_of_a_lost_log_is_kept_and_told_of(tmp_path: Path) -> None:
    log = open_log(tmp_path, wal_limit=1)
    append_all(log, numbered(0, 300))
    log.integrate()
    folder, keys = tmp_path / "log", tmp_path / "keys"
    _left(folder, keys, log, 5)
    raw = (folder / "wal").read_bytes()
    do = ("audit", "repair", str(folder), "--lost", "--begin-anew", str(keys))

    shown = kmsgw(*do)
    assert (shown.code, "is left of it, which can't mend it" in shown.stderr) == (0, True), shown.stderr
    assert sorted(each.name for each in folder.iterdir()) == ["verifier.key", "wal"], "a dry run changes nothing"
    done = kmsgw(*do, *DO)

    assert done.code == 0, done.stderr
    (left,) = (tmp_path / "repairs").iterdir()
    assert (left / "wal").read_bytes() == raw
    first = json.loads(kmsgw("audit", "search", str(folder), "--method", "BeginAuditLog", "-o", "json").text)
    assert first["entry"]["change"]["left"] == [
        {"folder": f"repairs/{left.name}", "write_ahead_sha256": sha256(raw).hexdigest(), "entries": "300-304"}
    ]
    verified = kmsgw("audit", "verify", str(tmp_path), "--index-key", str(tmp_path / "index.key"))
    assert verified.code == 0, verified.stderr


def test_a_log_that_its_write_ahead_file_mends_is_not_lost(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append_all(log, numbered(0, 300))
    log.integrate()
    folder, keys = tmp_path / "log", tmp_path / "keys"
    checkpoint = (folder / "checkpoint").read_bytes()
    key = _left(folder, keys, log, 5)
    (folder / "cosigned").mkdir()
    (folder / "cosigned" / "01020304").write_bytes(checkpoint)

    refused = kmsgw("audit", "repair", str(folder), "--lost", "--begin-anew", str(keys), *DO)

    assert (refused.code, "the log is not lost" in refused.stderr) == (1, True), refused.stderr
    mend = ("audit", "repair", str(folder), "--keys", str(keys), "--verifier-key", str(key), "--accept-loss", *DO)
    assert kmsgw(*mend).code == 0
    again = open_log(tmp_path)
    assert list(again.entries(0, 305)) == numbered(0, 305)
    again.close()


def test_what_a_stopped_beginning_left_is_finished_and_not_taken_for_a_log(folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    key = VerifierKey.parse((folder / "verifier.key").read_text())
    write_index(tmp_path, "example.com/log/node1", keys / "node.key", {"log": [key]}, {}, [])
    shutil.rmtree(folder)
    do = ("audit", "repair", str(folder), "--lost", "--begin-anew", str(keys), *DO)
    assert kmsgw(*do).code == 0
    # As it is where the first entry of the new log is not durable yet.
    first = json.loads(kmsgw("audit", "search", str(folder), "--method", "BeginAuditLog", "-o", "json").text)
    origin = VerifierKey.parse((folder / "verifier.key").read_text()).name
    name = origin.rpartition("/")[2]
    (keys / "log.beginning").write_text(json.dumps({"name": name, "entry": json.dumps(first["entry"])}))
    shutil.rmtree(folder)
    DurableLog.open(folder, origin=origin, key_file=keys / "log.key", interval=None).close()
    (folder / "checkpoint").unlink()

    done = kmsgw(*do)

    assert (done.code, "is finished" in done.stderr) == (0, True), done.stderr
    assert kmsgw("audit", "verify", str(tmp_path)).code == 0


def test_what_is_left_and_can_not_be_read_is_told_and_holds_up_no_new_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "wal")
    told = said_of_left(tmp_path, None)
    assert set(told) == {"folder", "write_ahead_unread"}
    assert told["write_ahead_unread"]


class Stopped(BaseException):
    """The process was killed."""


def test_stopped_anywhere_after_what_is_left_was_put_aside_the_command_ends_well_when_it_is_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(tmp_path / "0", wal_limit=1)
    append_all(log, numbered(0, 300))
    log.integrate()
    _left(tmp_path / "0" / "log", tmp_path / "0" / "keys", log, 5)
    raw = (tmp_path / "0" / "log" / "wal").read_bytes()
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # the machine does not fail here, and disks are slow
    stops = 0
    for point in range(1, 60):
        base = shutil.copytree(tmp_path / "0", tmp_path / str(point))
        do = ("audit", "repair", str(base / "log"), "--lost", "--begin-anew", str(base / "keys"), *DO)
        steps_left = 0
        done: Transcript | None = None

        def counted(work: Callable[..., object]) -> Callable[..., object]:
            def step(*arguments: object, **options: object) -> object:
                nonlocal steps_left
                steps_left -= 1
                if steps_left == 0:
                    raise Stopped
                return work(*arguments, **options)

            return step

        def put_aside(*arguments: Any, point: int = point) -> None:
            nonlocal steps_left
            put_left_aside(*arguments)
            steps_left = point  # from here on

        with monkeypatch.context() as patch:
            patch.setattr(audit_succession, "put_left_aside", put_aside)
            patch.setattr(audit_succession, "said_of_left", counted(said_of_left))
            for module in (generation, succession, node_index):
                patch.setattr(module, "write_file", counted(write_file))
            patch.setattr(succession, "load_or_create_secret", counted(load_or_create_secret))
            patch.setattr(Path, "rename", counted(Path.rename))
            patch.setattr(Path, "unlink", counted(Path.unlink))
            patch.setattr(DurableLog, "open", counted(DurableLog.open))
            patch.setattr(DurableLog, "append", counted(DurableLog.append))
            with suppress(Stopped):
                done = kmsgw(*do)
        if done is not None or (stops > 9 and not is_beginning(base / "keys", "log")):
            break  # the first entry of the new log is durable: there is nothing left to be done
        stops += 1
        done = kmsgw(*do)
        assert done.code == 0, (point, done.stderr)
        (left,) = (base / "repairs").iterdir()
        assert (left / "wal").read_bytes() == raw
        first = json.loads(kmsgw("audit", "search", str(base / "log"), "--method", "BeginAuditLog", "-o", "json").text)
        (said,) = first["entry"]["change"]["left"]
        assert first["index"] == 0
        assert said == {
            "folder": f"repairs/{left.name}",
            "write_ahead_sha256": sha256(raw).hexdigest(),
            "entries": "300-304",
        }, point
        verified = kmsgw("audit", "verify", str(base), "--index-key", str(base / "index.key"), "-o", "json")
        assert [each["result"] for each in json.loads(verified.text)] == ["ok", "lost"], verified.stderr
    assert stops >= 9, "every step was stopped at"


def test_options_that_do_not_go_together_are_refused(folder: Path, tmp_path: Path) -> None:
    for options in (("--lost",), ("--begin-anew", "k"), ("--lost", "--set-aside", "--begin-anew", "k")):
        refused = kmsgw("audit", "repair", str(folder), *options)
        assert refused.code == 1, options
    gone = kmsgw("audit", "repair", str(tmp_path / "gone"), "--lost", "--begin-anew", str(tmp_path / "keys"))
    assert gone.code == 1
    assert "No signed index says" in gone.stderr
