"""Every RPC against every role. An RPC without an expectation fails the walk, and so does a role without one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from kmsgw.server.rpcs import FEEDS, STREAMS
from kmsgw.server.rpcs import SERVICES as SERVED
from kmsgw.v1 import (
    approval_service_pb2,
    audit_service_pb2,
    common_pb2,
    crypto_batch_pb2,
    crypto_service_pb2,
    key_service_pb2,
    officer_service_pb2,
    policy_service_pb2,
    system_service_pb2,
)
from tests.support.calls import SERVICES, Caller
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.principals import issue_certificate

ROLES = {
    "ehr-writer": "writer",
    "ehr-reader": "reader",
    "ehr-datakeys": "data-key-user",
    "rewrap-job": "rewrapper",
    "ehr-search": "blind-index-user",
    "key-officer": "key-officer",
    "approver": "approver",
    "auditor": "auditor",
    "administrator": "administrator",
    "billing": "writer of another tenant",
    "prometheus": "metrics-reader",
    "stranger": "none: a certificate that no rule matches",
}
EVERYBODY = frozenset(ROLES) - {"stranger"}
OFFICER, APPROVER, AUDITOR, ADMINISTRATOR = "key-officer", "approver", "auditor", "administrator"
EVERY_OFFICER = frozenset({OFFICER, APPROVER, AUDITOR, ADMINISTRATOR})
EVERY_SERVICE = EVERYBODY - EVERY_OFFICER

OK: Final = ("OK", "")
REFUSED: Final = ("PERMISSION_DENIED", "ACCESS_DENIED")
NO_SUCH_APPROVAL: Final = ("NOT_FOUND", "REQUEST_UNKNOWN")


@dataclass(frozen=True)
class Expectation:
    """Who gets past policy, and what it is answered then: status and reason. All others are refused alike."""

    allowed: frozenset[str]
    answers: frozenset[tuple[str, str]] = frozenset({OK})


def only(*names: str) -> Expectation:
    return Expectation(frozenset(names))


def for_all(names: frozenset[str]) -> Expectation:
    return Expectation(names)


def past_policy(names: frozenset[str], *answers: tuple[str, str]) -> Expectation:
    """Of what can't succeed here, for example a login without a device: policy is seen to allow it all the same."""
    return Expectation(names, frozenset(answers))


EXPECTED: Mapping[str, Expectation] = {
    "CryptoService/Encrypt": only("ehr-writer"),
    "CryptoService/Decrypt": only("ehr-reader", "ehr-datakeys"),
    "CryptoService/EncryptStream": only("ehr-writer"),
    "CryptoService/DecryptStream": only("ehr-reader", "ehr-datakeys"),
    "CryptoService/ReEncrypt": only(),
    "CryptoService/Rewrap": only("rewrap-job"),
    "CryptoService/GenerateDataKey": only("ehr-datakeys"),
    "CryptoService/GenerateDataKeyWithoutPlaintext": only("ehr-writer", "ehr-datakeys"),
    "CryptoService/ComputeMac": only("ehr-search"),
    "CryptoService/VerifyMac": only("ehr-search"),
    "CryptoService/RenewDataKeyLeases": for_all(EVERYBODY),  # policy is asked for each lease
    "CryptoService/BatchEncrypt": only("ehr-writer"),
    "CryptoService/BatchDecrypt": only("ehr-reader", "ehr-datakeys"),
    "CryptoService/BatchReEncrypt": only(),
    "CryptoService/BatchRewrap": only("rewrap-job"),
    "CryptoService/BatchGenerateDataKey": only("ehr-datakeys"),
    "CryptoService/GenerateRandomBytes": for_all(EVERY_SERVICE),
    "KeyService/CreateKey": only(OFFICER),
    "KeyService/GetKey": only(OFFICER, APPROVER, AUDITOR),
    "KeyService/ListKeys": only(OFFICER, AUDITOR),
    "KeyService/UpdateKey": only(OFFICER),
    "KeyService/RotateKey": only(OFFICER),
    "KeyService/ListKeyVersions": only(OFFICER, APPROVER, AUDITOR),
    "KeyService/EnableKeyVersion": only(OFFICER),
    "KeyService/DisableKeyVersion": only(OFFICER),
    "KeyService/ScheduleKeyDestruction": only(OFFICER),
    "KeyService/CancelKeyDestruction": only(OFFICER),
    "KeyService/SetMinimumDecryptVersion": only(OFFICER),
    "KeyService/GetKeyUsage": for_all(EVERY_OFFICER),
    "KeyService/CreateImportParameters": only(OFFICER),
    "KeyService/ImportKey": past_policy(frozenset({OFFICER}), ("FAILED_PRECONDITION", "IMPORT_REFUSED")),
    "KeyService/CreateAlias": only(OFFICER),
    "KeyService/DeleteAlias": only(OFFICER),
    "OfficerService/EnrollOfficer": for_all(EVERY_OFFICER),
    "OfficerService/ConfirmOfficer": past_policy(
        EVERY_OFFICER, ("PERMISSION_DENIED", "CODE_REFUSED"), ("UNAUTHENTICATED", "OFFICER_NOT_ENROLLED")
    ),
    "OfficerService/Login": past_policy(EVERY_OFFICER, ("UNAUTHENTICATED", "OFFICER_NOT_ENROLLED")),
    "OfficerService/Logout": for_all(EVERY_OFFICER),
    "OfficerService/ResetOfficer": past_policy(
        frozenset({ADMINISTRATOR}), OK, ("FAILED_PRECONDITION", "OFFICER_NOT_ENROLLED")
    ),
    "OfficerService/ListOfficers": only(AUDITOR, ADMINISTRATOR),
    "OfficerService/WhoAmI": for_all(EVERYBODY),
    "ApprovalService/ListApprovals": for_all(EVERY_OFFICER),
    "ApprovalService/GetApproval": past_policy(EVERY_OFFICER, NO_SUCH_APPROVAL),
    "ApprovalService/Approve": past_policy(frozenset({APPROVER}), NO_SUCH_APPROVAL),
    "ApprovalService/Reject": past_policy(frozenset({APPROVER}), NO_SUCH_APPROVAL),
    "PolicyService/Explain": only(AUDITOR, ADMINISTRATOR),
    "PolicyService/ListPolicies": only(AUDITOR, ADMINISTRATOR),
    "AuditService/ListLogs": only(AUDITOR),
    "AuditService/ListEntries": only(AUDITOR),
    "AuditService/WatchEntries": only(AUDITOR),
    "AuditService/GetCheckpoint": only(AUDITOR),
    "AuditService/GetInclusionProof": only(AUDITOR),
    "AuditService/GetConsistencyProof": only(AUDITOR),
    "SystemService/GetStatus": for_all(EVERYBODY),
    "grpc.health.v1.Health/Check": for_all(EVERYBODY),
    "grpc.health.v1.Health/List": for_all(EVERYBODY),
    "grpc.health.v1.Health/Watch": for_all(EVERYBODY),
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": for_all(EVERYBODY),
    "CryptoService/NoSuchMethod": only(),
}
CARE = common_pb2.AccessDeclaration(purpose="care")
NO_APPROVAL = "01234567-89ab-7cde-8f01-23456789abcd"


