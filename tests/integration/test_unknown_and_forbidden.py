"""A key that does not exist and a key that the caller may not use answer alike, byte for byte but for request ids.

Otherwise the answers would tell which keys, tenants and patients there are (threat 16). For every RPC that takes a key,
by id, by alias and inside an envelope.
"""

import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.message import Message

from kmsgw.client import KeyState
from kmsgw.v1 import (
    common_pb2,
    crypto_batch_pb2,
    crypto_service_pb2,
    key_service_pb2,
    officer_service_pb2,
    policy_service_pb2,
)
from tests.support.calls import METHODS, SERVICES, Answer, Caller, pairs
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.principals import add_principal
from tests.support.three_providers import CLERK

crypto, batch, keys = crypto_service_pb2, crypto_batch_pb2, key_service_pb2
CARE = common_pb2.AccessDeclaration(purpose="care")
CONTEXT = pairs(patient="P-1001")
OFFICER, FOREIGN_OFFICER, FOREIGN_CLERK = "key-officer", "clinic-officer", "clinic-clerk"
FOREIGN_AUDITOR = "clinic-auditor"

KNOWN, FORBIDDEN, FOREIGN, UNKNOWN = "known", "forbid", "foreign", "unknown"
"""Ids: a key that may be used, one that policy forbids, one of another tenant, and none at all."""

SEALED_OFF = """
@id("sealed-off")
@advice("Nobody touches this key while the investigation goes on.")
forbid (principal, action, resource is Kmsgw::Key)
when { resource.labels has confidentiality && resource.labels.confidentiality == "sealed-off" };
"""

BY_NAME: Mapping[str, Callable[[str], Message]] = {
    "Encrypt": lambda name: crypto.EncryptRequest(key=name, plaintext=b"x"),
    "GenerateDataKey": lambda name: crypto.GenerateDataKeyRequest(key=name),
    "GenerateDataKeyWithoutPlaintext": lambda name: crypto.GenerateDataKeyWithoutPlaintextRequest(key=name),
    "BatchEncrypt": lambda name: batch.BatchEncryptRequest(key=name, plaintexts=[b"x", b"y"]),
    "BatchGenerateDataKey": lambda name: batch.BatchGenerateDataKeyRequest(key=name, count=2),
    "ComputeMac": lambda name: crypto.ComputeMacRequest(key=name, index="name", value=b"x"),
    "VerifyMac": lambda name: crypto.VerifyMacRequest(key=name, index="name", value=b"x", mac=bytes(32)),
    "GetKey": lambda name: keys.GetKeyRequest(key=name),
    "UpdateKey": lambda name: keys.UpdateKeyRequest(
        key=name,
        new_values=keys.Key(description="seen"),
        update_mask={"paths": ["description"]},
        etag="",
        dry_run=True,
    ),
    "RotateKey": lambda name: keys.RotateKeyRequest(key=name, dry_run=True),
    "ListKeyVersions": lambda name: keys.ListKeyVersionsRequest(key=name),
    "EnableKeyVersion": lambda name: keys.EnableKeyVersionRequest(key=name, version=1, dry_run=True),
    "DisableKeyVersion": lambda name: keys.DisableKeyVersionRequest(key=name, version=1, dry_run=True),
    "ScheduleKeyDestruction": lambda name: keys.ScheduleKeyDestructionRequest(
        key=name, force=True, dry_run=True, reason="seen"
    ),
    "CancelKeyDestruction": lambda name: keys.CancelKeyDestructionRequest(key=name, dry_run=True, reason="seen"),
    "SetMinimumDecryptVersion": lambda name: keys.SetMinimumDecryptVersionRequest(
        key=name, version=2, force=True, dry_run=True, reason="seen"
    ),
    "GetKeyUsage": lambda name: keys.GetKeyUsageRequest(key=name),
    "CreateAlias": lambda name: keys.CreateAliasRequest(alias="alias/another", key=name, dry_run=True),
    "DeleteAlias": lambda name: keys.DeleteAliasRequest(alias=name, dry_run=True),
}
"""Requests that name a key. State changes are dry runs."""

