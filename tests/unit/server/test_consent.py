"""Approvals on the way of a call: who is refused, why, and what the audit log says of it."""

import json
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from kmsgw.audit.record import AuditRecord, ContextDigest
from kmsgw.authn.authenticator import Authenticator
from kmsgw.errors import AccessDenied, InvalidRequest, KmsgwError, Reason, Unauthenticated
from kmsgw.model.access import AccessRequest, Action, DecidingPolicy, Decision, PolicyText, Principal, PrincipalKind
from kmsgw.model.approval import ApprovalState
from kmsgw.model.key import Key, KeyVersion
from kmsgw.model.proof import Proof
from kmsgw.operations.approval_ports import ApprovalStore
from kmsgw.operations.approval_rules import RULES, ApprovalRule
from kmsgw.operations.catalogue import Operations, World
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Access, Grant, Operation
from kmsgw.server.consent import ConsentGate
from kmsgw.server.passage import Call, Reply
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.rpcs import Rpc, rpc_table
from kmsgw.server.status import success_metadata
from kmsgw.storage import Database, migrate, open_approvals
from kmsgw.v1 import approval_service_pb2 as approvals_pb
from kmsgw.v1 import key_service_pb2 as keys_pb
from kmsgw.v1 import officer_service_pb2 as officers_pb
from tests.fakes.clock import SetClock

VALID = timedelta(hours=1)
OFFICERS = {
    name: Principal(
        name,
        PrincipalKind.SERVICE if name == "robot" else PrincipalKind.OFFICER,
        tenant,
        frozenset(roles),
        f"fingerprint of {name}",
    )
    for name, tenant, *roles in (
        ("robot", "hospital", "key-officer", "approver"),
        ("amira", "hospital", "key-officer"),
        ("bruno", "hospital", "key-officer"),
        ("emeka", "hospital", "approver"),
        ("farid", "hospital", "approver"),
        ("carla", "clinic", "approver", "key-officer"),
    )
}
UNKNOWN_ID = "01980000-0000-7000-8000-000000000001"