@dataclass(frozen=True)
class Walk:
    gateway: Gateway
    envelope: bytes
    stream: bytes
    callers: Mapping[str, Caller]
    channels: Mapping[str, grpc.Channel]
    """For what streams, which a `Caller` does not."""
    log: str
    """Origin of the gateway's audit log, with entries under its checkpoint."""


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    gateway = make_folder(tmp_path_factory.mktemp("walk") / "kms", workers=1)
    gateway.append("[approvals]\ndestroy = 0\n")
    issue_certificate(gateway, "stranger")
    gateway.start()
    officer = gateway.client("key-officer").keys
    officer.create("walked")
    officer.rotate("walked")
    officer.create_alias("alias/walked-away", "walked")
    officer.create("doomed")
    with Caller(gateway, "key-officer") as caller:
        scheduled = key_service_pb2.ScheduleKeyDestructionRequest(key="doomed", reason="walked")
        assert caller.call("ScheduleKeyDestruction", scheduled).ok
    envelope = gateway.client("ehr-writer").encrypt("walked", b"record").envelope
    stream = b"".join(gateway.client("ehr-writer").encrypt_stream("walked", [b"record"]))
    callers = {name: Caller(gateway, name) for name in ROLES}
    channels = {
        name: grpc.secure_channel(
            gateway.address, grpc.ssl_channel_credentials(held.ca, held.private_key, held.certificate)
        )
        for name in ROLES
        for held in (gateway.credentials(name),)
    }
    log = gateway.folder / "audit" / "worker-0"
    assert eventually(lambda: (log / "checkpoint").read_text().split("\n")[1] != "0")
    origin = (log / "verifier.key").read_text().partition("+")[0]
    yield Walk(gateway, envelope, stream, callers, channels, origin)
    for caller in callers.values():
        caller.close()
    for channel in channels.values():
        channel.close()
    gateway.stop()


