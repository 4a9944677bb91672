"""What is recorded of each call, read back from the folder that an auditor has: every call once, nothing invented."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from kmsgw.errors import AuditDamaged
from kmsgw.model.context import EncryptionContext
from kmsgw.operations.verb import NO_SUCH_KEY
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.v1 import common_pb2, crypto_service_pb2, key_service_pb2
from tests.support.calls import METHODS, Answer, Caller, pairs
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.patience import patient
from tests.support.principals import add_principal, issue_certificate
from tests.support.running_copies import copy_while_written
from tests.support.softhsm import SoftHsm, make_token
from tests.support.three_providers import CLERK, configure_hsm

crypto, keys = crypto_service_pb2, key_service_pb2
CONTEXT = pairs(patient="P-1001", kind="image")
CARE = common_pb2.AccessDeclaration(purpose="care", end_user="dr-who")
Entry = Mapping[str, object]


@dataclass(frozen=True)
class Office:
    """A gateway of two workers, and what its log folder says."""

    gateway: Gateway
    token: SoftHsm

    @property
    def audit(self) -> Path:
        return self.gateway.folder / "audit"

    def entries(self) -> list[Entry]:
        """Return the entries behind the checkpoints of all logs, each checked against the signed tree."""
        found: list[Entry] = []
        for log in sorted(path.parent for path in self.audit.glob("*/checkpoint")):
            reader = LogReader(partial(_read, log))
            key = VerifierKey.parse((log / "verifier.key").read_text())
            try:
                reader.checkpoint(key)
            except AuditDamaged:
                reader.checkpoint(key)  # its worker was replacing tiles meanwhile; real damage fails again
            found += [json.loads(entry) for _, entry in reader.entries()]
        return found

    def of(self, *answers: Answer) -> list[list[Entry]]:
        """Return the entries of each request, as soon as all are behind a checkpoint; three seconds is too late."""
        wanted = [answer.request_id for answer in answers]
        assert all(wanted)
        found: dict[str, list[Entry]] = {}

        def there() -> bool:
            found.clear()
            for entry in self.entries():
                found.setdefault(str(entry["request_id"]), []).append(entry)
            return all(each in found for each in wanted)

        assert eventually(there, 3.0), "an answered call is not in the logs"
        return [found[each] for each in wanted]

    def only(self, answer: Answer) -> Entry:
        """Return the entry of a request that has one."""
        (entries,) = self.of(answer)
        assert len(entries) == 1
        return entries[0]


def _read(log: Path, path: str) -> bytes:
    return (log / path).read_bytes()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("recorded")
    gateway = make_folder(folder / "kms")
    token = make_token(folder / "token")
    configure_hsm(gateway, token)
    add_principal(gateway, CLERK, "writer", "reader", "data-key-user", "rewrapper")
    issue_certificate(gateway, "stranger")
    gateway.start()
    officer = gateway.client("key-officer").keys
    officer.create("ehr")
    officer.create("archive")
    officer.create("hsm", provider="hsm")
    officer.create_alias("alias/records", "ehr")
    yield Office(gateway, token)
    gateway.stop()


@pytest.fixture(scope="module")
def clerk(office: Office) -> Iterator[Caller]:
    with Caller(office.gateway, CLERK) as caller:
        yield caller


@pytest.fixture(scope="module")
def officer(office: Office) -> Iterator[Caller]:
    with Caller(office.gateway, "key-officer") as caller:
        yield caller


def encryption(
    key: str = "ehr", context: Sequence[common_pb2.ContextPair] = CONTEXT, plaintext: bytes = b"systolic 120"
) -> crypto_service_pb2.EncryptRequest:
    return crypto.EncryptRequest(key=key, plaintext=plaintext, encryption_context=context)


def test_a_done_call_is_recorded_with_all_that_is_known_of_it(office: Office, clerk: Caller) -> None:
    request = crypto.EncryptRequest(
        key="alias/records", plaintext=b"systolic 120", encryption_context=CONTEXT, declaration=CARE
    )
    before = datetime.now(UTC)
    answer = clerk.call("Encrypt", request)
    after = datetime.now(UTC)
    entry = dict(office.only(answer))

    certificate = x509.load_pem_x509_certificate((office.gateway.folder / "clients" / f"{CLERK}.pem").read_bytes())
    assert before - timedelta(seconds=0.001) <= datetime.fromisoformat(str(entry.pop("time"))) <= after
    assert 0 < int(str(entry.pop("duration_us"))) < 20_000_000
    peer = str(entry.pop("peer"))
    assert peer.startswith("ipv4:127.0.0.1:")
    assert len(str(entry.pop("context_hmac"))) == 64
    assert entry.pop("wraps", 1) == 1  # left out where a cached data key sealed it
    assert entry == {
        "request_id": answer.request_id,
        "principal": {
            "id": CLERK,
            "kind": "service",
            "tenant": "hospital",
            "roles": ["data-key-user", "reader", "rewrapper", "writer"],
            "fingerprint": certificate.fingerprint(SHA256()).hex(),
        },
        "method": METHODS["Encrypt"],
        "action": "encrypt",
        "key_id": "ehr",
        "key_version": 1,
        "sealed_bytes": len(b"systolic 120"),
        "alias": "alias/records",
        "outcome": "ok",
        "status": "OK",
        "policies": ["writer-encrypts"],
        "purpose": "care",
        "end_user": "dr-who",
        "bytes_in": len(request.SerializeToString()),
        "bytes_out": len(answer.body),
    }


def test_a_refusal_by_policy_names_the_policies(office: Office, clerk: Caller) -> None:
    envelope = crypto.EncryptResponse.FromString(clerk.call("Encrypt", encryption()).body).envelope
    answer = clerk.call("Decrypt", crypto.DecryptRequest(envelope=envelope, encryption_context=CONTEXT))
    assert answer.code is grpc.StatusCode.PERMISSION_DENIED
    entry = office.only(answer)
    assert (entry["outcome"], entry["status"], entry["reason"]) == ("refused", "PERMISSION_DENIED", "ACCESS_DENIED")
    assert entry["policies"] == ["decrypt-declares-purpose", "reader-purposes"]
    assert (entry["action"], entry["key_id"], entry["bytes_out"]) == ("decrypt", "ehr", 0)
    assert "note" not in entry


def test_a_refusal_that_no_policy_made_names_none(office: Office) -> None:
    with Caller(office.gateway, "ehr-reader") as reader:
        entry = office.only(reader.call("Encrypt", encryption()))
    assert (entry["outcome"], entry["reason"]) == ("refused", "ACCESS_DENIED")
    assert "policies" not in entry
    assert "note" not in entry


@pytest.mark.parametrize("name", ["nothing", "alias/nothing"])
def test_the_log_tells_an_unknown_key_from_a_forbidden_one(office: Office, clerk: Caller, name: str) -> None:
    """The caller is told neither."""
    entry = office.only(clerk.call("Encrypt", encryption(name)))
    assert (entry["outcome"], entry["reason"], entry["note"]) == ("refused", "ACCESS_DENIED", NO_SUCH_KEY)
    assert entry["key_id"] == "nothing"
    assert entry.get("alias", name) == name


def test_a_caller_whom_nobody_knows_is_recorded(office: Office) -> None:
    with Caller(office.gateway, "stranger") as stranger:
        answers = [
            stranger.call("Encrypt", encryption()),
            stranger.call("/grpc.health.v1.Health/Check", b""),
            stranger.call("/kmsgw.v1.CryptoService/NoSuchMethod", b""),
        ]
    assert {answer.code for answer in answers} == {grpc.StatusCode.UNAUTHENTICATED}
    for entries, method in zip(
        office.of(*answers),
        (METHODS["Encrypt"], "/grpc.health.v1.Health/Check", "/kmsgw.v1.CryptoService/NoSuchMethod"),
        strict=True,
    ):
        (entry,) = entries
        assert entry["principal"] is None
        assert (entry["outcome"], entry["status"]) == ("refused", "UNAUTHENTICATED")
        assert (entry["reason"], entry["method"]) == ("PRINCIPAL_UNKNOWN", method)
        assert not {"key_id", "action", "context_hmac"} & set(entry)


def test_what_is_malformed_or_unknown_is_recorded(office: Office, clerk: Caller) -> None:
    long = "/kmsgw.v1.CryptoService/" + "x" * 1000
    cases: list[tuple[Answer, str, str, str]] = [
        (clerk.call("Encrypt", b"\xff\xff\xff"), METHODS["Encrypt"], "INVALID_ARGUMENT", "REQUEST_MALFORMED"),
        (
            clerk.call("Encrypt", encryption(context=[*pairs(a="1"), *pairs(a="2")])),
            METHODS["Encrypt"],
            "INVALID_ARGUMENT",
            "CONTEXT_INVALID",
        ),
        (
            clerk.call("Encrypt", encryption(plaintext=bytes(65_537))),
            METHODS["Encrypt"],
            "INVALID_ARGUMENT",
            "PLAINTEXT_TOO_LARGE",
        ),
        (
            clerk.call("Decrypt", crypto.DecryptRequest(envelope=b"KMGW", declaration=CARE)),
            METHODS["Decrypt"],
            "INVALID_ARGUMENT",
            "ENVELOPE_MALFORMED",
        ),
        (clerk.call("/kmsgw.v1.Nothing/Do", b"x"), "/kmsgw.v1.Nothing/Do", "UNIMPLEMENTED", "METHOD_UNKNOWN"),
        (clerk.call(long, b""), long[:200], "UNIMPLEMENTED", "METHOD_UNKNOWN"),
    ]
    for (entry,), (answer, method, status, reason) in zip(
        office.of(*(answer for answer, *_ in cases)), cases, strict=True
    ):
        assert answer.error == (status, reason)
        assert (entry["method"], entry["outcome"], entry["status"]) == (method, "refused", status)
        assert entry["reason"] == reason
        principal = entry["principal"]
        assert isinstance(principal, dict)
        assert principal["id"] == CLERK


def test_a_failure_is_told_from_a_refusal(office: Office, clerk: Caller) -> None:
    """A token that is away is nobody's fault but the gateway's side."""
    away = office.token.tokens.with_name("away")
    office.token.tokens.rename(away)
    try:
        answer = clerk.call("Encrypt", encryption("hsm"))
    finally:
        away.rename(office.token.tokens)
    assert answer.error == ("UNAVAILABLE", "PROVIDER_UNAVAILABLE")
    entry = office.only(answer)
    assert (entry["outcome"], entry["status"], entry["reason"]) == ("failed", "UNAVAILABLE", "PROVIDER_UNAVAILABLE")
    assert (entry["key_id"], entry["policies"]) == ("hsm", ["writer-encrypts"])
    assert eventually(lambda: clerk.call("Encrypt", encryption("hsm")).ok), "it serves again by itself"


class TestChangesOfState:
    def test_a_change_has_an_intent_and_an_outcome_of_one_request(self, office: Office, officer: Caller) -> None:
        answer = officer.call("CreateKey", keys.CreateKeyRequest(key_id="changed"))
        (entries,) = office.of(answer)
        intent, outcome = entries
        assert (intent["phase"], outcome["phase"]) == ("intent", "outcome")
        assert (intent["method"], intent["action"]) == (outcome["method"], outcome["action"])
        assert outcome["action"] == "createKey"
        assert (outcome["key_id"], outcome["key_version"], outcome["outcome"]) == ("changed", 1, "ok")
        assert outcome["policies"] == intent["policies"] == ["key-officer-manages-keys"]
        assert intent["principal"] == outcome["principal"]

    @pytest.mark.parametrize(
        ("method", "request_", "version"),
        [
            ("RotateKey", keys.RotateKeyRequest(key="archive", reason="yearly"), 2),
            ("DisableKeyVersion", keys.DisableKeyVersionRequest(key="archive", version=1), 1),
            ("EnableKeyVersion", keys.EnableKeyVersionRequest(key="archive", version=1), 1),
            ("CreateAlias", keys.CreateAliasRequest(alias="alias/attic", key="archive"), None),
            ("DeleteAlias", keys.DeleteAliasRequest(alias="alias/attic"), None),
            ("RotateKey", keys.RotateKeyRequest(key="archive", dry_run=True), 3),
        ],
        ids=["rotate", "disable", "enable", "name", "unname", "dry run"],
    )
    def test_each_change_names_its_key(
        self, office: Office, officer: Caller, method: str, request_: keys.RotateKeyRequest, version: int | None
    ) -> None:
        answer = officer.call(method, request_)
        assert answer.ok
        (entries,) = office.of(answer)
        assert [entry["phase"] for entry in entries] == ["intent", "outcome"]
        assert {entry["key_id"] for entry in entries} == {"archive"}
        assert entries[1].get("key_version") == version

    def test_a_refused_change_was_never_intended(self, office: Office, clerk: Caller) -> None:
        entry = office.only(clerk.call("RotateKey", keys.RotateKeyRequest(key="ehr")))
        assert (entry["phase"], entry["outcome"]) == ("outcome", "refused")
        assert entry["policies"] == ["services-change-no-keys"]

    def test_a_change_that_does_not_come_about_has_both(self, office: Office, officer: Caller) -> None:
        (entries,) = office.of(officer.call("CreateKey", keys.CreateKeyRequest(key_id="ehr")))
        assert [entry["phase"] for entry in entries] == ["intent", "outcome"]
        assert (entries[1]["outcome"], entries[1]["reason"]) == ("refused", "KEY_EXISTS")


class TestContexts:
    def test_equal_contexts_have_equal_digests_on_every_worker(self, office: Office) -> None:
        answers: list[Answer] = []
        for _ in range(6):
            with Caller(office.gateway, CLERK) as caller:
                answers += [caller.call("Encrypt", encryption(context=each)) for each in (CONTEXT, CONTEXT[::-1])]
        entries = [entry for (entry,) in office.of(*answers)]
        assert len({entry["context_hmac"] for entry in entries}) == 1

    def test_other_contexts_have_other_digests_and_none_has_none(self, office: Office, clerk: Caller) -> None:
        contexts = [CONTEXT, pairs(patient="P-1002", kind="image"), pairs(patient="P-1001"), pairs(kind="image"), []]
        entries = [
            entry for (entry,) in office.of(*(clerk.call("Encrypt", encryption(context=each)) for each in contexts))
        ]
        assert len({entry["context_hmac"] for entry in entries[:-1]}) == 4
        assert "context_hmac" not in entries[-1]

    def test_a_digest_can_not_be_guessed_without_the_log_key(self, office: Office, clerk: Caller) -> None:
        entry = office.only(clerk.call("Encrypt", encryption()))
        canonical = EncryptionContext.of_pairs((pair.key, pair.value) for pair in CONTEXT).canonical
        assert entry["context_hmac"] != hashlib.sha256(canonical).hexdigest()
        key = (office.gateway.folder / "audit-keys" / "context.key").read_bytes()
        assert entry["context_hmac"] == hmac.digest(key, canonical, "sha256").hex()


def test_rewrap_and_re_encrypt_name_both_sides(office: Office, clerk: Caller, officer: Caller) -> None:
    assert officer.call("CreateKey", keys.CreateKeyRequest(key_id="source")).ok
    envelope = crypto.EncryptResponse.FromString(clerk.call("Encrypt", encryption("source")).body).envelope
    assert officer.call("RotateKey", keys.RotateKeyRequest(key="source")).ok
    request = crypto.RewrapRequest(envelope=envelope, encryption_context=CONTEXT)
    assert eventually(
        lambda: crypto.RewrapResponse.FromString(clerk.call("Rewrap", request).body).key_version == 2, 1.0
    )
    moved = crypto.ReEncryptRequest(
        envelope=envelope, source_encryption_context=CONTEXT, destination_key="alias/records", declaration=CARE
    )
    (rewrapped,), (moved_entry,) = office.of(clerk.call("Rewrap", request), clerk.call("ReEncrypt", moved))
    sides = ("source_key_id", "source_key_version", "key_id", "key_version")
    assert tuple(rewrapped[name] for name in sides) == ("source", 1, "source", 2)
    assert tuple(moved_entry[name] for name in sides) == ("source", 1, "ehr", 1)
    assert moved_entry["alias"] == "alias/records"
    assert moved_entry["policies"] == ["data-key-user-uses-data-keys", "reader-decrypts", "writer-encrypts"]


def test_every_call_of_a_burst_is_recorded_once_and_nothing_else_is(office: Office) -> None:
    began = datetime.now(UTC)
    answers: list[Answer] = []
    for principal in (CLERK, "ehr-reader", "stranger") * 2:
        with Caller(office.gateway, principal) as caller:
            answers += caller.calls("Encrypt", [encryption(plaintext=bytes(size)) for size in range(40)])
            answers += caller.calls("Decrypt", [b"\xff"] * 10)
            assert caller.call("/grpc.health.v1.Health/Check", b"").ok == (principal != "stranger")
    ids = [answer.request_id for answer in answers]
    assert len(set(ids)) == len(ids) == 300
    assert all(len(entries) == 1 for entries in office.of(*answers))
    new = [entry for entry in office.entries() if datetime.fromisoformat(str(entry["time"])) >= began]
    refused_probes = [entry for entry in new if entry["method"] == "/grpc.health.v1.Health/Check"]
    assert len(refused_probes) == 2, "a probe that is let in touches no key and is not recorded"
    assert len(new) == 302


def test_an_answered_call_is_behind_a_checkpoint_within_two_seconds(office: Office, clerk: Caller) -> None:
    answer = clerk.call("Encrypt", encryption())
    answered = time.monotonic()
    office.only(answer)
    assert time.monotonic() - answered < patient(2.0)


def test_the_folder_verifies_while_the_gateway_runs_and_a_changed_copy_does_not(
    office: Office, clerk: Caller, tmp_path: Path
) -> None:
    office.only(clerk.call("Encrypt", encryption()))
    verified = office.gateway.run("audit", "verify", str(office.audit))
    assert verified.returncode == 0, verified.stderr.decode()
    assert b"worker-0" in verified.stdout
    assert b"worker-1" in verified.stdout

    copy = tmp_path / "audit"
    copy_while_written(office.audit, copy)
    assert office.gateway.run("audit", "verify", str(copy)).returncode == 0
    bundle = max(
        (copy / "worker-0" / "tile" / "entries").rglob("*"), key=lambda path: path.is_file() and path.stat().st_mtime
    )
    raw = bytearray(bundle.read_bytes())
    at = raw.index(b'"outcome":"') + len(b'"outcome":"')
    raw[at] ^= 1
    bundle.chmod(0o644)
    bundle.write_bytes(raw)
    refused = office.gateway.run("audit", "verify", str(copy))
    assert refused.returncode == 5
    assert b"worker-0" in refused.stderr
