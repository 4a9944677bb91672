"""Threads of targets: delays that grow, what is said once, and one target that keeps none of the others."""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from kmsgw.export import target as target_module
from kmsgw.export.failure import DeliveryFailed, FailureKind
from kmsgw.export.feed import LogFeed
from kmsgw.export.runner import LONGEST_DELAY, LONGEST_NAMED_DELAY, POLL_SECONDS, TargetThread, delay_after
from kmsgw.export.target import EntryTarget
from kmsgw.tlog.entry import LoggedEntry
from tests.cli.sample_log import record, sample_log
from tests.fakes.clock import SetClock


class Scripted:
    """A target that does in each round what it is told."""

    name = "siem"

    def __init__(self, *rounds: bool | Exception) -> None:
        self.rounds = list(rounds)
        self.closed = False
        self.feeds: Mapping[str, LogFeed] = {}
        self.faults: Mapping[str, str] = {}

    def work(self) -> bool:
        result = self.rounds.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        self.closed = True


class Received:
    """A sink that keeps what it is sent, in memory."""

    def __init__(self) -> None:
        self.entries = 256
        self.bytes = 1 << 20
        self.confirm_seconds = 5.0
        self.sent: list[int] = []
        self.confirmed: list[int] = []
        self.broken: DeliveryFailed | None = None

    def send(self, log: str, entries: Sequence[LoggedEntry]) -> None:
        if self.broken is not None:
            raise self.broken
        self.sent += [entry.index for entry in entries]

    def confirm(self) -> None:
        if self.broken is not None:
            raise self.broken
        self.confirmed += self.sent
        self.sent = []

    def reset(self) -> None:
        self.sent = []


GONE = DeliveryFailed(FailureKind.UNREACHABLE, "Gone.")


def test_the_delay_doubles_up_to_a_bound_and_is_never_the_same_for_all() -> None:
    longest = [delay_after(failures, None, 0.999999) for failures in range(1, 40)]
    assert longest[:4] == pytest.approx([0.5, 1, 2, 4], rel=1e-4)
    assert max(longest) <= LONGEST_DELAY
    assert delay_after(5, None, 0.0) == pytest.approx(longest[4] / 2, rel=1e-4)
    assert delay_after(1, 30.0, 0.5) == 30.0
    assert delay_after(1, 1e9, 0.5) == LONGEST_NAMED_DELAY


def test_a_failure_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    thread = TargetThread(Scripted(GONE, GONE, GONE, DeliveryFailed(FailureKind.TLS, "No."), True, False))
    with caplog.at_level(logging.INFO):
        waits = [thread.step() for _ in range(6)]
    assert all(wait > 0 for wait in waits[:4])
    assert waits[3] > waits[0]
    assert waits[4:] == [0.0, POLL_SECONDS]
    assert thread.failing is None
    assert thread.failures == {FailureKind.UNREACHABLE: 3, FailureKind.TLS: 1}
    said = [each.getMessage() for each in caplog.records]
    assert len(said) == 3
    assert said[0].endswith(": Gone.")
    assert said[1].endswith(": No.")
    assert said[2] == "siem: export goes on after 4 failures"


def test_a_fault_of_the_program_ends_no_thread(caplog: pytest.LogCaptureFixture) -> None:
    thread = TargetThread(Scripted(ValueError("secret text"), False))
    assert thread.step() > 0
    assert thread.step() == POLL_SECONDS
    assert thread.failures == {FailureKind.LOG: 1}


def test_a_thread_that_is_stopped_does_a_last_round_and_closes() -> None:
    target = Scripted(False, True, True, False)
    thread = TargetThread(target)
    thread.start()
    thread.stop()
    assert thread.join(60)
    assert target.closed


def test_a_target_that_hangs_is_left_behind() -> None:
    released = threading.Event()

    class Hanging(Scripted):
        def work(self) -> bool:
            released.wait()
            return False

    thread = TargetThread(Hanging())
    thread.start()
    thread.stop()
    assert not thread.join(0.01)
    released.set()
    assert thread.join(60)


def test_entries_stay_unconfirmed_for_so_long_at_most(tmp_path: Path) -> None:
    log = sample_log(tmp_path, 300)
    sink, clock = Received(), SetClock()
    target = EntryTarget("siem", tmp_path, sink, clock)
    assert target.work()
    assert target.work()
    assert not target.work()
    assert (len(sink.sent), sink.confirmed) == (300, [])
    clock.sleep(5)
    log.append(record(300))
    assert target.work()
    assert sink.confirmed == list(range(301))
    assert target.feeds["worker-0"].delivered == 301


def test_after_a_fault_all_that_is_unconfirmed_comes_again(tmp_path: Path) -> None:
    sample_log(tmp_path, 300)
    sink, clock = Received(), SetClock()
    target = EntryTarget("siem", tmp_path, sink, clock)
    target.work()
    target.work()
    clock.sleep(5)
    sink.broken = GONE
    with pytest.raises(DeliveryFailed):
        target.work()
    assert target.feeds["worker-0"].delivered == 0
    sink.broken = None
    target.work()
    target.work()
    target.close()
    assert sink.confirmed == list(range(300))


def test_what_was_accepted_before_a_rejected_entry_does_not_come_again(tmp_path: Path) -> None:
    sample_log(tmp_path, 300)
    sink = Received()
    target = EntryTarget("siem", tmp_path, sink)
    sink.broken = DeliveryFailed(FailureKind.REJECTED, "No.", accepted=41)
    with pytest.raises(DeliveryFailed):
        target.work()
    assert target.feeds["worker-0"].delivered == 41
    sink.broken = None
    target.work()
    assert sink.sent[0] == 41


def test_not_more_than_a_bound_stays_unconfirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_module, "CONFIRM_ENTRIES", 600)
    sample_log(tmp_path, 1000)
    sink, clock = Received(), SetClock()
    target = EntryTarget("siem", tmp_path, sink, clock)
    while not sink.confirmed:
        assert target.work()
    assert 600 <= len(sink.confirmed) < 600 + 256