def a_request(method: str, walk: Walk) -> Message:
    """Return a request that succeeds where policy allows it and anything could. State changes are dry runs."""
    crypto, keys, officers = crypto_service_pb2, key_service_pb2, officer_service_pb2
    batch = crypto_batch_pb2
    requests: dict[str, Callable[[], Message]] = {
        "Encrypt": lambda: crypto.EncryptRequest(key="walked", plaintext=b"x", declaration=CARE),
        "Decrypt": lambda: crypto.DecryptRequest(envelope=walk.envelope, declaration=CARE),
        "EncryptStream": lambda: crypto.EncryptStreamRequest(
            start=crypto.EncryptStreamStart(key="walked", declaration=CARE)
        ),
        "DecryptStream": lambda: crypto.DecryptStreamRequest(
            start=crypto.DecryptStreamStart(head=walk.stream, declaration=CARE)
        ),
        "ReEncrypt": lambda: crypto.ReEncryptRequest(
            envelope=walk.envelope, destination_key="walked", declaration=CARE
        ),
        "Rewrap": lambda: crypto.RewrapRequest(envelope=walk.envelope, declaration=CARE),
        "GenerateDataKey": lambda: crypto.GenerateDataKeyRequest(key="walked", declaration=CARE),
        "GenerateDataKeyWithoutPlaintext": lambda: crypto.GenerateDataKeyWithoutPlaintextRequest(key="walked"),
        "ComputeMac": lambda: crypto.ComputeMacRequest(key="walked", index="name", value=b"x"),
        "VerifyMac": lambda: crypto.VerifyMacRequest(key="walked", index="name", value=b"x", mac=bytes(32)),
        "RenewDataKeyLeases": lambda: crypto.RenewDataKeyLeasesRequest(
            leases=[crypto.DataKeyLease(use=crypto.DATA_KEY_USE_SEAL, key_id="walked", key_version=2)]
        ),
        "BatchEncrypt": lambda: batch.BatchEncryptRequest(key="walked", plaintexts=[b"x", b"y"], declaration=CARE),
        "BatchDecrypt": lambda: batch.BatchDecryptRequest(envelopes=[walk.envelope] * 2, declaration=CARE),
        "BatchReEncrypt": lambda: batch.BatchReEncryptRequest(
            envelopes=[walk.envelope] * 2, destination_key="walked", declaration=CARE
        ),
        "BatchRewrap": lambda: batch.BatchRewrapRequest(envelopes=[walk.envelope] * 2, declaration=CARE),
        "BatchGenerateDataKey": lambda: batch.BatchGenerateDataKeyRequest(key="walked", count=2, declaration=CARE),
        "GenerateRandomBytes": lambda: crypto.GenerateRandomBytesRequest(length=8),
        "CreateKey": lambda: keys.CreateKeyRequest(key_id="another", dry_run=True),
        "GetKey": lambda: keys.GetKeyRequest(key="alias/walked-away"),
        "ListKeys": lambda: keys.ListKeysRequest(),
        "UpdateKey": lambda: keys.UpdateKeyRequest(
            key="walked",
            new_values=keys.Key(description="seen"),
            update_mask={"paths": ["description"]},
            dry_run=True,
        ),
        "RotateKey": lambda: keys.RotateKeyRequest(key="walked", dry_run=True),
        "ListKeyVersions": lambda: keys.ListKeyVersionsRequest(key="walked"),
        "EnableKeyVersion": lambda: keys.EnableKeyVersionRequest(key="walked", version=1, dry_run=True),
        "DisableKeyVersion": lambda: keys.DisableKeyVersionRequest(key="walked", version=1, dry_run=True),
        "ScheduleKeyDestruction": lambda: keys.ScheduleKeyDestructionRequest(
            key="walked", force=True, dry_run=True, reason="walked"
        ),
        "CancelKeyDestruction": lambda: keys.CancelKeyDestructionRequest(key="doomed", dry_run=True, reason="walked"),
        "SetMinimumDecryptVersion": lambda: keys.SetMinimumDecryptVersionRequest(
            key="walked", version=2, force=True, dry_run=True, reason="walked"
        ),
        "GetKeyUsage": lambda: keys.GetKeyUsageRequest(key="walked"),
        "CreateImportParameters": lambda: keys.CreateImportParametersRequest(key="imported"),
        "ImportKey": lambda: keys.ImportKeyRequest(
            key="imported", token=b"t" * 64, wrapped_material=b"w" * 424, dry_run=True, reason="walked"
        ),
        "CreateAlias": lambda: keys.CreateAliasRequest(alias="alias/walker", key="walked", dry_run=True),
        "DeleteAlias": lambda: keys.DeleteAliasRequest(alias="alias/walked-away", dry_run=True),
        "EnrollOfficer": lambda: officers.EnrollOfficerRequest(),
        "ConfirmOfficer": lambda: officers.ConfirmOfficerRequest(first_code="000000", second_code="000001"),
        "Login": lambda: officers.LoginRequest(code="000000"),
        "Logout": lambda: officers.LogoutRequest(),
        "ResetOfficer": lambda: officers.ResetOfficerRequest(officer_id="key-officer", dry_run=True, reason="walked"),
        "ListOfficers": lambda: officers.ListOfficersRequest(),
        "WhoAmI": lambda: officers.WhoAmIRequest(),
        "ListApprovals": lambda: approval_service_pb2.ListApprovalsRequest(),
        "GetApproval": lambda: approval_service_pb2.GetApprovalRequest(approval_id=NO_APPROVAL),
        "Approve": lambda: approval_service_pb2.ApproveRequest(approval_id=NO_APPROVAL, request_hash="0" * 64),
        "Reject": lambda: approval_service_pb2.RejectRequest(approval_id=NO_APPROVAL),
        "Explain": lambda: policy_service_pb2.ExplainRequest(
            hypothetical=policy_service_pb2.HypotheticalRequest(roles=["reader"], action="decrypt", key="walked")
        ),
        "ListPolicies": lambda: policy_service_pb2.ListPoliciesRequest(),
        "ListLogs": lambda: audit_service_pb2.ListLogsRequest(),
        "ListEntries": lambda: audit_service_pb2.ListEntriesRequest(page_size=2, with_proofs=True),
        "WatchEntries": lambda: audit_service_pb2.WatchEntriesRequest(),
        "GetCheckpoint": lambda: audit_service_pb2.GetCheckpointRequest(log=walk.log),
        "GetInclusionProof": lambda: audit_service_pb2.GetInclusionProofRequest(log=walk.log, index=0),
        "GetConsistencyProof": lambda: audit_service_pb2.GetConsistencyProofRequest(log=walk.log, old_size=1),
        "GetStatus": lambda: system_service_pb2.GetStatusRequest(),
        "NoSuchMethod": lambda: system_service_pb2.GetStatusRequest(),
        "Check": lambda: health_pb2.HealthCheckRequest(),
        "List": lambda: health_pb2.HealthListRequest(),
        "Watch": lambda: health_pb2.HealthCheckRequest(),
        "ServerReflectionInfo": lambda: reflection_pb2.ServerReflectionRequest(list_services=""),
    }
    return requests[method]()