BY_ENVELOPE: Mapping[str, Callable[[bytes], Message]] = {
    "Decrypt": lambda envelope: crypto.DecryptRequest(envelope=envelope, encryption_context=CONTEXT, declaration=CARE),
    "Rewrap": lambda envelope: crypto.RewrapRequest(envelope=envelope, encryption_context=CONTEXT),
    "BatchDecrypt": lambda envelope: batch.BatchDecryptRequest(
        envelopes=[envelope] * 2, encryption_context=CONTEXT, declaration=CARE
    ),
    "BatchRewrap": lambda envelope: batch.BatchRewrapRequest(envelopes=[envelope] * 2, encryption_context=CONTEXT),
    "BatchReEncrypt": lambda envelope: batch.BatchReEncryptRequest(
        envelopes=[envelope] * 2, source_encryption_context=CONTEXT, destination_key=KNOWN, declaration=CARE
    ),
    "ReEncrypt": lambda envelope: crypto.ReEncryptRequest(
        envelope=envelope, source_encryption_context=CONTEXT, destination_key=KNOWN, declaration=CARE
    ),
}
"""Requests whose envelope names a key."""

IMPORTS: Mapping[str, Callable[[str], Message]] = {
    "CreateImportParameters": lambda name: keys.CreateImportParametersRequest(key=name),
    "ImportKey": lambda name: keys.ImportKeyRequest(
        key=name, token=b"t" * 64, wrapped_material=b"w" * 424, dry_run=True, reason="seen"
    ),
}
"""Requests that name a key, or the key to create: of these an id that nobody has is free to take."""

OFFICERS_AND_APPROVALS = {
    *(method.name for method in SERVICES["OfficerService"].methods),
    *(method.name for method in SERVICES["ApprovalService"].methods),
    *(method.name for method in SERVICES["AuditService"].methods),
}
WITHOUT_KEY = {"GenerateRandomBytes", "CreateKey", "ListKeys", "Explain", "ListPolicies", "GetStatus"}
WITHOUT_KEY |= OFFICERS_AND_APPROVALS
WITHOUT_KEY |= {"RenewDataKeyLeases"}  # it names many keys: tests/unit/operations/test_renew_data_key_leases.py

KNOWN_ANSWERS = {"CancelKeyDestruction": ("FAILED_PRECONDITION", "KEY_STATE_UNSUITABLE")}
"""What is answered about the known key, where it is no success."""

ALIAS_ONLY, ID_ONLY = {"DeleteAlias"}, {"CreateAlias"}
CLERKS = {"Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ComputeMac", "VerifyMac"}
CLERKS |= {"BatchEncrypt", "BatchGenerateDataKey"}
OFFICERS = ({*BY_NAME} | {*IMPORTS}) - CLERKS


@dataclass(frozen=True)
class Scene:
    gateway: Gateway
    callers: Mapping[str, Caller]
    envelopes: Mapping[str, bytes]

    def caller(self, method: str) -> Caller:
        """Return one that may make such a call on the known key."""
        return self.callers[OFFICER if method in OFFICERS else CLERK]


def a_sealed_value(caller: Caller, key: str) -> bytes:
    request = crypto.EncryptRequest(key=key, plaintext=b"systolic 120", encryption_context=CONTEXT)
    return crypto.EncryptResponse.FromString(caller.call("Encrypt", request).body).envelope


def naming(envelope: bytes, key: str) -> bytes:
    """Return the envelope with another key's id in it."""
    return envelope[:6] + bytes((len(key),)) + key.encode() + envelope[7 + envelope[6] :]


def encrypting(_: Scene, name: str) -> list[Message]:
    """Return the messages of an EncryptStream under a key."""
    return [
        crypto.EncryptStreamRequest(
            start=crypto.EncryptStreamStart(key=name, encryption_context=CONTEXT, declaration=CARE)
        ),
        crypto.EncryptStreamRequest(chunk=b"systolic 120"),
        crypto.EncryptStreamRequest(end=crypto.EncryptStreamEnd(plaintext_bytes=12)),
    ]


