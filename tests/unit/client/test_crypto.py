"""The verbs of CryptoService, through both flavours."""

import pytest

from kmsgw.client import Decrypted, InvalidRequest, Mac, Reason, ReEncrypted, WrappedDataKey
from kmsgw.v1 import crypto_service_pb2 as wire
from tests.fakes.scripted_gateway import ScriptedGateway
from tests.unit.client.driver import Driver

SECRET = b"canary-plaintext"


def test_encrypt_sends_key_value_context_and_declaration(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script(
        "CryptoService/Encrypt", wire.EncryptResponse(envelope=b"sealed", key_id="ehr", key_version=3)
    )

    result = drive(
        gateway, lambda client: client.encrypt("alias/ehr", SECRET, {"patient": "4", "kind": "image"}), purpose="care"
    )

    sent = wire.EncryptRequest.FromString(script.requests[0])
    assert (sent.key, sent.plaintext, sent.declaration.purpose) == ("alias/ehr", SECRET, "care")
    assert [(pair.key, pair.value) for pair in sent.encryption_context] == [("kind", "image"), ("patient", "4")]
    assert (result.envelope, result.key_id, result.key_version) == (b"sealed", "ehr", 3)
    assert result.request_id == "request-7"


def test_a_calls_own_declaration_goes_before_the_clients(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("CryptoService/Decrypt", wire.DecryptResponse(plaintext=SECRET))

    drive(
        gateway,
        lambda client: client.decrypt(b"sealed", purpose="billing", expected_key="ehr"),
        purpose="care",
        end_user="dr-who",
    )

    sent = wire.DecryptRequest.FromString(script.requests[0])
    assert (sent.declaration.purpose, sent.declaration.end_user) == ("billing", "dr-who")
    assert sent.expected_key == "ehr"


def test_nothing_is_declared_where_nothing_is_given(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script(
        "CryptoService/Decrypt", wire.DecryptResponse(plaintext=SECRET, key_id="ehr", key_version=1)
    )

    result = drive(gateway, lambda client: client.decrypt(b"sealed"))

    assert not wire.DecryptRequest.FromString(script.requests[0]).HasField("declaration")
    assert result == Decrypted(SECRET, "ehr", 1)


def test_re_encrypt_sends_both_contexts(gateway: ScriptedGateway, drive: Driver) -> None:
    response = wire.ReEncryptResponse(
        envelope=b"new", source_key_id="a", source_key_version=1, key_id="b", key_version=2
    )
    script = gateway.script("CryptoService/ReEncrypt", response)

    result = drive(gateway, lambda client: client.re_encrypt(b"old", "b", {"from": "1"}, {"to": "2"}))

    sent = wire.ReEncryptRequest.FromString(script.requests[0])
    assert sent.destination_key == "b"
    assert [(pair.key, pair.value) for pair in sent.source_encryption_context] == [("from", "1")]
    assert [(pair.key, pair.value) for pair in sent.destination_encryption_context] == [("to", "2")]
    assert result == ReEncrypted(b"new", "a", 1, "b", 2)


def test_a_data_key_comes_in_plaintext_and_wrapped(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script(
        "CryptoService/GenerateDataKey",
        wire.GenerateDataKeyResponse(
            plaintext_data_key=SECRET, wrapped_data_key=b"wrapped", key_id="ehr", key_version=2
        ),
    )

    made = drive(gateway, lambda client: client.generate_data_key("ehr"))

    assert (made.plaintext, made.wrapped, made.key_id, made.key_version) == (SECRET, b"wrapped", "ehr", 2)
    assert "canary" not in repr(made)


def test_a_data_key_without_plaintext_has_none(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script(
        "CryptoService/GenerateDataKeyWithoutPlaintext",
        wire.GenerateDataKeyWithoutPlaintextResponse(wrapped_data_key=b"wrapped", key_id="ehr", key_version=2),
    )

    made = drive(gateway, lambda client: client.generate_data_key_without_plaintext("ehr", {"a": "b"}))

    assert made == WrappedDataKey(b"wrapped", "ehr", 2)


def test_random_bytes_are_asked_by_length(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("CryptoService/GenerateRandomBytes", wire.GenerateRandomBytesResponse(random_bytes=b"xyz"))

    assert drive(gateway, lambda client: client.random_bytes(3)) == b"xyz"
    assert wire.GenerateRandomBytesRequest.FromString(script.requests[0]).length == 3


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (lambda client: client.encrypt("ehr", bytes(65_537)), Reason.PLAINTEXT_TOO_LARGE),
        (lambda client: client.encrypt("ehr", "canary-text"), Reason.FIELD_INVALID),
        (lambda client: client.encrypt("ehr", b"", {"": "value"}), Reason.CONTEXT_INVALID),
        (lambda client: client.encrypt("ehr", b"", {"a": "tab\t"}), Reason.CONTEXT_INVALID),
        (lambda client: client.encrypt("ehr", b"", {"patient": 4711}), Reason.CONTEXT_INVALID),
        (lambda client: client.encrypt("ehr", b"", purpose="Not a purpose"), Reason.FIELD_INVALID),
        (lambda client: client.decrypt(bytes(66_817)), Reason.FIELD_INVALID),
        (lambda client: client.random_bytes(0), Reason.FIELD_INVALID),
        (lambda client: client.random_bytes(1025), Reason.FIELD_INVALID),
        (lambda client: client.encrypt("ehr", b"", timeout=0), Reason.FIELD_INVALID),
        (lambda client: client.compute_mac("ehr", "name", bytes(4097)), Reason.FIELD_INVALID),
        (lambda client: client.compute_mac("ehr", "name", "canary-text"), Reason.FIELD_INVALID),
        (lambda client: client.verify_mac("ehr", "name", b"x", bytes(33)), Reason.FIELD_INVALID),
    ],
)
def test_what_can_not_be_right_is_refused_before_it_is_sent(
    gateway: ScriptedGateway, drive: Driver, use: object, reason: Reason
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        drive(gateway, use)  # type: ignore[arg-type]

    assert caught.value.reason is reason
    assert "canary" not in str(caught.value)


def test_no_plaintext_is_printed(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script("CryptoService/Decrypt", wire.DecryptResponse(plaintext=SECRET, key_id="ehr", key_version=1))

    result = drive(gateway, lambda client: client.decrypt(b"sealed"))

    assert result.plaintext == SECRET
    assert "canary" not in f"{result} {result!r}"


def test_a_keyed_hash_is_computed_for_an_index(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("CryptoService/ComputeMac", wire.ComputeMacResponse(mac=b"m" * 32, key_id="ehr"))

    result = drive(
        gateway,
        lambda client: client.compute_mac("alias/ehr", "patient-number", SECRET, end_user="dr-who"),
        purpose="care",
    )

    sent = wire.ComputeMacRequest.FromString(script.requests[0])
    assert (sent.key, sent.index, sent.value) == ("alias/ehr", "patient-number", SECRET)
    assert (sent.declaration.purpose, sent.declaration.end_user) == ("care", "dr-who")
    assert result == Mac(b"m" * 32, "ehr")
    assert result.request_id == "request-7"
    assert "mmm" not in repr(result)


@pytest.mark.parametrize("valid", [True, False])
def test_a_keyed_hash_is_verified(gateway: ScriptedGateway, drive: Driver, valid: bool) -> None:
    script = gateway.script("CryptoService/VerifyMac", wire.VerifyMacResponse(valid=valid, key_id="ehr"))

    assert drive(gateway, lambda client: client.verify_mac("ehr", "name", SECRET, b"m" * 32)) is valid

    sent = wire.VerifyMacRequest.FromString(script.requests[0])
    assert (sent.key, sent.index, sent.value, sent.mac) == ("ehr", "name", SECRET, b"m" * 32)
    assert not sent.HasField("declaration")
