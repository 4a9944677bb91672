"""Generated inputs to every RPC: whatever comes, an answer that is documented, and never a crash.

Short in CI; `make fuzz` sends 100,000 to each RPC. KMSGW_FUZZ_SEED repeats a run.
"""

import contextlib
import os
import random
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from kmsgw.server.gates import APPROVAL_METADATA, CODE_METADATA, SESSION_METADATA
from kmsgw.server.rpcs import FEEDS
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.verification import verify_log
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
from tests.support.gateway import Gateway, make_folder
from tests.support.officers import enrolled
from tests.support.principals import add_principal

INPUTS = int(os.environ.get("KMSGW_FUZZ_INPUTS", "400"))
SEED = int(os.environ.get("KMSGW_FUZZ_SEED", str(secrets.randbits(32))))
IN_FLIGHT = 32
DOCUMENTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
ONLY = {
    grpc.StatusCode.UNAUTHENTICATED: {"OfficerService"},
    grpc.StatusCode.RESOURCE_EXHAUSTED: {"KeyService", "AuditService"},
}
"""Answers that some services alone may give: a login without a device, approvals that pile up, too many who look."""

RPCS = [
    f"{name}/{method.name}"
    for name, service in sorted(SERVICES.items())
    for method in service.methods
    if not method.client_streaming  # these are in test_stream_fuzz.py
]
RPCS.sort(key=lambda rpc: (not rpc.startswith("CryptoService"), not rpc.endswith("/EnrollOfficer"), rpc))
"""CryptoService first, while its keys are as they were made; then the enrolment, that there is something to confirm."""

STANDARD: dict[str, Message] = {
    "/grpc.health.v1.Health/Check": health_pb2.HealthCheckRequest(service="kmsgw.v1.CryptoService"),
    "/grpc.health.v1.Health/List": health_pb2.HealthListRequest(),
    "/grpc.health.v1.Health/Watch": health_pb2.HealthCheckRequest(service="kmsgw.v1.CryptoService"),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": reflection_pb2.ServerReflectionRequest(
        file_containing_symbol="kmsgw.v1.CryptoService"
    ),
}
"""The methods of the standard services, and a request that works for each."""

OF_WHO_IS_ENROLLED = {"OfficerService/Login", "OfficerService/Logout", "OfficerService/WhoAmI"}
SLOW = {"KeyService/CreateImportParameters": 20, "AuditService/WatchEntries": 10}
"""What takes long, by the part of the inputs that it gets: an RSA key is made each time, a stream begun and ended."""

NASTY_TEXTS = (
    "", "ehr", "alias/ehr", "EHR", "ehr ", "../etc", "a" * 41, "a" * 5000, "\x00", "é", "é", "𝕖𝕙𝕣", "ehr\n", "-",
    "a--b", "%s%n", "'; DROP TABLE keys; --", "{{7*7}}", "0", "-1", "99999999999999999999", "encrypt", "rotateKey",
    "\u202e",
)  # fmt: skip
NASTY_NUMBERS = (0, 1, 2, 2**31 - 1, 2**32 - 1, 1001, 10_001)
NASTY_METADATA = (
    "", "-", "0", "000000", "12345", "1234567", "+12345", "0x1234", "a" * 4000, "../etc", "%s%n", "'; --", "null",
    "01234567-89ab-7cde-8f01-23456789abcd", "ABCDE-FGHIJ",
)  # fmt: skip
"""Sessions, one-time codes and approvals: metadata is printable ASCII, or grpc refuses it before it is sent."""


