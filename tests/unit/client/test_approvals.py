"""The SDK's verbs on approvals, and calls that wait for one."""

from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kmsgw.client import ApprovalState, FailedPrecondition, InternalError, InvalidRequest, KmsgwError, Reason
from kmsgw.model.proof import APPROVAL_METADATA, CODE_METADATA
from kmsgw.v1 import approval_service_pb2 as wire
from kmsgw.v1 import key_service_pb2
from tests.fakes.scripted_gateway import Refusal, ScriptedGateway
from tests.unit.client.driver import Driver

ID = "01980000-0000-7000-8000-000000000001"
HASH = "ab" * 32
ROTATE = "KeyService/RotateKey"
ROTATED = key_service_pb2.RotateKeyResponse(key=key_service_pb2.Key(key_id="ehr", primary_version=2))
WANTED = Refusal(
    grpc.StatusCode.FAILED_PRECONDITION, "This wants the consent of 1 other officer.", "APPROVAL_REQUIRED", approval=ID
)
WANTS_CODE = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "A code is wanted.", "CODE_REQUIRED")
TIME = datetime(2026, 11, 21, 2, tzinfo=UTC)


def stamp() -> Timestamp:
    made = Timestamp()
    made.FromDatetime(TIME)
    return made


def approval(state: wire.ApprovalState = wire.APPROVAL_STATE_PENDING) -> wire.Approval:
    return wire.Approval(
        approval_id=ID,
        state=state,
        requester="amira",
        method="/kmsgw.v1.KeyService/RotateKey",
        key_id="ehr",
        request_hash=HASH,
        request_json="{}",
        reason="yearly",
        needed=2,
        votes=[wire.ApprovalVote(officer_id="emeka", approves=True, reason="seen", vote_time=stamp())],
        create_time=stamp(),
        expire_time=stamp(),
    )


def test_an_approval_comes_with_all_its_fields(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script("ApprovalService/GetApproval", wire.GetApprovalResponse(approval=approval()))

    found = drive(gateway, lambda client: client.approvals.get(ID))

    assert (found.approval_id, found.state, found.requester, found.needed) == (ID, ApprovalState.PENDING, "amira", 2)
    assert (found.method, found.key_id, found.request_hash) == ("/kmsgw.v1.KeyService/RotateKey", "ehr", HASH)
    assert (found.request_json, found.reason, found.created, found.expires) == ("{}", "yearly", TIME, TIME)
    assert [(each.officer_id, each.approves, each.reason, each.time) for each in found.votes] == [
        ("emeka", True, "seen", TIME)
    ]


def test_a_list_goes_through_all_pages_of_one_state(gateway: ScriptedGateway, drive: Driver) -> None:
    pages = [
        wire.ListApprovalsResponse(approvals=[approval()], next_page_token="2"),
        wire.ListApprovalsResponse(approvals=[approval()]),
    ]
    script = gateway.script("ApprovalService/ListApprovals", *pages)

    found = drive(gateway, lambda client: client.approvals.list(state=ApprovalState.PENDING))

    assert len(found) == 2
    sent = [wire.ListApprovalsRequest.FromString(each) for each in script.requests]
    assert [(each.state, each.page_token) for each in sent] == [
        (wire.APPROVAL_STATE_PENDING, ""),
        (wire.APPROVAL_STATE_PENDING, "2"),
    ]


def test_a_state_of_another_release_is_told_and_not_guessed(gateway: ScriptedGateway, drive: Driver) -> None:
    answer = wire.GetApprovalResponse(approval=approval(wire.APPROVAL_STATE_UNSPECIFIED))
    gateway.script("ApprovalService/GetApproval", answer)

    with pytest.raises(InternalError):
        drive(gateway, lambda client: client.approvals.get(ID))


def test_a_decision_carries_what_was_read_and_is_sent_once(gateway: ScriptedGateway, drive: Driver) -> None:
    consent = gateway.script("ApprovalService/Approve", wire.ApproveResponse(approval=approval()))
    refusal = gateway.script("ApprovalService/Reject", Refusal(grpc.StatusCode.UNAVAILABLE, "Gone."))

    drive(gateway, lambda client: client.approvals.approve(ID, HASH, reason="seen"))
    with pytest.raises(KmsgwError):
        drive(gateway, lambda client: client.approvals.reject(ID, reason="no"))

    approved = wire.ApproveRequest.FromString(consent.requests[0])
    assert (approved.approval_id, approved.request_hash, approved.reason) == (ID, HASH, "seen")
    assert len(refusal.requests) == 1


def test_what_can_not_be_an_approval_is_not_sent(gateway: ScriptedGateway, drive: Driver) -> None:
    with pytest.raises(InvalidRequest):
        drive(gateway, lambda client: client.approvals.get("1"))
    with pytest.raises(InvalidRequest):
        drive(gateway, lambda client: client.approvals.approve(ID, "abc"))


def test_an_error_names_the_approval_that_is_wanted(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script(ROTATE, WANTED)

    with pytest.raises(FailedPrecondition) as wanted:
        drive(gateway, lambda client: client.keys.rotate("ehr"))

    assert (wanted.value.reason, wanted.value.approval_id) == (Reason.APPROVAL_REQUIRED, ID)


def test_a_call_that_waits_sends_the_very_same_request_with_a_fresh_code(
    gateway: ScriptedGateway, drive: Driver
) -> None:
    script = gateway.script(ROTATE, WANTED, WANTS_CODE, ROTATED)
    told: list[str] = []

    def wait(error: KmsgwError) -> str:
        told.append(error.approval_id)
        return error.approval_id

    made = drive(
        gateway,
        lambda client: (
            client.proving(code=lambda _: "222222", approval=wait)
            .proving(code="111111")
            .keys.rotate("ehr", reason="yearly")
        ),
    )

    assert (made.primary_version, told) == (2, [ID])
    assert len(set(script.requests)) == 1
    assert script.metadata[0] == {CODE_METADATA: "111111"}
    assert script.metadata[1] == {APPROVAL_METADATA: ID}
    # The code that went with the first attempt is used up; where the view has a source, it is asked for another.
    assert script.metadata[2] == {APPROVAL_METADATA: ID, CODE_METADATA: "222222"}


def test_who_gives_up_waiting_gets_its_own_error(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script(ROTATE, WANTED)

    def give_up(error: KmsgwError) -> str:
        raise error

    with pytest.raises(FailedPrecondition) as wanted:
        drive(gateway, lambda client: client.proving(approval=give_up).keys.rotate("ehr"))
    assert wanted.value.approval_id == ID
