"""`kmsgw audit verify` and `report` with a node's signed index and with witnesses: what is missing or not cosigned."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kmsgw.audit.index_memory import index_entry
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.hashing import root_of
from kmsgw.tlog.index_entry import KnownIndex
from kmsgw.tlog.node_index import IndexedLog, LostLog, NodeIndex
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.tlog.tiles import cosigned_path
from tests.cli.command_line import kmsgw
from tests.cli.sample_log import START, SampleLog, record, sample_log

NODE = SigningKey.of_seed("kmsgw.example/log", bytes(32))
WITNESS = SigningKey.of_seed("witness.example/w1", bytes([7]) * 32, SignatureKind.COSIGNATURE_ED25519)
OTHER = SigningKey.of_seed("witness.example/w2", bytes([8]) * 32, SignatureKind.ML_DSA_44)


class _Node:
    """Two logs with their index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = [sample_log(folder, 5, "worker-0"), sample_log(folder, 300, "worker-1")]
        listed = tuple(IndexedLog(log.folder.name, log.key.name, (log.key.verifier,)) for log in self.logs)
        self.index = NodeIndex(NODE.name, 1, listed)
        (folder / "index").write_bytes(self.index.sign(NODE))
        (folder / "index.key").write_text(f"{NODE.verifier}\n")

    def verify(self, *options: str) -> tuple[int, str]:
        done = kmsgw("audit", "verify", str(self.folder), *options)
        return done.code, done.text + done.stderr


def _cosign(log: SampleLog, *witnesses: SigningKey, time: int = 1_700_000_000) -> None:
    checkpoint = Checkpoint(log.key.name, len(log.entries), root_of(log.entries))
    for witness in witnesses:
        path = log.folder / cosigned_path(witness.verifier.key_id)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(checkpoint.sign(log.key) + witness.signature_line(checkpoint.body, time))


@pytest.fixture
def node(tmp_path: Path) -> _Node:
    return _Node(tmp_path)


def test_the_logs_of_an_index_verify_with_its_key_alone(node: _Node) -> None:
    code, said = node.verify("--index-key", str(NODE.verifier))
    assert code == 0
    assert "key beside the log" not in said
    code, said = node.verify()
    assert code == 0
    assert "key beside the log" in said


def test_a_log_that_is_missing_or_not_listed_is_named(node: _Node) -> None:
    sample_log(node.folder, 3, "worker-2")
    code, said = node.verify()
    assert (code, "worker-2 is not listed" in said) == (5, True)
    (node.folder / "worker-1").rename(node.folder.parent / "elsewhere")
    code, said = node.verify()
    assert (code, "worker-1 is missing, worker-2 is not listed" in said) == (5, True)


def test_an_index_that_is_gone_changed_or_of_another_node_is_refused(node: _Node) -> None:
    other = SigningKey.of_seed(NODE.name, bytes([9]) * 32)
    assert node.verify("--index-key", str(other.verifier))[0] == 5
    path = node.folder / "index"
    path.write_bytes(path.read_bytes().replace(b"worker-0 ", b"worker-9 "))
    code, said = node.verify()
    assert (code, "the signature of kmsgw.example/log is wrong" in said) == (5, True)
    path.unlink()
    code, said = node.verify("--index-key", str(NODE.verifier))
    assert (code, "no signed index" in said) == (5, True)


def test_every_witness_that_is_named_must_have_cosigned_every_log(node: _Node) -> None:
    for log in node.logs:
        _cosign(log, WITNESS)
    one, two = (("--witness-key", str(each.verifier)) for each in (WITNESS, OTHER))
    assert node.verify(*one)[0] == 0
    code, said = node.verify(*one, *two)
    assert (code, "cosigned by witness.example/w2" in said) == (5, True)
    for log in node.logs:
        _cosign(log, OTHER)
    assert node.verify(*one, *two)[0] == 0
    assert '"cosigned": 300' in kmsgw("audit", "verify", str(node.folder), *one, *two, "-o", "json").text


def test_a_log_must_begin_with_what_was_cosigned(node: _Node) -> None:
    log = node.logs[0]
    for each in node.logs:
        _cosign(each, WITNESS)
    witness = ("--witness-key", str(WITNESS.verifier))
    log.append(record(5), record(6))
    code, said = node.verify(*witness, "-o", "json")
    assert (code, '"cosigned": 5' in said) == (0, True)
    kept = log.entries
    log.entries = kept[:4]
    log.append()
    code, said = node.verify(*witness)
    assert (code, "5 entries were cosigned, and the log has 4: it was cut" in said) == (5, True)
    log.entries = [record(100), *kept[1:]]
    log.append()
    code, said = node.verify(*witness)
    assert (code, "does not begin with the 5 entries cosigned" in said) == (5, True)


