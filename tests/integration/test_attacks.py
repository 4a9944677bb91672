"""What one hostile caller does to a gateway that others use at the same time (threats 16 to 19)."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import grpc
import pytest

from kmsgw.model.access import Action
from kmsgw.v1 import common_pb2, crypto_service_pb2
from tests.support.calls import METHODS, Caller, pairs
from tests.support.gateway import Gateway, eventually
from tests.support.half_calls import HalfCalls
from tests.support.patience import patient

_CONNECTIONS = 6
_CALLS_EACH = 20
_HALF_CALLS = 40
_MOST_WANTED = 16
"""As many as there are threads; the direct loop wants fewer."""

_WATCH = "/grpc.health.v1.Health/Watch"
_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
_ENCRYPT = crypto_service_pb2.EncryptRequest(key="ehr", plaintext=b"x", encryption_context=pairs(patient="P-1"))


@pytest.fixture
def connections(gateway: Gateway) -> Iterator[list[grpc.Channel]]:
    """Connections of a hostile principal of another tenant, enough to reach every worker."""
    credentials = gateway.credentials("billing")
    made = [
        grpc.secure_channel(
            gateway.address,
            grpc.ssl_channel_credentials(credentials.ca, credentials.private_key, credentials.certificate),
            options=(("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)),
        )
        for _ in range(_CONNECTIONS)
    ]
    yield made
    for each in made:
        each.close()


@pytest.fixture
def never() -> Iterator[Callable[[], Iterator[bytes]]]:
    """Makes messages that never come."""
    over = threading.Event()

    def wait() -> Iterator[bytes]:
        over.wait(60)
        yield from ()

    yield wait
    over.set()


def _has_ended(half: HalfCalls) -> bool:
    half.listen()
    return bool(half.ended)


def _others_are_served(gateway: Gateway) -> bool:
    answers = []
    for _ in range(_CONNECTIONS):
        with Caller(gateway, "ehr-writer") as other:
            answers.append(other.call("Encrypt", _ENCRYPT, timeout=patient(5.0)))
    return all(each.ok for each in answers)


@pytest.mark.parametrize("method", [METHODS["Encrypt"], "/kmsgw.v1.Nothing/Nothing", "/grpc.health.v1.Health/Check"])
def test_calls_that_are_never_finished_stop_nobody_else(
    gateway: Gateway, connections: list[grpc.Channel], never: Callable[[], Iterator[bytes]], method: str
) -> None:
    begun = [
        each.stream_unary(method, None, None).future(never(), timeout=60)
        for each in connections
        for _ in range(_CALLS_EACH)
    ]

    assert _others_are_served(gateway)

    assert eventually(lambda: any(each.done() for each in begun), 15)
    for each in begun:
        each.cancel()  # type: ignore[no-untyped-call]


def test_messages_that_are_half_sent_are_let_in_for_a_few_calls_only_and_then_ended(gateway: Gateway) -> None:
    with closing(HalfCalls(gateway, "billing")) as half:
        for _ in range(_HALF_CALLS):
            half.begin(METHODS["Encrypt"], announced=1024 * 1024)

        assert _others_are_served(gateway)

        assert eventually(lambda: _has_ended(half), 15)
        assert len(half.wanted_before_the_first_end) <= _MOST_WANTED


@pytest.mark.parametrize("method", [_WATCH, _REFLECTION])
def test_streams_that_stay_open_stop_nobody_else(
    gateway: Gateway, connections: list[grpc.Channel], never: Callable[[], Iterator[bytes]], method: str
) -> None:
    begun = [
        each.unary_stream(method, None, None)(b"", timeout=60)
        if method == _WATCH
        else each.stream_stream(method, None, None)(never(), timeout=60)
        for each in connections
        for _ in range(_CALLS_EACH)
    ]

    assert _others_are_served(gateway)

    refused = [each.code() for each in begun if not each.is_active()]
    assert set(refused) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert any(each.is_active() for each in begun)
    for each in begun:
        each.cancel()  # type: ignore[no-untyped-call]


def test_a_key_that_is_probed_by_re_encryption_is_named_by_record_and_explanation(gateway: Gateway) -> None:
    # a writer may encrypt under any key, and asks to have decrypted what it may not read
    gateway.client("key-officer").keys.create("destination")
    with Caller(gateway, "ehr-writer") as writer:
        sealed = crypto_service_pb2.EncryptResponse.FromString(writer.call("Encrypt", _ENCRYPT).body)
        probe = crypto_service_pb2.ReEncryptRequest(
            envelope=sealed.envelope,
            source_encryption_context=pairs(patient="P-1"),
            destination_key="destination",
            declaration=common_pb2.AccessDeclaration(purpose="care"),
        )
        refused = writer.call("ReEncrypt", probe)

    assert refused.error == ("PERMISSION_DENIED", "ACCESS_DENIED")
    explained = gateway.client("auditor").policy.explain_request(refused.request_id)
    assert (explained.action, explained.key_id, explained.policies) == (Action.DECRYPT, "ehr", ())
    assert "decrypt on key ehr" in explained.explanation
