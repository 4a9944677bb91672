"""Waiting for messages has a price for each caller, and streams have a share of the threads (threat 19)."""

import threading
from collections.abc import Callable, Iterator

import grpc
import pytest

from kmsgw.errors import InvalidRequest, ResourceExhausted
from kmsgw.server.reception import BURST_SECONDS, GRACE_SECONDS, Reception
from tests.fakes.clock import SetClock

THREADS = 8


class HalfCall:
    """A call that was begun and never finished, waiting in a thread as grpcio would have it."""

    def __init__(self, reception: Reception, caller: bytes) -> None:
        self._ended = threading.Event()
        self._entered = threading.Event()
        self.outcome: object = None
        self._thread = threading.Thread(target=self._wait, args=(reception, caller), daemon=True)
        self._thread.start()
        assert self._entered.wait(60)

    def _messages(self) -> Iterator[bytes]:
        self._entered.set()
        if self._ended.wait(60):
            raise grpc.RpcError
        yield b"too late"

    def _wait(self, reception: Reception, caller: bytes) -> None:
        try:
            self.outcome = reception.receive(self._messages(), caller, self._ended.set)
        except (ResourceExhausted, grpc.RpcError) as error:
            self.outcome = error

    @property
    def waits(self) -> bool:
        return not self._ended.is_set()

    def end(self) -> object:
        """End the call as its caller would, and return how it ended."""
        self._ended.set()
        self._thread.join(60)
        return self.outcome


class Stream:
    """As much of a call's context as a stream needs."""

    def __init__(self) -> None:
        self.ended: Callable[[], None] = lambda: None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self.ended = callback
        return True


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def reception(clock: SetClock) -> Reception:
    made = Reception(THREADS, clock)
    made.tick()
    return made


def _pass(reception: Reception, clock: SetClock, seconds: float) -> None:
    for _ in range(round(seconds * 10)):
        clock.sleep(0.1)
        reception.tick()


def test_a_message_that_is_there_is_received(reception: Reception) -> None:
    assert reception.receive(iter([b"message"]), b"caller", lambda: None) == b"message"


def test_a_call_without_a_message_is_refused(reception: Reception) -> None:
    with pytest.raises(InvalidRequest):
        reception.receive(iter([]), b"caller", lambda: None)


def test_who_holds_all_threads_is_turned_away_and_nobody_else(reception: Reception, clock: SetClock) -> None:
    patient = HalfCall(reception, b"patient")
    greedy = [HalfCall(reception, b"greedy") for _ in range(THREADS)]

    _pass(reception, clock, GRACE_SECONDS + 2 * BURST_SECONDS)

    assert not any(each.waits for each in greedy)
    assert all(isinstance(each.end(), ResourceExhausted) for each in greedy)
    assert patient.waits
    with pytest.raises(ResourceExhausted):
        reception.receive(iter([b"message"]), b"greedy", lambda: None)
    assert reception.receive(iter([b"message"]), b"patient", lambda: None) == b"message"
    assert isinstance(patient.end(), grpc.RpcError)


def test_a_quarter_of_the_threads_may_wait_for_ever(reception: Reception, clock: SetClock) -> None:
    slow = [HalfCall(reception, b"slow") for _ in range(THREADS // 4)]

    _pass(reception, clock, 60)

    assert all(each.waits for each in slow)
    assert all(isinstance(each.end(), grpc.RpcError) for each in slow)


def test_nobody_pays_for_the_time_in_which_the_gateway_itself_had_no_turn(
    reception: Reception, clock: SetClock
) -> None:
    unlucky = [HalfCall(reception, b"unlucky") for _ in range(THREADS)]
    for _ in range(5):
        clock.sleep(10)
        reception.tick()
    assert all(each.waits for each in unlucky)

    _pass(reception, clock, GRACE_SECONDS + 2 * BURST_SECONDS)
    assert all(isinstance(each.end(), ResourceExhausted) for each in unlucky)


def test_who_was_turned_away_is_welcome_again_later(reception: Reception, clock: SetClock) -> None:
    greedy = [HalfCall(reception, b"greedy") for _ in range(THREADS)]
    _pass(reception, clock, GRACE_SECONDS + 2 * BURST_SECONDS)
    assert all(isinstance(each.end(), ResourceExhausted) for each in greedy)

    _pass(reception, clock, 2)

    assert reception.receive(iter([b"message"]), b"greedy", lambda: None) == b"message"


def test_a_quarter_of_the_threads_serves_streams(reception: Reception) -> None:
    streams = [Stream() for _ in range(THREADS // 4)]
    for each in streams:
        reception.open_stream(each)  # type: ignore[arg-type]  # stands for the context of a call
    with pytest.raises(ResourceExhausted):
        reception.open_stream(Stream())  # type: ignore[arg-type]

    streams[0].ended()

    reception.open_stream(Stream())  # type: ignore[arg-type]
