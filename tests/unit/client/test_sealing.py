"""Envelopes that are worked on in the client: the gateway's format, without the payload's journey."""

import os

import pytest

from kmsgw.client import DecryptionFailed, EnvelopeMalformed, InternalError, InvalidRequest, Reason, Rewrapped
from kmsgw.envelope.aead import open_value, seal_value
from kmsgw.envelope.format import Suite, parse_envelope, wrapped_data_key
from kmsgw.model.context import EncryptionContext
from kmsgw.v1 import crypto_service_pb2 as wire
from tests.fakes.scripted_gateway import Script, ScriptedGateway
from tests.unit.client.driver import Driver

DATA_KEY = bytes(range(32))
WRAPPED = b"w" * 60
REWRAPPED = b"r" * 60
CONTEXT = {"patient": "4711"}
BOUND = EncryptionContext.of(CONTEXT)
LARGE = os.urandom(3 << 20)


def give_data_keys(gateway: ScriptedGateway) -> tuple[Script, Script]:
    """Let the gateway make one data key and unwrap it again."""
    wrapped = wrapped_data_key("ehr", 3, WRAPPED).encode()
    made = wire.GenerateDataKeyResponse(
        plaintext_data_key=DATA_KEY, wrapped_data_key=wrapped, key_id="ehr", key_version=3
    )
    opened = wire.DecryptResponse(plaintext=DATA_KEY, key_id="ehr", key_version=3)
    return gateway.script("CryptoService/GenerateDataKey", made), gateway.script("CryptoService/Decrypt", opened)


def test_a_large_value_is_sealed_and_opened_while_only_its_data_key_travels(
    gateway: ScriptedGateway, drive: Driver
) -> None:
    making, unwrapping = give_data_keys(gateway)

    sealed = drive(gateway, lambda client: client.seal("alias/ehr", LARGE, CONTEXT, purpose="care"))
    opened = drive(gateway, lambda client: client.open(sealed.envelope, CONTEXT, expected_key="ehr"))

    assert opened.plaintext == LARGE
    assert (sealed.key_id, sealed.key_version, opened.key_id, opened.key_version) == ("ehr", 3, "ehr", 3)
    assert (sealed.request_id, opened.request_id) == ("request-7", "request-7")
    asked = wire.GenerateDataKeyRequest.FromString(making.requests[0])
    assert (asked.key, asked.declaration.purpose) == ("alias/ehr", "care")
    assert [(pair.key, pair.value) for pair in asked.encryption_context] == [("patient", "4711")]
    unwrapped = wire.DecryptRequest.FromString(unwrapping.requests[0])
    assert unwrapped.envelope == wrapped_data_key("ehr", 3, WRAPPED).encode()
    assert unwrapped.expected_key == "ehr"


def test_what_is_sealed_here_is_the_gateways_format(gateway: ScriptedGateway, drive: Driver) -> None:
    give_data_keys(gateway)

    sealed = drive(gateway, lambda client: client.seal("ehr", b"small", CONTEXT))

    parsed = parse_envelope(sealed.envelope)
    assert (parsed.key_id, parsed.key_version, parsed.wrapped) == ("ehr", 3, WRAPPED)
    assert open_value(DATA_KEY, parsed, BOUND) == b"small"


def test_what_a_client_sealed_is_opened_here(gateway: ScriptedGateway, drive: Driver) -> None:
    give_data_keys(gateway)
    envelope = seal_value(
        DATA_KEY, b"value", BOUND, key_id="ehr", key_version=3, wrapped=WRAPPED, suite=Suite.CLIENT_SEALED
    )

    assert drive(gateway, lambda client: client.open(envelope, CONTEXT)).plaintext == b"value"


def test_what_the_gateway_sealed_is_opened_by_the_gateway_alone(gateway: ScriptedGateway, drive: Driver) -> None:
    answer = wire.DecryptResponse(plaintext=b"value", key_id="ehr", key_version=3)
    opening = gateway.script("CryptoService/Decrypt", answer)
    envelope = seal_value(
        DATA_KEY, b"value", BOUND, key_id="ehr", key_version=3, wrapped=WRAPPED, suite=Suite.GATEWAY_SEALED
    )

    assert drive(gateway, lambda client: client.open(envelope, CONTEXT)).plaintext == b"value"
    assert wire.DecryptRequest.FromString(opening.requests[0]).envelope == envelope


def test_another_context_or_a_changed_byte_does_not_open(gateway: ScriptedGateway, drive: Driver) -> None:
    give_data_keys(gateway)
    envelope = seal_value(
        DATA_KEY, b"value", BOUND, key_id="ehr", key_version=3, wrapped=WRAPPED, suite=Suite.CLIENT_SEALED
    )
    changed = envelope[:-1] + bytes((envelope[-1] ^ 1,))

    with pytest.raises(DecryptionFailed) as other_context:
        drive(gateway, lambda client: client.open(envelope, {"patient": "4712"}))
    with pytest.raises(DecryptionFailed) as changed_byte:
        drive(gateway, lambda client: client.open(changed, CONTEXT))

    assert str(other_context.value) == str(changed_byte.value)
    assert other_context.value.request_id == changed_byte.value.request_id == "request-7"


