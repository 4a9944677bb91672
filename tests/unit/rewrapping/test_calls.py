"""Many requests from a few threads: their order, their limits, and which errors are the row's and which the job's."""

import threading
import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import Any, cast

import pytest

from kmsgw.client import Client, Rewrapped
from kmsgw.client.batch_results import Batch
from kmsgw.errors import (
    AccessDenied,
    DeadlineExceeded,
    DecryptionFailed,
    EnvelopeMalformed,
    FailedPrecondition,
    KmsgwError,
    Unauthenticated,
    Unavailable,
)
from kmsgw.model.context import EMPTY_CONTEXT, AccessDeclaration, EncryptionContext
from kmsgw.rewrapping.calls import Answered, BatchRewrapper, RewrapRequest, Throttle
from kmsgw.rewrapping.rows import RowFault
from tests.support.patience import patient
from tests.unit.rewrapping.examples import envelope

Reply = Callable[[int], KmsgwError | None]


def nothing(_: int) -> None:
    """Say that nothing goes wrong."""


class Scripted:
    """A client that answers version 2. `reply` says of each call, `item` of each item asked for, why it fails."""

    def __init__(self, reply: Reply = nothing, *, item: Reply = nothing, at_once: int = 1) -> None:
        self.reply = reply
        self.item = item
        self.sizes: list[int] = []
        self.items = 0
        self._together = threading.Barrier(at_once)
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        return len(self.sizes)

    def batch_rewrap(
        self,
        envelopes: Sequence[bytes],
        *,
        contexts: Sequence[EncryptionContext],
        purpose: str | None,
        end_user: str | None,
    ) -> Batch[Rewrapped]:
        with self._lock:
            number, first = len(self.sizes), self.items
            self.sizes.append(len(envelopes))
            self.items += len(envelopes)
        assert len(contexts) == len(envelopes)
        self._together.wait(patient(20))
        error = self.reply(number)
        if error is not None:
            raise error
        failed = [self.item(first + place) for place in range(len(envelopes))]
        errors = {place: error for place, error in enumerate(failed) if error is not None}
        return Batch(len(envelopes), lambda place: Rewrapped(envelopes[place], "ehr", 1, 2), errors, (), "id")


def rewrapper(
    client: Scripted, *, in_flight: int = 4, rate: float | None = None, patience: float = 0.0
) -> BatchRewrapper:
    return BatchRewrapper(
        cast("Client", client),
        in_flight=in_flight,
        throttle=Throttle(rate),
        patience=patience,
        declaration=AccessDeclaration(),
    )


def requests(count: int) -> Sequence[RewrapRequest]:
    return [RewrapRequest(envelope(str(number))[:-32], EMPTY_CONTEXT) for number in range(count)]


def faults(outcomes: Sequence[object]) -> list[bool]:
    return [isinstance(each, RowFault) for each in outcomes]


def test_requests_go_in_calls_that_are_in_flight_together_and_answers_keep_their_order() -> None:
    client = Scripted(at_once=4)  # none is answered before four are there
    asking = requests(40)
    pool = rewrapper(client, in_flight=23)

    outcomes = pool.rewrap(asking, Event())
    pool.close()

    assert client.sizes == [5] * 8, "not more than 23 at a time"
    assert all(isinstance(each, Answered) for each in outcomes)
    assert [
        each.wrapping.wrapped in request.header
        for each, request in zip(outcomes, asking, strict=True)
        if isinstance(each, Answered)
    ] == [True] * 40


@pytest.mark.parametrize(("in_flight", "sizes"), [(1, [1, 1, 1]), (3, [1, 1, 1]), (4000, [3])])
def test_no_more_requests_are_in_flight_than_may_be(in_flight: int, sizes: list[int]) -> None:
    client = Scripted()
    pool = rewrapper(client, in_flight=in_flight)
    pool.rewrap(requests(3), Event())
    pool.close()
    assert client.sizes == sizes


def test_a_call_takes_no_more_than_a_megabyte_of_contexts() -> None:
    client = Scripted()
    pool = rewrapper(client, in_flight=4000)
    long = EncryptionContext.of({"a": "x" * 4000, "b": "y" * 4000})
    pool.rewrap([RewrapRequest(each.header, long) for each in requests(300)], Event())
    pool.close()
    assert sum(client.sizes) == 300
    assert 100 < max(client.sizes) < 150


