"""Calls like an earlier one: answered and recorded like it, while nothing of what let it through changes."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kmsgw.audit.record import ContextDigest
from kmsgw.authn.authenticator import Authenticator
from kmsgw.errors import AuditUnavailable, KmsgwError, Reason, StateUnavailable, Unauthenticated
from kmsgw.model.access import AccessRequest, DecidingPolicy, Decision, PolicyText, Principal, PrincipalKind
from kmsgw.model.key import Key, KeyState, KeyVersion
from kmsgw.operations.data.decrypt import Decrypt, EnvelopeOpener
from kmsgw.operations.data.encrypt import Encrypt
from kmsgw.operations.data_keys import CacheLimits, DataKeys
from kmsgw.operations.keyring import Keyring
from kmsgw.providers.software import SoftwareProvider
from kmsgw.server import wire_crypto
from kmsgw.server.passage import Call, Reply
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.quota import Limits, Quotas, Rate
from kmsgw.server.rpcs import Plane, Rpc
from kmsgw.server.skim import VIEWED
from kmsgw.telemetry.meters import Lookups
from kmsgw.v1 import common_pb2, crypto_service_pb2
from tests.fakes.clock import SetClock

ENCRYPT, DECRYPT = "/kmsgw.v1.CryptoService/Encrypt", "/kmsgw.v1.CryptoService/Decrypt"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
_OWN = {"request_id", "time", "duration_us", "wraps"}


class Journal:
    """A log in memory that can refuse."""

    origin, size = "log", 0

    def __init__(self) -> None:
        self.entries: list[dict[str, object]] = []
        self.full = False

    def append(self, entry: bytes, use: object | None = None) -> int:
        if self.full:
            raise AuditUnavailable("full")
        self.entries.append(json.loads(entry))
        return len(self.entries) - 1

    def wait(self, index: int) -> None:
        """Do nothing: memory is durable here."""

    flush = probe = close = lambda _self: None


class Authorizing:
    """Policies that say what they are told to say, and count how often they are asked."""

    digest = ""

    def __init__(self) -> None:
        self.lookups = Lookups()
        self.authorizer: object = object()
        self.allowed = True
        self.asked = 0

    def replace(self, *, allowed: bool) -> None:
        self.allowed, self.authorizer = allowed, object()

    def decide(self, request: AccessRequest) -> Decision:
        self.asked += 1
        return Decision(self.allowed, (DecidingPolicy("rule", self.allowed),))

    def policies(self) -> list[PolicyText]:
        return []

    def kind_of(self, roles: Collection[str]) -> PrincipalKind:
        return PrincipalKind.SERVICE

    def explain(self, request: AccessRequest, decision: Decision) -> str:
        return ""


class Callers(Authenticator):
    """Knows callers by their names."""

    def __init__(self) -> None:
        """Take no rules."""
        self.known = {
            name.encode(): Principal(name, kind, "hospital", frozenset({"writer"}), "fingerprint")
            for name, kind in (("ehr", PrincipalKind.SERVICE), ("amira", PrincipalKind.OFFICER))
        }

    def authenticate(self, pem: bytes | None) -> Principal:
        found = self.known.get(pem or b"")
        if found is None:
            raise Unauthenticated("Who is this?")
        return found


class Keys(Keyring):
    """Has what it is told to have, unless it is stale."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        """Take no store."""
        self.keys = dict(keys)
        self.stale = False

    def resolve(self, name: str) -> Key | None:
        self.require_fresh()
        return self.keys.get(name)

    known = resolve

    def is_named(self, key: Key, name: str) -> bool:
        found = self.resolve(name)
        return found is not None and found.key_id == key.key_id

    def require_fresh(self) -> None:
        if self.stale:
            raise StateUnavailable("The database does not answer.")

    def refresh(self, unless_since: float | None = None) -> None:
        """Do nothing: nothing changes."""


class Bench:
    """A pipeline with one key, whose calls are repeated."""

    def __init__(self, calls_per_second: float = 1e9, max_messages: int = 1000) -> None:
        provider = SoftwareProvider("software", bytes(32))
        self.clock = SetClock()
        data_keys = DataKeys({"software": provider}, CacheLimits(max_messages, 1 << 30, 3600.0, 100), clock=self.clock)
        material = provider.create("records", 1)
        self.key = Key("records", "hospital", "software", (KeyVersion(1, material, NOW),), NOW, NOW, revision=1)
        self.keys = Keys({"records": self.key, "alias/now": self.key})
        self.journal, self.policies, self.callers = Journal(), Authorizing(), Callers()
        encrypt = Encrypt(data_keys, self.keys)
        decrypt = Decrypt(EnvelopeOpener(self.keys, data_keys), self.keys)
        messages, wire = crypto_service_pb2, wire_crypto
        seal = Rpc(ENCRYPT, Plane.DATA, messages.EncryptRequest, wire.encrypt_command, encrypt, wire.encrypt_response)
        opens = Rpc(DECRYPT, Plane.DATA, messages.DecryptRequest, wire.decrypt_command, decrypt, wire.decrypt_response)
        self.pipeline = Pipeline(
            {ENCRYPT: replace(seal, skim=wire.SKIM_ENCRYPT), DECRYPT: replace(opens, skim=wire.SKIM_DECRYPT)},
            self.callers,
            self.keys,
            self.policies,
            self.journal,
            ContextDigest(bytes(range(32))),
            quotas=Quotas(Limits(Rate(calls_per_second, 1e12, 1.0)), self.clock),
            clock=self.clock,
            standing=self.policies,
        )

    def change_key(self, **changes: object) -> None:
        changed = replace(self.key, revision=self.key.revision + 1, **changes)  # type: ignore[arg-type]
        self.keys.keys = dict.fromkeys(self.keys.keys, changed)

    def encrypt(self, plaintext: bytes = b"result", *, key: str = "records", caller: bytes = b"ehr") -> Reply:
        request = crypto_service_pb2.EncryptRequest(key=key, plaintext=plaintext, encryption_context=_context())
        return self.pipeline.handle(Call(ENCRYPT, request.SerializeToString(), caller, "peer"))

    def decrypt(self, envelope: bytes, expected_key: str = "", patient: str = "P-1") -> Reply:
        request = crypto_service_pb2.DecryptRequest(
            envelope=envelope, encryption_context=_context(patient), expected_key=expected_key
        )
        return self.pipeline.handle(Call(DECRYPT, request.SerializeToString(), b"ehr", "peer"))

    def envelope(self, plaintext: bytes = b"result") -> bytes:
        return crypto_service_pb2.EncryptResponse.FromString(self.encrypt(plaintext).message).envelope


def _context(patient: str = "P-1") -> list[common_pb2.ContextPair]:
    return [common_pb2.ContextPair(key="patient", value=patient)]


def _reason(reply: Reply) -> Reason | None:
    return None if reply.error is None else reply.error.reason


def _opened(reply: Reply) -> bytes:
    assert reply.error is None
    return crypto_service_pb2.DecryptResponse.FromString(reply.message).plaintext


def _asked_again(bench: Bench) -> int:
    """Return how often the policies are asked about three more calls."""
    before = bench.policies.asked
    for _ in range(3):
        bench.encrypt()
    return bench.policies.asked - before


def test_a_repeated_call_is_recorded_like_the_first_and_asks_no_policy() -> None:
    bench = Bench()
    replies = [bench.encrypt(b"result %d" % number) for number in range(5)]
    assert bench.policies.asked == 2
    assert bench.policies.lookups.hits == 3
    first, *others = [{name: entry[name] for name in entry.keys() - _OWN} for entry in bench.journal.entries]
    assert all(entry == first for entry in others)
    assert len({reply.request_id for reply in replies}) == 5
    assert len({entry["request_id"] for entry in bench.journal.entries}) == 5
    # Only the first wrapped a data key.
    assert [entry.get("wraps", 0) for entry in bench.journal.entries] == [1, 0, 0, 0, 0]


def test_what_repeated_calls_seal_they_open_whatever_its_length() -> None:
    bench = Bench()
    values = [b"x" * length for length in (1, 0, 100, 127, 128, 1024, 0, VIEWED - 1, VIEWED, 16_383, 16_384, 65_536)]
    for value in values:
        assert _opened(bench.decrypt(bench.envelope(value))) == value
    # The first two of each kind, and the empty values, which protobuf leaves out: those requests are parsed.
    assert bench.policies.asked == 6
    last = bench.journal.entries[-1]
    assert (last["key_id"], last["key_version"], last["policies"]) == ("records", 1, ["rule"])
    assert "sealed_bytes" not in last
    assert bench.journal.entries[-2]["sealed_bytes"] == 65_536


def test_a_value_that_is_too_long_is_refused_in_a_repeated_call_as_well() -> None:
    bench = Bench()
    _asked_again(bench)
    assert _reason(bench.encrypt(bytes(65_537))) is Reason.PLAINTEXT_TOO_LARGE
    assert bench.journal.entries[-1]["reason"] == Reason.PLAINTEXT_TOO_LARGE


def test_other_policies_are_asked() -> None:
    bench = Bench()
    assert _asked_again(bench) == 2
    bench.policies.replace(allowed=False)
    assert _reason(bench.encrypt()) is Reason.ACCESS_DENIED
    assert bench.journal.entries[-1]["outcome"] == "refused"


def test_what_was_decided_while_policies_were_replaced_is_not_remembered() -> None:
    bench = Bench()
    bench.encrypt()
    decide = bench.policies.decide

    def replaced_meanwhile(request: AccessRequest) -> Decision:
        decision = decide(request)
        bench.policies.replace(allowed=False)
        return decision

    bench.policies.decide = replaced_meanwhile  # type: ignore[method-assign]
    assert _reason(bench.encrypt()) is None
    assert _reason(bench.encrypt()) is Reason.ACCESS_DENIED


def test_a_key_that_was_disabled_seals_and_opens_no_more() -> None:
    bench = Bench()
    envelope = bench.envelope()
    for _ in range(3):
        bench.encrypt()
        bench.decrypt(envelope)
    bench.change_key(state=KeyState.DISABLED)
    assert _reason(bench.encrypt()) is Reason.KEY_DISABLED
    assert _reason(bench.decrypt(envelope)) is Reason.KEY_DISABLED


def test_an_alias_that_leads_elsewhere_is_followed() -> None:
    bench = Bench()
    for _ in range(3):
        bench.encrypt(key="alias/now")
    bench.keys.keys["alias/now"] = replace(bench.key, key_id="other")
    bench.encrypt(key="alias/now")
    assert [entry["key_id"] for entry in bench.journal.entries] == ["records"] * 3 + ["other"]
    assert {entry["alias"] for entry in bench.journal.entries} == {"alias/now"}


def test_a_certificate_that_is_accepted_no_more_is_refused() -> None:
    bench = Bench()
    _asked_again(bench)
    bench.callers.known.clear()
    assert isinstance(bench.encrypt().error, Unauthenticated)


def test_a_principal_of_other_rules_is_judged_anew() -> None:
    bench = Bench()
    _asked_again(bench)
    bench.callers.known = {name: replace(each) for name, each in bench.callers.known.items()}
    assert _asked_again(bench) == 2


def test_a_state_that_is_too_old_is_not_answered_from() -> None:
    bench = Bench()
    _asked_again(bench)
    bench.keys.stale = True
    assert _reason(bench.encrypt()) is Reason.STATE_UNAVAILABLE


def test_repeated_calls_pay_their_quota_once_and_are_refused_beyond_it() -> None:
    bench = Bench(calls_per_second=10.0)
    reasons = [_reason(bench.encrypt()) for _ in range(20)]
    assert reasons[:10] == [None] * 10
    assert set(reasons[12:]) == {Reason.QUOTA_EXCEEDED}


def test_a_data_key_that_is_used_up_is_replaced() -> None:
    bench = Bench(max_messages=4)
    for _ in range(12):
        assert bench.encrypt().error is None
    assert sum(int(str(entry.get("wraps", 0))) for entry in bench.journal.entries) == 3
    assert len(bench.journal.entries) == 12


def test_officers_are_always_looked_at_anew() -> None:
    bench = Bench()
    for _ in range(4):
        bench.encrypt(caller=b"amira")
    assert bench.policies.asked == 4


@pytest.mark.parametrize("value", [b"result", bytes(VIEWED)])
@pytest.mark.parametrize("place", [0, 6, 10, 20, 60, 90, 95, -1])
def test_a_changed_envelope_is_refused_and_recorded(place: int, value: bytes) -> None:
    bench = Bench()
    envelope = bench.envelope(value)
    for _ in range(3):
        assert _opened(bench.decrypt(envelope)) == value
    changed = bytearray(envelope)
    changed[place] ^= 1
    reply = bench.decrypt(bytes(changed))
    assert isinstance(reply.error, KmsgwError)
    assert bench.journal.entries[-1]["outcome"] == "refused"
    assert bench.journal.entries[-1]["reason"] == reply.error.reason


def test_an_envelope_that_is_cut_short_is_refused_at_every_length() -> None:
    bench = Bench()
    envelope = bench.envelope()
    for _ in range(3):
        bench.decrypt(envelope)
    for length in range(len(envelope)):
        assert bench.decrypt(envelope[:length]).error is not None


def test_an_envelope_does_not_open_in_another_context() -> None:
    bench = Bench()
    envelope = bench.envelope()
    for patient in ("P-1", "P-2"):
        replies = [bench.decrypt(envelope, patient=patient) for _ in range(4)]
        assert {reply.error is None for reply in replies} == {patient == "P-1"}


def test_the_expected_key_is_looked_up_each_time() -> None:
    bench = Bench()
    envelope = bench.envelope()
    for _ in range(4):
        assert _opened(bench.decrypt(envelope, "alias/now")) == b"result"
    bench.keys.keys["alias/now"] = replace(bench.key, key_id="other")
    assert _reason(bench.decrypt(envelope, "alias/now")) is Reason.DECRYPTION_FAILED


def test_a_repeated_call_has_no_answer_where_its_record_is_refused() -> None:
    bench = Bench()
    _asked_again(bench)
    bench.journal.full = True
    reply = bench.encrypt()
    assert (reply.message, _reason(reply)) == (b"", Reason.AUDIT_UNAVAILABLE)