def test_another_data_key_does_not_open(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script("CryptoService/Decrypt", wire.DecryptResponse(plaintext=bytes(32)))
    envelope = seal_value(
        DATA_KEY, b"value", BOUND, key_id="ehr", key_version=3, wrapped=WRAPPED, suite=Suite.CLIENT_SEALED
    )

    with pytest.raises(DecryptionFailed):
        drive(gateway, lambda client: client.open(envelope, CONTEXT))


def test_what_is_no_envelope_with_a_payload_is_not_opened(gateway: ScriptedGateway, drive: Driver) -> None:
    header = wrapped_data_key("ehr", 3, WRAPPED).encode()

    with pytest.raises(EnvelopeMalformed, match="no payload"):
        drive(gateway, lambda client: client.open(header))
    with pytest.raises(EnvelopeMalformed):
        drive(gateway, lambda client: client.open(b"nonsense"))


def test_a_seal_takes_bytes(gateway: ScriptedGateway, drive: Driver) -> None:
    with pytest.raises(InvalidRequest, match="not bytes"):
        drive(gateway, lambda client: client.seal("ehr", "text"))


def test_a_data_key_that_is_not_wrapped_in_our_format_is_the_gateways_fault(
    gateway: ScriptedGateway, drive: Driver
) -> None:
    made = wire.GenerateDataKeyResponse(plaintext_data_key=DATA_KEY, wrapped_data_key=b"what")
    gateway.script("CryptoService/GenerateDataKey", made)

    with pytest.raises(InternalError) as caught:
        drive(gateway, lambda client: client.seal("ehr", b"value"))

    assert caught.value.request_id == "request-7"


def test_rewrap_sends_the_header_alone_and_keeps_the_payload(gateway: ScriptedGateway, drive: Driver) -> None:
    envelope = seal_value(
        DATA_KEY, LARGE, BOUND, key_id="ehr", key_version=3, wrapped=WRAPPED, suite=Suite.CLIENT_SEALED
    )

    def rewrap(request: bytes) -> wire.RewrapResponse:
        header = parse_envelope(wire.RewrapRequest.FromString(request).envelope, payload_optional=True)
        assert header.payload == b""
        renewed = header.with_wrapping(4, REWRAPPED).encode()
        return wire.RewrapResponse(envelope=renewed, key_id="ehr", source_key_version=3, key_version=4)

    gateway.script("CryptoService/Rewrap", rewrap)
    result = drive(gateway, lambda client: client.rewrap(envelope, CONTEXT))

    renewed = parse_envelope(result.envelope)
    assert (renewed.key_version, renewed.wrapped) == (4, REWRAPPED)
    assert open_value(DATA_KEY, renewed, BOUND) == LARGE
    assert result.changed


def test_a_wrapped_data_key_is_rewrapped_too(gateway: ScriptedGateway, drive: Driver) -> None:
    wrapped = wrapped_data_key("ehr", 4, REWRAPPED).encode()
    gateway.script(
        "CryptoService/Rewrap",
        wire.RewrapResponse(envelope=wrapped, key_id="ehr", source_key_version=4, key_version=4),
    )

    result = drive(gateway, lambda client: client.rewrap(wrapped))

    assert result == Rewrapped(wrapped, "ehr", 4, 4)
    assert not result.changed


def test_a_rewrap_to_another_value_is_refused(gateway: ScriptedGateway, drive: Driver) -> None:
    envelope = seal_value(
        DATA_KEY, b"one", BOUND, key_id="ehr", key_version=3, wrapped=WRAPPED, suite=Suite.CLIENT_SEALED
    )
    other = seal_value(DATA_KEY, b"two", BOUND, key_id="ehr", key_version=4, wrapped=WRAPPED, suite=Suite.CLIENT_SEALED)
    gateway.script("CryptoService/Rewrap", wire.RewrapResponse(envelope=other, key_id="ehr"))

    with pytest.raises(InternalError, match="does not fit"):
        drive(gateway, lambda client: client.rewrap(envelope, CONTEXT))


def test_an_envelope_of_an_unknown_format_is_named_so(gateway: ScriptedGateway, drive: Driver) -> None:
    envelope = bytearray(
        seal_value(DATA_KEY, b"x", BOUND, key_id="ehr", key_version=3, wrapped=WRAPPED, suite=Suite.CLIENT_SEALED)
    )
    envelope[4] = 9

    with pytest.raises(EnvelopeMalformed) as caught:
        drive(gateway, lambda client: client.rewrap(bytes(envelope)))

    assert caught.value.reason is Reason.ENVELOPE_VERSION_UNKNOWN
