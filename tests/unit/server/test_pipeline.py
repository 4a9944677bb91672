"""The way of a call: what is recorded, in which order, and what leaves when the record can't be made."""

import json
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from kmsgw.audit.record import ContextDigest
from kmsgw.authn.authenticator import Authenticator
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import AuditUnavailable, InternalError, KmsgwError, Reason, Unauthenticated
from kmsgw.model.access import AccessRequest, Action, DecidingPolicy, Decision, PolicyText, Principal, PrincipalKind
from kmsgw.model.key import Key, KeyVersion
from kmsgw.operations.control.rotate_key import RotateKeyCommand
from kmsgw.operations.data.generate_random_bytes import GenerateRandomBytes
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import NO_SUCH_KEY, Access, Grant, change_of
from kmsgw.server import wire_crypto
from kmsgw.server.passage import Call
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.quota import Ceiling, Quotas
from kmsgw.server.rpcs import Plane, Rpc
from kmsgw.v1 import crypto_service_pb2, key_service_pb2
from tests.fakes.clock import SetClock

RANDOM = "/kmsgw.v1.CryptoService/GenerateRandomBytes"
ROTATE = "/kmsgw.v1.KeyService/RotateKey"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
OFFICER = Principal("amira", PrincipalKind.OFFICER, "hospital", frozenset({"key-officer"}), "fingerprint")