@dataclass
class Journal:
    """An audit log in memory."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    origin: str = "log"
    size: int = 0

    def append(self, entry: bytes, record: AuditRecord | None = None) -> int:
        self.entries.append(json.loads(entry))
        return len(self.entries) - 1

    def wait(self, index: int) -> None:
        """Do nothing: memory is durable enough here."""

    flush = probe = close = lambda self: None

    @property
    def last(self) -> dict[str, Any]:
        return self.entries[-1]


class Policies:
    """Let approvers decide, and officers do all else: what is refused here is not refused by policy."""

    digest = ""

    def decide(self, request: AccessRequest) -> Decision:
        allowed = request.action is not Action.DECIDE_APPROVAL or "approver" in request.principal.roles
        return Decision(allowed, (DecidingPolicy("rule", allowed),))

    def policies(self) -> list[PolicyText]:
        return []

    def kind_of(self, roles: Collection[str]) -> PrincipalKind:
        return PrincipalKind.OFFICER

    def explain(self, request: AccessRequest, decision: Decision) -> str:
        return ""


class Officers(Authenticator):
    """Takes a name for a certificate."""

    def __init__(self) -> None:
        """Take no rules."""

    def authenticate(self, pem: bytes | None) -> Principal:
        found = OFFICERS.get((pem or b"").decode())
        if found is None:
            raise Unauthenticated("Who is this?")
        return found


class Directory:
    """Knows the officers by id."""

    def find(self, principal_id: str) -> Principal | None:
        return OFFICERS.get(principal_id)


class Keys(Keyring):
    """Knows keys by id, and one alias that a test can move."""

    def __init__(self, clock: SetClock) -> None:
        """Take no store."""
        now = clock.now()
        self.keys = {
            name: Key(name, "hospital", "software", (KeyVersion(1, b"", now), KeyVersion(2, b"", now)), now, now)
            for name in ("ehr", "other")
        }
        self.alias_leads_to = "ehr"

    def resolve(self, name: str) -> Key | None:
        return self.keys.get(self.alias_leads_to if name.startswith("alias/") else name)

    def refresh(self, unless_since: float | None = None) -> None:
        """Do nothing: nothing changes."""


class Counted:
    """A verb that only counts how often it ran; what it wants to do is what the real one wants."""

    changes_state: ClassVar[bool] = True

    def __init__(self, real: Operation[Any, Any]) -> None:
        self.real = real
        self.runs = 0
        self.error: KmsgwError | None = None

    def accesses(self, command: Any) -> list[Access]:
        return list(self.real.accesses(command))

    def run(self, command: Any, grant: Grant) -> None:
        self.runs += 1
        if self.error is not None:
            raise self.error


class Bench:
    def __init__(self, store: ApprovalStore, needed: int = 1) -> None:
        self.clock, self.journal, self.store = SetClock(), Journal(), store
        self.keys = Keys(self.clock)
        nothing: Any = None
        world = dict.fromkeys((each.name for each in fields(World)), nothing)
        real = rpc_table(
            Operations(
                World(
                    **{
                        **world,
                        "approvals": store,
                        "authorizer": Policies(),
                        "principals": Directory(),
                        "officers": Directory(),
                        "keyring": self.keys,
                    }
                )
            )
        )
        self.counted: dict[str, Counted] = {}
        table = {method: self._counting(rpc) for method, rpc in real.items()}
        self.numbers: dict[ApprovalRule, int] = dict.fromkeys(ApprovalRule, needed)
        self.pipeline = Pipeline(
            table,
            Officers(),
            self.keys,
            Policies(),
            cast("Any", self.journal),
            ContextDigest(bytes(range(32))),
            after_policy=[ConsentGate(store, self.numbers, VALID)],
            clock=self.clock,
        )

    def _counting(self, rpc: Rpc) -> Rpc:
        if "ApprovalService" in rpc.method or not rpc.operation.changes_state:
            return rpc
        self.counted[rpc.method] = Counted(rpc.operation)
        return replace(rpc, operation=self.counted[rpc.method], write=lambda _: keys_pb.RotateKeyResponse())

    def send(self, who: str, method: str, request: Message | bytes, approval: str = "") -> Reply:
        body = request if isinstance(request, bytes) else request.SerializeToString()
        return self.pipeline.handle(Call(method, body, who.encode(), "peer", lambda: Proof(approval=approval)))

    def refused(self, who: str, method: str, request: Message | bytes, approval: str = "") -> KmsgwError:
        error = self.send(who, method, request, approval).error
        assert error is not None
        return error

    def opened(self, who: str, method: str, request: Message | bytes) -> str:
        error = self.refused(who, method, request)
        assert error.reason is Reason.APPROVAL_REQUIRED
        return error.approval_id

    def hash_of(self, approval_id: str) -> str:
        found = self.store.find(approval_id)
        assert found is not None
        return found.request_hash.hex()

    def approve(self, who: str, approval_id: str) -> Reply:
        request = approvals_pb.ApproveRequest(
            approval_id=approval_id, request_hash=self.hash_of(approval_id), reason="I looked"
        )
        return self.send(who, APPROVE, request)

    def reject(self, who: str, approval_id: str) -> Reply:
        return self.send(who, REJECT, approvals_pb.RejectRequest(approval_id=approval_id, reason="No"))

    def state(self, approval_id: str) -> ApprovalState:
        found = self.store.find(approval_id)
        assert found is not None
        return found.state_at(self.clock.now())

    def approved(self, who: str = "amira", method: str = "", request: Message | None = None) -> str:
        approval_id = self.opened(who, method or ROTATE, request or A_ROTATION)
        assert self.approve("emeka", approval_id).error is None
        return approval_id

    def require_refusal(self, error: KmsgwError, reason: Reason, approval_id: str, who: str = "amira") -> None:
        """Check that a refusal is the expected one, that nothing ran, and that the audit log has it."""
        assert error.reason is reason
        assert not any(each.runs for each in self.counted.values())
        self.require_record(reason, approval_id, who)

    def require_record(self, reason: Reason, approval_id: str, who: str) -> None:
        record = self.journal.last
        assert (record["reason"], record["outcome"]) == (reason, "refused")
        assert record["principal"]["id"] == who
        assert record["change"]["approval"] == approval_id


APPROVE = "/kmsgw.v1.ApprovalService/Approve"
REJECT = "/kmsgw.v1.ApprovalService/Reject"
ROTATE = "/kmsgw.v1.KeyService/RotateKey"
A_ROTATION = keys_pb.RotateKeyRequest(key="ehr", reason="yearly")

REQUESTS: dict[str, Message] = {
    "KeyService/CreateKey": keys_pb.CreateKeyRequest(key_id="ehr", tenant="hospital", reason="new"),
    "KeyService/UpdateKey": keys_pb.UpdateKeyRequest(
        key="ehr",
        new_values=keys_pb.Key(
            description="records", state=keys_pb.KEY_STATE_DISABLED, rotation=keys_pb.RotationPolicy(max_wraps=9)
        ),
        update_mask=FieldMask(paths=["description", "state", "rotation"]),
        etag="1",
    ),
    "KeyService/RotateKey": A_ROTATION,
    "KeyService/EnableKeyVersion": keys_pb.EnableKeyVersionRequest(key="ehr", version=1),
    "KeyService/DisableKeyVersion": keys_pb.DisableKeyVersionRequest(key="ehr", version=1),
    "KeyService/ScheduleKeyDestruction": keys_pb.ScheduleKeyDestructionRequest(key="ehr", reason="closed"),
    "KeyService/CancelKeyDestruction": keys_pb.CancelKeyDestructionRequest(key="ehr", reason="open again"),
    "KeyService/SetMinimumDecryptVersion": keys_pb.SetMinimumDecryptVersionRequest(key="ehr", version=1, reason="old"),
    "KeyService/ImportKey": keys_pb.ImportKeyRequest(
        key="ehr", token=b"token", wrapped_material=b"wrapped", reason="brought"
    ),
    "KeyService/CreateAlias": keys_pb.CreateAliasRequest(alias="alias/records", key="ehr"),
    "KeyService/DeleteAlias": keys_pb.DeleteAliasRequest(alias="alias/records"),
    "OfficerService/ResetOfficer": officers_pb.ResetOfficerRequest(officer_id="bruno", reason="lost"),
}
"""A request of every RPC that can want approval."""


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty database, to be copied: making one takes far longer than any test here."""
    file = tmp_path_factory.mktemp("migrated") / "state.db"
    migrate(Database.of(f"sqlite:///{file}"))
    return file


