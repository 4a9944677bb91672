"""A new log takes the place of one that is gone, wherever that is stopped, and the old one is never forgotten."""

import json
import shutil
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kmsgw.audit import generation, node_index, succession
from kmsgw.audit.generation import BEGIN_METHOD, origin_name
from kmsgw.audit.kept_checkpoints import kept_checkpoints
from kmsgw.audit.log import DurableLog
from kmsgw.audit.node_index import read_index, require_succession, write_index
from kmsgw.audit.succession import (
    NODE_KEY,
    Predecessor,
    finish,
    is_beginning,
    listed_log,
    place_of,
    record_beginning,
    succeed,
)
from kmsgw.durable_files import write_file
from kmsgw.errors import ConfigurationError
from kmsgw.seed_file import load_or_create_secret
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.node_index import NodeIndex
from kmsgw.tlog.note import SigningKey, VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.witness.state import COSIGNED_NAME
from kmsgw.witness.state import origin_name as witnessed_name

NODE = "example.com/log/node1"
NOW = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)


class Node:
    """A node with one worker, whose log had three entries."""

    def __init__(self, base: Path) -> None:
        self.logs, self.keys, self.witness = base / "audit", base / "keys", base / "audit-witness"
        self.write("worker-0", f"{NODE}/worker-0", 3)
        write_index(self.logs, NODE, self.keys / NODE_KEY, {"worker-0": [self.verifier()]}, {}, [])
        note = (self.logs / "worker-0" / "checkpoint").read_bytes()
        kept = self.witness / witnessed_name(f"{NODE}/worker-0") / COSIGNED_NAME
        kept.parent.mkdir(parents=True)
        kept.write_bytes(note)

    def write(self, worker: str, origin: str, count: int) -> None:
        log = DurableLog.open(self.logs / worker, origin=origin, key_file=self.keys / f"{worker}.key", interval=None)
        for number in range(count):
            log.append(b'{"n":%d}' % number)
        log.close()

    def verifier(self) -> VerifierKey:
        origin = f"{NODE}/{origin_name(self.keys, 'worker-0')}"
        return SigningKey.of_seed(origin, load_or_create_secret(self.keys / "worker-0.key")).verifier

    def index(self) -> NodeIndex:
        found = read_index(self.logs, SigningKey.of_seed(NODE, load_or_create_secret(self.keys / NODE_KEY)).verifier)
        assert found is not None
        return found

    def replace(self) -> None:
        """Do what `kmsgw audit repair --lost --begin-anew` does."""
        listed = listed_log(self.logs, self.keys, "worker-0")
        assert listed is not None
        if finish(self.logs, self.keys, "worker-0", listed):
            return
        known = kept_checkpoints(self.logs / "worker-0", listed.keys[0], self.witness)
        before = Predecessor(listed.keys, place_of(self.logs, listed.origin), known)
        succeed(self.logs, self.keys, "worker-0", before, reason="The disk died", who="root", now=NOW)

    def start(self) -> None:
        """Do what a start does: refuse where a log is gone, or make what is missing and list it."""
        there = (self.keys / "worker-0.key").exists()
        origin = f"{NODE}/{origin_name(self.keys, 'worker-0')}"
        running = {"worker-0": (origin, self.verifier() if there else None)}
        require_succession(self.logs, NODE, self.keys / NODE_KEY, running)
        if there and not is_beginning(self.keys, "worker-0") and not (self.logs / "worker-0" / "checkpoint").exists():
            raise ConfigurationError(["the log is gone"])
        log = DurableLog.open(self.logs / "worker-0", origin=origin, key_file=self.keys / "worker-0.key", interval=None)
        try:
            record_beginning(self.keys, "worker-0", log)
        finally:
            log.close()
        write_index(self.logs, NODE, self.keys / NODE_KEY, {"worker-0": [self.verifier()]}, {}, [])

    def first(self) -> dict[str, object]:
        """Return the first entry of the worker's log, verified."""
        reader = LogReader(lambda path: (self.logs / "worker-0" / path).read_bytes())
        reader.checkpoint(self.verifier())
        found: dict[str, object] = json.loads(next(raw for _, raw in reader.entries()))
        return found


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def require_replaced(node: Node) -> None:
    """Demand that the index lists the old log as lost, and the new one begins with the reason."""
    index = node.index()
    (lost,) = index.lost
    assert (lost.origin, lost.size) == (f"{NODE}/worker-0", 3)
    assert [(log.folder, log.origin) for log in index.logs] == [("worker-0", f"{NODE}/worker-0.2")]
    entry = node.first()
    assert (entry["method"], entry["outcome"], entry["principal"]) == (BEGIN_METHOD, "ok", None)
    assert entry["change"] == {
        "reason": "The disk died",
        "by": "root",
        "before": f"{NODE}/worker-0",
        "folder": "",
        "lost": True,
        "known": [{"memory": "the witness of this node", "size": 3, "root": b64encode(lost.root).decode()}],
    }
    assert not is_beginning(node.keys, "worker-0")


