"""The gates of officers: a session with every call, a code with every change, services pass without either."""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import ClassVar

import pytest

from kmsgw.audit.record import ContextDigest
from kmsgw.authn import refusals
from kmsgw.authn.authenticator import Authenticator
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import KmsgwError, Reason, Unauthenticated
from kmsgw.model.access import Action, Principal, PrincipalKind
from kmsgw.model.key import Key, KeyVersion
from kmsgw.model.names import RESERVED_TENANT
from kmsgw.operations.verb import NO_SUCH_KEY, Access, Grant, Trail
from kmsgw.server.attendance import CodeGate, SessionGate
from kmsgw.server.gates import Proof
from kmsgw.server.open_stream import OpenFeed
from kmsgw.server.passage import Call, Reply
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.rpcs import SERVICES, Plane, Rpc
from kmsgw.v1 import key_service_pb2
from tests.fakes.clock import SetClock
from tests.unit.server.test_pipeline import NOW, Journal, OneKey, Policies

OFFICER = Principal("amira", PrincipalKind.OFFICER, "hospital", frozenset({"key-officer"}), "fingerprint")
SERVICE = Principal("ehr", PrincipalKind.SERVICE, "hospital", frozenset({"writer"}), "fingerprint")
OFFICERS = "/kmsgw.v1.OfficerService/"
LIST, ROTATE, STATUS = (
    "/kmsgw.v1.KeyService/ListKeys",
    "/kmsgw.v1.KeyService/RotateKey",
    "/kmsgw.v1.SystemService/GetStatus",
)


@dataclass(frozen=True)
class Asked:
    dry_run: bool = False


@dataclass
class Verb:
    changes_state: ClassVar[bool] = False
    sessions: list[str] = field(default_factory=list)

    def accesses(self, command: Asked) -> list[Access]:
        return []

    def run(self, command: Asked, grant: Grant) -> None:
        self.sessions.append(grant.session())


class SilentFeed:
    bytes_in = bytes_out = 0

    def poll(self) -> None:
        """Give nothing."""


class OpeningFeed(Verb):
    def run(self, command: Asked, grant: Grant) -> SilentFeed:  # type: ignore[override]
        return SilentFeed()


class ChangingVerb(Verb):
    changes_state: ClassVar[bool] = True


class Callers(Authenticator):
    def __init__(self) -> None:
        """Take no rules."""

    def authenticate(self, pem: bytes | None) -> Principal:
        return OFFICER if pem == b"officer" else SERVICE


@dataclass
class OneSession:
    """Knows one session and codes that it counts."""

    spent: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    ends: datetime | None = None
    asked: list[tuple[datetime, bool]] = field(default_factory=list)

    def attend(self, principal: Principal, token: str, now: datetime, *, is_use: bool = True) -> None:
        self.seen.append(token)
        self.asked.append((now, is_use))
        if token != "session":
            raise refusals.session_missing()
        if self.ends is not None and now >= self.ends:
            raise refusals.session_ended()

    def spend(self, officer_id: str, code: str, now: datetime, trail: Trail) -> None:
        trail.facts["code"] = "refused" if code in self.spent else "accepted"
        if code in self.spent:
            raise refusals.code_refused()
        self.spent.append(code)


def row(method: str, verb: Verb) -> Rpc:
    """Return a row of the table for a verb that takes and answers the messages of RotateKey."""
    return Rpc(
        method,
        Plane.CONTROL,
        key_service_pb2.RotateKeyRequest,
        lambda request: Asked(request.dry_run),
        verb,
        lambda result: key_service_pb2.RotateKeyResponse(),
    )


class Bench:
    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self.journal, self.policies, self.attendance = Journal(), Policies(), OneSession()
        self.reads, self.changes = Verb(), ChangingVerb()
        rows: dict[str, Verb] = {
            LIST: self.reads,
            STATUS: self.reads,
            OFFICERS + "WhoAmI": self.reads,
            OFFICERS + "ListOfficers": self.reads,
            ROTATE: self.changes,
            **{OFFICERS + name: self.changes for name in ("EnrollOfficer", "ConfirmOfficer", "Login", "Logout")},
            OFFICERS + "ResetOfficer": self.changes,
        }
        self.table = {method: row(method, verb) for method, verb in rows.items()}
        self.pipeline = Pipeline(
            self.table,
            Callers(),
            OneKey(),
            self.policies,
            self.journal,
            ContextDigest(bytes(range(32))),
            before_policy=[SessionGate(self.attendance)],
            after_policy=[CodeGate(self.attendance)],
            clock=clock,
        )

    def open_feed(self) -> OpenFeed[Reply]:
        """Open a feed of an officer with the session."""
        self.table[LIST] = replace(row(LIST, OpeningFeed()), feeds=True)
        opened = self.pipeline.open_feed(Call(LIST, b"", b"officer", "peer", lambda: Proof("session", "")))
        assert isinstance(opened, OpenFeed)
        return opened

    def replace(self, method: str, verb: Verb) -> None:
        self.table[method] = row(method, verb)

    def call(
        self, method: str, session: str = "", code: str = "", *, dry_run: bool = False, who: str = "officer"
    ) -> Reason | None:
        request = key_service_pb2.RotateKeyRequest(dry_run=dry_run).SerializeToString()
        proof = Proof(session, code)
        error: KmsgwError | None = self.pipeline.handle(
            Call(method, request, who.encode(), "peer", lambda: proof)
        ).error
        return None if error is None else error.reason


