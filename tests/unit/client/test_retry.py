"""When a call is repeated: the rules, and both flavours on a failing gateway."""

import time

import grpc
import pytest

from kmsgw.client import (
    AccessDenied,
    AuditUnavailable,
    DeadlineExceeded,
    InvalidRequest,
    ResourceExhausted,
    RetryPolicy,
    Unavailable,
)
from kmsgw.client.failures import Failure
from kmsgw.errors import Status
from kmsgw.v1 import crypto_service_pb2 as wire
from kmsgw.v1 import key_service_pb2 as key_wire
from tests.fakes.scripted_gateway import Held, Refusal, ScriptedGateway, unavailable
from tests.unit.client.driver import Driver, Use

DOWN = Failure(Status.UNAVAILABLE, "down")
NEVER_SENT = Failure(Status.UNAVAILABLE, "down", never_sent=True)
POLICY = RetryPolicy(max_attempts=4, initial_backoff=1.0, max_backoff=3.0)


def encrypt_within(seconds: float) -> Use:
    return lambda client: client.encrypt("ehr", b"x", timeout=seconds)


def exhausted(retry_after: float | None, reason: str = "QUOTA_EXCEEDED") -> Failure:
    return Failure(Status.RESOURCE_EXHAUSTED, "", reason=reason, retry_after=retry_after)


def next_delay(
    failure: Failure, *, attempts: int = 1, repeatable: bool = True, remaining: float = 100.0, jitter: float = 0.5
) -> float | None:
    return POLICY.next_delay(failure, attempts=attempts, repeatable=repeatable, remaining=remaining, jitter=jitter)


def test_the_bound_of_the_wait_doubles_up_to_the_maximum() -> None:
    assert [next_delay(DOWN, attempts=attempts) for attempts in (1, 2, 3)] == [0.5, 1.0, 1.5]


def test_the_jitter_is_full() -> None:
    assert next_delay(DOWN, jitter=0.0) == 0.0
    assert next_delay(DOWN, jitter=0.999) == pytest.approx(0.999)


def test_the_last_attempt_is_the_last() -> None:
    assert next_delay(DOWN, attempts=4) is None


def test_the_gateways_delay_is_waited_out_and_jitter_comes_on_top() -> None:
    assert next_delay(Failure(Status.UNAVAILABLE, "", retry_after=7.0)) == 7.5


def test_no_wait_outlasts_the_deadline() -> None:
    assert next_delay(DOWN, remaining=0.5) is None
    assert next_delay(DOWN, remaining=0.51) == 0.5
    assert next_delay(Failure(Status.UNAVAILABLE, "", retry_after=30.0), remaining=10.0) is None


@pytest.mark.parametrize(
    "status", [each for each in Status if each not in {Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED}]
)
def test_only_unavailable_and_exhausted_is_repeated(status: Status) -> None:
    assert next_delay(Failure(status, "", retry_after=0.1)) is None


def test_the_exhausted_wait_as_long_as_they_are_told_and_spread_over_as_long_again() -> None:
    assert [next_delay(exhausted(4.0), jitter=jitter) for jitter in (0.0, 0.5)] == [4.0, 6.0]
    assert next_delay(exhausted(0.1), jitter=0.5) == pytest.approx(0.6)


def test_a_limit_that_no_waiting_lifts_is_not_repeated() -> None:
    assert next_delay(exhausted(None)) is None


def test_the_exhausted_stop_within_their_deadline() -> None:
    assert next_delay(exhausted(4.0), remaining=5.9) is None
    assert next_delay(exhausted(4.0), attempts=4) is None


def test_a_change_is_repeated_where_the_quota_refused_it_before_anything_was_done() -> None:
    assert next_delay(exhausted(1.0, "QUOTA_EXCEEDED"), repeatable=False) == 1.5
    assert next_delay(exhausted(1.0, "OVERLOADED"), repeatable=False) is None


def test_a_change_is_repeated_only_where_it_was_never_sent() -> None:
    assert next_delay(DOWN, repeatable=False) is None
    assert next_delay(NEVER_SENT, repeatable=False) == 0.5


def test_a_large_number_of_attempts_does_not_overflow() -> None:
    policy = RetryPolicy(max_attempts=100)
    assert policy.next_delay(DOWN, attempts=99, repeatable=True, remaining=9.0, jitter=0.5) == 1.0


@pytest.mark.parametrize(
    ("attempts", "initial", "maximum"), [(0, 0.1, 1.0), (101, 0.1, 1.0), (4, -1.0, 1.0), (4, 2.0, 1.0)]
)
def test_a_policy_that_makes_no_sense_is_refused(attempts: int, initial: float, maximum: float) -> None:
    with pytest.raises(InvalidRequest):
        RetryPolicy(attempts, initial, maximum)


def test_a_gateway_that_comes_back_is_not_noticed(gateway: ScriptedGateway, drive: Driver) -> None:
    answer = wire.EncryptResponse(envelope=b"sealed", key_id="ehr", key_version=1)
    script = gateway.script("CryptoService/Encrypt", unavailable(), unavailable(), answer)

    assert drive(gateway, lambda client: client.encrypt("ehr", b"x")).envelope == b"sealed"
    assert len(script.requests) == 3
    assert len(set(script.requests)) == 1


