"""The batch verbs, through both flavours: columns out, results and errors of items back."""

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo
from google.rpc.status_pb2 import Status

from kmsgw.client import AccessDenied, Decrypted, DecryptionFailed, Encrypted, InternalError, InvalidRequest, Reason
from kmsgw.v1 import crypto_batch_pb2 as wire
from tests.fakes.scripted_gateway import ScriptedGateway
from tests.unit.client.driver import Driver

KEYS = [wire.BatchKey(key_id="ehr", key_version=3), wire.BatchKey(key_id="lab", key_version=1)]


def packed(detail: Message) -> AnyMessage:
    made = AnyMessage()
    made.Pack(detail)
    return made


def failure(index: int, code: int, reason: str) -> wire.BatchFailure:
    info = ErrorInfo(reason=reason, domain="kmsgw", metadata={"advice": "Look."})
    details = [packed(info), packed(RequestInfo(request_id="request-7"))]
    return wire.BatchFailure(index=index, status=Status(code=code, message="No.", details=details))


def test_values_that_share_key_and_context_go_as_one_column(gateway: ScriptedGateway, drive: Driver) -> None:
    response = wire.BatchEncryptResponse(envelopes=[b"1", b"2"], keys=KEYS[:1], references=["a", "b"])
    script = gateway.script("CryptoService/BatchEncrypt", response)

    made = drive(
        gateway,
        lambda client: client.batch_encrypt("ehr", [b"x", b"y"], {"patient": "4"}, references=["a", "b"]),
        purpose="care",
    )

    sent = wire.BatchEncryptRequest.FromString(script.requests[0])
    assert (sent.key, list(sent.plaintexts), list(sent.references)) == ("ehr", [b"x", b"y"], ["a", "b"])
    assert (list(sent.bindings), sent.declaration.purpose) == ([], "care")
    assert made.results() == [Encrypted(b"1", "ehr", 3), Encrypted(b"2", "ehr", 3)]
    assert (made.references, made.request_id, made[1].request_id) == (("a", "b"), "request-7", "request-7")


def test_keys_and_contexts_of_their_own_go_as_bindings(gateway: ScriptedGateway, drive: Driver) -> None:
    response = wire.BatchEncryptResponse(envelopes=[b"1", b"2"], keys=KEYS, key_indexes=[1, 0])
    script = gateway.script("CryptoService/BatchEncrypt", response)

    made = drive(
        gateway,
        lambda client: client.batch_encrypt(
            "", [b"x", b"y"], contexts=[{"patient": "4"}, None], keys=["lab", "ehr"], key_version=1
        ),
    )

    sent = wire.BatchEncryptRequest.FromString(script.requests[0])
    assert [(each.key, each.key_version, len(each.encryption_context)) for each in sent.bindings] == [
        ("lab", 1, 1),
        ("ehr", 1, 0),
    ]
    assert (sent.key_version, list(sent.encryption_context)) == (0, [])
    assert [each.key_id for each in made.results()] == ["lab", "ehr"]


@pytest.mark.parametrize("plaintext", [True, False])
def test_data_keys_under_keys_of_their_own_go_as_bindings(
    gateway: ScriptedGateway, drive: Driver, plaintext: bool
) -> None:
    response = wire.BatchGenerateDataKeyResponse(
        plaintext_data_keys=[b"p", b"q"] if plaintext else [],
        wrapped_data_keys=[b"1", b"2"],
        keys=KEYS,
        key_indexes=[1, 0],
    )
    script = gateway.script("CryptoService/BatchGenerateDataKey", response)
    name = "batch_generate_data_key" if plaintext else "batch_generate_data_key_without_plaintext"

    made = drive(
        gateway,
        lambda client: getattr(client, name)("ehr", 2, {"patient": "4"}, keys=["lab", ""], key_version=1),
    )

    sent = wire.BatchGenerateDataKeyRequest.FromString(script.requests[0])
    assert [(each.key, each.key_version, len(each.encryption_context)) for each in sent.bindings] == [
        ("lab", 1, 1),
        ("", 1, 1),
    ]
    assert (sent.key, sent.count, sent.key_version, list(sent.encryption_context)) == ("ehr", 2, 0, [])
    assert sent.without_plaintext is not plaintext
    assert [(each.key_id, each.wrapped) for each in made.results()] == [("lab", b"1"), ("ehr", b"2")]


def test_as_many_keys_as_data_keys_must_be_given(gateway: ScriptedGateway, drive: Driver) -> None:
    with pytest.raises(InvalidRequest, match="There are 2 items, and 3"):
        drive(gateway, lambda client: client.batch_generate_data_key("", 2, keys=["a", "b", "c"]))


def test_an_item_has_the_error_that_a_single_call_would_raise(gateway: ScriptedGateway, drive: Driver) -> None:
    response = wire.BatchDecryptResponse(
        plaintexts=[b"", b"canary", b""],
        keys=KEYS[:1],
        failures=[failure(0, 7, "ACCESS_DENIED"), failure(2, 3, "DECRYPTION_FAILED")],
    )
    gateway.script("CryptoService/BatchDecrypt", response)

    made = drive(gateway, lambda client: client.batch_decrypt([b"1", b"2", b"3"]))

    assert [type(each) for each in made.outcomes()] == [AccessDenied, Decrypted, DecryptionFailed]
    assert (made.errors[0].reason, made.errors[0].request_id) == (Reason.ACCESS_DENIED, "request-7")
    assert made[1].plaintext == made[-2].plaintext == b"canary"
    with pytest.raises(DecryptionFailed):
        made[2]
    with pytest.raises(AccessDenied):
        made.results()
    with pytest.raises(IndexError):
        made[3]
    assert "canary" not in repr(made)


@pytest.mark.parametrize(
    "response",
    [
        wire.BatchDecryptResponse(plaintexts=[b"1"], keys=KEYS[:1]),
        wire.BatchDecryptResponse(plaintexts=[b"1", b"2"], keys=KEYS),
        wire.BatchDecryptResponse(plaintexts=[b"1", b"2"], keys=KEYS, key_indexes=[0, 2]),
        wire.BatchDecryptResponse(plaintexts=[b"1", b"2"], keys=KEYS[:1], failures=[failure(2, 3, "INTERNAL")]),
        wire.BatchDecryptResponse(plaintexts=[b"1", b"2"]),
    ],
    ids=["too few", "no indexes", "no such key", "no such item", "no key"],
)
def test_an_answer_that_does_not_fit_the_request_is_no_result(
    gateway: ScriptedGateway, drive: Driver, response: Message
) -> None:
    gateway.script("CryptoService/BatchDecrypt", response)

    with pytest.raises(InternalError):
        drive(gateway, lambda client: client.batch_decrypt([b"1", b"2"]))
