"""A log asks its witnesses in the background; whatever they do, it is told apart, and no entry waits for them."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsgw.audit.cosigning import REFRESH_SECONDS, Cosigner, Cosigning, Failure
from kmsgw.audit.log import DurableLog
from kmsgw.errors import Unavailable
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.note import Note, SigningKey
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.tlog.tiles import cosigned_path
from kmsgw.witness.answer import SIZE_TYPE, Answer
from kmsgw.witness.state import WitnessState
from kmsgw.witness.witness import Witness
from tests.fakes.clock import SetClock
from tests.support.gateway import eventually

ORIGIN = "example.com/log/node1/worker-0"
KEY = SigningKey.of_seed("example.com/witness", bytes(32), SignatureKind.COSIGNATURE_ED25519)
ML_DSA = SigningKey.of_seed("example.com/witness", bytes(32), SignatureKind.ML_DSA_44)
LOG_ML_DSA = SigningKey.of_seed(ORIGIN, bytes(32), SignatureKind.ML_DSA_44)


class Bench:
    """A log and a witness of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "audit" / "worker-0"
        self.key_file = folder / "keys" / "worker-0.key"
        self.log = self.open(self.folder)
        self.state = WitnessState.open(folder / "state", [KEY.verifier, ML_DSA.verifier], fresh=True)
        self.clock = SetClock()
        self.witness = Witness((KEY, ML_DSA), {ORIGIN: [self.log.verifier]}, self.state, clock=self.clock)
        self.cosigner = self.asking(self.witness.add_checkpoint)

    def open(self, folder: Path) -> DurableLog:
        return DurableLog.open(folder, origin=ORIGIN, key_file=self.key_file, interval=None, further_keys=[LOG_ML_DSA])

    def asking(self, submit: Callable[[bytes], Answer]) -> Cosigner:
        return Cosigner(self.log, self.folder, "w1", [KEY.verifier, ML_DSA.verifier], submit, self.clock)

    def append(self, count: int) -> None:
        for number in range(count):
            self.log.append(b'{"n":%d}' % number)
        self.log.flush()
        self.log.integrate()

    def note(self, path: str = "checkpoint") -> Note:
        return Note.parse((self.folder / path).read_bytes(), path)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_checkpoint_gets_the_witness_s_lines_beside_those_of_the_log(bench: Bench) -> None:
    for count in (0, 3, 300):
        bench.append(count)
        assert bench.cosigner.ask()
        for path in ("checkpoint", cosigned_path(KEY.verifier.key_id), cosigned_path(ML_DSA.verifier.key_id)):
            note = bench.note(path)
            assert len(note.signatures) == 4, "each key once"
            for key in (bench.log.verifier, LOG_ML_DSA.verifier, KEY.verifier, ML_DSA.verifier):
                note.require_signature(key, path)
    assert bench.cosigner.standing.cosigned == 303
    assert bench.cosigner.standing.since is None
    bench.log.close()


def test_what_was_cosigned_stays_while_the_log_goes_on(bench: Bench) -> None:
    bench.append(3)
    bench.cosigner.ask()
    bench.append(1)
    assert len(bench.note().signatures) == 2
    old = Checkpoint.parse_body(bench.note(cosigned_path(KEY.verifier.key_id)).body, "")
    assert old.size == 3
    bench.log.close()
    again = bench.open(bench.folder)
    assert again.size == 4
    again.close()


def test_a_log_that_stands_still_is_cosigned_again_after_a_while(bench: Bench) -> None:
    bench.append(3)
    bench.cosigner.ask()
    first = bench.note()
    bench.clock.sleep(REFRESH_SECONDS - 1)
    bench.cosigner.ask()
    assert bench.note() == first
    bench.clock.sleep(2)
    bench.cosigner.ask()
    assert bench.note() != first
    bench.log.close()


def test_a_log_that_was_rolled_back_or_rewritten_is_told_by_the_witness(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench.append(5)
    assert bench.cosigner.ask()
    bench.log.close()
    bench.folder = tmp_path / "audit" / "begun-anew"
    bench.log = bench.open(bench.folder)
    bench.append(3)
    cosigner = bench.asking(bench.witness.add_checkpoint)
    with caplog.at_level(logging.CRITICAL):
        assert not cosigner.ask()
        assert not cosigner.ask()
    told = [each.getMessage() for each in caplog.records if each.name == "kmsgw.audit.cosigning"]
    assert len(told) == 1, "once, and not every second"
    assert "it cosigned 5 entries, and the log has 3: the log was rolled back" in told[0]
    assert cosigner.standing.contradicted
    bench.log.append(b"another")
    bench.append(4)
    assert not cosigner.ask()
    assert cosigner.standing.failures[Failure.CONTRADICTED] == 3
    bench.log.close()


@pytest.mark.parametrize("second", [Answer(409, b"3\n", SIZE_TYPE), Answer(409, b"")])
def test_a_witness_that_cosigned_another_log_of_the_same_size_is_a_contradiction(bench: Bench, second: Answer) -> None:
    bench.append(3)
    answers = iter([Answer(409, b"3\n", SIZE_TYPE), second])
    cosigner = bench.asking(lambda _: next(answers))
    assert not cosigner.ask()
    assert cosigner.standing.contradicted
    bench.log.close()


def test_every_other_answer_is_a_failure_of_its_kind_and_leaves_the_log_alone(bench: Bench) -> None:
    bench.append(2)
    stranger = SigningKey.of_seed(KEY.name, bytes([5]) * 32, SignatureKind.COSIGNATURE_ED25519)

    def away(_: bytes) -> Answer:
        raise Unavailable("away")

    wrong = KEY.signature_line(b"something else\n", 1)
    before = (bench.folder / "checkpoint").read_bytes()
    for submit, failure in [
        (away, Failure.UNREACHABLE),
        (lambda _: Answer(404, b"unknown\n"), Failure.REFUSED),
        (lambda _: Answer(500, b""), Failure.REFUSED),
        (lambda _: Answer(409, b"many\n", "text/x.tlog.size"), Failure.REFUSED),
        (lambda _: Answer(200, wrong), Failure.WRONG_SIGNATURE),
        (lambda _: Answer(200, b"nonsense"), Failure.WRONG_SIGNATURE),
        (lambda _: Answer(200, stranger.signature_line(b"x\n", 1)), Failure.WRONG_SIGNATURE),
    ]:
        cosigner = bench.asking(submit)
        assert not cosigner.ask()
        assert {each for each, count in cosigner.standing.failures.items() if count} == {failure}
        assert cosigner.standing.since is not None
        assert not cosigner.standing.contradicted
    assert (bench.folder / "checkpoint").read_bytes() == before
    bench.log.close()


def test_witnesses_are_asked_in_threads_and_the_last_checkpoint_too(bench: Bench) -> None:
    cosigning = Cosigning([bench.cosigner], interval=0.01)
    bench.append(2)
    cosigning.start()
    assert eventually(lambda: cosigning.standings[0].cosigned == 2)
    cosigning.stop()
    bench.append(1)
    bench.log.close()
    cosigning.ask_last()
    assert cosigning.standings[0].cosigned == 3