def test_after_four_attempts_the_error_is_raised(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("CryptoService/Encrypt", unavailable())

    with pytest.raises(AuditUnavailable):
        drive(gateway, lambda client: client.encrypt("ehr", b"x"))

    assert len(script.requests) == 4


def test_a_change_that_was_sent_is_not_sent_twice(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("KeyService/RotateKey", unavailable(), key_wire.RotateKeyResponse())

    with pytest.raises(AuditUnavailable):
        drive(gateway, lambda client: client.keys.rotate("ehr"))

    assert len(script.requests) == 1


def test_a_broken_connection_in_the_middle_of_a_change_is_said_to_be_open(
    gateway: ScriptedGateway, drive: Driver
) -> None:
    script = gateway.script("KeyService/RotateKey", Refusal(grpc.StatusCode.UNAVAILABLE, "Socket closed"))

    with pytest.raises(Unavailable, match="look before you repeat"):
        drive(gateway, lambda client: client.keys.rotate("ehr"))

    assert len(script.requests) == 1


def test_a_dry_run_changes_nothing_and_is_repeated(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("KeyService/RotateKey", unavailable(), key_wire.RotateKeyResponse())

    drive(gateway, lambda client: client.keys.rotate("ehr", dry_run=True))

    assert len(script.requests) == 2


def test_a_refusal_is_not_repeated(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("CryptoService/Encrypt", Refusal(grpc.StatusCode.PERMISSION_DENIED, "no", "ACCESS_DENIED"))

    with pytest.raises(AccessDenied):
        drive(gateway, lambda client: client.encrypt("ehr", b"x"))

    assert len(script.requests) == 1


def test_who_has_used_up_its_quota_is_answered_later(gateway: ScriptedGateway, drive: Driver) -> None:
    answer = wire.EncryptResponse(envelope=b"sealed")
    refused = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota", "QUOTA_EXCEEDED", retry_after=0.05)
    script = gateway.script("CryptoService/Encrypt", refused, refused, answer)

    assert drive(gateway, lambda client: client.encrypt("ehr", b"x")).envelope == b"sealed"
    assert len(script.requests) == 3


def test_who_has_used_up_its_quota_for_long_is_told_at_once(gateway: ScriptedGateway, drive: Driver) -> None:
    refused = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota", "QUOTA_EXCEEDED", retry_after=600.0)
    script = gateway.script("CryptoService/Encrypt", refused)

    with pytest.raises(ResourceExhausted) as caught:
        drive(gateway, lambda client: client.encrypt("ehr", b"x", timeout=60.0))

    assert len(script.requests) == 1
    assert caught.value.retry_after == 600.0


def test_the_delay_that_the_gateway_names_is_waited(gateway: ScriptedGateway, drive: Driver) -> None:
    answer = wire.EncryptResponse(envelope=b"sealed")
    gateway.script("CryptoService/Encrypt", unavailable(retry_after=0.3), answer)
    begun = time.monotonic()

    drive(gateway, lambda client: client.encrypt("ehr", b"x"))

    assert time.monotonic() - begun >= 0.3


def test_a_delay_beyond_the_deadline_is_not_waited(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("CryptoService/Encrypt", unavailable(retry_after=600.0))

    with pytest.raises(AuditUnavailable) as caught:
        drive(gateway, lambda client: client.encrypt("ehr", b"x", timeout=60.0))

    assert caught.value.retry_after == 600.0
    assert len(script.requests) == 1


def test_a_slow_gateway_is_left_at_the_deadline_and_not_asked_again(gateway: ScriptedGateway, drive: Driver) -> None:
    with Held(wire.EncryptResponse()) as held:
        script = gateway.script("CryptoService/Encrypt", held)

        for seconds in (0.25, 10.0):
            with pytest.raises(DeadlineExceeded, match=rf"within {seconds:g} seconds".replace(".", r"\.")):
                drive(gateway, encrypt_within(seconds))
            if held.arrived.is_set():  # else the machine stood still before it was sent
                break

        assert len(script.requests) == 1


def test_a_deadline_that_ends_a_repetition_tells_why_it_was_repeated(gateway: ScriptedGateway, drive: Driver) -> None:
    with Held(wire.EncryptResponse()) as held:
        script = gateway.script("CryptoService/Encrypt", unavailable(), held)

        for seconds in (0.75, 10.0):
            script.requests.clear()
            with pytest.raises(DeadlineExceeded) as caught:
                drive(gateway, encrypt_within(seconds))
            if held.arrived.is_set():  # else the machine stood still before the second attempt
                break

    assert f"{seconds:g} seconds. The attempt before failed: The audit log can't be" in caught.value.message


def test_one_deadline_holds_for_all_attempts(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("CryptoService/Encrypt", unavailable(retry_after=0.15))

    with pytest.raises((AuditUnavailable, DeadlineExceeded)):
        drive(gateway, lambda client: client.encrypt("ehr", b"x"), timeout=0.4, retry=RetryPolicy(max_attempts=50))

    assert len(script.requests) <= 3, "at 0, 0.15 and 0.3 seconds"
