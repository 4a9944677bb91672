"""`kmsgw audit index`, and searches with it, on logs of one node and of two."""

import json
import shutil
from pathlib import Path

import pytest

from kmsgw.tlog.node_index import IndexedLog, LostLog, NodeIndex
from kmsgw.tlog.note import SigningKey
from tests.cli.command_line import Transcript, kmsgw
from tests.cli.sample_log import sample_log


@pytest.fixture
def nodes(tmp_path: Path) -> list[str]:
    sample_log(tmp_path / "node1", 30, "worker-0")
    other = sample_log(tmp_path / "elsewhere", 20, "worker-9")
    (tmp_path / "node2").mkdir()
    other.folder.rename(tmp_path / "node2" / "worker-0")
    return [str(tmp_path / "node1"), str(tmp_path / "node2")]


def in_cache(tmp_path: Path, *arguments: str) -> Transcript:
    return kmsgw("audit", *arguments, env={"XDG_CACHE_HOME": str(tmp_path / "cache")})


def index_of(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "cache" / "kmsgw").glob("*.sqlite")
    return path


def found(shown: Transcript) -> list[tuple[str, int]]:
    assert shown.code == 0, shown.stderr
    return [(line["log"].rpartition("/")[2], line["index"]) for line in map(json.loads, shown.text.splitlines())]


def test_an_index_is_made_once_and_extended(tmp_path: Path, nodes: list[str]) -> None:
    first = json.loads(in_cache(tmp_path, "index", *nodes, "-o", "json").text)
    assert (first["logs"], first["entries"], first["added"]) == (2, 50, 50)
    assert first["index"] == str(index_of(tmp_path))
    assert index_of(tmp_path).stat().st_mode & 0o777 == 0o600
    assert index_of(tmp_path).parent.stat().st_mode & 0o777 == 0o700

    sample_log(tmp_path / "node1", 33, "worker-0")

    again = json.loads(in_cache(tmp_path, "index", *nodes, "-o", "json").text)
    assert (again["entries"], again["added"]) == (53, 3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--principal", "billing", "--limit", "3"], [("worker-0", 23), ("worker-0", 26), ("worker-0", 29)]),
        (
            ["--reason", "access_denied", "--until", "2026-01-31T08:00:06Z"],
            [("worker-0", 2), ("worker-9", 2), ("worker-0", 5), ("worker-9", 5)],
        ),
        (["--request-id", "request-19", "--newest-first"], [("worker-9", 19), ("worker-0", 19)]),
        (["--key", "ehr", "--outcome", "ok", "--newest-first", "--limit", "2"], [("worker-0", 28), ("worker-0", 27)]),
        (["--key", "alias/patients"], []),
    ],
)
def test_a_search_finds_the_same_with_and_without_the_index(
    tmp_path: Path, nodes: list[str], options: list[str], expected: list[tuple[str, int]]
) -> None:
    assert found(in_cache(tmp_path, "search", *nodes, *options, "-o", "json")) == expected
    assert not (tmp_path / "cache").exists()
    in_cache(tmp_path, "index", *nodes)

    assert found(in_cache(tmp_path, "search", *nodes, *options, "-o", "json")) == expected
    assert found(in_cache(tmp_path, "search", *nodes, *options, "-o", "json", "--no-index")) == expected


def test_a_search_brings_the_index_up_to_date(tmp_path: Path, nodes: list[str]) -> None:
    in_cache(tmp_path, "index", *nodes)
    sample_log(tmp_path / "node1", 33, "worker-0")

    shown = in_cache(tmp_path, "search", *nodes, "--principal", "billing", "--limit", "1", "-o", "json")

    assert found(shown) == [("worker-0", 32)]


def test_a_damaged_index_is_made_anew_and_said(tmp_path: Path, nodes: list[str]) -> None:
    in_cache(tmp_path, "index", *nodes)
    path = index_of(tmp_path)
    raw = bytearray(path.read_bytes())
    raw[100:] = b"\xa5" * (len(raw) - 100)
    path.write_bytes(raw)

    shown = in_cache(tmp_path, "search", *nodes, "--principal", "billing", "--limit", "1", "-o", "json")

    assert found(shown) == [("worker-0", 29)]
    assert f"The index {path} is damaged" in shown.stderr
    assert in_cache(tmp_path, "search", *nodes, "--principal", "nobody").stderr == "No entry matches.\n"


def test_a_log_that_was_cut_since_it_was_indexed_is_damaged(tmp_path: Path, nodes: list[str]) -> None:
    in_cache(tmp_path, "index", *nodes)
    sample_log(tmp_path / "node1", 29, "worker-0")

    for shown in (in_cache(tmp_path, "search", *nodes, "--key", "ehr"), in_cache(tmp_path, "index", *nodes)):
        assert shown.code == 5
        assert "had 30 entries when it was indexed, and now has 29" in shown.stderr
        assert shown.text == ""