@pytest.fixture
def store(migrated: Path, tmp_path: Path) -> Iterator[ApprovalStore]:
    file = tmp_path / "state.db"
    shutil.copy(migrated, file)
    opened = open_approvals(Database.of(f"sqlite:///{file}"))
    yield opened
    opened.close()


@pytest.fixture
def bench(store: ApprovalStore) -> Bench:
    return Bench(store)


def method_of(name: str) -> str:
    return f"/kmsgw.v1.{name}"


def served(bench: Bench) -> list[str]:
    return [name for name in REQUESTS if method_of(name) in bench.counted]


# What it takes


def test_a_service_that_policy_lets_change_keys_wants_the_same_consent_and_gives_none(bench: Bench) -> None:
    approval_id = bench.opened("robot", ROTATE, A_ROTATION)

    assert bench.refused("robot", ROTATE, A_ROTATION, approval_id).reason is Reason.APPROVAL_PENDING
    reply = bench.approve("robot", bench.opened("amira", ROTATE, A_ROTATION))
    assert isinstance(reply.error, AccessDenied)
    assert bench.counted[ROTATE].runs == 0


def test_every_rpc_that_can_want_approval_is_walked_here(bench: Bench) -> None:
    walked = {method_of(name) for name in REQUESTS}
    can_want = {
        method for method in bench.counted if RULES[method](_any_command(method), None) is not ApprovalRule.NONE
    }
    assert can_want
    assert can_want <= walked


def _any_command(method: str) -> Any:
    class Command:
        force = False

    return Command() if method.endswith("SetMinimumDecryptVersion") else None


def test_an_approved_request_is_done_once_and_its_record_says_who_approved_it(bench: Bench) -> None:
    approval_id = bench.opened("amira", ROTATE, A_ROTATION)
    bench.require_record(Reason.APPROVAL_REQUIRED, approval_id, "amira")
    assert bench.approve("emeka", approval_id).error is None

    assert bench.send("amira", ROTATE, A_ROTATION, approval_id).error is None

    assert bench.counted[ROTATE].runs == 1
    assert bench.state(approval_id) is ApprovalState.USED
    intent, outcome = bench.journal.entries[-2:]
    assert (intent["phase"], outcome["phase"]) == ("intent", "outcome")
    for record in (intent, outcome):
        assert record["change"] == {"reason": "yearly", "approval": approval_id, "approved_by": ["emeka"]}