def test_the_time_of_cosignatures_is_shown_and_can_be_bounded(node: _Node) -> None:
    now = int(SYSTEM_CLOCK.now().timestamp())
    one, two = (("--witness-key", str(each.verifier)) for each in (WITNESS, OTHER))
    for log in node.logs:
        _cosign(log, WITNESS, time=now)
        _cosign(log, OTHER, time=now - 7200)
    assert node.verify(*one, "--witness-age", "1h")[0] == 0
    said = kmsgw("audit", "verify", str(node.folder), *one, *two, "-o", "json").text
    oldest = f"{datetime.fromtimestamp(now - 7200, UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert said.count(f'"cosigned_at": "{oldest}"') == 2, "that of the witness who came longest ago"
    code, said = node.verify(*one, *two, "--witness-age", "1h")
    assert (
        code,
        f"The newest cosignature of witness.example/w2 is of {oldest}: 2 hours old, and 1 hour is" in said,
    ) == (
        5,
        True,
    )
    assert node.verify(*one, *two, "--witness-age", "1d")[0] == 0
    assert node.verify("--witness-age", "1d")[0] == 1
    assert node.verify(*one, "--witness-age", "soon")[0] == 1


def test_a_cosignature_of_the_future_or_of_no_time_has_no_age(node: _Node) -> None:
    now = int(SYSTEM_CLOCK.now().timestamp())
    for time, said in ((now + 86_400, "which has not come yet"), (0, "says no time")):
        for log in node.logs:
            _cosign(log, OTHER, time=time)
        witness = ("--witness-key", str(OTHER.verifier))
        assert node.verify(*witness)[0] == 0
        code, text = node.verify(*witness, "--witness-age", "1h")
        assert (code, said in text) == (5, True)


def test_entries_that_came_long_after_the_newest_cosignature_are_told(node: _Node) -> None:
    witness = ("--witness-key", str(WITNESS.verifier))
    start = int(START.timestamp())
    for log in node.logs:
        _cosign(log, WITNESS, time=start)
    assert "vouches" not in node.verify(*witness)[1], "all entries are cosigned"
    log = node.logs[0]
    log.append(record(600))
    code, said = node.verify(*witness)
    assert (code, "vouches" in said) == (0, False)
    log.append(record(7200))
    code, said = node.verify(*witness)
    assert code == 0
    assert "worker-0: its newest entry is 2 hours newer than what every witness cosigned, 5 entries" in said
    assert "worker-1:" not in said


def _tell(log: SampleLog, index: NodeIndex) -> None:
    log.append(index_entry(KnownIndex.of(index, NODE.verifier), SYSTEM_CLOCK))


def test_an_index_that_was_put_back_contradicts_what_the_logs_tell_of_it(node: _Node) -> None:
    listed = node.index.logs
    for number in (1, 2):
        _tell(node.logs[1], NodeIndex(NODE.name, number, listed))
    code, said = node.verify("-o", "json")
    assert code == 5
    assert "knows of the node's signed index number 2, and the index has number 1: it was rolled back" in said
    assert '"log": "worker-0"' in said
    newest = NodeIndex(NODE.name, 2, listed)
    (node.folder / "index").write_bytes(newest.sign(NODE))
    assert node.verify()[0] == 0
    (node.folder / "index").write_bytes(NodeIndex(NODE.name, 2, listed, (WITNESS.verifier,)).sign(NODE))
    code, said = node.verify()
    assert (code, "another index of number 2" in said) == (5, True)
    (node.folder / "index").write_bytes(NodeIndex(NODE.name, 3, listed, (WITNESS.verifier,)).sign(NODE))
    assert node.verify("--index-key", str(NODE.verifier))[0] == 0


def test_a_checkpoint_that_lacks_a_listed_signature_is_refused(node: _Node) -> None:
    further = [SigningKey.of_seed(log.key.name, bytes([3]) * 32, SignatureKind.ML_DSA_44) for log in node.logs]
    keys = [(log.key.verifier, key.verifier) for log, key in zip(node.logs, further, strict=True)]
    listed = tuple(IndexedLog(log.folder.name, log.key.name, of) for log, of in zip(node.logs, keys, strict=True))
    (node.folder / "index").write_bytes(NodeIndex(NODE.name, 2, listed).sign(NODE))
    code, said = node.verify()
    assert (code, "not signed by kmsgw.example/log/worker-0" in said) == (5, True)
    for log, key in zip(node.logs, further, strict=True):
        checkpoint = Checkpoint(log.key.name, len(log.entries), root_of(log.entries))
        (log.folder / "checkpoint").write_bytes(checkpoint.sign(log.key, key, time=1_700_000_000))
    assert node.verify()[0] == 0


