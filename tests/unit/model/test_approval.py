"""The states of an approval: every state against everything that can happen to it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kmsgw.errors import AccessDenied, FailedPrecondition, InvalidRequest, KmsgwError, Reason
from kmsgw.model.approval import Approval, ApprovalState, Vote, check_approval_id, check_request_hash

NOW = datetime(2026, 11, 21, 2, tzinfo=UTC)
END = NOW + timedelta(hours=1)
HASH, OTHER_HASH = bytes(range(32)), bytes(32)

PENDING, APPROVED, REJECTED, EXPIRED, USED = ApprovalState


def approval(state: ApprovalState = PENDING, needed: int = 1, *voters: str) -> Approval:
    return Approval(
        approval_id="01980000-0000-7000-8000-000000000001",
        tenant="hospital",
        requester="amira",
        method="/kmsgw.v1.KeyService/RotateKey",
        key_id="ehr",
        request_hash=HASH,
        request_json="{}",
        reason="leak",
        needed=needed,
        created=NOW - timedelta(hours=1),
        expires=END,
        state=state,
        votes=tuple(Vote(voter, True, "", NOW) for voter in voters),
    )


def approve(subject: Approval) -> ApprovalState:
    return subject.approved_by("emeka", HASH, "seen", NOW).state


def reject(subject: Approval) -> ApprovalState:
    return subject.rejected_by("emeka", "no", NOW).state


def take_back(subject: Approval) -> ApprovalState:
    return subject.rejected_by("amira", "no", NOW).state


def use(subject: Approval) -> ApprovalState:
    subject.require_usable("amira", HASH, 1, NOW)
    return USED


def outlive(subject: Approval) -> ApprovalState:
    return subject.state_at(END)


WALK: dict[tuple[ApprovalState, Callable[[Approval], ApprovalState]], ApprovalState | Reason] = {
    (PENDING, approve): APPROVED,
    (PENDING, reject): REJECTED,
    (PENDING, take_back): REJECTED,
    (PENDING, use): Reason.APPROVAL_PENDING,
    (PENDING, outlive): EXPIRED,
    (APPROVED, approve): Reason.APPROVAL_DECIDED,
    (APPROVED, reject): REJECTED,
    (APPROVED, take_back): REJECTED,
    (APPROVED, use): USED,
    (APPROVED, outlive): EXPIRED,
    (REJECTED, approve): Reason.APPROVAL_REFUSED,
    (REJECTED, reject): Reason.APPROVAL_REFUSED,
    (REJECTED, take_back): Reason.APPROVAL_REFUSED,
    (REJECTED, use): Reason.APPROVAL_REFUSED,
    (REJECTED, outlive): REJECTED,
    (EXPIRED, approve): Reason.APPROVAL_EXPIRED,
    (EXPIRED, reject): Reason.APPROVAL_EXPIRED,
    (EXPIRED, take_back): Reason.APPROVAL_EXPIRED,
    (EXPIRED, use): Reason.APPROVAL_EXPIRED,
    (EXPIRED, outlive): EXPIRED,
    (USED, approve): Reason.APPROVAL_USED,
    (USED, reject): Reason.APPROVAL_USED,
    (USED, take_back): Reason.APPROVAL_USED,
    (USED, use): Reason.APPROVAL_USED,
    (USED, outlive): USED,
}
ACTS = (approve, reject, take_back, use, outlive)


@pytest.mark.parametrize("state", ApprovalState)
@pytest.mark.parametrize("act", ACTS)
def test_every_state_answers_every_act_as_the_table_says(
    state: ApprovalState, act: Callable[[Approval], ApprovalState]
) -> None:
    subject = approval(state, 1, *(["bela"] if state in (APPROVED, USED) else []))
    expected = WALK[state, act]
    if isinstance(expected, ApprovalState):
        assert act(subject) is expected
    else:
        with pytest.raises(FailedPrecondition) as refused:
            act(subject)
        assert refused.value.reason is expected
        assert refused.value.approval_id == subject.approval_id


@pytest.mark.parametrize("act", [approve, reject, take_back, use])
@pytest.mark.parametrize("state", [PENDING, APPROVED])
def test_at_the_end_of_its_time_nothing_can_be_done_with_it(
    state: ApprovalState, act: Callable[[Approval], ApprovalState]
) -> None:
    subject = replace(approval(state, 1, "bela"), expires=NOW)
    with pytest.raises(FailedPrecondition) as refused:
        act(subject)
    assert refused.value.reason is Reason.APPROVAL_EXPIRED


def test_until_enough_officers_consent_it_is_pending() -> None:
    first = approval(PENDING, 2).approved_by("emeka", HASH, "", NOW)
    second = first.approved_by("bela", HASH, "", NOW)
    assert (first.state, second.state) == (PENDING, APPROVED)
    assert second.approvers == ("emeka", "bela")


def test_an_officer_consents_once() -> None:
    first = approval(PENDING, 2).approved_by("emeka", HASH, "", NOW)
    with pytest.raises(FailedPrecondition) as refused:
        first.approved_by("emeka", HASH, "", NOW)
    assert refused.value.reason is Reason.APPROVAL_DECIDED


@pytest.mark.parametrize("state", ApprovalState)
def test_nobody_approves_what_they_asked_for(state: ApprovalState) -> None:
    with pytest.raises(AccessDenied) as refused:
        approval(state).approved_by("amira", HASH, "", NOW)
    assert refused.value.reason is Reason.APPROVAL_OWN


def test_nobody_consents_to_the_reset_of_its_own_second_factor() -> None:
    of_emeka = replace(
        approval(), method="/kmsgw.v1.OfficerService/ResetOfficer", request_json='{"officer_id": "emeka"}'
    )
    with pytest.raises(AccessDenied) as refused:
        of_emeka.approved_by("emeka", HASH, "", NOW)
    assert refused.value.reason is Reason.APPROVAL_OWN
    assert of_emeka.approved_by("bela", HASH, "", NOW).approvers == ("bela",)
    assert of_emeka.rejected_by("emeka", "I have my device", NOW).state is REJECTED


def test_what_was_not_read_is_not_approved() -> None:
    with pytest.raises(FailedPrecondition) as refused:
        approval().approved_by("emeka", OTHER_HASH, "", NOW)
    assert refused.value.reason is Reason.APPROVAL_MISMATCHED


def test_one_refusal_is_enough_whoever_consented() -> None:
    subject = approval(PENDING, 3, "bela", "chiara")
    assert subject.rejected_by("emeka", "no", NOW).state is REJECTED


def test_an_officer_that_withdraws_its_consent_has_not_consented() -> None:
    subject = approval(APPROVED, 1, "emeka").rejected_by("emeka", "a mistake", NOW)
    assert subject.approvers == ()
    assert subject.votes == (Vote("emeka", False, "a mistake", NOW),)


@pytest.mark.parametrize("state", ApprovalState)
@pytest.mark.parametrize(("requester", "digest"), [("bela", HASH), ("amira", OTHER_HASH)])
def test_for_another_request_it_tells_nothing_of_its_state(state: ApprovalState, requester: str, digest: bytes) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        approval(state).require_usable(requester, digest, 1, NOW)
    assert refused.value.reason is Reason.APPROVAL_MISMATCHED


def test_where_more_officers_are_wanted_by_now_it_does_not_do() -> None:
    subject = approval(APPROVED, 1, "emeka")
    subject.require_usable("amira", HASH, 1, NOW)
    with pytest.raises(FailedPrecondition) as refused:
        subject.require_usable("amira", HASH, 2, NOW)
    assert refused.value.reason is Reason.APPROVAL_REFUSED


@pytest.mark.parametrize(
    "text", ["", "x", "01980000-0000-7000-8000-00000000000G", "01980000-0000-7000-8000-0000000000011"]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        check_approval_id(text)


@pytest.mark.parametrize("text", ["", "00", "AB" * 32, "0" * 65])
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(KmsgwError):
        check_request_hash(text)