def test_a_vote_s_record_says_what_was_decided_on(bench: Bench) -> None:
    approval_id = bench.approved()

    record = bench.journal.last

    assert (record["key_id"], record["action"], record["principal"]["id"]) == ("ehr", "decideApproval", "emeka")
    assert record["change"] == {
        "approval": approval_id,
        "request_hash": bench.hash_of(approval_id),
        "decision": "approve",
        "reason": "I looked",
        "requester": "amira",
        "method": ROTATE,
    }


def test_as_many_officers_must_consent_as_are_wanted(store: ApprovalStore) -> None:
    bench = Bench(store, needed=2)
    approval_id = bench.approved()

    bench.require_refusal(bench.refused("amira", ROTATE, A_ROTATION, approval_id), Reason.APPROVAL_PENDING, approval_id)
    assert bench.approve("farid", approval_id).error is None
    assert bench.send("amira", ROTATE, A_ROTATION, approval_id).error is None
    assert bench.journal.last["change"]["approved_by"] == ["emeka", "farid"]


def test_where_nobody_is_wanted_nothing_is_asked(store: ApprovalStore) -> None:
    bench = Bench(store, needed=0)
    assert bench.send("amira", ROTATE, A_ROTATION).error is None
    assert "change" in bench.journal.last
    assert "approval" not in bench.journal.last["change"]


@pytest.mark.parametrize("needed", [0, 1, 2])
def test_a_dry_run_is_told_how_many_officers_the_request_would_want(store: ApprovalStore, needed: int) -> None:
    bench = Bench(store, needed)
    dry = bench.send("amira", ROTATE, keys_pb.RotateKeyRequest(key="ehr", reason="yearly", dry_run=True))
    assert (dry.error, dry.officers_wanted) == (None, needed)
    assert success_metadata("r-1", dry.officers_wanted) == (
        ("kmsgw-request-id", "r-1"),
        *([("kmsgw-officers-wanted", str(needed))] if needed else []),
    )
    assert bench.send("amira", ROTATE, A_ROTATION).officers_wanted == 0, "it opens an approval instead"


def test_a_dry_run_opens_nothing_and_uses_nothing(bench: Bench) -> None:
    approval_id = bench.approved()
    dry = keys_pb.RotateKeyRequest(key="ehr", reason="yearly", dry_run=True)

    assert bench.send("amira", ROTATE, dry).error is None
    assert bench.send("amira", ROTATE, dry, approval_id).error is None
    assert bench.state(approval_id) is ApprovalState.APPROVED


def test_the_same_request_is_led_to_the_same_approval_until_that_is_used(bench: Bench) -> None:
    first = bench.opened("amira", ROTATE, A_ROTATION)
    assert bench.opened("amira", ROTATE, A_ROTATION) == first
    bench.approve("emeka", first)
    assert bench.opened("amira", ROTATE, A_ROTATION) == first
    bench.send("amira", ROTATE, A_ROTATION, first)
    assert bench.opened("amira", ROTATE, A_ROTATION) != first


def test_it_is_used_also_where_the_operation_fails(bench: Bench) -> None:
    approval_id = bench.approved()
    bench.counted[ROTATE].error = InvalidRequest("It does not go.")

    bench.refused("amira", ROTATE, A_ROTATION, approval_id)

    assert bench.state(approval_id) is ApprovalState.USED
    assert bench.refused("amira", ROTATE, A_ROTATION, approval_id).reason is Reason.APPROVAL_USED
    assert bench.counted[ROTATE].runs == 1


# What is refused


def test_an_approval_is_not_used_twice(bench: Bench) -> None:
    approval_id = bench.approved()
    assert bench.send("amira", ROTATE, A_ROTATION, approval_id).error is None

    error = bench.refused("amira", ROTATE, A_ROTATION, approval_id)

    assert error.reason is Reason.APPROVAL_USED
    assert bench.counted[ROTATE].runs == 1
    bench.require_record(Reason.APPROVAL_USED, approval_id, "amira")