@pytest.mark.parametrize("error", [DecryptionFailed(), FailedPrecondition("The key is disabled.")])
def test_a_refusal_of_one_row_is_the_fault_of_that_row(error: KmsgwError) -> None:
    error.request_id = "request-7"
    pool = rewrapper(Scripted(item=lambda number: error if number == 1 else None), in_flight=4000)

    outcomes = pool.rewrap(requests(3), Event())
    pool.close()

    assert outcomes[1] == RowFault(str(error.reason), error.message, "request-7")
    assert isinstance(outcomes[2], Answered)
    pool.check()


def test_a_refusal_by_policy_ends_the_job_only_where_nothing_was_allowed_yet() -> None:
    whole = rewrapper(Scripted(lambda _: AccessDenied()), in_flight=4000)
    each = rewrapper(
        Scripted(item=lambda number: DecryptionFailed() if number == 1 else AccessDenied()), in_flight=4000
    )
    for refused in (whole, each):
        assert refused.rewrap(requests(3), Event())[0] is None
        with pytest.raises(AccessDenied):
            refused.check()
        refused.close()

    mixed = rewrapper(Scripted(item=lambda number: AccessDenied() if number == 1 else None), in_flight=4000)
    assert faults(mixed.rewrap(requests(3), Event())) == [False, True, False]
    mixed.check()
    mixed.close()

    later = rewrapper(Scripted(lambda number: AccessDenied() if number == 1 else None), in_flight=3)
    assert sum(faults(later.rewrap(requests(3), Event()))) == 1
    later.check()
    later.close()


def test_a_gateway_that_is_down_for_a_moment_is_waited_for() -> None:
    client = Scripted(lambda number: Unavailable("Down.", retry_after=0.01) if number < 2 else None)
    pool = rewrapper(client, in_flight=1, patience=5)

    (outcome,) = pool.rewrap(requests(1), Event())
    pool.close()

    assert isinstance(outcome, Answered)
    assert client.calls == 3


def test_only_the_requests_that_could_not_be_answered_are_asked_again() -> None:
    client = Scripted(item=lambda number: Unavailable("Down.", retry_after=0.01) if number in {1, 2} else None)
    pool = rewrapper(client, in_flight=4000, patience=20)

    outcomes = pool.rewrap(requests(4), Event())
    pool.close()

    assert all(isinstance(each, Answered) for each in outcomes)
    assert client.sizes == [4, 2]


def test_what_takes_too_long_in_one_call_is_asked_in_smaller_ones() -> None:
    client = Scripted(lambda number: DeadlineExceeded("Late.") if number < 2 else None)
    pool = rewrapper(client, in_flight=4000, patience=20)

    assert all(isinstance(each, Answered) for each in pool.rewrap(requests(8), Event()))
    pool.close()
    assert client.sizes == [8, 4, 2, 2, 2, 2]


def test_one_request_that_spoils_a_call_is_found_and_the_others_are_answered() -> None:
    class Spoiled(Scripted):
        def batch_rewrap(self, envelopes: Sequence[bytes], **more: Any) -> Batch[Rewrapped]:
            self.reply = lambda _: EnvelopeMalformed("Not an envelope.") if b"bad" in envelopes else None
            return super().batch_rewrap(envelopes, **more)

    client = Spoiled()
    pool = rewrapper(client, in_flight=4000)
    asking = [*requests(3), RewrapRequest(b"bad", EMPTY_CONTEXT), *requests(4)]

    assert faults(pool.rewrap(asking, Event())) == [False, False, False, True, False, False, False, False]
    pool.check()
    pool.close()
    assert client.calls == 7


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


def test_where_the_rate_is_limited_no_more_go_together_than_a_tenth_of_a_second_is_for() -> None:
    client = Scripted()
    pool = rewrapper(client, in_flight=4000, rate=1000)
    pool.rewrap(requests(250), Event())
    pool.close()
    assert sorted(client.sizes) == [50, 100, 100]


def test_the_throttle_holds_over_all_threads_and_a_stop_ends_its_waits() -> None:
    client = Scripted()
    pool = rewrapper(client, rate=100)
    began = time.monotonic()

    pool.rewrap(requests(31), Event())

    assert 0.29 < time.monotonic() - began < patient(3)
    pool.close()

    slow, stop = rewrapper(client, rate=0.01), Event()
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    assert slow.rewrap(requests(3), stop)[1:] == [None, None]
    assert time.monotonic() - began < patient(5)
    slow.close()
