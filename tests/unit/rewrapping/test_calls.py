"""Many calls from a pool: their order, their limits, and which errors are the row's and which the job's."""

import threading
import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import cast

import pytest

from kmsgw.client import Client, Rewrapped
from kmsgw.errors import (
    AccessDenied,
    DecryptionFailed,
    FailedPrecondition,
    KmsgwError,
    Unauthenticated,
    Unavailable,
)
from kmsgw.model.context import EMPTY_CONTEXT, AccessDeclaration, EncryptionContext
from kmsgw.rewrapping.calls import Answered, ConcurrentRewrapper, RewrapRequest, Throttle
from kmsgw.rewrapping.rows import RowFault
from tests.unit.rewrapping.examples import envelope

Reply = Callable[[int], KmsgwError | None]


class Scripted:
    """A client that answers version 2, or fails as `reply` says for each call."""

    def __init__(self, reply: Reply = lambda _: None, seconds: float = 0.0) -> None:
        self.reply = reply
        self.seconds = seconds
        self.calls = 0
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def rewrap(self, header: bytes, context: EncryptionContext, *, purpose: str | None, end_user: str | None) -> object:
        with self._lock:
            number = self.calls
            self.calls += 1
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        error = self.reply(number)
        if error is not None:
            raise error
        return Rewrapped(header, "ehr", 1, 2)


def rewrapper(
    client: Scripted, *, in_flight: int = 4, rate: float | None = None, patience: float = 0.0
) -> ConcurrentRewrapper:
    return ConcurrentRewrapper(
        cast("Client", client),
        in_flight=in_flight,
        throttle=Throttle(rate),
        patience=patience,
        declaration=AccessDeclaration(),
    )


def requests(count: int) -> Sequence[RewrapRequest]:
    return [RewrapRequest(envelope(str(number))[:-32], EMPTY_CONTEXT) for number in range(count)]


def test_calls_are_in_flight_together_up_to_the_limit_and_answers_keep_their_order() -> None:
    client = Scripted(seconds=0.005)
    asking = requests(40)
    pool = rewrapper(client, in_flight=8)

    outcomes = pool.rewrap(asking, Event())
    pool.close()

    assert client.most == 8
    expected = [envelope(str(number)) for number in range(40)]
    assert all(isinstance(each, Answered) for each in outcomes)
    assert [
        each.wrapping.wrapped in data
        for each, data in zip(outcomes, expected, strict=True)
        if isinstance(each, Answered)
    ] == [True] * 40


@pytest.mark.parametrize("error", [DecryptionFailed(), FailedPrecondition("The key is disabled.")])
def test_a_refusal_of_one_row_is_the_fault_of_that_row(error: KmsgwError) -> None:
    error.request_id = "request-7"
    pool = rewrapper(Scripted(lambda number: error if number == 1 else None), in_flight=1)

    outcomes = pool.rewrap(requests(3), Event())
    pool.close()

    assert outcomes[1] == RowFault(str(error.reason), error.message, "request-7")
    assert isinstance(outcomes[2], Answered)
    pool.check()


def test_a_refusal_by_policy_ends_the_job_only_where_nothing_was_allowed_yet() -> None:
    refused = rewrapper(Scripted(lambda _: AccessDenied()), in_flight=1)
    mixed = rewrapper(Scripted(lambda number: AccessDenied() if number == 1 else None), in_flight=1)

    assert refused.rewrap(requests(3), Event()) == [None, None, None]
    assert isinstance(mixed.rewrap(requests(3), Event())[1], RowFault)

    with pytest.raises(AccessDenied):
        refused.check()
    mixed.check()
    refused.close()
    mixed.close()


def test_a_gateway_that_is_down_for_a_moment_is_waited_for() -> None:
    client = Scripted(lambda number: Unavailable("Down.", retry_after=0.01) if number < 2 else None)
    pool = rewrapper(client, in_flight=1, patience=5)

    (outcome,) = pool.rewrap(requests(1), Event())
    pool.close()

    assert isinstance(outcome, Answered)
    assert client.calls == 3


@pytest.mark.parametrize("error", [Unavailable("Down."), Unauthenticated("No certificate.")])
def test_what_concerns_every_row_ends_the_job_and_keeps_the_answers(error: KmsgwError) -> None:
    client = Scripted(lambda number: error if number == 2 else None)
    pool = rewrapper(client, in_flight=1)

    outcomes = pool.rewrap(requests(5), Event())
    pool.close()

    assert [each is None for each in outcomes] == [False, False, True, True, True]
    assert client.calls == 3
    with pytest.raises(type(error)):
        pool.check()


def test_after_a_stop_nothing_more_is_asked() -> None:
    stop = Event()
    stop.set()
    client = Scripted()
    pool = rewrapper(client)

    assert pool.rewrap(requests(5), stop) == [None] * 5
    assert client.calls == 0
    pool.close()


def test_the_throttle_holds_over_all_threads_and_a_stop_ends_its_waits() -> None:
    client = Scripted()
    pool = rewrapper(client, rate=100)
    began = time.monotonic()

    pool.rewrap(requests(31), Event())

    assert 0.29 < time.monotonic() - began < 3
    pool.close()

    slow, stop = rewrapper(client, rate=0.01), Event()
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    assert slow.rewrap(requests(3), stop)[1:] == [None, None]
    assert time.monotonic() - began < 5
    slow.close()
