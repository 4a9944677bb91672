"""A start compares the node's index with what is remembered of it, and the first worker has retired logs cosigned."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from kmsgw.audit.kept_checkpoints import OWN_MEMORY, KeptCheckpoint
from kmsgw.audit.log import DurableLog
from kmsgw.audit.mending import set_aside
from kmsgw.audit.succession import Predecessor, remember_index, succeed
from kmsgw.bootstrap.evidence import Evidence, examine_evidence, known_index, open_evidence, prepare_evidence
from kmsgw.config import Settings
from kmsgw.errors import AuditDamaged, ConfigurationError, Reason
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.index_entry import index_of_entry
from kmsgw.tlog.node_index import INDEX_PATH
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.schemes import SignatureKind
from tests.fakes.log_ledger import MemoryLedger

_OTHER = SigningKey.of_seed("witness.example/w1", bytes(32), SignatureKind.COSIGNATURE_ED25519)


class _Node:
    """A node whose starts are made by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "audit"
        self.state = folder / "witness"
        self.database = MemoryLedger()
        witness = SimpleNamespace(
            url="http://127.0.0.1:1", keys=(str(_OTHER.verifier),), ca=None, certificate=None, private_key=None
        )
        audit = SimpleNamespace(
            folder=self.folder, keys=folder / "keys", witness_folder=self.state, origin="kmsgw.example/log",
            ml_dsa=False, witnesses=(witness,),
        )  # fmt: skip
        self.settings = SimpleNamespace(audit=audit, node="node1", server=SimpleNamespace(workers=2))

    @property
    def all(self) -> Settings:
        return self.settings  # type: ignore[return-value]

    def prepare(self, workers: int = 2) -> None:
        """Do what a start does before its workers."""
        self.settings.server.workers = workers
        examine_evidence(self.all)
        prepare_evidence(self.all)

    def open(self, worker: str) -> tuple[DurableLog, Evidence]:
        """Do what a worker's start does; the log is closed."""
        log = DurableLog.open(
            self.folder / worker,
            origin=f"kmsgw.example/log/node1/{worker}",
            key_file=self.settings.audit.keys / f"{worker}.key",
            interval=None,
        )
        try:
            evidence = open_evidence(self.all, worker, log, self.database, lambda: None)
            evidence.guard.enter()
            return log, evidence
        finally:
            log.close()

    def told(self, log: DurableLog) -> list[int]:
        found = [index_of_entry(raw) for raw in log.entries(0, log.size)]
        return [each.number for each in found if each is not None]


@pytest.fixture
def node(tmp_path: Path) -> _Node:
    (tmp_path / "keys").mkdir(mode=0o700)
    made = _Node(tmp_path)
    made.prepare()
    return made


def test_each_worker_s_log_tells_of_each_further_index_once(node: _Node) -> None:
    for workers, told in ((2, []), (3, [2]), (3, [2]), (4, [2, 3])):
        node.prepare(workers)
        for worker in ("worker-0", "worker-1"):
            assert node.told(node.open(worker)[0]) == told


def test_an_index_that_was_put_back_refuses_the_start_before_it_is_written_anew(node: _Node) -> None:
    older = (node.folder / INDEX_PATH).read_bytes()
    node.prepare(3)
    node.open("worker-0")
    newest = (node.folder / INDEX_PATH).read_bytes()
    (node.folder / INDEX_PATH).write_bytes(older)
    shutil.rmtree(node.folder / "worker-2")
    with pytest.raises(ConfigurationError) as caught:
        node.prepare(2)
    assert caught.value.faults[0].startswith("AUDIT_ROLLED_BACK: ")
    assert "the note in audit.witness knows number 2, and the index has number 1" in caught.value.faults[0]
    assert (node.folder / INDEX_PATH).read_bytes() == older
    shutil.rmtree(node.state)
    (node.settings.audit.keys / "witness.key").unlink()
    node.settings.server.workers = 2
    with pytest.raises(ConfigurationError, match="the database knows number 2") as without_note:
        node.open("worker-0")
    assert without_note.value.reason is Reason.AUDIT_ROLLED_BACK
    (node.folder / INDEX_PATH).write_bytes(newest)
    node.open("worker-0")


def test_a_worker_does_not_begin_without_the_index(node: _Node) -> None:
    (node.folder / INDEX_PATH).unlink()
    with pytest.raises(AuditDamaged, match="the signed index of the logs is missing"):
        node.open("worker-0")


def test_the_first_worker_has_retired_logs_cosigned_by_every_witness(node: _Node) -> None:
    node.prepare(1)
    assert known_index(node.all) is not None
    _, evidence = node.open("worker-0")
    evidence.cosigning.ask_retired()
    (cosigned,) = (node.folder / "worker-1" / "cosigned").iterdir()
    assert b"kmsgw.example/log/node1/worker-1\n" in cosigned.read_bytes()
    node.prepare(2)
    _, other = node.open("worker-1")
    cosigned.unlink()
    other.cosigning.ask_retired()
    assert not cosigned.exists(), "it has a worker of its own again"


def test_a_log_that_is_rolled_back_after_it_was_set_aside_is_an_alarm_of_the_next_start(node: _Node) -> None:
    folder, keys = node.folder / "worker-1", node.settings.audit.keys
    node.open("worker-1")
    log = DurableLog.open(
        folder, origin="kmsgw.example/log/node1/worker-1", key_file=keys / "worker-1.key", interval=None
    )
    sizes: list[bytes] = []
    for _ in range(3):
        log.wait(log.append(b"{}"))
        log.integrate()
        sizes.append((folder / "checkpoint").read_bytes())
    log.close()
    node.settings.server.workers = 1
    node.open("worker-0")[1].cosigning.ask_retired()  # so that the witness knows all of it
    (folder / "checkpoint").write_bytes(sizes[1])
    aside = set_aside(folder, datetime.now(UTC))
    then = KeptCheckpoint(OWN_MEMORY, Checkpoint.open(sizes[1], log.verifier), sizes[1])
    before = Predecessor((log.verifier,), aside.name, (then,))
    succeed(node.folder, keys, "worker-1", before, reason="Put back", who="root", now=datetime.now(UTC))
    remember_index(node.folder, keys, node.state)

    def is_contradicted() -> bool:
        cosigning = node.open("worker-0")[1].cosigning
        cosigning.ask_retired()
        return any(each.contradicted for each in cosigning.standings)

    assert not is_contradicted(), "it was so when it was set aside"
    (aside / "checkpoint").write_bytes(sizes[0])
    assert is_contradicted()


def test_the_folder_of_another_node_is_refused_before_anything_is_made_there(node: _Node) -> None:
    before = sorted(path.name for path in node.folder.iterdir())
    node.settings.node = "node2"
    with pytest.raises(ConfigurationError) as caught:
        node.prepare(3)
    assert "it holds the logs of kmsgw.example/log/node1, and this node is kmsgw.example/log/node2" in str(
        caught.value.faults
    )
    assert sorted(path.name for path in node.folder.iterdir()) == before
