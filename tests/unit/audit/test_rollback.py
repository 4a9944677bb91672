"""A log, a database, or both that were put back as they were before are found at the start, and named."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kmsgw.audit.index_memory import INDEX_ADVICE, IndexNote, IndexWatch
from kmsgw.audit.log import DurableLog
from kmsgw.audit.rollback import DatabaseNote, RollbackGuard
from kmsgw.errors import AuditDamaged, ConfigurationError, Reason, StateUnavailable
from kmsgw.operations.log_ledger import LedgerEntry
from kmsgw.tlog.index_entry import KnownIndex
from kmsgw.tlog.node_index import NodeIndex
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.witness.request import AddCheckpoint
from kmsgw.witness.state import WitnessState
from kmsgw.witness.witness import Witness

ORIGIN = "example.com/log/node1/worker-0"
KEY = SigningKey.of_seed("example.com/witness", bytes(32), SignatureKind.COSIGNATURE_ED25519)


class _Database:
    """A ledger that can be put back."""

    def __init__(self) -> None:
        self.entry: LedgerEntry | None = None
        self.epoch = 0
        self.answers = True

    def read(self, origin: str) -> tuple[LedgerEntry | None, int]:
        assert origin == ORIGIN
        if not self.answers:
            raise StateUnavailable("It is down.", advice="Wait.")
        return self.entry, self.epoch

    def enter(self, origin: str, size: int, root: bytes) -> LedgerEntry:
        assert origin == ORIGIN
        assert self.answers
        if self.entry is None or size >= self.entry.size:
            self.entry = LedgerEntry(size, root, self.epoch)
        return LedgerEntry(self.entry.size, self.entry.root, self.epoch)


class _NoTable:
    """A ledger that knows nothing."""

    def read(self, origin: str) -> tuple[LedgerEntry | None, int]:
        return None, 0

    def enter(self, origin: str, size: int, root: bytes) -> LedgerEntry:
        return LedgerEntry(size, root, 0)


class _Node:
    """A node of one log that lives an hour at a time."""

    def __init__(self, folder: Path) -> None:
        self.base = folder
        self.folder = folder / "audit" / "worker-0"
        self.database = _Database()
        self.state = WitnessState.open(folder / "witness", [KEY.verifier], fresh=True)
        self.hour("first")

    def hour(self, text: str) -> None:
        """Serve for an hour: a key changes, entries come, all memories learn of it."""
        log = DurableLog.open(self.folder, origin=ORIGIN, key_file=self.base / "keys" / "worker-0.key", interval=None)
        for number in range(3):
            log.append(f"{text} {number}".encode())
        log.flush()
        log.close()
        self.database.epoch += 1
        self.cosign(log)
        self.guard().enter()

    def cosign(self, log: DurableLog) -> None:
        reader = self.reader()
        witness = Witness([KEY], {ORIGIN: [log.verifier]}, self.state)
        old = reader.size - 3
        request = AddCheckpoint(old, tuple(reader.consistency(old)) if old else (), self._checkpoint())
        assert witness.add_checkpoint(request.encode()).status == 200

    def _checkpoint(self) -> bytes:
        return (self.folder / "checkpoint").read_bytes()

    def reader(self) -> LogReader:
        from kmsgw.tlog.note import VerifierKey

        reader = LogReader(lambda path: (self.folder / path).read_bytes())
        reader.checkpoint(VerifierKey.parse((self.folder / "verifier.key").read_text()))
        return reader

    def guard(self) -> RollbackGuard:
        return RollbackGuard(self.folder, ORIGIN, self.reader, self.state, self.database)

    def refusal(self) -> ConfigurationError:
        with pytest.raises(ConfigurationError) as caught:
            self.guard().require()
        return caught.value


@pytest.fixture
def node(tmp_path: Path) -> _Node:
    return _Node(tmp_path)


def test_a_node_that_goes_on_is_not_refused(node: _Node) -> None:
    node.guard().require()
    node.hour("second")
    node.guard().require()


def test_a_log_of_an_hour_ago_is_named_by_witness_and_database(node: _Node, tmp_path: Path) -> None:
    shutil.copytree(node.folder, tmp_path / "kept")
    node.hour("second")
    shutil.rmtree(node.folder)
    shutil.copytree(tmp_path / "kept", node.folder)
    error = node.refusal()
    assert error.reason is Reason.AUDIT_ROLLED_BACK
    assert len(error.faults) == 2
    assert "the witness of this node knows 6 entries of this log, which has 3: it was rolled back" in error.faults[0]
    assert "the database knows 6 entries" in error.faults[1]
    assert str(node.folder) in error.faults[0]


def test_a_log_that_went_on_after_it_was_put_back_is_found_too(node: _Node, tmp_path: Path) -> None:
    shutil.copytree(node.folder, tmp_path / "kept")
    node.hour("second")
    shutil.rmtree(node.folder)
    shutil.copytree(tmp_path / "kept", node.folder)
    log = DurableLog.open(node.folder, origin=ORIGIN, key_file=tmp_path / "keys" / "worker-0.key", interval=None)
    for number in range(9):
        log.append(b"other %d" % number)
    log.close()
    assert "does not begin with: it was rewritten" in node.refusal().faults[0]


def test_a_database_of_an_hour_ago_is_named_with_its_epochs(node: _Node) -> None:
    kept = (node.database.entry, node.database.epoch)
    node.hour("second")
    node.database.entry, node.database.epoch = kept
    error = node.refusal()
    assert error.reason is Reason.STATE_ROLLED_BACK
    (fault,) = error.faults
    assert "it was at epoch 2 and knew 6 entries" in fault
    assert "is at epoch 1 and knows 3" in fault
    assert "--accept-older-state" in error.advice


def test_both_of_an_hour_ago_are_both_named(node: _Node, tmp_path: Path) -> None:
    kept = (node.database.entry, node.database.epoch)
    shutil.copytree(node.folder, tmp_path / "kept")
    node.hour("second")
    node.database.entry, node.database.epoch = kept
    shutil.rmtree(node.folder)
    shutil.copytree(tmp_path / "kept", node.folder)
    assert [fault.partition(":")[0] for fault in node.refusal().faults] == ["AUDIT_ROLLED_BACK", "STATE_ROLLED_BACK"]


def test_a_database_that_is_put_back_while_the_worker_runs_is_told_and_refused_at_the_next_start(node: _Node) -> None:
    node.hour("second")
    guard = node.guard()
    node.database.entry, node.database.epoch = None, 0
    guard.enter()
    assert guard.state_rolled_back
    assert node.refusal().reason is Reason.STATE_ROLLED_BACK


def test_an_index_and_a_log_that_were_put_back_are_both_named(node: _Node, tmp_path: Path) -> None:
    shutil.copytree(node.folder, tmp_path / "kept")
    node.hour("second")
    shutil.rmtree(node.folder)
    shutil.copytree(tmp_path / "kept", node.folder)
    index = KnownIndex.of(NodeIndex("example.com/log/node1", 2, ()), KEY.verifier)
    IndexNote.of_node(node.state.folder).write(replace(index, number=3))
    notes = IndexNote.of_node(node.state.folder), IndexNote.of_log(node.state.folder, ORIGIN)
    watch = IndexWatch(tmp_path / "audit" / "index", index, *notes, _NoTable())
    guard = RollbackGuard(node.folder, ORIGIN, node.reader, node.state, node.database, watch)
    with pytest.raises(ConfigurationError) as caught:
        guard.require()
    first, *others = caught.value.faults
    assert first.endswith(
        "index: the note in audit.witness knows number 3, and the index has number 2: it was rolled back"
    )
    assert len(others) == 2
    assert INDEX_ADVICE in caught.value.advice
    assert "Put the newest copy of the log's folder back" in caught.value.advice


def test_a_database_that_does_not_answer_hides_nothing_that_the_witness_knows(node: _Node, tmp_path: Path) -> None:
    node.database.answers = False
    with pytest.raises(StateUnavailable):
        node.guard().require()
    node.database.answers = True
    shutil.copytree(node.folder, tmp_path / "kept")
    node.hour("second")
    shutil.rmtree(node.folder)
    shutil.copytree(tmp_path / "kept", node.folder)
    node.database.answers = False
    error = node.refusal()
    assert error.reason is Reason.AUDIT_ROLLED_BACK
    (fault,) = error.faults
    assert "the witness of this node knows 6 entries" in fault


def test_what_the_database_knows_is_asked_once_it_answers_and_before_anything_is_entered(node: _Node) -> None:
    kept = (node.database.entry, node.database.epoch)
    node.hour("second")
    node.database.entry, node.database.epoch = kept
    told: list[str] = []
    guard = RollbackGuard(
        node.folder, ORIGIN, node.reader, node.state, node.database, on_refused=lambda: told.append("refused")
    )
    node.database.answers = False
    with pytest.raises(StateUnavailable):
        guard.require()
    node.database.answers = True
    guard.start()
    guard.stop()  # asks a last time
    guard.stop()
    assert set(told) == {"refused"}
    assert node.database.entry == kept[0], "the next start finds it too"
    assert node.refusal().reason is Reason.STATE_ROLLED_BACK


def test_a_database_that_answers_later_and_fits_is_entered(node: _Node) -> None:
    node.database.entry = None
    DatabaseNote(node.state.folder, ORIGIN).path.unlink()
    guard = RollbackGuard(node.folder, ORIGIN, node.reader, node.state, node.database, on_refused=pytest.fail)
    guard.start()
    guard.stop()
    entry, _ = node.database.read(ORIGIN)
    assert entry is not None
    assert entry.size == 3


def test_a_note_that_can_t_be_read_is_not_taken_for_none(node: _Node) -> None:
    DatabaseNote(node.state.folder, ORIGIN).path.write_bytes(b"{")
    with pytest.raises(AuditDamaged, match="can't be read"):
        node.guard()


def test_a_pipe_in_place_of_a_note_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    note = DatabaseNote(tmp_path, "example.com/log")
    note.path.parent.mkdir()
    os.mkfifo(note.path)
    with pytest.raises(AuditDamaged, match="can't be read"):
        note.read()
