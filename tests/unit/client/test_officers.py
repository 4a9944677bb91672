"""The verbs of OfficerService, through both flavours."""

from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kmsgw.client import (
    AccessDenied,
    Enrolment,
    Identity,
    InternalError,
    LoginSession,
    OfficerInfo,
    OfficerState,
    PrincipalKind,
    Reason,
    RecoveryCodes,
    StateUnavailable,
)
from kmsgw.v1 import officer_service_pb2 as wire
from tests.fakes.scripted_gateway import Refusal, ScriptedGateway
from tests.unit.client.driver import Driver

SECONDS = 1_700_000_000
TIME = datetime.fromtimestamp(SECONDS, UTC)


def test_an_enrolment_answers_the_secret_and_prints_nothing_of_it(gateway: ScriptedGateway, drive: Driver) -> None:
    answer = wire.EnrollOfficerResponse(secret="JBSWY3DP", uri="otpauth://totp/kmsgw:amira?secret=JBSWY3DP")
    script = gateway.script("OfficerService/EnrollOfficer", answer)
    made = drive(gateway, lambda client: client.officers.enrol("invited"))
    assert wire.EnrollOfficerRequest.FromString(script.requests[0]).invitation == "invited"
    assert made == Enrolment("JBSWY3DP", "otpauth://totp/kmsgw:amira?secret=JBSWY3DP")
    assert "JBSWY3DP" not in repr(made)


def test_a_confirmation_answers_the_recovery_codes(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("OfficerService/ConfirmOfficer", wire.ConfirmOfficerResponse(recovery_codes=["a", "b"]))
    made = drive(gateway, lambda client: client.officers.confirm("123456", "654321"))
    sent = wire.ConfirmOfficerRequest.FromString(script.requests[0])
    assert (sent.first_code, sent.second_code) == ("123456", "654321")
    assert made == RecoveryCodes(("a", "b"))
    assert "'a'" not in repr(made)


def test_a_login_answers_a_session_that_is_not_printed(gateway: ScriptedGateway, drive: Driver) -> None:
    answer = wire.LoginResponse(
        session="opaque", expire_time=Timestamp(seconds=SECONDS), idle_seconds=900, recovery_codes=9
    )
    script = gateway.script("OfficerService/Login", answer)
    made = drive(gateway, lambda client: client.login("123456"))
    assert wire.LoginRequest.FromString(script.requests[0]).code == "123456"
    assert made == LoginSession("opaque", TIME, 900, 9)
    assert "opaque" not in repr(made)


def test_a_login_that_failed_on_the_way_is_not_repeated(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("OfficerService/Login", Refusal(grpc.StatusCode.UNAVAILABLE, reason="STATE_UNAVAILABLE"))
    with pytest.raises(StateUnavailable):
        drive(gateway, lambda client: client.login("123456"))
    assert len(script.requests) == 1


def test_a_wrong_code_is_told_as_such(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script("OfficerService/Login", Refusal(grpc.StatusCode.PERMISSION_DENIED, reason="CODE_REFUSED"))
    with pytest.raises(AccessDenied) as refused:
        drive(gateway, lambda client: client.login("123456"))
    assert refused.value.reason is Reason.CODE_REFUSED


def test_a_logout_answers_nothing(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script("OfficerService/Logout", wire.LogoutResponse())
    assert drive(gateway, lambda client: client.logout()) is None


def test_a_reset_says_whom_and_why(gateway: ScriptedGateway, drive: Driver) -> None:
    answer = wire.ResetOfficerResponse(
        officer=wire.Officer(
            officer_id="bernd", state=wire.OFFICER_STATE_RESET, roles=["auditor"], enrol_time=Timestamp(seconds=SECONDS)
        )
    )
    script = gateway.script("OfficerService/ResetOfficer", answer)
    made = drive(gateway, lambda client: client.officers.reset("bernd", reason="lost phone", dry_run=True))
    sent = wire.ResetOfficerRequest.FromString(script.requests[0])
    assert (sent.officer_id, sent.reason, sent.dry_run) == ("bernd", "lost phone", True)
    assert made == OfficerInfo("bernd", OfficerState.RESET, ("auditor",), may_enrol_at=TIME)


def test_officers_are_listed_page_by_page(gateway: ScriptedGateway, drive: Driver) -> None:
    locked = wire.Officer(
        officer_id="amira",
        state=wire.OFFICER_STATE_LOCKED,
        confirm_time=Timestamp(seconds=SECONDS),
        lock_end_time=Timestamp(seconds=SECONDS),
        recovery_codes=10,
    )
    fresh = wire.Officer(officer_id="bernd", state=wire.OFFICER_STATE_NOT_ENROLLED)
    script = gateway.script(
        "OfficerService/ListOfficers",
        wire.ListOfficersResponse(officers=[locked], next_page_token="amira"),
        wire.ListOfficersResponse(officers=[fresh]),
    )
    listed = drive(gateway, lambda client: client.officers.list(page_size=1))
    assert [wire.ListOfficersRequest.FromString(each).page_token for each in script.requests] == ["", "amira"]
    assert listed == [
        OfficerInfo("amira", OfficerState.LOCKED, (), confirmed=TIME, locked_until=TIME, recovery_codes=10),
        OfficerInfo("bernd", OfficerState.NOT_ENROLLED, ()),
    ]


def test_who_asks_is_answered_with_its_session(gateway: ScriptedGateway, drive: Driver) -> None:
    answer = wire.WhoAmIResponse(
        principal_id="amira",
        kind="officer",
        tenant="hospital",
        roles=["key-officer"],
        session_expire_time=Timestamp(seconds=SECONDS),
        officer_state=wire.OFFICER_STATE_ACTIVE,
        second_factor_required=True,
    )
    gateway.script("OfficerService/WhoAmI", answer)
    assert drive(gateway, lambda client: client.who_am_i()) == Identity(
        "amira", PrincipalKind.OFFICER, "hospital", ("key-officer",), None, TIME, OfficerState.ACTIVE, True
    )


def test_what_a_newer_gateway_says_of_an_officer_is_no_guess(gateway: ScriptedGateway, drive: Driver) -> None:
    unknown = wire.Officer(officer_id="amira", state=99)  # type: ignore[arg-type]
    gateway.script("OfficerService/ListOfficers", wire.ListOfficersResponse(officers=[unknown]))
    with pytest.raises(InternalError, match="unknown state"):
        drive(gateway, lambda client: client.officers.list())
    gateway.script("OfficerService/WhoAmI", wire.WhoAmIResponse(kind="robot"))
    with pytest.raises(InternalError, match="unknown kind"):
        drive(gateway, lambda client: client.who_am_i())