def test_a_lost_log_stays_in_the_index_with_what_was_known_of_it(node: Node) -> None:
    shutil.rmtree(node.logs / "worker-0")
    node.replace()
    require_replaced(node)
    node.start()
    require_replaced(node)


def test_without_the_signing_key_it_is_lost_as_well(node: Node) -> None:
    shutil.rmtree(node.logs / "worker-0")
    (node.keys / "worker-0.key").unlink()
    with pytest.raises(ConfigurationError, match="its signing key is gone") as refused:
        node.start()
    assert "--lost --begin-anew" in refused.value.advice
    assert not (node.logs / "worker-0").exists(), "nothing begins in its place unasked"
    node.replace()
    require_replaced(node)
    node.start()


def test_a_log_that_is_lost_again_has_yet_another_origin(node: Node) -> None:
    for _ in range(2):
        shutil.rmtree(node.logs / "worker-0")
        node.replace()
    index = node.index()
    assert {each.origin for each in index.lost} == {f"{NODE}/worker-0", f"{NODE}/worker-0.2"}
    assert index.logs[0].origin == f"{NODE}/worker-0.3"
    assert node.first()["change"]["before"] == f"{NODE}/worker-0.2"  # type: ignore[index]


def test_one_that_was_set_aside_is_not_lost(node: Node) -> None:
    (node.logs / "worker-0").rename(node.logs / "worker-0.aside-1")
    node.replace()
    index = node.index()
    assert not index.lost
    assert {log.folder: log.origin for log in index.logs} == {
        "worker-0": f"{NODE}/worker-0.2",
        "worker-0.aside-1": f"{NODE}/worker-0",
    }
    assert node.first()["change"]["folder"] == "worker-0.aside-1"  # type: ignore[index]
    assert origin_name(node.keys, "worker-0.aside-1") == "worker-0"
    node.start()


class Stopped(BaseException):
    """The process was killed."""


def test_stopped_anywhere_it_can_be_done_again_and_no_start_begins_a_log_without_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    for point in range(60):
        node = Node(tmp_path / str(point))
        shutil.rmtree(node.logs / "worker-0")
        left = point

        def counted(work: Callable[..., object]) -> Callable[..., object]:
            def step(*arguments: object, **options: object) -> object:
                nonlocal left
                left -= 1
                if left < 0:
                    raise Stopped
                return work(*arguments, **options)

            return step

        with monkeypatch.context() as patch:
            for module in (generation, succession, node_index):
                patch.setattr(module, "write_file", counted(write_file))
            patch.setattr(Path, "rename", counted(Path.rename))
            patch.setattr(Path, "unlink", counted(Path.unlink))
            patch.setattr(succession, "load_or_create_secret", counted(load_or_create_secret))
            patch.setattr(DurableLog, "open", counted(DurableLog.open))
            patch.setattr(DurableLog, "append", counted(DurableLog.append))
            try:
                node.replace()
            except Stopped:
                pass
            else:
                steps = point
                break
        try:
            node.start()
        except ConfigurationError:
            node.replace()
            node.start()
        require_replaced(node)
    assert steps >= 8, "every step was stopped at"


def test_a_log_that_the_index_has_elsewhere_or_under_another_key_is_not_begun(node: Node) -> None:
    other = SigningKey.of_seed(f"{NODE}/worker-0", b"\x05" * 32).verifier
    for name, key, text in (
        ("worker-0", other, "its signing key is another one"),
        ("worker-1", other, "is the log in worker-0, as the index has it"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            require_succession(node.logs, NODE, node.keys / NODE_KEY, {name: (f"{NODE}/worker-0", key)})
    shutil.rmtree(node.logs / "worker-0")
    node.replace()
    (node.keys / "worker-0.origin").unlink()
    with pytest.raises(ConfigurationError, match="is a log that is lost, as the index has it"):
        node.start()


def test_what_is_kept_counts_only_where_the_log_signed_it(node: Node, tmp_path: Path) -> None:
    forged = Checkpoint(f"{NODE}/worker-0", 99, bytes(32)).sign(SigningKey.of_seed(f"{NODE}/worker-0", bytes(32)))
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "checkpoint").write_bytes(forged)
    found = kept_checkpoints(
        node.logs / "worker-0", node.verifier(), node.witness, lambda path: (tmp_path / "mirror" / path).read_bytes()
    )
    assert [(each.memory, each.checkpoint.size) for each in found] == [("the witness of this node", 3)]