def test_nobody_approves_a_request_of_their_own(bench: Bench) -> None:
    approval_id = bench.opened("carla", "/kmsgw.v1.KeyService/CreateKey", keys_pb.CreateKeyRequest(key_id="mine"))

    error = bench.approve("carla", approval_id).error

    assert error is not None
    bench.require_refusal(error, Reason.APPROVAL_OWN, approval_id, "carla")
    assert bench.state(approval_id) is ApprovalState.PENDING


def test_after_its_time_an_approval_is_neither_given_nor_used(bench: Bench) -> None:
    late, ready = bench.opened("bruno", ROTATE, A_ROTATION), bench.approved()
    bench.clock.move(VALID)

    error = bench.refused("amira", ROTATE, A_ROTATION, ready)
    bench.require_refusal(error, Reason.APPROVAL_EXPIRED, ready)
    vote = bench.approve("emeka", late).error
    assert vote is not None
    bench.require_refusal(vote, Reason.APPROVAL_EXPIRED, late, "emeka")


def test_up_to_the_end_of_its_time_an_approval_is_used(bench: Bench) -> None:
    ready = bench.approved()
    bench.clock.move(VALID - timedelta(microseconds=1))
    assert bench.send("amira", ROTATE, A_ROTATION, ready).error is None


@pytest.mark.parametrize("name", REQUESTS)
def test_for_a_request_that_differs_in_any_one_field_an_approval_is_not_used(bench: Bench, name: str) -> None:
    method = method_of(name)
    if method not in bench.counted:
        pytest.fail(f"{name} is not served")
    approval_id = bench.approved("amira", method, REQUESTS[name])

    walked = list(variants(REQUESTS[name]))
    assert {path.split(".")[0] for path, _ in walked} == {each.name for each in REQUESTS[name].DESCRIPTOR.fields}
    mismatched = set()
    for path, changed in walked:
        error = bench.send("amira", method, changed, approval_id).error
        if path == "dry_run":
            assert error is None
            assert bench.counted[method].runs == 1
            bench.counted[method].runs = 0
        elif error is not None and isinstance(error, InvalidRequest):
            # Some fields take few values: what is wrong in itself never comes as far as the gate.
            assert bench.journal.last["outcome"] == "refused"
        else:
            assert error is not None, path
            bench.require_refusal(error, Reason.APPROVAL_MISMATCHED, approval_id)
            mismatched.add(path)
    assert len(mismatched) >= len(walked) // 2
    assert bench.state(approval_id) is ApprovalState.APPROVED
    assert bench.send("amira", method, REQUESTS[name], approval_id).error is None


def variants(request: Message) -> Iterator[tuple[str, Message]]:
    """Yield copies of a request, each with another value in one field, nested ones among them."""
    for descriptor in request.DESCRIPTOR.fields:
        if descriptor.message_type is not None and not descriptor.is_repeated:
            inner = getattr(request, descriptor.name)
            for path, changed in variants(inner):
                made = type(request)()
                made.CopyFrom(request)
                getattr(made, descriptor.name).CopyFrom(changed)
                yield f"{descriptor.name}.{path}", made
            continue
        made = type(request)()
        made.CopyFrom(request)
        change(made, descriptor)
        assert made != request
        yield descriptor.name, made


def change(message: Message, descriptor: Any) -> None:
    value = getattr(message, descriptor.name)
    if descriptor.is_repeated:
        if hasattr(value, "keys"):
            value["added"] = "label"
        else:
            value.append("labels" if descriptor.name == "paths" else "alias/more")
    elif isinstance(value, bool):
        setattr(message, descriptor.name, not value)
    elif isinstance(value, int):
        setattr(message, descriptor.name, 7 if descriptor.name == "waiting_days" else value + 1 if value < 2 else 1)
    elif isinstance(value, bytes):
        setattr(message, descriptor.name, value + b"x")
    elif descriptor.name == "alias":
        setattr(message, descriptor.name, "alias/others")
    else:
        setattr(message, descriptor.name, "other" if value != "other" else "ehr")


def test_for_another_method_an_approval_is_not_used(bench: Bench) -> None:
    # Both messages are the same bytes.
    enable, disable = (f"/kmsgw.v1.KeyService/{each}KeyVersion" for each in ("Enable", "Disable"))
    request = keys_pb.EnableKeyVersionRequest(key="ehr", version=1)
    approval_id = bench.approved("amira", enable, request)

    error = bench.refused("amira", disable, request, approval_id)

    bench.require_refusal(error, Reason.APPROVAL_MISMATCHED, approval_id)