@dataclass(frozen=True)
class Target:
    gateway: Gateway
    data: grpc.Channel
    control: grpc.Channel
    enrolled: grpc.Channel
    """Of an officer with a second factor, which it may use though nobody wants it here."""
    auditor: grpc.Channel
    envelopes: tuple[bytes, ...]
    approval: str
    """An approval that waits, of another officer."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A gateway with one service and one officer that may do everything their kind may; approvals are asked for."""
    gateway = make_folder(tmp_path_factory.mktemp("fuzz") / "kms")
    add_principal(gateway, "fuzz-service", "writer", "reader", "data-key-user", "rewrapper", "blind-index-user")
    add_principal(gateway, "fuzz-officer", "key-officer", "approver", "administrator", kind="officer")
    add_principal(gateway, "fuzz-enrolled", kind="officer")
    gateway.start()
    enrolled(gateway.client("fuzz-enrolled"))
    opened = []
    for name in ("fuzz-service", "fuzz-officer", "fuzz-enrolled", "auditor"):
        held = gateway.credentials(name)
        credentials = grpc.ssl_channel_credentials(held.ca, held.private_key, held.certificate)
        opened.append(grpc.secure_channel(gateway.address, credentials))
    officer = gateway.client("fuzz-officer").keys
    officer.create("ehr")
    officer.create("control")
    service = gateway.client("fuzz-service")
    envelopes = (
        service.encrypt("ehr", b"record").envelope,
        service.encrypt("ehr", b"bound", {"patient": "P-1"}).envelope,
        service.generate_data_key("ehr").wrapped,
    )
    data, control, present, auditor = opened
    yield Target(gateway, data, control, present, auditor, envelopes, an_approval(gateway))
    for channel in opened:
        channel.close()
    gateway.stop()


def an_approval(gateway: Gateway) -> str:
    """Return the id of an approval that another officer asked for."""
    with Caller(gateway, "key-officer") as caller:
        asked = key_service_pb2.ScheduleKeyDestructionRequest(key="control", reason="fuzz")
        assert caller.call("ScheduleKeyDestruction", asked).reason == "APPROVAL_REQUIRED"
        listed = caller.call("ListApprovals", approval_service_pb2.ListApprovalsRequest()).body
    (found,) = approval_service_pb2.ListApprovalsResponse.FromString(listed).approvals
    return found.approval_id


