"""What somebody put in place of a log's file is told as damage: no command waits for a pipe, or reads without end."""

import json
import os
from pathlib import Path

import pytest

from kmsgw.durable_files import FILE_LIMIT
from kmsgw.tlog.node_index import INDEX_KEY_PATH, INDEX_PATH, IndexedLog, NodeIndex
from kmsgw.tlog.note import SigningKey
from tests.cli.command_line import kmsgw
from tests.cli.sample_log import sample_log

NODE = SigningKey.of_seed("kmsgw.example/log", bytes([5]) * 32)


def put_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("path", ["checkpoint", "tile/0/000.p/7", "tile/entries/000.p/7"])
def test_a_pipe_in_a_log_is_damage_and_the_other_logs_are_verified(tmp_path: Path, path: str) -> None:
    log = sample_log(tmp_path, 7)
    sample_log(tmp_path, 7, "worker-1")
    put_pipe(log.folder / path)

    shown = kmsgw("audit", "verify", str(tmp_path), "-o", "json")
    found = kmsgw("audit", "search", str(tmp_path), "--no-index")

    assert (shown.code, found.code) == (5, 5), shown.stderr + found.stderr
    assert [(each["log"], each["result"], each["finding"]) for each in json.loads(shown.text)] == [
        ("worker-0", "fail", f"{path}: Not a regular file."),
        ("worker-1", "ok", None),
    ]
    assert f"{path}: Not a regular file. (AUDIT_DAMAGED)" in found.stderr


def test_pipes_in_place_of_keys_and_of_an_origin_are_not_waited_for(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 7)
    put_pipe(log.folder / "verifier.key")
    shown = kmsgw("audit", "verify", str(tmp_path))
    assert (shown.code, "no verifier key lies beside the log" in shown.stderr) == (5, True), shown.stderr

    put_pipe(log.folder / "checkpoint")
    shown = kmsgw("audit", "verify", str(tmp_path), "--verifier-key", str(log.key.verifier))
    assert (shown.code, "checkpoint: Not a regular file." in shown.stderr) == (5, True), shown.stderr


@pytest.mark.parametrize("given", [True, False])
def test_a_pipe_in_place_of_the_index_does_not_pass_for_a_node_without_one(tmp_path: Path, given: bool) -> None:
    log = sample_log(tmp_path, 7)
    listed = IndexedLog("worker-0", log.key.name, (log.key.verifier,))
    (tmp_path / INDEX_PATH).write_bytes(NodeIndex(NODE.name, 1, (listed,), ()).sign(NODE))
    (tmp_path / INDEX_KEY_PATH).write_text(f"{NODE.verifier}\n")
    key = ("--index-key", str(NODE.verifier)) if given else ()
    assert kmsgw("audit", "verify", str(tmp_path), *key).code == 0
    put_pipe(tmp_path / INDEX_PATH)

    shown = kmsgw("audit", "verify", str(tmp_path), *key)
    found = kmsgw("audit", "search", str(tmp_path), "--no-index")

    assert (shown.code, "index: Not a regular file." in shown.stderr) == (5, True), shown.stderr
    assert (found.code, "can't be relied on" in found.stderr) == (0, True), found.stderr
    put_pipe(tmp_path / INDEX_KEY_PATH)
    assert kmsgw("audit", "search", str(tmp_path), "--no-index").code == 0


def test_a_file_without_end_and_a_link_are_damage(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 7)
    bundle = log.folder / "tile/entries/000.p/7"
    os.truncate(bundle, FILE_LIMIT + 1)
    shown = kmsgw("audit", "verify", str(tmp_path))
    assert (shown.code, f"Longer than {FILE_LIMIT} bytes" in shown.text) == (5, True), shown.text

    bundle.unlink()
    bundle.symlink_to("/dev/zero")
    assert kmsgw("audit", "verify", str(tmp_path)).code == 5
