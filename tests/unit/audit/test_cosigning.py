"""A log asks its witnesses in the background; whatever they do, it is told apart, and no entry waits for them."""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kmsgw.audit.aside_logs import AsideLog
from kmsgw.audit.cosigning import REFRESH_SECONDS, Cosigner, Cosigning, Failure, RetiredLog
from kmsgw.audit.log import DurableLog
from kmsgw.errors import Unavailable
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.node_index import IndexedLog, NodeIndex
from kmsgw.tlog.note import Note, SigningKey
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.tlog.tiles import cosigned_path
from kmsgw.witness.answer import SIZE_TYPE, Answer
from kmsgw.witness.nodes import KnownNodes
from kmsgw.witness.state import WitnessState
from kmsgw.witness.witness import Witness
from tests.fakes.clock import SetClock
from tests.support.gateway import eventually

ORIGIN = "example.com/log/node1/worker-0"
KEY = SigningKey.of_seed("example.com/witness", bytes(32), SignatureKind.COSIGNATURE_ED25519)
ML_DSA = SigningKey.of_seed("example.com/witness", bytes(32), SignatureKind.ML_DSA_44)
NODE = SigningKey.of_seed("example.com/log/node1", bytes([4]) * 32)
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


class _Node:
    """A witness that takes logs from the index of a node, and that index."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.sent: list[int] = []
        self.index = NodeIndex(NODE.name, 2, (IndexedLog("worker-0", ORIGIN, (bench.log.verifier,)),))
        nodes = KnownNodes([NODE.verifier], bench.state, bench.clock)
        self.witness = Witness((KEY, ML_DSA), {}, bench.state, nodes=nodes, clock=bench.clock)

    def introduce(self) -> Answer:
        answer = self.witness.add_index(self.index.sign(NODE))
        self.sent.append(answer.status)
        return answer

    def cosigner(self) -> Cosigner:
        bench, keys = self.bench, [KEY.verifier, ML_DSA.verifier]
        return Cosigner(
            bench.log, bench.folder, "w1", keys, self.witness.add_checkpoint, bench.clock, introduce=self.introduce
        )


def test_a_witness_learns_the_log_from_the_node_s_index(bench: Bench) -> None:
    node = _Node(bench)
    cosigner = node.cosigner()
    for count in (2, 1):
        bench.append(count)
        assert cosigner.ask()
    assert node.sent == [200], "once"
    bench.log.close()


def test_a_witness_that_does_not_know_the_log_gets_the_index_once_more(bench: Bench) -> None:
    node = _Node(bench)
    listed = node.index
    node.index = replace(listed, logs=())
    cosigner = node.cosigner()
    assert not cosigner.ask()
    assert cosigner.standing.failures[Failure.REFUSED] == 1
    node.index = replace(listed, number=3)
    assert cosigner.ask()
    assert node.sent == [200, 200, 200]
    bench.log.close()


def test_an_index_that_was_put_back_is_a_contradiction_and_the_log_is_cosigned_all_the_same(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    node = _Node(bench)
    newest, older = node.index, replace(node.index, number=1)
    assert node.introduce().status == 200
    node.index = older
    cosigner = node.cosigner()
    bench.append(3)
    assert not cosigner.ask()
    assert (cosigner.standing.contradicted, cosigner.standing.cosigned) == (True, 3)
    (told,) = [each.getMessage() for each in caplog.records if each.name == "kmsgw.audit.cosigning"]
    assert "it knows the node's index of number 2, which is not the one that is here: the index was rolled back" in told
    node.index = newest
    bench.append(1)
    assert cosigner.ask()
    assert not cosigner.standing.contradicted
    bench.log.close()


def test_a_witness_that_takes_no_index_cosigns_the_logs_that_it_was_told_of(bench: Bench) -> None:
    cosigner = Cosigner(
        bench.log, bench.folder, "w1", [KEY.verifier], bench.witness.add_checkpoint, bench.clock,
        introduce=lambda: Answer(404, b""),
    )  # fmt: skip
    assert cosigner.ask()
    bench.log.close()


def test_a_log_without_a_worker_is_cosigned_in_its_file_and_its_checkpoint_is_left_alone(bench: Bench) -> None:
    bench.append(3)
    bench.log.close()
    checkpoint = bench.folder / "checkpoint"
    before = checkpoint.read_bytes()
    retired = RetiredLog(ORIGIN, bench.log.verifier)
    keys = [KEY.verifier, ML_DSA.verifier]
    cosigner = Cosigner(retired, bench.folder, "w1", keys, bench.witness.add_checkpoint, bench.clock)
    own = bench.asking(lambda _: Answer(500, b""))
    cosigning = Cosigning([own], interval=0.01, retired=[cosigner])
    cosigning.start()
    assert eventually(lambda: cosigner.standing.cosigned == 3)
    cosigning.stop()
    assert checkpoint.read_bytes() == before
    for key in keys:
        bench.note(cosigned_path(key.key_id)).require_signature(key, "cosigned")


def test_a_log_without_a_worker_that_was_rolled_back_is_an_alert_of_its_witness(bench: Bench) -> None:
    bench.append(3)
    small = (bench.folder / "checkpoint").read_bytes()
    bench.append(2)
    assert bench.cosigner.ask()
    bench.log.close()
    (bench.folder / "checkpoint").write_bytes(small)
    retired = bench.asking(bench.witness.add_checkpoint)
    cosigning = Cosigning([bench.asking(lambda _: Answer(500, b""))], retired=[retired])
    assert not cosigning.standings[0].contradicted
    assert not retired.ask()
    assert cosigning.standings[0].contradicted


def test_a_log_that_was_set_aside_as_rolled_back_is_told_of_once_and_asked_for_no_more(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.append(3)
    small = (bench.folder / "checkpoint").read_bytes()
    bench.append(2)
    assert bench.cosigner.ask()
    bench.log.close()
    (bench.folder / "checkpoint").write_bytes(small)
    asked: list[bytes] = []

    def submit(request: bytes) -> Answer:
        asked.append(request)
        return bench.witness.add_checkpoint(request)

    retired = RetiredLog(ORIGIN, bench.log.verifier)
    keys = [KEY.verifier, ML_DSA.verifier]
    then = AsideLog(Checkpoint.open(small, bench.log.verifier), told=True)
    aside = Cosigner(retired, bench.folder, "w1", keys, submit, bench.clock, aside=then)
    cosigning = Cosigning([bench.asking(lambda _: Answer(500, b""))], retired=[aside])
    with caplog.at_level(logging.WARNING, "kmsgw.audit.cosigning"):
        for _ in range(5):
            cosigning.ask_retired()
            bench.clock.sleep(REFRESH_SECONDS + 1)
    (told,) = [each for each in caplog.records if each.name == "kmsgw.audit.cosigning"]
    assert told.levelno == logging.WARNING
    assert "which was set aside, and is asked for it no more" in told.getMessage()
    assert len(asked) == 1
    assert not cosigning.standings[0].contradicted
    assert aside.standing.failures[Failure.CONTRADICTED] == 1


def test_a_log_that_is_rolled_back_after_it_was_set_aside_is_an_alarm_like_any_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.append(3)
    smaller = (bench.folder / "checkpoint").read_bytes()
    bench.append(1)
    small = (bench.folder / "checkpoint").read_bytes()
    bench.append(2)
    assert bench.cosigner.ask()
    bench.log.close()
    then = AsideLog(Checkpoint.open(small, bench.log.verifier), told=True)
    retired = RetiredLog(ORIGIN, bench.log.verifier)
    keys = [KEY.verifier, ML_DSA.verifier]
    aside = Cosigner(retired, bench.folder, "w1", keys, bench.witness.add_checkpoint, bench.clock, aside=then)

    (bench.folder / "checkpoint").write_bytes(small)
    with caplog.at_level(logging.WARNING, "kmsgw.audit.cosigning"):
        assert aside.ask(), "it was so when it was set aside"
        (bench.folder / "checkpoint").write_bytes(smaller)
        assert not aside.ask()
    assert aside.standing.contradicted
    assert [each.levelno for each in caplog.records] == [logging.WARNING, logging.CRITICAL]
    (bench.folder / "checkpoint").write_bytes(small)
    assert aside.ask(), "it was put back"
    assert Cosigning([bench.cosigner], retired=[aside]).standings[0].contradicted is False


def test_a_log_set_aside_that_its_witness_cosigned_and_knows_better_now_is_an_alarm(bench: Bench) -> None:
    bench.append(3)
    small = (bench.folder / "checkpoint").read_bytes()
    bench.append(2)
    whole = (bench.folder / "checkpoint").read_bytes()
    bench.log.close()
    keys = [KEY.verifier, ML_DSA.verifier]
    for then in (AsideLog(Checkpoint.open(small, bench.log.verifier), told=True), AsideLog()):
        (bench.folder / "checkpoint").write_bytes(whole)
        aside = Cosigner(
            RetiredLog(ORIGIN, bench.log.verifier), bench.folder, "w1", keys, bench.witness.add_checkpoint,
            bench.clock, aside=then,
        )  # fmt: skip
        assert aside.ask()
        (bench.folder / "checkpoint").write_bytes(small)
        assert not aside.ask()
        assert aside.standing.contradicted


def test_a_pipe_or_a_file_without_end_in_place_of_a_checkpoint_is_a_failure_and_is_not_read(bench: Bench) -> None:
    path = bench.folder / "checkpoint"
    path.unlink()
    os.mkfifo(path)
    assert not bench.cosigner.ask()
    path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert not bench.cosigner.ask()
    assert bench.cosigner.standing.failures[Failure.LOCAL] == 2


def test_a_log_that_was_set_aside_and_is_whole_is_cosigned_again_after_a_while(bench: Bench) -> None:
    bench.append(3)
    bench.log.close()
    retired = RetiredLog(ORIGIN, bench.log.verifier)
    cosigner = Cosigner(
        retired, bench.folder, "w1", [KEY.verifier], bench.witness.add_checkpoint, bench.clock, aside=AsideLog()
    )
    cosigner.ask()
    first = bench.note(cosigned_path(KEY.verifier.key_id))
    bench.clock.sleep(REFRESH_SECONDS + 1)
    cosigner.ask()
    assert bench.note(cosigned_path(KEY.verifier.key_id)) != first


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
