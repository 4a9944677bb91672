"""What a mirror has of the node's signed index can't be spoilt by who writes the folder of the logs, without a key."""

import logging
from pathlib import Path

import pytest

from kmsgw.durable_files import read_beginning
from kmsgw.export import listed_keys
from kmsgw.export.mirror import MirrorTarget
from kmsgw.tlog.node_index import INDEX_KEY_PATH, INDEX_PATH, IndexedLog, NodeIndex
from kmsgw.tlog.note import SigningKey, VerifierKey
from tests.cli.command_line import kmsgw
from tests.cli.sample_log import SampleLog, record, sample_log

NODE = SigningKey.of_seed("kmsgw.example/log", b"\x09" * 32)
OTHER = SigningKey.of_seed(NODE.name, b"\x66" * 32)


class Node:
    """A node's folder of one log with its index, and a mirror."""

    def __init__(self, folder: Path) -> None:
        self.audit, self.mirror = folder / "audit", folder / "mirror"
        self.mirror.mkdir()
        self.log = sample_log(self.audit, 3)

    def write_index(self, number: int, *more: SampleLog, key: SigningKey = NODE) -> bytes:
        logs = (self.log, *more)
        listed = tuple(IndexedLog(log.folder.name, log.key.name, (log.key.verifier,)) for log in logs)
        raw = NodeIndex(NODE.name, number, listed).sign(key)
        (self.audit / INDEX_PATH).write_bytes(raw)
        (self.audit / INDEX_KEY_PATH).write_text(f"{key.verifier}\n")
        return raw

    def target(self, key: VerifierKey | None = NODE.verifier) -> MirrorTarget:
        return MirrorTarget("disk", self.audit, self.mirror, index_key=key)

    @property
    def held(self) -> tuple[bytes, str]:
        """What the mirror has: index and key."""
        return (self.mirror / INDEX_PATH).read_bytes(), (self.mirror / INDEX_KEY_PATH).read_text()

    @property
    def replaced(self) -> set[bytes]:
        return {path.read_bytes() for path in (self.mirror / "replaced").glob("index-*[0-9a-f]")}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def run(target: MirrorTarget) -> None:
    while target.work():
        pass


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("spoilt", ["garbage", "forged", "gone", "a folder"])
def test_an_index_that_the_node_did_not_sign_leaves_that_of_the_mirror_and_its_key(
    node: Node, spoilt: str, restarted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    good = node.write_index(2)
    target = node.target()
    run(target)
    assert (node.held, target.faults) == ((good, f"{NODE.verifier}\n"), {})
    if spoilt == "garbage":
        (node.audit / INDEX_PATH).write_bytes(b"garbage\n")
    elif spoilt == "forged":
        node.write_index(7, key=OTHER)
    else:
        (node.audit / INDEX_PATH).unlink()
        if spoilt == "a folder":
            (node.audit / INDEX_PATH).mkdir()
    if restarted:
        target = node.target()
    node.log.append(record(3))
    with caplog.at_level(logging.ERROR):
        run(target)
        run(target)
    assert node.held == (good, f"{NODE.verifier}\n")
    assert not node.replaced
    assert target.faults.keys() == {"worker-0", "index"}
    assert caplog.text.count("the index of the node's logs is not mirrored") == 1
    assert not target.has_index
    if spoilt == "a folder":
        (node.audit / INDEX_PATH).rmdir()
    newer = node.write_index(3)
    run(target)
    assert (node.held[0], target.faults, target.has_index) == (newer, {}, True)


@pytest.mark.parametrize("key", [NODE.verifier, None], ids=["the node's key", "keys of the files"])
def test_an_older_index_is_not_put_over_the_mirror_s_own_also_after_a_restart(
    node: Node, key: VerifierKey | None
) -> None:
    node.write_index(1)
    run(node.target(key))
    second = node.write_index(2)
    run(node.target(key))
    node.write_index(1)
    node.log.append(record(3))
    target = node.target(key)
    run(target)
    assert node.held[0] == second
    assert "has number 1, and 2 is what the mirror has: it was rolled back" in target.faults["index"]
    assert target.feeds["worker-0"].delivered == 4, "entries leave the host all the same"


def test_another_index_of_the_same_number_is_refused_and_the_same_one_with_more_signatures_is_left(node: Node) -> None:
    first = node.write_index(2)
    target = node.target()
    run(target)
    (node.audit / INDEX_PATH).write_bytes(first + OTHER.signature_line(b"any\n"))
    run(target)
    assert (node.held[0], target.faults, target.has_index) == (first, {}, True)
    node.write_index(2, sample_log(node.audit, 3, "worker-1"))
    for again in (target, node.target()):
        run(again)
        assert node.held[0] == first
        assert "is another one" in again.faults["index"]


def test_each_index_that_is_replaced_is_kept_and_the_mirror_verifies_with_them(node: Node) -> None:
    first = node.write_index(1)
    run(node.target())
    second = node.write_index(2)
    run(node.target())
    assert node.held[0] == second
    assert node.replaced == {first}
    verified = kmsgw("audit", "verify", str(node.mirror), "--index-key", str(node.mirror / INDEX_KEY_PATH))
    assert verified.code == 0, verified.stderr


def test_under_a_new_key_of_the_node_its_index_replaces_the_old_one_which_is_kept_with_its_key(node: Node) -> None:
    old = node.write_index(5)
    run(node.target())
    new = node.write_index(1, key=OTHER)
    run(node.target(OTHER.verifier))
    assert node.held == (new, f"{OTHER.verifier}\n")
    assert node.replaced == {old}
    (key,) = (node.mirror / "replaced").glob("*.key")
    assert key.read_text() == f"{NODE.verifier}\n"


def test_a_mirror_that_was_spoilt_before_gets_the_node_s_index_and_key_again(node: Node) -> None:
    (node.mirror / INDEX_PATH).write_bytes(b"garbage\n")
    (node.mirror / INDEX_KEY_PATH).write_text(f"{OTHER.verifier}\n")
    good = node.write_index(1)
    run(node.target())
    assert node.held == (good, f"{NODE.verifier}\n")
    assert node.replaced == {b"garbage\n"}


def test_what_was_checked_is_what_the_mirror_gets(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    good = node.write_index(1)

    def read_and_spoil(path: Path, count: int) -> bytes:
        path.write_bytes(good)
        found = read_beginning(path, count)
        path.write_bytes(b"garbage\n")
        return found

    # Who swaps the file after each check of it finds no second reading that would take what he put there.
    monkeypatch.setattr(listed_keys, "read_beginning", read_and_spoil)
    target = node.target()
    run(target)
    assert (node.held, target.faults) == ((good, f"{NODE.verifier}\n"), {})


def test_without_the_node_s_key_that_of_the_mirror_counts_and_no_other_takes_its_place(node: Node) -> None:
    good = node.write_index(1)
    run(node.target(None))
    node.write_index(2, key=OTHER)
    node.log.append(record(3))
    target = node.target(None)
    run(target)
    assert node.held == (good, f"{NODE.verifier}\n")
    assert "not signed by kmsgw.example/log with key id" in target.index_fault
    assert target.feeds["worker-0"].delivered == 4
    done = kmsgw("audit", "export", str(node.audit), "--mirror", str(node.mirror))
    assert done.code == 5
    assert "index: the node's signed index is not copied: index: not signed by" in done.stderr