def _report(node: _Node, *options: str) -> tuple[int, dict[str, Any], str]:
    done = kmsgw("audit", "report", str(node.folder), *options, "-o", "json")
    return done.code, json.loads(done.text), done.stderr


def test_a_report_is_not_sound_where_a_listed_log_is_missing(tmp_path: Path) -> None:
    node = _Node(tmp_path / "site" / "audit")
    key = ("--index-key", str(NODE.verifier))
    code, made, _ = _report(node, *key)
    assert (code, made["sound"], made["findings"]) == (0, True, [])
    assert [log["key_given"] for log in made["logs"]] == [True, True]
    assert [log["key_given"] for log in _report(node)[1]["logs"]] == [False, False]

    shutil.rmtree(node.folder / "worker-1")
    sample_log(node.folder, 3, "worker-2")
    missing = f"{node.folder} does not hold the logs of its signed index: worker-1 is missing, worker-2 is not listed."
    for options in ((), key):
        code, made, said = _report(node, *options)
        assert (code, made["sound"], made["findings"]) == (5, False, [missing])
        assert missing in said
    page = tmp_path / "report.html"
    assert kmsgw("audit", "report", str(tmp_path), "-O", str(page)).code == 5, "found below the folder that is named"
    assert "worker-1 is missing, worker-2 is not listed" in page.read_text().partition("<dl")[0]
    for verb in ("search", "tail", "export"):
        shown = kmsgw("audit", verb, str(node.folder))
        assert (shown.code, missing in shown.stderr) == (0, True), verb

    for name in ("worker-0", "worker-2"):
        shutil.rmtree(node.folder / name)
    refused = kmsgw("audit", "report", str(node.folder), "-o", "json")
    assert (refused.code, "all of them are missing" in refused.stderr) == (5, True)


def test_a_report_finds_cosignatures_where_verify_finds_them(node: _Node) -> None:
    _cosign(node.logs[0], WITNESS, OTHER)

    code, made, _ = _report(node, "--witness-key", str(WITNESS.verifier))

    assert (code, made["sound"]) == (0, True)
    assert {each["name"]: (each["result"], each["size"], each["time"]) for each in made["logs"][0]["cosignatures"]} == {
        WITNESS.name: ("verified", 5, "2023-11-14T22:13:20Z"),
        OTHER.name: ("not_checked", None, None),
    }
    assert made["logs"][1]["cosignatures"] == []


def test_a_report_shows_a_lost_log_as_lost_and_is_sound_as_verify_says(node: _Node) -> None:
    shutil.rmtree(node.folder / "worker-1")
    gone = node.logs[1].key
    index = NodeIndex(NODE.name, 2, node.index.logs[:1], lost=[LostLog(gone.name, 300, bytes(32), (gone.verifier,))])
    (node.folder / "index").write_bytes(index.sign(NODE))

    code, made, _ = _report(node)

    assert (code, node.verify()[0], made["sound"]) == (0, 0, True)
    assert [(log["log"], log["result"], log["size"]) for log in made["logs"]] == [
        ("worker-0", "ok", 5),
        ("worker-1", "lost", 300),
    ]
    page = node.folder.parent / f"{node.folder.name}.html"
    assert kmsgw("audit", "report", str(node.folder), "-O", str(page)).code == 0
    assert f"<strong>Lost:</strong> {gone.name}" in page.read_text().partition("<dl")[0]


def test_a_report_believes_no_index_that_its_node_did_not_sign_or_that_was_put_back(node: _Node) -> None:
    other = SigningKey.of_seed(NODE.name, bytes([9]) * 32)
    code, made, _ = _report(node, "--index-key", str(other.verifier))
    assert (code, made["sound"], len(made["findings"])) == (5, False, 1)
    assert "not signed by kmsgw.example/log" in made["findings"][0]
    stranger = SigningKey.of_seed("stranger.example/log", bytes(32)).verifier
    code, made, _ = _report(node, "--index-key", str(NODE.verifier), "--index-key", str(stranger))
    assert (code, made["findings"]) == (
        5,
        ["There is no signed index of stranger.example/log, whose key is given."],
    )
    _tell(node.logs[0], NodeIndex(NODE.name, 2, node.index.logs))
    code, made, _ = _report(node)
    assert (code, made["sound"]) == (5, False)
    assert "worker-0: The log knows of the node's signed index" in made["findings"][0]