@dataclass
class Journal:
    """An audit log that remembers in which order things happened, and can refuse."""

    events: list[str] = field(default_factory=list)
    entries: list[dict[str, object]] = field(default_factory=list)
    refuses_to_append: bool = False
    refuses_to_flush: bool = False
    origin: str = "log"
    size: int = 0

    def append(self, entry: bytes, use: object | None = None) -> int:
        if self.refuses_to_append:
            raise AuditUnavailable("The audit log is full.")
        self.entries.append(json.loads(entry))
        self.events.append(f"append {self.entries[-1].get('phase', 'whole')}")
        return len(self.entries) - 1

    def wait(self, index: int) -> None:
        if self.refuses_to_flush:
            raise AuditUnavailable("The disk is full.")
        self.events.append(f"durable {self.entries[index].get('phase', 'whole')}")

    def flush(self) -> None:
        """Do nothing: `wait` flushes."""

    def probe(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Rotation:
    """A verb that changes state, says when it ran, and can fail in a way that nobody foresaw."""

    changes_state: ClassVar[bool] = True

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.error: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def accesses(self, command: RotateKeyCommand) -> list[Access]:
        return [Access(Action.ROTATE_KEY, command.key, change=change_of(command.reason, dry_run=command.dry_run))]

    def run(self, command: RotateKeyCommand, grant: Grant) -> Key:
        self.events.append("run")
        self.meanwhile()
        if self.error is not None:
            raise self.error
        grant.trail.key_version = 2
        return grant.key()


class Policies:
    """Policies that say what they are told to say."""

    digest = ""
    allowed = True

    def decide(self, request: AccessRequest) -> Decision:
        return Decision(self.allowed, (DecidingPolicy("rule", self.allowed),))

    def policies(self) -> list[PolicyText]:
        return []

    def kind_of(self, roles: Collection[str]) -> PrincipalKind:
        return PrincipalKind.OFFICER

    def explain(self, request: AccessRequest, decision: Decision) -> str:
        return ""


class KnownCallers(Authenticator):
    """Knows one certificate."""

    def __init__(self) -> None:
        """Take no rules."""

    def authenticate(self, pem: bytes | None) -> Principal:
        if pem != b"officer":
            raise Unauthenticated("Who is this?")
        return OFFICER


class OneKey(Keyring):
    """Has one key, with an alias."""

    def __init__(self) -> None:
        """Take no store."""

    def resolve(self, name: str) -> Key | None:
        if name not in {"ehr", "alias/records"}:
            return None
        return Key("ehr", "hospital", "software", (KeyVersion(1, b"", NOW),), NOW, NOW)

    def refresh(self, unless_since: float | None = None) -> None:
        """Do nothing: nothing changes."""


class Bench:
    def __init__(self, quotas: Quotas | None = None, queue: Ceiling | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self.journal, self.policies = Journal(), Policies()
        self.rotation = Rotation(self.journal.events)
        table = {
            RANDOM: Rpc(
                RANDOM,
                Plane.DATA,
                crypto_service_pb2.GenerateRandomBytesRequest,
                wire_crypto.generate_random_bytes_command,
                GenerateRandomBytes(),
                wire_crypto.generate_random_bytes_response,
            ),
            ROTATE: Rpc(
                ROTATE,
                Plane.CONTROL,
                key_service_pb2.RotateKeyRequest,
                lambda request: RotateKeyCommand(request.key, request.reason, request.dry_run),
                self.rotation,
                lambda key: key_service_pb2.RotateKeyResponse(key=key_service_pb2.Key(key_id=key.key_id)),
            ),
        }
        self.pipeline = Pipeline(
            table,
            KnownCallers(),
            OneKey(),
            self.policies,
            self.journal,
            ContextDigest(bytes(range(32))),
            quotas=quotas,
            queue=queue,
            clock=clock,
        )

    def rotate(self, key: str = "ehr", certificate: bytes | None = b"officer") -> KmsgwError | None:
        request = key_service_pb2.RotateKeyRequest(key=key, reason="yearly").SerializeToString()
        return self.pipeline.handle(Call(ROTATE, request, certificate, "peer")).error

    def random(self, length: int = 8) -> bytes:
        request = crypto_service_pb2.GenerateRandomBytesRequest(length=length).SerializeToString()
        return self.pipeline.handle(Call(RANDOM, request, b"officer", "peer")).message


def test_a_change_of_state_runs_after_its_intent_is_durable_and_answers_after_its_outcome_is() -> None:
    bench = Bench()
    assert bench.rotate("alias/records") is None
    assert bench.journal.events == ["append intent", "durable intent", "run", "append outcome", "durable outcome"]
    intent, outcome = bench.journal.entries
    assert intent["request_id"] == outcome["request_id"]
    assert (outcome["key_id"], outcome["key_version"], outcome["alias"]) == ("ehr", 2, "alias/records")
    assert (outcome["outcome"], outcome["policies"]) == ("ok", ["rule"])
    assert intent["change"] == outcome["change"] == {"reason": "yearly"}


@pytest.mark.parametrize(("took", "later"), [(0.5, 0.0), (1.0, 1.0), (150.0, 150.0)])
def test_the_record_of_a_long_call_has_the_time_at_which_it_ended(took: float, later: float) -> None:
    clock = SetClock()
    came = clock.now()
    bench = Bench(clock=clock)
    bench.rotation.meanwhile = lambda: clock.move(timedelta(seconds=took))

    assert bench.rotate() is None

    intent, outcome = bench.journal.entries
    assert datetime.fromisoformat(str(intent["time"])) == came
    assert datetime.fromisoformat(str(outcome["time"])) == came + timedelta(seconds=later)
    assert outcome["duration_us"] == took * 1e6


def test_a_change_of_state_does_not_run_where_its_intent_can_not_be_recorded() -> None:
    bench = Bench()
    bench.journal.refuses_to_flush = True
    error = bench.rotate()
    assert error is not None
    assert error.reason is Reason.AUDIT_UNAVAILABLE
    assert "run" not in bench.journal.events


@pytest.mark.parametrize("how", ["refuses_to_append", "refuses_to_flush"])
def test_no_result_leaves_without_its_record(how: str) -> None:
    bench = Bench()
    assert bench.random() != b""
    setattr(bench.journal, how, True)
    assert bench.random() == b""


@pytest.mark.parametrize("how", ["refuses_to_append", "refuses_to_flush"])
def test_not_even_a_refusal_leaves_without_its_record(how: str) -> None:
    bench = Bench()
    setattr(bench.journal, how, True)
    error = bench.rotate(certificate=None)
    assert error is not None
    assert error.reason is Reason.AUDIT_UNAVAILABLE


def test_the_unauthenticated_are_recorded_without_a_principal() -> None:
    bench = Bench()
    error = bench.rotate(certificate=b"stranger")
    assert isinstance(error, Unauthenticated)
    (entry,) = bench.journal.entries
    assert (entry["principal"], entry["outcome"], entry["method"]) == (None, "refused", ROTATE)


def test_the_forbidden_and_the_unknown_are_recorded_apart_and_answered_alike() -> None:
    bench = Bench()
    unknown = bench.rotate("no-such-key")
    bench.policies.allowed = False
    forbidden = bench.rotate("ehr")
    assert unknown is not None
    assert forbidden is not None
    assert (unknown.reason, unknown.message, unknown.advice) == (
        forbidden.reason,
        forbidden.message,
        forbidden.advice,
    )
    assert bench.journal.entries[0]["note"] == NO_SUCH_KEY
    assert bench.journal.entries[1]["policies"] == ["rule"]
    assert "run" not in bench.journal.events


def test_a_method_that_the_table_does_not_list_is_refused_and_recorded() -> None:
    bench = Bench()
    error = bench.pipeline.handle(Call("/kmsgw.v1.KeyService/ExportKey", b"", b"officer", "peer")).error
    assert error is not None
    assert error.reason is Reason.METHOD_UNKNOWN
    assert bench.journal.entries[0]["method"] == "/kmsgw.v1.KeyService/ExportKey"


@pytest.mark.parametrize(
    ("request_bytes", "reason"), [(b"\xff\xff", Reason.REQUEST_MALFORMED), (bytes(300_000), Reason.PLAINTEXT_TOO_LARGE)]
)
def test_what_is_no_request_is_refused_and_recorded(request_bytes: bytes, reason: Reason) -> None:
    bench = Bench()
    error = bench.pipeline.handle(Call(RANDOM, request_bytes, b"officer", "peer")).error
    assert error is not None
    assert error.reason is reason
    assert bench.journal.entries[0]["reason"] == reason


def test_an_unforeseen_fault_is_recorded_and_its_text_goes_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.rotation.error = RuntimeError("the PIN is 1234")
    with caplog.at_level(logging.ERROR):
        error = bench.rotate()
    assert isinstance(error, InternalError)
    assert bench.journal.entries[-1]["outcome"] == "failed"
    assert "1234" not in f"{error} {bench.journal.entries}"
    assert caplog.records
