"""A witness cosigns what only grows, and answers with the statuses of C2SP tlog-witness."""

import logging
from base64 import b64encode
from pathlib import Path

import pytest

from kmsgw.errors import AuditDamaged, ConfigurationError
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.hashing import EMPTY_ROOT
from kmsgw.tlog.note import Note, SigningKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.witness.answer import SIZE_TYPE, Answer
from kmsgw.witness.index_fault import IndexFault
from kmsgw.witness.nodes import KnownNodes
from kmsgw.witness.request import AddCheckpoint
from kmsgw.witness.state import EVIDENCE_LIMIT, WitnessState, origin_name
from kmsgw.witness.suspicion import LINE_SECONDS, PATIENCE_SECONDS, Contradiction, Doubt
from kmsgw.witness.witness import Cosigned, Witness
from tests.fakes.clock import SetClock
from tests.unit.tlog.memory_log import MemoryLog

LOG = SigningKey.of_seed("example.com/log", bytes(32))
LOG_ML_DSA = SigningKey.of_seed(LOG.name, bytes(32), SignatureKind.ML_DSA_44)
NODE = SigningKey.of_seed("example.com/node", bytes([4]) * 32)
KEY = SigningKey.of_seed("example.com/witness", bytes([1]) * 32, SignatureKind.COSIGNATURE_ED25519)
KEY_ML_DSA = SigningKey.of_seed("example.com/witness", bytes([1]) * 32, SignatureKind.ML_DSA_44)


class Bench:
    """A witness, the log that it knows, and what it said of contradictions."""

    def __init__(self, folder: Path) -> None:
        self.clock = SetClock()
        self.found: list[Contradiction] = []
        self.doubts: list[Doubt] = []
        self.index_faults: list[IndexFault] = []
        keys = (KEY, KEY_ML_DSA)
        self.state = WitnessState.open(folder / "state", [key.verifier for key in keys], fresh=True)
        self.witness = Witness(
            keys,
            {LOG.name: [LOG.verifier, LOG_ML_DSA.verifier]},
            self.state,
            nodes=self.nodes(),
            clock=self.clock,
            notices=self,
        )
        self.log = MemoryLog(LOG)

    def nodes(self) -> KnownNodes:
        """Believe the indexes of one node, from the state on disk."""
        return KnownNodes([NODE.verifier], self.state, self.clock, lambda _, found: self.index_faults.append(found))

    def contradicted(self, origin: str, found: Contradiction) -> None:
        assert origin == LOG.name
        self.found.append(found)

    def doubted(self, origin: str, found: Doubt) -> None:
        assert origin == LOG.name
        self.doubts.append(found)

    def evidence(self) -> list[bytes]:
        folder = self.state.folder / origin_name(LOG.name)
        return [path.read_bytes() for path in sorted(folder.glob("refused-*"))]

    def grow(self, size: int) -> bytes:
        """Let the log have so many entries and return its checkpoint."""
        self.log.extend([b"%d" % n for n in range(len(self.log.entries), size)])
        return self.log.files["checkpoint"]

    def proof(self, old: int) -> tuple[bytes, ...]:
        reader = LogReader(self.log.fetch)
        reader.checkpoint(LOG.verifier)
        return tuple(reader.consistency(old)) if old else ()

    def ask(self, old: int, note: bytes, proof: tuple[bytes, ...] | None = None) -> Answer:
        return self.witness.add_checkpoint(
            AddCheckpoint(old, self.proof(old) if proof is None else proof, note).encode()
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _rewritten(size: int) -> bytes:
    return MemoryLog(LOG, [b"other %d" % n for n in range(size)]).files["checkpoint"]


def test_a_log_that_grows_is_cosigned_with_every_key_and_the_time(bench: Bench) -> None:
    for old, size in [(0, 3), (3, 3), (3, 300), (300, 1000)]:
        note = bench.grow(size)
        answer = bench.ask(old, note)
        assert answer.status == 200
        cosigned = Note.parse(note + answer.body, "cosigned")
        for key in (KEY, KEY_ML_DSA):
            cosigned.require_signature(key.verifier, "cosigned")
            (mine,) = [each for each in cosigned.signatures if each.key_id == key.verifier.key_id]
            assert key.verifier.time_of(mine.signature) == int(bench.clock.now().timestamp())
        assert bench.witness.newest(LOG.name) == note + answer.body
        assert bench.witness.cosigned(LOG.name) == Cosigned(size, int(bench.clock.now().timestamp()))
    assert bench.found == []
    assert bench.witness.cosigned("example.com/other") is None


def test_an_old_size_that_is_not_the_newest_is_answered_with_the_newest(bench: Bench) -> None:
    note = bench.grow(5)
    assert bench.ask(2, note) == Answer(409, b"0\n", SIZE_TYPE)
    bench.ask(0, note)
    assert bench.ask(0, note) == Answer(409, b"5\n", SIZE_TYPE)
    assert bench.ask(5, bench.grow(9)).status == 200


def test_an_unknown_log_is_404_and_another_key_403(bench: Bench) -> None:
    stranger = SigningKey.of_seed("example.com/stranger", bytes(32))
    assert bench.ask(0, Checkpoint(stranger.name, 0, EMPTY_ROOT).sign(stranger)).status == 404
    odd = "go.sum database tree\n0\n" + b64encode(EMPTY_ROOT).decode() + "\n"
    assert bench.ask(0, odd.encode() + b"\n" + stranger.signature_line(odd.encode())).status == 404
    impostor = SigningKey.of_seed(LOG.name, bytes([9]) * 32)
    body = Checkpoint(LOG.name, 0, EMPTY_ROOT)
    assert bench.ask(0, body.sign(impostor)).status == 403
    wrong = body.sign(LOG) + LOG.signature_line(b"something else\n")
    assert bench.ask(0, wrong).status == 403
    assert bench.witness.newest(LOG.name) is None


def test_a_request_that_is_malformed_is_400(bench: Bench) -> None:
    note = bench.grow(5)
    good = AddCheckpoint(0, (), note).encode()
    hash_line = b64encode(bytes(32)) + b"\n"
    for bad in (
        b"",
        good[4:],
        good.replace(b"old 0", b"old 00"),
        good.replace(b"old 0", b"old -1"),
        good.replace(b"old 0", b"old 6"),
        good.replace(b"old 0\n", b"old 0\nAAAA\n"),
        good.replace(b"old 0\n", b"old 0\n" + 64 * hash_line),
        good[:-1],
        good.replace(b"\n5\n", b"\n05\n"),
    ):
        assert bench.witness.add_checkpoint(bad).status == 400, bad
    assert bench.witness.add_checkpoint(good).status == 200


def test_a_wrong_proof_is_422_and_kept_and_no_alert_for_anybody_can_send_one(bench: Bench) -> None:
    bench.ask(0, bench.grow(5))
    note = bench.grow(9)
    proof = bench.proof(5)
    for wrong in ((), proof[:-1], (bytes(32), *proof[1:]), (*proof, bytes(32))):
        assert bench.ask(5, note, wrong).status == 422
    assert (bench.doubts, bench.found) == ([Doubt.UNPROVEN] * 4, [])
    assert bench.evidence() == [note], "it may yet be one of two trees"
    assert bench.ask(5, note, proof).status == 200


def test_a_proof_from_nothing_must_be_empty_and_an_empty_tree_has_its_root(bench: Bench) -> None:
    assert bench.ask(0, bench.grow(5), (bytes(32),)).status == 422
    wrong = Checkpoint(LOG.name, 0, bytes(32)).sign(LOG)
    assert bench.ask(0, wrong).status == 422


def _lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == level]