@pytest.mark.parametrize(
    "method", [LIST, ROTATE, OFFICERS + "ListOfficers", OFFICERS + "ResetOfficer", OFFICERS + "Logout"]
)
def test_an_officers_call_wants_a_session(method: str) -> None:
    bench = Bench()
    assert bench.call(method, code="123456") is Reason.SESSION_REQUIRED
    assert bench.attendance.spent == []
    assert bench.call(method, "session", "123456") is None


@pytest.mark.parametrize("name", ["EnrollOfficer", "ConfirmOfficer", "Login", "WhoAmI"])
def test_what_leads_to_a_session_wants_neither_session_nor_code(name: str) -> None:
    bench = Bench()
    assert bench.call(OFFICERS + name) is None
    assert bench.call(STATUS) is None
    assert bench.attendance.seen == []


def test_what_changes_state_wants_a_code_that_works_once() -> None:
    bench = Bench()
    assert bench.call(ROTATE, "session") is Reason.CODE_REQUIRED
    assert bench.call(ROTATE, "session", "123456") is None
    assert bench.call(ROTATE, "session", "123456") is Reason.CODE_REFUSED
    assert bench.call(OFFICERS + "ResetOfficer", "session", "123456") is Reason.CODE_REFUSED


def test_reading_dry_runs_and_logout_want_no_code_and_waste_none() -> None:
    bench = Bench()
    assert bench.call(LIST, "session", "123456") is None
    assert bench.call(ROTATE, "session", "123456", dry_run=True) is None
    assert bench.call(OFFICERS + "Logout", "session") is None
    assert bench.attendance.spent == []


def test_what_policy_refuses_wastes_no_code() -> None:
    bench = Bench()

    class Wanting(ChangingVerb):
        def accesses(self, command: Asked) -> list[Access]:
            return [Access(Action.CREATE_KEY)]

    bench.replace(ROTATE, Wanting())
    bench.policies.allowed = False
    assert bench.call(ROTATE, "session", "123456") is Reason.ACCESS_DENIED
    assert bench.attendance.spent == []


def test_services_pass_without_session_and_code() -> None:
    bench = Bench()
    assert bench.call(ROTATE, who="service") is None
    assert bench.attendance.seen == []


def test_the_record_tells_what_became_of_the_code_and_never_the_code() -> None:
    bench = Bench()
    bench.call(ROTATE, "session", "483920")
    bench.call(ROTATE, "session", "483920")
    intent, outcome, refused = bench.journal.entries
    assert intent["change"] == outcome["change"] == {"code": "accepted"}
    assert (refused["change"], refused["reason"], refused["outcome"]) == (
        {"code": "refused"},
        "CODE_REFUSED",
        "refused",
    )
    assert "483920" not in json.dumps(bench.journal.entries)


def test_a_verb_can_read_the_session_of_its_call() -> None:
    bench = Bench()
    bench.call(OFFICERS + "WhoAmI", "session")
    assert bench.reads.sessions == ["session"]


def test_a_login_is_recorded_though_no_policy_decides_on_it() -> None:
    bench = Bench()
    bench.call(OFFICERS + "Login")
    assert [entry["phase"] for entry in bench.journal.entries] == ["intent", "outcome"]
    assert not any("policies" in entry for entry in bench.journal.entries)
    assert "kmsgw.v1.OfficerService" in SERVICES


class GatewaysOwnKey(OneKey):
    """Has one key, and that is the gateway's own."""

    def resolve(self, name: str) -> Key | None:
        return Key("kmsgw-officers", RESERVED_TENANT, "software", (KeyVersion(1, b"", NOW),), NOW, NOW)


def test_the_gateways_own_keys_are_unknown_to_every_caller_whatever_the_policies_say() -> None:
    bench = Bench()
    bench.pipeline._keyring = GatewaysOwnKey()

    class Wanting(Verb):
        def accesses(self, command: Asked) -> list[Access]:
            return [Access(Action.GET_KEY, "kmsgw-officers")]

    bench.replace(LIST, Wanting())
    assert bench.policies.allowed
    assert bench.call(LIST, "session") is Reason.ACCESS_DENIED
    assert bench.journal.entries[0]["note"] == NO_SUCH_KEY


def test_a_feed_ends_with_the_session_that_it_was_opened_with() -> None:
    clock = SetClock()
    bench = Bench(clock)
    bench.attendance.ends = clock.now() + timedelta(minutes=15)
    feed = bench.open_feed()
    clock.move(timedelta(minutes=14))
    feed.check()
    clock.move(timedelta(minutes=1))
    with pytest.raises(Unauthenticated) as refused:
        feed.check()
    reply = feed.end(refused.value)
    assert reply.error is refused.value
    assert [entry["outcome"] for entry in bench.journal.entries] == ["ok", "refused"]
    assert bench.journal.entries[1]["reason"] == refused.value.reason.value


def test_a_feed_that_goes_on_is_no_use_of_its_session() -> None:
    clock = SetClock()
    bench, opened = Bench(clock), clock.now()
    feed = bench.open_feed()
    clock.move(timedelta(seconds=40))
    feed.check()
    assert bench.attendance.asked == [(opened, True), (opened + timedelta(seconds=40), False)]