def seeds(target: Target) -> dict[str, Message]:
    """Return a request that works for each RPC that needs more than empty fields."""
    crypto, keys, policy = crypto_service_pb2, key_service_pb2, policy_service_pb2
    batch = crypto_batch_pb2
    officers, approvals = officer_service_pb2, approval_service_pb2
    why = common_pb2.AccessDeclaration(purpose="care", end_user="dr-exemple")
    pairs = [common_pb2.ContextPair(key="patient", value="P-1")]
    return {
        "Encrypt": crypto.EncryptRequest(key="ehr", plaintext=b"x", encryption_context=pairs, declaration=why),
        "Decrypt": crypto.DecryptRequest(
            envelope=target.envelopes[1], encryption_context=pairs, declaration=why, expected_key="ehr"
        ),
        "ReEncrypt": crypto.ReEncryptRequest(
            envelope=target.envelopes[0], destination_key="ehr", destination_encryption_context=pairs, declaration=why
        ),
        "Rewrap": crypto.RewrapRequest(envelope=target.envelopes[2], declaration=why),
        "GenerateDataKey": crypto.GenerateDataKeyRequest(key="ehr", encryption_context=pairs),
        "GenerateDataKeyWithoutPlaintext": crypto.GenerateDataKeyWithoutPlaintextRequest(key="ehr"),
        "BatchEncrypt": batch.BatchEncryptRequest(
            key="ehr",
            plaintexts=[b"x", b"y"],
            bindings=[batch.BatchBinding(encryption_context=pairs), batch.BatchBinding(key="ehr")],
            references=["a", "b"],
        ),
        "BatchDecrypt": batch.BatchDecryptRequest(
            envelopes=[target.envelopes[1], target.envelopes[0]],
            contexts=[batch.BatchContext(encryption_context=pairs), batch.BatchContext()],
            declaration=why,
        ),
        "BatchReEncrypt": batch.BatchReEncryptRequest(
            envelopes=target.envelopes[:1], destination_key="ehr", destination_encryption_context=pairs
        ),
        "BatchRewrap": batch.BatchRewrapRequest(envelopes=[target.envelopes[2]] * 2, references=["a", "b"]),
        "BatchGenerateDataKey": batch.BatchGenerateDataKeyRequest(key="ehr", count=2, without_plaintext=True),
        "ComputeMac": crypto.ComputeMacRequest(key="ehr", index="patient-number", value=b"4711", declaration=why),
        "VerifyMac": crypto.VerifyMacRequest(key="ehr", index="patient-number", value=b"4711", mac=bytes(32)),
        "RenewDataKeyLeases": crypto.RenewDataKeyLeasesRequest(
            leases=[
                crypto.DataKeyLease(
                    use=crypto.DATA_KEY_USE_SEAL, key_id="ehr", key_version=1, alias="alias/records", declaration=why
                ),
                crypto.DataKeyLease(
                    use=crypto.DATA_KEY_USE_OPEN, key_id="ehr", key_version=1, encryption_context=pairs
                ),
            ]
        ),
        "GenerateRandomBytes": crypto.GenerateRandomBytesRequest(length=16),
        "CreateKey": keys.CreateKeyRequest(key_id="made", labels={"a": "b"}, description="d", dry_run=True),
        "GetKey": keys.GetKeyRequest(key="control"),
        "ListKeys": keys.ListKeysRequest(page_size=2, page_token="c"),
        "UpdateKey": keys.UpdateKeyRequest(
            key="control",
            new_values=keys.Key(labels={"x": "y"}, state=keys.KEY_STATE_ENABLED),
            update_mask={"paths": ["labels", "state"]},
        ),
        "RotateKey": keys.RotateKeyRequest(key="control", reason="fuzz", dry_run=True),
        "ListKeyVersions": keys.ListKeyVersionsRequest(key="control", page_size=1, page_token="1"),
        "EnableKeyVersion": keys.EnableKeyVersionRequest(key="control", version=1),
        "DisableKeyVersion": keys.DisableKeyVersionRequest(key="control", version=1),
        "ScheduleKeyDestruction": keys.ScheduleKeyDestructionRequest(
            key="control", version=1, days=7, force=True, dry_run=True, reason="fuzz"
        ),
        "CancelKeyDestruction": keys.CancelKeyDestructionRequest(key="control", version=1, dry_run=True, reason="fuzz"),
        "SetMinimumDecryptVersion": keys.SetMinimumDecryptVersionRequest(
            key="control", version=1, force=True, dry_run=True, reason="fuzz"
        ),
        "GetKeyUsage": keys.GetKeyUsageRequest(key="ehr"),
        "CreateImportParameters": keys.CreateImportParametersRequest(key="imported", provider="software"),
        "ImportKey": keys.ImportKeyRequest(
            key="imported",
            token=b"t" * 64,
            wrapped_material=b"w" * 424,
            check_value="0a1b2c",
            provider="software",
            labels={"a": "b"},
            dry_run=True,
            reason="fuzz",
        ),
        "EnrollOfficer": officers.EnrollOfficerRequest(invitation="ABCDE-FGHIJ"),
        "ConfirmOfficer": officers.ConfirmOfficerRequest(first_code="000000", second_code="000001"),
        "Login": officers.LoginRequest(code="000000"),
        "Logout": officers.LogoutRequest(),
        "ResetOfficer": officers.ResetOfficerRequest(officer_id="key-officer", dry_run=True, reason="fuzz"),
        "ListOfficers": officers.ListOfficersRequest(page_size=2, page_token="c"),
        "WhoAmI": officers.WhoAmIRequest(),
        "ListApprovals": approvals.ListApprovalsRequest(state=approvals.APPROVAL_STATE_PENDING, page_size=2),
        "GetApproval": approvals.GetApprovalRequest(approval_id=target.approval),
        "Approve": approvals.ApproveRequest(approval_id=target.approval, request_hash="0" * 64, reason="fuzz"),
        "Reject": approvals.RejectRequest(approval_id=target.approval, reason="fuzz"),
        "CreateAlias": keys.CreateAliasRequest(alias="alias/other", key="control"),
        "DeleteAlias": keys.DeleteAliasRequest(alias="alias/other"),
        "Explain": policy.ExplainRequest(
            hypothetical=policy.HypotheticalRequest(
                roles=["reader"], action="decrypt", key="ehr", encryption_context=pairs, declaration=why
            )
        ),
        "ListPolicies": policy.ListPoliciesRequest(page_size=1),
        "ListLogs": audit_service_pb2.ListLogsRequest(),
        "ListEntries": audit_service_pb2.ListEntriesRequest(
            filter=audit_service_pb2.EntryFilter(key="ehr", outcome=audit_service_pb2.ENTRY_OUTCOME_OK),
            with_proofs=True,
            page_size=2,
            page_token="eyJsb2ciOjF9",
        ),
        "WatchEntries": audit_service_pb2.WatchEntriesRequest(
            positions=[audit_service_pb2.LogPosition(log="log", next_index=1)]
        ),
        "GetCheckpoint": audit_service_pb2.GetCheckpointRequest(log="log"),
        "GetInclusionProof": audit_service_pb2.GetInclusionProofRequest(log="log", index=1),
        "GetConsistencyProof": audit_service_pb2.GetConsistencyProofRequest(log="log", old_size=1),
        "GetStatus": system_service_pb2.GetStatusRequest(),
    }