def decrypting(scene: Scene, name: str) -> list[Message]:
    """Return the messages of a DecryptStream whose stream names a key."""
    answered, _ = scene.callers[CLERK].converse("EncryptStream", encrypting(scene, KNOWN))
    sealed = b"".join(crypto.EncryptStreamResponse.FromString(each).chunk for each in answered)
    start = crypto.DecryptStreamStart(head=naming(sealed, name), encryption_context=CONTEXT, declaration=CARE)
    return [crypto.DecryptStreamRequest(start=start)]


STREAMS: Mapping[str, Callable[[Scene, str], list[Message]]] = {
    "EncryptStream": encrypting,
    "DecryptStream": decrypting,
}
"""Conversations that name a key."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    gateway = make_folder(tmp_path_factory.mktemp("alike") / "kms", workers=1)
    services = ("writer", "reader", "data-key-user", "rewrapper", "blind-index-user")
    add_principal(gateway, CLERK, *services)
    add_principal(gateway, FOREIGN_CLERK, *services, tenant="clinic")
    add_principal(gateway, FOREIGN_OFFICER, "key-officer", kind="officer", tenant="clinic")
    add_principal(gateway, FOREIGN_AUDITOR, "auditor", kind="officer", tenant="clinic")
    (gateway.folder / "policies" / "investigation.cedar").write_text(SEALED_OFF)
    gateway.start()
    officer = gateway.client(OFFICER)
    callers = {
        name: Caller(gateway, name)
        for name in (OFFICER, CLERK, FOREIGN_CLERK, "ehr-writer", "ehr-reader", "auditor", "administrator", "billing")
    }
    officer.keys.create(KNOWN)
    officer.keys.rotate(KNOWN)
    officer.keys.create(FORBIDDEN)
    gateway.client(FOREIGN_OFFICER).keys.create(FOREIGN)
    for name, owner in ((KNOWN, OFFICER), (FORBIDDEN, OFFICER), (FOREIGN, FOREIGN_OFFICER)):
        gateway.client(owner).keys.create_alias(f"alias/{name}", name)
    envelopes = {name: a_sealed_value(callers[CLERK], name) for name in (KNOWN, FORBIDDEN)}
    envelopes[FOREIGN] = a_sealed_value(callers[FOREIGN_CLERK], FOREIGN)
    envelopes[UNKNOWN] = naming(envelopes[KNOWN], UNKNOWN)
    officer.keys.update(FORBIDDEN, labels={"confidentiality": "sealed-off"})
    yield Scene(gateway, callers, envelopes)
    for caller in callers.values():
        caller.close()
    assert gateway.stop() == 0


def assert_alike(answers: Mapping[str, Answer]) -> None:
    for name, answer in answers.items():
        assert answer.error == ("PERMISSION_DENIED", "ACCESS_DENIED"), name
        assert answer.details, name
    assert len({answer.without_request_id() for answer in answers.values()}) == 1, answers


def test_every_rpc_that_takes_a_key_is_here() -> None:
    assert {*BY_NAME, *BY_ENVELOPE, *IMPORTS, *STREAMS} | WITHOUT_KEY == set(METHODS)


@pytest.mark.parametrize("method", STREAMS)
def test_streams_of_unknown_forbidden_and_foreign_keys_answer_alike(scene: Scene, method: str) -> None:
    caller = scene.callers[CLERK]
    answers: dict[str, Answer] = {}
    for name in (UNKNOWN, FORBIDDEN, FOREIGN):
        released, answers[name] = caller.converse(method, STREAMS[method](scene, name))
        assert released == []
    assert_alike(answers)
    released, known = caller.converse(method, STREAMS[method](scene, KNOWN))
    assert known.ok
    assert b"systolic 120" in b"".join(released) or method == "EncryptStream"


@pytest.mark.parametrize("method", BY_NAME)
@pytest.mark.parametrize("prefix", ["", "alias/"], ids=["id", "alias"])
def test_unknown_forbidden_and_foreign_names_answer_alike(scene: Scene, method: str, prefix: str) -> None:
    if (method in ALIAS_ONLY and not prefix) or (method in ID_ONLY and prefix):
        refused = [scene.caller(method).call(method, BY_NAME[method](prefix + name)) for name in (KNOWN, UNKNOWN)]
        assert {answer.error for answer in refused} == {("INVALID_ARGUMENT", "FIELD_INVALID")}
        return
    caller, request = scene.caller(method), BY_NAME[method]
    assert caller.call(method, request(prefix + KNOWN)).error == KNOWN_ANSWERS.get(method, ("OK", ""))
    assert_alike({name: caller.call(method, request(prefix + name)) for name in (UNKNOWN, FORBIDDEN, FOREIGN)})


@pytest.mark.parametrize("method", IMPORTS)
def test_an_import_is_told_no_more_of_a_key_than_that_its_id_is_taken(scene: Scene, method: str) -> None:
    caller, request = scene.caller(method), IMPORTS[method]

    def refused(*names: str) -> dict[str, Answer]:
        return {name: caller.call(method, request(name)) for name in names}

    assert caller.call(method, request(KNOWN)).error == caller.call(method, request(UNKNOWN)).error
    assert_alike(refused(FORBIDDEN, FOREIGN, *(f"alias/{name}" for name in (UNKNOWN, FORBIDDEN, FOREIGN))))


@pytest.mark.parametrize("method", IMPORTS)
@pytest.mark.parametrize("principal", ["ehr-writer", "auditor"])
def test_who_may_not_import_learns_of_no_key(scene: Scene, method: str, principal: str) -> None:
    caller, request = scene.callers[principal], IMPORTS[method]
    names = (KNOWN, UNKNOWN, FORBIDDEN, FOREIGN, f"alias/{FOREIGN}", f"alias/{UNKNOWN}")
    assert_alike({name: caller.call(method, request(name)) for name in names})


def test_a_reset_of_a_foreign_officer_is_answered_like_that_of_nobody(scene: Scene) -> None:
    def reset(name: str, *, dry_run: bool) -> Answer:
        request = officer_service_pb2.ResetOfficerRequest(officer_id=name, reason="lost", dry_run=dry_run)
        return scene.callers["administrator"].call("ResetOfficer", request)

    assert_alike({name: reset(name, dry_run=True) for name in (FOREIGN_OFFICER, "nobody")})
    for name in (FOREIGN_OFFICER, "nobody"):
        assert reset(name, dry_run=False).error == ("FAILED_PRECONDITION", "APPROVAL_REQUIRED")


@pytest.mark.parametrize("method", BY_ENVELOPE)
def test_envelopes_of_unknown_forbidden_and_foreign_keys_answer_alike(scene: Scene, method: str) -> None:
    caller, request = scene.callers[CLERK], BY_ENVELOPE[method]
    assert caller.call(method, request(scene.envelopes[KNOWN])).ok
    refused = {name: caller.call(method, request(scene.envelopes[name])) for name in (UNKNOWN, FORBIDDEN, FOREIGN)}
    refused["damaged"] = caller.call(method, request(scene.envelopes[FOREIGN][:-1] + b"?"))
    assert_alike(refused)


@pytest.mark.parametrize("prefix", ["", "alias/"], ids=["id", "alias"])
def test_destinations_of_re_encryption_answer_alike(scene: Scene, prefix: str) -> None:
    def request(name: str) -> Message:
        return crypto.ReEncryptRequest(
            envelope=scene.envelopes[KNOWN],
            source_encryption_context=CONTEXT,
            destination_key=prefix + name,
            declaration=CARE,
        )

    caller = scene.callers[CLERK]
    assert caller.call("ReEncrypt", request(KNOWN)).ok
    assert_alike({name: caller.call("ReEncrypt", request(name)) for name in (UNKNOWN, FORBIDDEN, FOREIGN)})


@pytest.mark.parametrize("method", BY_NAME)
@pytest.mark.parametrize("principal", ["ehr-writer", "ehr-reader", "auditor", "billing"])
def test_who_lacks_the_role_learns_nothing_of_which_keys_there_are(scene: Scene, method: str, principal: str) -> None:
    caller, request = scene.callers[principal], BY_NAME[method]
    prefix = "alias/" if method in ALIAS_ONLY else ""
    if caller.call(method, request(prefix + KNOWN)).ok:
        assert (principal, method) in {
            ("ehr-writer", "Encrypt"),
            ("ehr-writer", "BatchEncrypt"),
            ("ehr-writer", "GenerateDataKeyWithoutPlaintext"),
            ("auditor", "GetKey"),
            ("auditor", "ListKeyVersions"),
            ("auditor", "GetKeyUsage"),
        }
        return
    assert_alike({name: caller.call(method, request(prefix + name)) for name in (KNOWN, UNKNOWN, FORBIDDEN, FOREIGN)})


def test_an_expected_key_that_is_unknown_forbidden_or_foreign_answers_alike(scene: Scene) -> None:
    answers = [
        scene.callers[CLERK].call(
            "Decrypt",
            crypto.DecryptRequest(
                envelope=scene.envelopes[KNOWN], encryption_context=CONTEXT, declaration=CARE, expected_key=name
            ),
        )
        for name in (UNKNOWN, FORBIDDEN, FOREIGN, f"alias/{UNKNOWN}", f"alias/{FOREIGN}")
    ]
    assert {answer.error for answer in answers} == {("INVALID_ARGUMENT", "DECRYPTION_FAILED")}
    assert len({answer.without_request_id() for answer in answers}) == 1


def test_disabling_a_key_shows_only_to_those_who_may_use_it(scene: Scene) -> None:
    owner = scene.gateway.client(FOREIGN_OFFICER)
    before = scene.callers[CLERK].call("Encrypt", BY_NAME["Encrypt"](FOREIGN))
    owner.keys.update(FOREIGN, state=KeyState.DISABLED)
    after = scene.callers[CLERK].call("Encrypt", BY_NAME["Encrypt"](FOREIGN))
    theirs = scene.callers[FOREIGN_CLERK].call("Encrypt", BY_NAME["Encrypt"](FOREIGN))
    owner.keys.update(FOREIGN, state=KeyState.ENABLED)
    assert_alike({"before": before, "after": after})
    assert theirs.error == ("FAILED_PRECONDITION", "KEY_DISABLED")


def test_lists_show_no_key_that_may_not_be_seen(scene: Scene) -> None:
    answer = scene.callers[OFFICER].call("ListKeys", keys.ListKeysRequest())
    assert [key.key_id for key in keys.ListKeysResponse.FromString(answer.body).keys] == [KNOWN]


def test_an_explanation_tells_nothing_of_another_tenants_keys(scene: Scene) -> None:
    def explained(name: str) -> bytes:
        asked = policy_service_pb2.HypotheticalRequest(roles=["reader"], action="decrypt", key=name, declaration=CARE)
        return scene.callers["auditor"].call("Explain", policy_service_pb2.ExplainRequest(hypothetical=asked)).body

    assert explained(UNKNOWN) == explained(FOREIGN) == explained(f"alias/{FOREIGN}") != explained(KNOWN)


def refusals(scene: Scene, name: str) -> Mapping[str, Answer]:
    """Return how each RPC that takes a key refuses one of this name, by id, by alias and in an envelope."""
    clerk = scene.callers[CLERK]
    answers = {
        f"{method} of {prefix}": scene.caller(method).call(method, request(prefix + name))
        for method, request in BY_NAME.items()
        for prefix in ("", "alias/")
        if not (method in ALIAS_ONLY and not prefix) and not (method in ID_ONLY and prefix)
    }
    answers |= {method: clerk.call(method, request(scene.envelopes[name])) for method, request in BY_ENVELOPE.items()}
    answers |= {method: scene.caller(method).call(method, make(f"alias/{name}")) for method, make in IMPORTS.items()}
    answers |= {method: clerk.converse(method, messages(scene, name))[1] for method, messages in STREAMS.items()}
    for prefix in ("", "alias/"):
        destination = crypto.ReEncryptRequest(
            envelope=scene.envelopes[KNOWN],
            source_encryption_context=CONTEXT,
            destination_key=prefix + name,
            declaration=CARE,
        )
        answers[f"ReEncrypt to {prefix}"] = clerk.call("ReEncrypt", destination)
    return answers


def form(entry: bytes, name: str) -> bytes:
    """Return an entry without what differs from call to call."""
    for field, value in (("request_id", rb'"[^"]+"'), ("time", rb'"[^"]+"'), ("duration_us", rb"\d+")):
        entry = re.sub(rb'"%s":%s' % (field.encode(), value), b"-", entry)
    return entry.replace(name.encode(), b"NAME")


def test_an_auditor_can_not_tell_a_foreign_key_from_an_unknown_one(scene: Scene) -> None:
    """By its own tenant's entries, nor by their explanations: else they would tell which keys others have."""
    began = datetime.now(UTC) - timedelta(seconds=2)
    answers = {name: refusals(scene, name) for name in (UNKNOWN, FOREIGN)}
    leases = crypto.RenewDataKeyLeasesRequest
    for name, answered in answers.items():
        lease = crypto.DataKeyLease(use=crypto.DATA_KEY_USE_SEAL, key_id=name, key_version=1)
        answers[name] = {**answered, "leases": scene.callers[CLERK].call("RenewDataKeyLeases", leases(leases=[lease]))}
    auditor = scene.gateway.client("auditor")
    last = answers[FOREIGN]["leases"].request_id
    assert eventually(lambda: bool(list(auditor.audit.entries(request_id=last))))
    entries: dict[str, list[bytes]] = {}
    for entry in auditor.audit.entries(since=began):
        entries.setdefault(str(entry.record["request_id"]), []).append(entry.raw)

    for what in answers[UNKNOWN]:
        unknown, foreign = (
            [form(raw, name) for raw in entries[answers[name][what].request_id]] for name in (UNKNOWN, FOREIGN)
        )
        assert unknown == foreign, what
        explained = {
            repr(replace(auditor.policy.explain_request(answers[name][what].request_id), time=None))
            for name in (UNKNOWN, FOREIGN)
        }
        assert len(explained) == 1, what