def test_logs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path, nodes: list[str]) -> None:
    shown = in_cache(tmp_path, "tail", *nodes, "-n", "3")

    places = [line.split("  ")[-1] for line in shown.text.splitlines()]
    assert places == ["node1/worker-0/27", "node1/worker-0/28", "node1/worker-0/29"]
    assert in_cache(tmp_path, "tail", str(tmp_path), "-n", "3").text == shown.text


def test_the_same_log_twice_is_refused(tmp_path: Path, nodes: list[str]) -> None:
    sample_log(tmp_path / "copy", 30, "worker-0")

    shown = in_cache(tmp_path, "search", nodes[0], str(tmp_path / "copy"))

    assert shown.code == 1
    assert "hold the same log, kmsgw.example/log/worker-0." in shown.stderr


@pytest.mark.parametrize("indexed", [False, True])
def test_entries_of_two_nodes_come_by_time_and_each_once(tmp_path: Path, indexed: bool) -> None:
    # Three logs, of which two begin with the same 20 entries, so that most times are there more than once.
    nodes = [str(tmp_path / name) for name in ("node1", "node2")]
    for node, name, count in (("node1", "worker-0", 300), ("node1", "worker-1", 20), ("node2", "worker-9", 280)):
        sample_log(tmp_path / node, count, name)
    if indexed:
        in_cache(tmp_path, "index", *nodes)

    shown = in_cache(tmp_path, "search", *nodes, "--key", "ehr", "-o", "json")

    lines = [json.loads(line) for line in shown.text.splitlines()]
    times = [line["entry"]["time"] for line in lines]
    assert times == sorted(times)
    assert len({(line["log"], line["index"]) for line in lines}) == len(lines) == 600
    for log in {line["log"] for line in lines}:
        indexes = [line["index"] for line in lines if line["log"] == log]
        assert indexes == sorted(indexes)
    backwards = in_cache(tmp_path, "search", *nodes, "--key", "ehr", "--newest-first", "-o", "json")
    assert [json.loads(line) for line in backwards.text.splitlines()] == lines[::-1]
    some = in_cache(tmp_path, "search", *nodes, "--key", "ehr", "--limit", "7", "-o", "json")
    assert [json.loads(line) for line in some.text.splitlines()] == lines[-7:]


def test_a_lost_log_does_not_stop_the_index_and_one_that_is_gone_is_told_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    logs = [sample_log(folder, 30, name) for name in ("worker-0", "worker-1")]
    listed = tuple(IndexedLog(log.folder.name, log.key.name, (log.key.verifier,)) for log in logs)
    node = SigningKey.of_seed("kmsgw.example/log", bytes(32))
    (folder / "index").write_bytes(NodeIndex(node.name, 1, listed).sign(node))
    (folder / "index.key").write_text(f"{node.verifier}\n")
    in_cache(tmp_path, "index", str(folder))
    shutil.rmtree(logs[0].folder)

    for verb in (["index", str(folder)], ["search", str(folder), "--principal", "billing"]):
        refused = in_cache(tmp_path, *verb)
        assert (refused.code, refused.text) == (5, "")
        assert f"{logs[0].key.name} is in the index and is not there any more. The index is {index_of(tmp_path)}." in (
            refused.stderr
        )
        assert f"kmsgw audit index FOLDER... --index {index_of(tmp_path)} --rebuild" in refused.stderr
    assert "worker-0 is missing" in refused.stderr

    lost = LostLog(logs[0].key.name, 30, bytes(32), (logs[0].key.verifier,))
    (folder / "index").write_bytes(NodeIndex(node.name, 2, listed[1:], lost=[lost]).sign(node))
    again = in_cache(tmp_path, "index", str(folder), "-o", "json")
    assert (again.code, json.loads(again.text)["added"]) == (0, 0)
    assert f"{logs[0].key.name} is lost" in again.stderr
    shown = in_cache(tmp_path, "search", str(folder), "--principal", "billing", "--limit", "2", "-o", "json")
    assert found(shown) == [("worker-1", 26), ("worker-1", 29)]
    by_request = in_cache(tmp_path, "search", str(folder), "--request-id", "request-7", "-o", "json")
    assert found(by_request) == [("worker-1", 7)]

    sample_log(folder, 30, "worker-0")
    back = in_cache(tmp_path, "search", str(folder), "--request-id", "request-7", "-o", "json")
    assert sorted(found(back)) == [("worker-0", 7), ("worker-1", 7)]
    assert "lost" not in back.stderr


def test_logs_of_one_name_in_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for number, site in enumerate(("kms", "small")):
        log = sample_log(tmp_path / "made", 1, f"worker-{number}")
        (tmp_path / site / "audit").mkdir(parents=True)
        log.folder.rename(tmp_path / site / "audit" / "worker-0")
    sample_log(tmp_path / "kms" / "audit", 1, "worker-7")

    shown = in_cache(tmp_path, "search", str(tmp_path / "kms" / "audit"), str(tmp_path / "small" / "audit"))

    places = sorted(line.split()[-1] for line in shown.text.splitlines())
    assert places == ["kms/audit/worker-0/0", "small/audit/worker-0/0", "worker-7/0"]