def mutate_bytes(raw: bytes, chance: random.Random) -> bytes:
    """Return bytes that are a little, or wholly, other than `raw`."""
    changed = bytearray(raw)
    match chance.randrange(6):
        case 0:
            return chance.randbytes(chance.randrange(200))
        case 1 if changed:
            del changed[chance.randrange(len(changed)) :]
        case 2:
            changed += chance.randbytes(chance.randrange(1, 40))
        case 3 if changed:
            start = chance.randrange(len(changed))
            changed[start : start + chance.randrange(1, 8)] = chance.randbytes(chance.randrange(8))
        case _ if changed:
            for _ in range(chance.randrange(1, 4)):
                changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        case _:
            pass
    return bytes(changed)


def nasty_value(field: Any, chance: random.Random, target: Target) -> object:
    """Return a value for a scalar field that somebody may not have thought of."""
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return chance.choice(NASTY_TEXTS)
        case FieldDescriptor.TYPE_BYTES:
            return mutate_bytes(chance.choice(target.envelopes), chance)
        case FieldDescriptor.TYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.TYPE_ENUM:
            return chance.choice((0, 1, 2, 7))
    return min(chance.choice(NASTY_NUMBERS), 2**31 - 1)


def mutate_message(message: Message, field: Any, chance: random.Random, target: Target) -> None:
    """Mutate a field that is a message, a list of messages, or a map of texts."""
    assert field.message_type is not None
    value = getattr(message, field.name)
    if field.message_type.GetOptions().map_entry:
        value[chance.choice(NASTY_TEXTS)[:100]] = chance.choice(NASTY_TEXTS)[:100]
    elif field.is_repeated:
        for _ in range(chance.choice((0, 1, 2, 17))):
            mutate_fields(value.add(), chance, target)
    else:
        mutate_fields(value, chance, target)


def mutate_fields(message: Message, chance: random.Random, target: Target) -> None:
    """Put a nasty value into about half of the fields of a message, at any depth."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.5:
            continue
        if field.message_type is not None:
            mutate_message(message, field, chance, target)
        elif field.is_repeated:
            getattr(message, field.name).append(nasty_value(field, chance, target))
        else:
            setattr(message, field.name, nasty_value(field, chance, target))


def generated(seed: Message, chance: random.Random, target: Target) -> bytes:
    """Return one input: a working request with nasty fields, broken bytes, or both."""
    message = type(seed)()
    message.CopyFrom(seed)
    kind = chance.randrange(4)
    if kind:
        mutate_fields(message, chance, target)
    raw = message.SerializeToString()
    return mutate_bytes(raw, chance) if kind in {0, 1} else raw


def nasty_metadata(chance: random.Random, target: Target) -> tuple[tuple[str, str], ...]:
    """Return metadata of an officer's call: none, or any of the three with a value that is wrong or merely odd."""
    if chance.random() < 0.5:
        return ()
    names = (SESSION_METADATA, CODE_METADATA, APPROVAL_METADATA)
    values = (*NASTY_METADATA, target.approval)
    return tuple((name, chance.choice(values)) for name in names for _ in range(chance.choice((0, 1, 1, 2))))