def test_whose_key_it_is_may_know_who_was_refused_it(scene: Scene) -> None:
    theirs = scene.gateway.client(FOREIGN_AUDITOR)
    for name in (FOREIGN, f"alias/{FOREIGN}"):
        request_id = scene.callers[CLERK].call("Encrypt", BY_NAME["Encrypt"](name)).request_id
        found = theirs.policy.explain_request(request_id)
        assert (found.principal_id, [each.policy_id for each in found.policies]) == (CLERK, ["tenant-isolation"])


def test_how_long_the_answers_take_is_reported(scene: Scene, record_property: Callable[[str, object], None]) -> None:
    """No promise, and so no assertion: an unknown name costs a look at the database. See the threat model."""
    caller = scene.callers[CLERK]
    taken: dict[str, list[float]] = {UNKNOWN: [], FORBIDDEN: [], FOREIGN: []}
    for _ in range(100):
        for name, times in taken.items():
            started = time.perf_counter()
            assert not caller.call("Encrypt", BY_NAME["Encrypt"](name)).ok
            times.append(time.perf_counter() - started)
    for name, times in taken.items():
        record_property(f"median_ms_{name}", round(statistics.median(times) * 1000, 3))
        print(f"{name}: median {statistics.median(times) * 1000:.2f} ms")
