"""Approvals at the command line: what officers see of them, and what a command says that wants one, to the letter."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from kmsgw.model.proof import APPROVAL_METADATA, CODE_METADATA
from kmsgw.v1 import approval_service_pb2 as wire
from kmsgw.v1 import key_service_pb2, officer_service_pb2
from tests.cli.command_line import Transcript
from tests.cli.officer_desk import EXPIRES, Desk, stamp
from tests.fakes.scripted_gateway import Foretold, Refusal, ScriptedGateway

ID = "01980000-0000-7000-8000-000000000001"
HASH = "ab" * 32
ASKED = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
ROTATE, GET, WHO_AM_I = "KeyService/RotateKey", "ApprovalService/GetApproval", "OfficerService/WhoAmI"
ROTATED = key_service_pb2.RotateKeyResponse(
    key=key_service_pb2.Key(
        key_id="ehr", state=key_service_pb2.KEY_STATE_ENABLED, primary_version=2, create_time=stamp(EXPIRES)
    )
)
DENIED, STATE = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION
WANTS_CODE = Refusal(DENIED, "This wants a fresh one-time code in the same call.", "CODE_REQUIRED")
WANTED = Refusal(STATE, "This wants the consent of 1 other officer.", "APPROVAL_REQUIRED", advice="…", approval=ID)
REQUEST = '{\n  "key": "ehr",\n  "version": 0,\n  "days": 7,\n  "force": true,\n  "reason": "closed"\n}'


def am(officer: str) -> officer_service_pb2.WhoAmIResponse:
    return officer_service_pb2.WhoAmIResponse(principal_id=officer, kind="officer", tenant="hospital")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with ScriptedGateway() as gateway:
        yield Desk.of(tmp_path, gateway)


def approval(
    state: wire.ApprovalState = wire.APPROVAL_STATE_PENDING, *, by: str = "", reason: str = ""
) -> wire.Approval:
    votes = []
    if by:
        approves = state != wire.APPROVAL_STATE_REJECTED
        votes = [wire.ApprovalVote(officer_id=by, approves=approves, reason=reason, vote_time=stamp(ASKED))]
    return wire.Approval(
        approval_id=ID,
        state=state,
        requester="amira",
        method="/kmsgw.v1.KeyService/ScheduleKeyDestruction",
        key_id="ehr",
        request_hash=HASH,
        request_json=REQUEST,
        reason="closed",
        needed=1,
        votes=votes,
        create_time=stamp(ASKED),
        expire_time=stamp(EXPIRES),
    )


def got(state: wire.ApprovalState, *, by: str = "", reason: str = "") -> wire.GetApprovalResponse:
    return wire.GetApprovalResponse(approval=approval(state, by=by, reason=reason))


def test_the_list_is_a_table_of_what_waits(desk: Desk) -> None:
    script = desk.gateway.script("ApprovalService/ListApprovals", wire.ListApprovalsResponse(approvals=[approval()]))

    assert desk.kmsgw("approval", "list").text == (
        "APPROVAL ID                           STATE    REQUESTER  REQUEST                 KEY ID  CONSENT  EXPIRES\n"
        f"{ID}  pending  amira      ScheduleKeyDestruction  ehr     0 of 1   2999-01-31T08:00:00Z\n"
    )
    (listed,) = json.loads(desk.kmsgw("approval", "list", "--state", "all", "-o", "json").text)
    assert (listed["approval_id"], listed["reason"]) == (ID, "closed")
    states = [wire.ListApprovalsRequest.FromString(each).state for each in script.requests]
    assert states == [wire.APPROVAL_STATE_PENDING, wire.APPROVAL_STATE_UNSPECIFIED]


def test_an_empty_list_is_told_and_has_no_bare_heads(desk: Desk) -> None:
    desk.gateway.script("ApprovalService/ListApprovals", wire.ListApprovalsResponse())

    assert desk.kmsgw("approval", "list") == Transcript(0, b"", "No approval.\n")
    assert desk.kmsgw("approval", "list", "-o", "json") == Transcript(0, b"[]\n", "")


def test_a_rotation_tells_the_versions(desk: Desk) -> None:
    desk.gateway.script(ROTATE, ROTATED)

    assert desk.kmsgw("key", "rotate", "ehr").stderr == "Rotated ehr: version 1 → 2.\n"
    assert desk.kmsgw("key", "rotate", "ehr", "--dry-run").stderr == "Dry run: nothing was changed.\n"


def test_an_approval_is_shown_in_words_and_whole(desk: Desk) -> None:
    desk.gateway.script(GET, got(wire.APPROVAL_STATE_PENDING))
    desk.gateway.script(WHO_AM_I, am("emeka"))

    assert desk.kmsgw("approval", "show", ID) == Transcript(
        0,
        (
            f"approval id   {ID}\n"
            "state         pending\n"
            "requester     amira\n"
            "asks          DESTROY the key ehr with all its versions after 7 days, "
            "ALTHOUGH it was used lately or data may be left under it\n"
            "reason        closed\n"
            "method        /kmsgw.v1.KeyService/ScheduleKeyDestruction\n"
            "key id        ehr\n"
            "consent       0 of 1\n"
            "created       2026-11-21T02:00:00Z\n"
            "expires       2999-01-31T08:00:00Z\n"
            f"request hash  {HASH}\n"
            f"\n{REQUEST}\n"
        ).encode(),
        f"Next: kmsgw approval approve {ID}\n",
    )


def test_who_asked_is_not_told_to_approve_it(desk: Desk) -> None:
    desk.gateway.script(GET, got(wire.APPROVAL_STATE_PENDING))
    desk.gateway.script(WHO_AM_I, am("amira"))

    assert desk.kmsgw("--profile", "key-officer", "approval", "show", ID).stderr == (
        f"Another officer decides on it. `kmsgw --profile key-officer approval reject {ID} --reason TEXT` "
        "takes it back.\n"
    )


def test_who_has_approved_already_is_told_no_more(desk: Desk) -> None:
    desk.gateway.script(GET, got(wire.APPROVAL_STATE_PENDING, by="emeka"))
    desk.gateway.script(WHO_AM_I, am("emeka"))

    assert desk.kmsgw("approval", "show", ID).stderr == ""


def test_the_second_approver_is_named_no_profile(desk: Desk) -> None:
    desk.gateway.script(GET, got(wire.APPROVAL_STATE_PENDING))
    half = approval(wire.APPROVAL_STATE_PENDING, by="emeka", reason="seen")
    desk.gateway.script("ApprovalService/Approve", wire.ApproveResponse(approval=half))

    told = desk.kmsgw("--profile", "key-officer", "approval", "approve", ID).stderr

    assert told.endswith(f"Next: another officer looks at it too, with `kmsgw approval show {ID}`.\n")


def test_a_dry_run_says_who_must_consent(desk: Desk) -> None:
    desk.gateway.script(ROTATE, Foretold(ROTATED, "1"), Foretold(ROTATED, "2"))

    for officers in ("1 other officer", "2 other officers"):
        told = desk.kmsgw("key", "rotate", "ehr", "--dry-run").stderr
        assert told == f"It wants the consent of {officers}.\nDry run: nothing was changed.\n"
    told = desk.kmsgw("key", "rotate", "ehr", "--dry-run", "--approval", ID).stderr
    assert told == "Dry run: nothing was changed.\n"


def test_for_programs_the_request_is_an_object(desk: Desk) -> None:
    desk.gateway.script(GET, got(wire.APPROVAL_STATE_APPROVED, by="emeka", reason="seen"))

    shown = json.loads(desk.kmsgw("approval", "show", ID, "-o", "json").text)

    assert shown["request"] == json.loads(REQUEST)
    assert shown["votes"] == [
        {"officer": "emeka", "decision": "approve", "reason": "seen", "time": "2026-11-21T02:00:00Z"}
    ]


def test_what_is_approved_is_what_was_shown(desk: Desk) -> None:
    desk.gateway.script(GET, got(wire.APPROVAL_STATE_PENDING))
    answer = wire.ApproveResponse(approval=approval(wire.APPROVAL_STATE_APPROVED, by="emeka", reason="seen"))
    script = desk.gateway.script("ApprovalService/Approve", WANTS_CODE, answer)

    shown = desk.kmsgw("approval", "approve", ID, "--reason", "seen", "--code-file", desk.codes("123456"))

    assert (shown.code, shown.stderr) == (
        0,
        (
            "amira asks: DESTROY the key ehr with all its versions after 7 days, "
            "ALTHOUGH it was used lately or data may be left under it.\nReason: closed\n"
            f"Next: amira sends the request again: the same command, with --approval {ID}.\n"
        ),
    )
    assert "emeka    approve   seen    2026-11-21T02:00:00Z\n" in shown.text
    sent = wire.ApproveRequest.FromString(script.requests[1])
    assert (sent.approval_id, sent.request_hash, sent.reason) == (ID, HASH, "seen")
    assert script.metadata[1][CODE_METADATA] == "123456"


def test_a_refusal_wants_a_reason(desk: Desk) -> None:
    answer = wire.RejectResponse(approval=approval(wire.APPROVAL_STATE_REJECTED, by="emeka", reason="no"))
    script = desk.gateway.script("ApprovalService/Reject", answer)

    assert desk.kmsgw("approval", "reject", ID).code == 1
    assert not script.requests
    assert "state         rejected\n" in desk.kmsgw("approval", "reject", ID, "--reason", "no").text


def test_a_dry_run_of_a_decision_says_that_nothing_was_decided(desk: Desk) -> None:
    desk.gateway.script(GET, got(wire.APPROVAL_STATE_PENDING))
    would = approval(wire.APPROVAL_STATE_APPROVED, by="emeka", reason="seen")
    approved = desk.gateway.script("ApprovalService/Approve", wire.ApproveResponse(approval=would))
    would = approval(wire.APPROVAL_STATE_REJECTED, by="emeka", reason="no")
    rejected = desk.gateway.script("ApprovalService/Reject", wire.RejectResponse(approval=would))

    for told in (
        desk.kmsgw("approval", "approve", ID, "--dry-run"),
        desk.kmsgw("approval", "reject", ID, "--reason", "no", "--dry-run"),
    ):
        assert told.code == 0
        assert told.stderr.endswith("Dry run: nothing was decided.\n")
    assert wire.ApproveRequest.FromString(approved.requests[0]).dry_run
    assert wire.RejectRequest.FromString(rejected.requests[0]).dry_run


def test_a_command_that_wants_approval_ends_with_code_4_and_says_what_to_type(desk: Desk) -> None:
    desk.gateway.script(ROTATE, WANTED)

    told = desk.kmsgw("--profile", "key-officer", "key", "rotate", "ehr", "--reason", "a new year", "-o", "json")

    again = f"kmsgw --profile key-officer key rotate ehr --reason 'a new year' -o json --approval {ID}"
    assert told == Transcript(
        4,
        b"",
        f"Error: This wants the consent of 1 other officer. (APPROVAL_REQUIRED, approval {ID})\n"
        f"Next: Another officer looks at it with `kmsgw approval show {ID}`; "
        f"once it is approved, run `{again}`.\n",
    )


def test_it_comes_back_with_the_approval(desk: Desk) -> None:
    script = desk.gateway.script(ROTATE, ROTATED)

    assert desk.kmsgw("key", "rotate", "ehr", "--approval", ID).code == 0

    assert script.metadata[0][APPROVAL_METADATA] == ID


def test_what_comes_back_too_early_is_told_the_same_command_once(desk: Desk) -> None:
    desk.gateway.script(ROTATE, Refusal(STATE, "The approval waits for officers.", "APPROVAL_PENDING", approval=ID))

    told = desk.kmsgw("key", "rotate", "ehr", "--approval", ID)
    with_equals = desk.kmsgw("key", "rotate", "ehr", f"--approval={ID}")

    assert told.code == with_equals.code == 4
    for each in (told, with_equals):
        assert each.stderr.endswith(f"once it is approved, run `kmsgw key rotate ehr --approval {ID}`.\n")


def test_a_refused_approval_is_a_denial(desk: Desk) -> None:
    desk.gateway.script(ROTATE, Refusal(STATE, "It was refused.", "APPROVAL_REFUSED", advice="Ask.", approval=ID))

    assert desk.kmsgw("key", "rotate", "ehr", "--approval", ID).code == 3


def test_a_waiting_command_shows_the_time_left_and_asks_for_a_fresh_code(desk: Desk) -> None:
    script = desk.gateway.script(ROTATE, WANTS_CODE, WANTED, WANTS_CODE, ROTATED)
    unreachable = Refusal(grpc.StatusCode.UNAVAILABLE, "Gone.", "STATE_UNAVAILABLE")
    desk.gateway.script(
        GET,
        got(wire.APPROVAL_STATE_PENDING),
        *[unreachable] * 5,
        got(wire.APPROVAL_STATE_APPROVED, by="emeka"),
    )

    with desk.terminal("key", "rotate", "ehr", "--wait") as terminal:
        terminal.expect("One-time code of key-officer: ")
        terminal.enter("111111")
        terminal.expect(rf"Waiting for approval {ID}\. Ctrl-C ends the waiting, not the approval\.\n")
        terminal.expect(r"0 of 1 officers, \d+ h \d+ min left")
        terminal.expect(r"Approved by emeka: sending the request again\.\n")
        terminal.expect("One-time code of key-officer: ")
        terminal.enter("222222")
        terminal.expect(r"primary version +2")
        assert terminal.wait() == 0

    assert len(set(script.requests)) == 1
    assert [each.get(CODE_METADATA) for each in script.metadata] == [None, "111111", None, "222222"]
    assert [each.get(APPROVAL_METADATA) for each in script.metadata] == [None, None, ID, ID]


def test_ctrl_c_ends_the_waiting_with_code_4(desk: Desk) -> None:
    desk.gateway.script(ROTATE, WANTED)
    desk.gateway.script(GET, got(wire.APPROVAL_STATE_PENDING))

    with desk.terminal("key", "rotate", "ehr", "--wait") as terminal:
        terminal.expect("left")
        terminal.press(b"\x03")
        assert terminal.wait() == 4

    assert f"run `kmsgw key rotate ehr --approval {ID}`." in terminal.screen


def test_where_the_session_ends_meanwhile_it_says_how_to_come_back(desk: Desk) -> None:
    desk.gateway.script(ROTATE, WANTED)
    session_ended = Refusal(grpc.StatusCode.UNAUTHENTICATED, "The session has ended.", "SESSION_REQUIRED")
    desk.gateway.script(GET, session_ended)

    told = desk.kmsgw("key", "rotate", "ehr", "--wait")

    assert told.code == 3
    assert told.stderr.endswith(f"Next: Log in with `kmsgw login`, then run `kmsgw key rotate ehr --approval {ID}`.\n")


@pytest.mark.parametrize(
    ("found", "code", "told"),
    [
        (
            got(wire.APPROVAL_STATE_REJECTED, by="emeka", reason="not before the backup"),
            3,
            "Error: The approval was refused by emeka: not before the backup. (APPROVAL_REFUSED, ",
        ),
        (got(wire.APPROVAL_STATE_EXPIRED), 2, "Error: The approval is expired. (APPROVAL_EXPIRED, "),
        (got(wire.APPROVAL_STATE_USED), 2, "Error: The approval is used. (APPROVAL_USED, "),
    ],
)
def test_a_waiting_command_is_told_how_it_ended(
    desk: Desk, found: wire.GetApprovalResponse, code: int, told: str
) -> None:
    desk.gateway.script(ROTATE, WANTED)
    desk.gateway.script(GET, found)

    ended = desk.kmsgw("key", "rotate", "ehr", "--wait")

    assert (ended.code, ended.stdout) == (code, b"")
    assert told in ended.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["key", "create"],
        ["key", "update"],
        ["key", "rotate"],
        ["key", "enable"],
        ["key", "disable"],
        ["key", "destroy"],
        ["key", "restore"],
        ["key", "import"],
        ["key", "enable-version"],
        ["key", "disable-version"],
        ["key", "minimum-version"],
        ["key", "alias", "create"],
        ["key", "alias", "delete"],
        ["officer", "reset"],
    ],
)
def test_every_command_that_can_want_approval_can_wait_and_come_back(desk: Desk, command: list[str]) -> None:
    shown = desk.kmsgw(*command, "--help").text
    assert "--wait" in shown
    assert "--approval ID" in shown