def answered(walk: Walk, role: str, rpc: str) -> tuple[str, str]:
    """Make the call and return how it ended: status and reason."""
    path = f"/{rpc}" if rpc.startswith("grpc.") else f"/kmsgw.v1.{rpc}"
    request = a_request(rpc.rpartition("/")[2], walk)
    channel = walk.channels[role]
    body = request.SerializeToString()
    if rpc.endswith("/Watch"):
        stream = channel.unary_stream(path, bytes, bytes)(body, timeout=60)
    elif rpc.endswith("/ServerReflectionInfo"):
        stream = channel.stream_stream(path, bytes, bytes)(iter([body]), timeout=60)
    elif path in FEEDS:
        return walk.callers[role].first(path, request).error
    elif path in STREAMS:
        end = crypto_service_pb2.EncryptStreamRequest(end=crypto_service_pb2.EncryptStreamEnd())
        messages: list[Message | bytes] = [body, end] if rpc.endswith("/EncryptStream") else [body]
        return walk.callers[role].converse(path, messages)[1].error
    else:
        return walk.callers[role].call(path, request).error
    try:
        next(iter(stream))
    except grpc.RpcError:
        return stream.code().name, ""
    return OK


def served_methods(walk: Walk) -> set[str]:
    """Return every method that the gateway itself says it serves, by reflection."""
    assert set(SERVED) == {service.full_name for service in SERVICES.values()}
    methods = {f"{name}/{method.name}" for name, service in SERVICES.items() for method in service.methods}
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stream = walk.channels["auditor"].stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    listed = next(iter(stream(iter([request]), timeout=60))).list_services_response.service
    assert {service.name for service in listed} == {
        *SERVED,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    health = health_pb2.DESCRIPTOR.services_by_name["Health"]
    methods |= {f"{health.full_name}/{method.name}" for method in health.methods}
    return methods | {"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}


def test_every_rpc_has_an_expectation(walk: Walk) -> None:
    assert served_methods(walk) == set(EXPECTED) - {"CryptoService/NoSuchMethod"}


def test_every_configured_principal_is_walked(walk: Walk) -> None:
    configured = {path.stem for path in (walk.gateway.folder / "clients").glob("*.pem")}
    assert configured - {"approver-2"} == set(ROLES)  # which is the role approver once more


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("rpc", EXPECTED)
def test_an_rpc_answers_a_role_as_expected(walk: Walk, rpc: str, role: str) -> None:
    answer = answered(walk, role, rpc)
    if role == "stranger":
        assert answer[0] == "UNAUTHENTICATED"
    elif rpc == "CryptoService/NoSuchMethod":
        assert answer == ("UNIMPLEMENTED", "METHOD_UNKNOWN")
    elif role in EXPECTED[rpc].allowed:
        assert answer in EXPECTED[rpc].answers
    else:
        assert answer == REFUSED