def storm(
    call: Callable[..., grpc.Future],  # type: ignore[type-arg]
    inputs: Iterator[tuple[bytes, tuple[tuple[str, str], ...]]],
) -> Counter[grpc.StatusCode]:
    """Send all inputs, a bounded number in flight, and count how they ended."""
    seen: Counter[grpc.StatusCode] = Counter()
    flights: list[grpc.Future] = []  # type: ignore[type-arg]

    def land() -> None:
        flight = flights.pop(0)
        error = flight.exception()
        assert error is None or isinstance(error, grpc.Call)
        seen[grpc.StatusCode.OK if error is None else error.code()] += 1

    for request, metadata in inputs:
        flights.append(call(request, timeout=60, metadata=metadata))
        if len(flights) >= IN_FLIGHT:
            land()
    while flights:
        land()
    return seen


@pytest.mark.parametrize("rpc", RPCS)
def test_generated_inputs_get_documented_answers(rpc: str, target: Target) -> None:
    chance = random.Random(f"{SEED}/{rpc}")
    service, _, name = rpc.partition("/")
    seed = seeds(target)[name]
    channel = target.data if service == "CryptoService" else target.control
    if rpc in OF_WHO_IS_ENROLLED:
        channel = target.enrolled
    if service == "AuditService":
        channel = target.auditor
    inputs = max(1, INPUTS // SLOW.get(rpc, 1))
    before = target.gateway.workers()
    made = ((generated(seed, chance, target), nasty_metadata(chance, target)) for _ in range(inputs))
    if f"/kmsgw.v1.{rpc}" in FEEDS:
        watch = channel.unary_stream(f"/kmsgw.v1.{rpc}", bytes, bytes)
        seen = Counter(first_answer(watch(each, timeout=60, metadata=metadata)) for each, metadata in made)
    else:
        seen = storm(channel.unary_unary(f"/kmsgw.v1.{rpc}", bytes, bytes).future, made)
    print(f"{rpc}: {dict(seen)} (KMSGW_FUZZ_SEED={SEED})")
    documented = {code for code in DOCUMENTED if code not in ONLY or service in ONLY[code]}
    assert set(seen) <= documented, f"{seen} with KMSGW_FUZZ_SEED={SEED}"
    assert sum(seen.values()) == inputs
    assert target.gateway.workers() == before, "a worker died"


def first_answer(call: Any) -> grpc.StatusCode:
    """Return how a stream of answers begins: OK with an answer, or the status that it ends with."""
    answered = None
    with contextlib.suppress(grpc.RpcError):  # its status is asked for below
        answered = next(call, None)
    if answered is not None:
        call.cancel()
        return grpc.StatusCode.OK
    code = call.code()
    assert isinstance(code, grpc.StatusCode)
    return code


@pytest.mark.parametrize("method", STANDARD)
def test_the_standard_services_answer_generated_inputs_too(method: str, target: Target) -> None:
    chance = random.Random(f"{SEED}/{method}")
    before = target.gateway.workers()
    inputs = (generated(STANDARD[method], chance, target) for _ in range(INPUTS))
    if method.endswith(("/Check", "/List")):
        seen = storm(target.data.unary_unary(method, bytes, bytes).future, ((each, ()) for each in inputs))
    else:
        ask = target.data.stream_stream(method, bytes, bytes)
        seen = Counter(first_answer(ask(iter([each]), timeout=60)) for each in inputs)
    print(f"{method}: {dict(seen)} (KMSGW_FUZZ_SEED={SEED})")
    documented = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert set(seen) <= documented, f"{seen} with KMSGW_FUZZ_SEED={SEED}"
    assert {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT} <= set(seen)
    assert sum(seen.values()) == INPUTS
    assert target.gateway.workers() == before, "a worker died"


def test_after_the_storm_the_logs_verify_and_no_fault_was_logged(target: Target) -> None:
    assert target.gateway.stop() == 0
    assert '"exception"' not in target.gateway.log.read_text()
    for log in sorted(path.parent for path in (target.gateway.folder / "audit").glob("*/verifier.key")):
        key = VerifierKey.parse((log / "verifier.key").read_text())
        verify_log(lambda path, log=log: (log / path).read_bytes(), key)  # type: ignore[misc]
