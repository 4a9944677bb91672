"""Quotas on the way of a call: where it is refused, what it is charged, and what is recorded of it."""

import threading
from datetime import timedelta

import pytest

from kmsgw.errors import InvalidRequest, KmsgwError, MethodUnknown, Overloaded, Reason, Status
from kmsgw.model.key import Key
from kmsgw.operations.control.rotate_key import RotateKeyCommand
from kmsgw.operations.verb import Grant
from kmsgw.operations.waiting import WouldWait, become_impatient, before_waiting
from kmsgw.server.passage import Call, Reply
from kmsgw.server.quota import Ceiling, Limits, Quotas, Rate
from tests.fakes.clock import SetClock
from tests.unit.server.test_pipeline import OFFICER, RANDOM, ROTATE, Bench

_ONE_CALL = Limits(Rate(1.0, 1e6, 1e-6))


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def bench(clock: SetClock) -> Bench:
    """A pipeline whose callers may make one call a second."""
    return Bench(Quotas(_ONE_CALL, clock))


def test_the_quota_is_asked_before_the_message_is_read(bench: Bench) -> None:
    assert bench.random()

    refused = bench.pipeline.handle(Call(RANDOM, b"\xff no message", b"officer", "peer")).error

    assert isinstance(refused, Overloaded)
    assert (refused.status, refused.reason) == (Status.RESOURCE_EXHAUSTED, Reason.QUOTA_EXCEEDED)
    assert refused.retry_after


def test_a_refusal_by_quota_is_recorded_with_its_principal_before_it_leaves(bench: Bench) -> None:
    bench.random()
    bench.random()

    entry = bench.journal.entries[-1]
    assert (entry["outcome"], entry["reason"], entry["method"]) == ("refused", "QUOTA_EXCEEDED", RANDOM)
    assert isinstance(entry["principal"], dict)
    assert entry["principal"]["id"] == OFFICER.principal_id
    assert bench.journal.events[-1] == "durable whole"


def test_a_change_of_state_beyond_the_quota_leaves_no_intent(bench: Bench) -> None:
    bench.random()

    assert isinstance(bench.rotate(), Overloaded)
    assert "run" not in bench.journal.events
    assert "append intent" not in bench.journal.events


def test_a_flood_has_one_record_and_every_answer_names_it(bench: Bench) -> None:
    bench.random()
    replies = [bench.pipeline.handle(Call(ROTATE, b"", b"officer", "peer")) for _ in range(100)]

    (entry,) = (entry for entry in bench.journal.entries if entry["outcome"] == "refused")
    assert {reply.request_id for reply in replies} == {entry["request_id"]}


def test_no_counted_refusal_leaves_before_the_record_that_it_stands_on(bench: Bench) -> None:
    bench.random()
    bench.journal.refuses_to_flush = True

    replies = [bench.pipeline.handle(Call(ROTATE, b"", b"officer", "peer")) for _ in range(3)]

    assert {_reason(reply.error) for reply in replies} == {Reason.AUDIT_UNAVAILABLE}


def test_methods_that_there_are_not_cost_as_much_and_make_no_kinds_of_their_own(bench: Bench) -> None:
    errors = [bench.pipeline.handle(Call(f"/no/{number}", b"", b"officer", "peer")).error for number in range(10)]

    assert isinstance(errors[0], MethodUnknown)
    assert {_reason(error) for error in errors[1:]} == {Reason.QUOTA_EXCEEDED}
    assert len(bench.journal.entries) == 2


def test_refusals_decided_elsewhere_are_counted_with_their_principal(bench: Bench) -> None:
    call = Call("/grpc.health.v1.Health/Check", b"", b"officer", "peer")

    ids = {bench.pipeline.refuse(call, Overloaded("no thread")).request_id for _ in range(5)}

    (entry,) = bench.journal.entries
    assert ids == {entry["request_id"]}
    assert entry["principal"] is not None


def test_a_call_that_is_begun_anew_where_it_may_wait_is_charged_once(clock: SetClock) -> None:
    bench = Bench(Quotas(_ONE_CALL, clock))

    def run(command: RotateKeyCommand, grant: Grant) -> Key:
        before_waiting()
        return grant.key()

    bench.rotation.run = run  # type: ignore[method-assign]
    raised: list[type[BaseException]] = []

    def impatiently() -> None:
        become_impatient()
        try:
            bench.rotate()
        except WouldWait as would:
            raised.append(type(would))

    thread = threading.Thread(target=impatiently)
    thread.start()
    thread.join(60)

    assert raised == [WouldWait]
    assert bench.rotate() is None
    assert isinstance(bench.rotate(), Overloaded)
    clock.move(timedelta(seconds=1))
    assert bench.rotate() is None


def test_what_a_call_turns_out_to_be_worth_is_charged_also_where_it_fails(clock: SetClock) -> None:
    bench = Bench(Quotas(_ONE_CALL, clock))

    def run(command: RotateKeyCommand, grant: Grant) -> Key:
        grant.trail.calls = 500
        raise InvalidRequest("no")

    bench.rotation.run = run  # type: ignore[method-assign]
    assert isinstance(bench.rotate(), InvalidRequest)

    clock.move(timedelta(seconds=499))
    assert isinstance(bench.rotate(), Overloaded)
    clock.move(timedelta(seconds=1))
    assert isinstance(bench.rotate(), InvalidRequest)


def test_calls_that_wait_for_a_thread_are_bounded() -> None:
    bench = Bench(queue=Ceiling("calls that wait for a thread", 4, 1))
    call = Call(RANDOM, b"", b"officer", "peer")

    place = bench.pipeline.queue(call)
    refused = bench.pipeline.queue(call)

    assert place == OFFICER.principal_id
    assert isinstance(refused, Reply)
    assert _reason(bench.pipeline.finish(refused).error) is Reason.OVERLOADED
    bench.pipeline.leave_queue(place)
    assert bench.pipeline.queue(call) == OFFICER.principal_id


def _reason(error: KmsgwError | None) -> Reason | None:
    return error.reason if error is not None else None