def test_for_an_alias_that_leads_elsewhere_by_now_an_approval_is_not_used(bench: Bench) -> None:
    by_alias = keys_pb.RotateKeyRequest(key="alias/records")
    approval_id = bench.approved("amira", ROTATE, by_alias)
    bench.keys.alias_leads_to = "other"

    error = bench.refused("amira", ROTATE, by_alias, approval_id)
    bench.require_refusal(error, Reason.APPROVAL_MISMATCHED, approval_id)

    bench.keys.alias_leads_to = "ehr"
    assert bench.send("amira", ROTATE, by_alias, approval_id).error is None


@pytest.mark.parametrize("who", ["bruno", "emeka", "carla"])
def test_another_officer_does_not_use_what_was_approved_for_one(bench: Bench, who: str) -> None:
    approval_id = bench.approved()

    error = bench.refused(who, ROTATE, A_ROTATION, approval_id)

    bench.require_refusal(error, Reason.APPROVAL_MISMATCHED, approval_id, who)
    assert bench.state(approval_id) is ApprovalState.APPROVED


def test_what_no_approval_has_is_refused_as_that_of_another(bench: Bench) -> None:
    other = bench.approved("bruno")
    unknown = bench.refused("amira", ROTATE, A_ROTATION, UNKNOWN_ID)
    foreign = bench.refused("amira", ROTATE, A_ROTATION, other)
    assert (unknown.reason, unknown.message, unknown.advice) == (foreign.reason, foreign.message, foreign.advice)
    assert bench.refused("amira", ROTATE, A_ROTATION, "not an id").reason is Reason.FIELD_INVALID


@pytest.mark.parametrize("decide", ["approve", "reject"])
def test_an_officer_of_another_tenant_decides_nothing(bench: Bench, decide: str) -> None:
    approval_id = bench.opened("amira", ROTATE, A_ROTATION)

    error = getattr(bench, decide)("carla", approval_id).error

    assert error is not None
    bench.require_refusal(error, Reason.REQUEST_UNKNOWN, approval_id, "carla")
    assert bench.state(approval_id) is ApprovalState.PENDING


@pytest.mark.parametrize("decide", ["approve", "reject"])
def test_who_may_not_decide_is_refused_and_recorded(bench: Bench, decide: str) -> None:
    approval_id = bench.opened("amira", ROTATE, A_ROTATION)

    error = getattr(bench, decide)("bruno", approval_id).error

    assert error is not None
    bench.require_refusal(error, Reason.ACCESS_DENIED, approval_id, "bruno")
    assert bench.state(approval_id) is ApprovalState.PENDING


def test_whoever_asked_takes_it_back_also_where_policy_lets_it_decide_nothing(bench: Bench) -> None:
    approval_id = bench.approved()

    assert bench.reject("amira", approval_id).error is None

    error = bench.refused("amira", ROTATE, A_ROTATION, approval_id)
    bench.require_refusal(error, Reason.APPROVAL_REFUSED, approval_id)


def test_a_refused_request_is_not_done(bench: Bench) -> None:
    approval_id = bench.opened("amira", ROTATE, A_ROTATION)
    assert bench.reject("emeka", approval_id).error is None
    assert bench.journal.last["change"]["decision"] == "reject"

    error = bench.refused("amira", ROTATE, A_ROTATION, approval_id)
    bench.require_refusal(error, Reason.APPROVAL_REFUSED, approval_id)


def test_consent_to_what_was_not_read_is_refused_and_recorded(bench: Bench) -> None:
    approval_id = bench.opened("amira", ROTATE, A_ROTATION)
    request = approvals_pb.ApproveRequest(approval_id=approval_id, request_hash="0" * 64)

    error = bench.refused("emeka", APPROVE, request)

    bench.require_refusal(error, Reason.APPROVAL_MISMATCHED, approval_id, "emeka")


def test_a_request_with_fields_that_nobody_can_read_opens_nothing(bench: Bench) -> None:
    unread = A_ROTATION.SerializeToString() + b"\xfa\x07\x03new"

    error = bench.refused("amira", ROTATE, unread)

    assert error.reason is Reason.REQUEST_MALFORMED
    assert not bench.store.page("hospital", None, None, 10, bench.clock.now())
    assert not error.approval_id