def test_old_checkpoints_sent_again_are_answered_with_the_size_and_raise_no_alert(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    small = bench.grow(5)
    bench.ask(0, small)
    large = bench.grow(9)
    bench.ask(5, large)
    with caplog.at_level(logging.INFO):
        for _ in range(50):
            assert bench.ask(0, small, ()) == Answer(409, b"9\n", SIZE_TYPE)
            assert bench.ask(5, small, ()) == Answer(409, b"9\n", SIZE_TYPE)
    assert (len(bench.doubts), bench.found, bench.evidence()) == (100, [], [])
    (line,) = _lines(caplog, logging.INFO)
    assert line.startswith(f"{LOG.name}: stale, a checkpoint of 5 entries is refused, and 9 were cosigned")
    assert len(caplog.records) == 1
    bench.clock.sleep(LINE_SECONDS)
    assert bench.ask(9, large, ()).status == 200, "the log itself is alive"
    with caplog.at_level(logging.INFO):
        bench.ask(5, small, ())
    assert "(99 more since the last such line)" in _lines(caplog, logging.INFO)[1]
    assert bench.found == []
    assert (bench.witness.newest(LOG.name) or b"").startswith(large)


def test_a_log_that_shrank_and_never_comes_with_more_is_an_alert_with_evidence(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    small = bench.grow(5)
    bench.ask(0, small)
    bench.ask(5, bench.grow(9))
    bench.ask(5, small, ())
    bench.clock.sleep(PATIENCE_SECONDS - 1)
    bench.ask(5, small, ())
    assert bench.found == []
    bench.clock.sleep(1)
    for _ in range(20):
        assert bench.ask(5, small, ()) == Answer(409, b"9\n", SIZE_TYPE)
    assert bench.found == [Contradiction.SHRUNK] * 20
    assert len(_lines(caplog, logging.CRITICAL)) == 1, "counted each time, and written once"
    assert bench.evidence() == [small]


def test_a_smaller_checkpoint_that_the_log_signed_later_is_an_alert_at_once(bench: Bench) -> None:
    def at(size: int, after: int) -> bytes:
        log = MemoryLog(LOG, [b"%d" % n for n in range(size)])
        time = int(bench.clock.now().timestamp()) + after
        return Checkpoint.open(log.files["checkpoint"], LOG.verifier).sign(LOG, LOG_ML_DSA, time=time)

    assert bench.ask(0, at(9, 0), ()).status == 200
    for after in (-3600, 0, 60):
        assert bench.ask(0, at(5, after), ()).status == 409
    assert (bench.doubts, bench.found) == ([Doubt.STALE] * 3, []), "a clock may be set back by a minute"
    signed_later = at(5, 3600)
    assert bench.ask(0, signed_later, ()).status == 409
    assert (bench.found, bench.evidence()) == ([Contradiction.SHRUNK], [signed_later])


def test_a_log_that_forks_is_refused_at_the_same_size_and_above(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    note = bench.grow(5)
    bench.ask(0, note)
    for _ in range(20):
        assert bench.ask(5, _rewritten(5), ()) == Answer(409, b"5\n", SIZE_TYPE)
    assert bench.ask(0, _rewritten(5), ()) == Answer(409, b"5\n", SIZE_TYPE)
    assert bench.ask(5, _rewritten(5), (bytes(32),)).status == 422
    assert bench.found == [Contradiction.FORKED] * 22
    (line,) = _lines(caplog, logging.CRITICAL)
    assert "forked" in line
    assert bench.ask(5, note, (bytes(32),)).status == 422, "the same tree with a proof that is none"
    assert (len(bench.found), bench.doubts) == (22, []), "is the sender's mistake alone"


def test_a_longer_fork_that_goes_on_is_an_alert(bench: Bench) -> None:
    bench.ask(0, bench.grow(5))
    fork = MemoryLog(LOG, [b"other %d" % n for n in range(9)])
    reader = LogReader(fork.fetch)
    reader.checkpoint(LOG.verifier)
    proof = tuple(reader.consistency(5))
    assert bench.ask(5, fork.files["checkpoint"], proof).status == 422
    bench.clock.sleep(PATIENCE_SECONDS)
    assert bench.ask(5, fork.files["checkpoint"], proof).status == 422
    assert (bench.doubts, bench.found) == ([Doubt.UNPROVEN], [Contradiction.UNPROVEN])


def test_a_log_that_is_cosigned_meanwhile_ends_every_doubt(bench: Bench) -> None:
    bench.ask(0, bench.grow(5))
    note = bench.grow(9)
    bench.ask(5, note, ())
    bench.clock.sleep(PATIENCE_SECONDS)
    assert bench.ask(5, note).status == 200
    later = bench.grow(12)
    bench.ask(9, later, ())
    bench.ask(0, _rewritten(3), ())
    bench.clock.sleep(PATIENCE_SECONDS - 1)
    bench.ask(9, later, ())
    assert bench.found == []


def test_evidence_is_bounded(bench: Bench) -> None:
    bench.ask(0, bench.grow(5))
    for n in range(2 * EVIDENCE_LIMIT):
        fork = MemoryLog(LOG, [b"fork %d" % n] * 5)
        assert bench.ask(5, fork.files["checkpoint"], ()).status == 409
    folder = bench.state.folder / origin_name(LOG.name)
    assert len(list(folder.glob("refused-*"))) == EVIDENCE_LIMIT


def test_old_checkpoints_sent_again_do_not_keep_out_the_evidence_of_a_fork(bench: Bench) -> None:
    notes = [bench.grow(size) for size in range(1, EVIDENCE_LIMIT + 4)]
    bench.ask(0, notes[-1], ())
    for note in notes[:-1]:
        bench.ask(0, note, ())
    fork = _rewritten(len(notes))
    bench.ask(len(notes), fork, ())
    assert bench.evidence() == [fork]


def test_signatures_of_others_are_not_kept_and_extension_lines_are_let_pass(bench: Bench) -> None:
    body = Checkpoint(LOG.name, 0, EMPTY_ROOT).body + b"extension\n"
    note = body + b"\n" + LOG.signature_line(body)
    answer = bench.ask(0, note + KEY.signature_line(b"nonsense\n"))
    assert answer.status == 200
    assert bench.witness.newest(LOG.name) == note + answer.body
    Note.parse(note + answer.body, "cosigned").require_signature(KEY.verifier, "cosigned")


def test_nothing_is_cosigned_that_is_not_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    note = bench.grow(5)
    with monkeypatch.context() as patched:
        patched.setattr("kmsgw.witness.state.write_file", full)
        with pytest.raises(OSError, match="No space"):
            bench.ask(0, note)
    assert bench.ask(0, note).status == 200


def test_a_state_that_rots_is_not_taken_for_an_empty_one(bench: Bench) -> None:
    bench.ask(0, bench.grow(5))
    path = bench.state.folder / origin_name(LOG.name) / "cosigned"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AuditDamaged):
        bench.ask(0, bench.grow(6))


def test_a_state_that_is_gone_or_of_another_key_is_refused(bench: Bench, tmp_path: Path) -> None:
    keys = [KEY.verifier, KEY_ML_DSA.verifier]
    WitnessState.open(tmp_path / "state", keys, fresh=False)
    with pytest.raises(ConfigurationError, match="state is gone"):
        WitnessState.open(tmp_path / "elsewhere", keys, fresh=False)
    with pytest.raises(ConfigurationError, match="another key"):
        WitnessState.open(tmp_path / "state", [SigningKey.of_seed("x", bytes(32)).verifier], fresh=False)
