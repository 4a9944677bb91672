"""Approvals: the consent of other officers to one exact request, and the pure functions that move one on.

| from | consent | refusal | use | end of its time |
| --- | --- | --- | --- | --- |
| pending | pending, or approved with the last one that is needed | rejected | refused | expired |
| approved | refused | rejected | used | expired |
| rejected, expired, used | refused | refused | refused | stays |
"""

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from kmsgw.errors import AccessDenied, FailedPrecondition, InvalidRequest, Reason

MAX_PENDING: Final = 100
"""Approvals of one requester that may wait at a time: whoever asks for ever must not bury what others ask for."""

_RESET: Final = "/kmsgw.v1.OfficerService/ResetOfficer"
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")


class ApprovalState(StrEnum):
    """State of an approval."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    USED = "used"


OPEN_STATES: Final = frozenset({ApprovalState.PENDING, ApprovalState.APPROVED})
"""States that something can still happen in."""


@dataclass(frozen=True, slots=True)
class Vote:
    """What one officer decided, and why."""

    officer_id: str
    approves: bool
    reason: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Approval:
    """Consent of ``needed`` other officers to one request of ``requester``, bound to ``request_hash`` (SHA-256).

    ``request_json`` is the request for people to read; only the hash binds. ``state`` is as it was last stored: ask
    `state_at` for the one in force. From ``created`` to ``expires`` it can be decided and used.
    """

    approval_id: str
    tenant: str
    requester: str
    method: str
    key_id: str
    request_hash: bytes
    request_json: str
    reason: str
    needed: int
    created: datetime
    expires: datetime
    state: ApprovalState = ApprovalState.PENDING
    votes: tuple[Vote, ...] = ()

    @property
    def approvers(self) -> tuple[str, ...]:
        """The officers that consented, in order."""
        return tuple(vote.officer_id for vote in self.votes if vote.approves)

    @property
    def officer_id(self) -> str:
        """The officer whose second factor the request would take away; empty for every other request."""
        return str(json.loads(self.request_json)["officer_id"]) if self.method == _RESET else ""

    def state_at(self, now: datetime) -> ApprovalState:
        """Return the state at a time: what is open past its end has expired."""
        return ApprovalState.EXPIRED if self.state in OPEN_STATES and now >= self.expires else self.state

    def approved_by(self, officer_id: str, request_hash: bytes, reason: str, now: datetime) -> "Approval":
        """Return the approval with the consent of an officer to the request with this hash.

        Raises `AccessDenied` for one's own and for the reset of oneself, and `FailedPrecondition` for another hash,
        for a second vote, and where it is not pending.
        """
        if officer_id == self.requester:
            raise AccessDenied(
                "Nobody approves a request of their own.",
                reason=Reason.APPROVAL_OWN,
                advice="Ask another officer; `kmsgw approval reject` takes the request back.",
            )
        if officer_id == self.officer_id:
            # Else a stolen device could consent to the enrolment of the thief's own.
            raise AccessDenied(
                "Nobody approves that their own second factor is reset.",
                reason=Reason.APPROVAL_OWN,
                advice="Ask another officer; `kmsgw approval reject` stops it.",
            )
        if request_hash != self.request_hash:
            raise FailedPrecondition(
                "The hash is not that of the request.",
                reason=Reason.APPROVAL_MISMATCHED,
                advice="Read the approval again, and approve what is there.",
            )
        self._require(now, ApprovalState.PENDING)
        votes = self._votes_with(Vote(officer_id, True, reason, now))
        enough = sum(vote.approves for vote in votes) >= self.needed
        return replace(self, votes=votes, state=ApprovalState.APPROVED if enough else ApprovalState.PENDING)

    def rejected_by(self, officer_id: str, reason: str, now: datetime) -> "Approval":
        """Return the approval, rejected: one refusal is enough, and the requester's own takes the request back.

        It works until the approval is used, also by an officer that consented before: stopping is always safe.
        Raises `FailedPrecondition` where it is rejected, expired or used.
        """
        self._require(now, *OPEN_STATES)
        others = tuple(vote for vote in self.votes if vote.officer_id != officer_id)
        return replace(self, votes=(*others, Vote(officer_id, False, reason, now)), state=ApprovalState.REJECTED)

    def require_usable(self, requester: str, request_hash: bytes, needed: int, now: datetime) -> None:
        """Return where this approval lets `requester` do the request with this hash, which wants `needed` officers.

        Raises `FailedPrecondition`, and for a stranger the same as for another request: it learns nothing.
        """
        if requester != self.requester or request_hash != self.request_hash:
            raise mismatched(self.approval_id)
        self._require(now, ApprovalState.APPROVED)
        if len(self.approvers) < needed:
            raise FailedPrecondition(
                f"Since it was approved, the configuration wants {needed} officers for this.",
                reason=Reason.APPROVAL_REFUSED,
                advice="Take it back with `kmsgw approval reject`, and ask anew.",
                approval_id=self.approval_id,
            )

    def _votes_with(self, vote: Vote) -> tuple[Vote, ...]:
        if any(each.officer_id == vote.officer_id for each in self.votes):
            raise FailedPrecondition(
                "You have decided on this approval before.",
                reason=Reason.APPROVAL_DECIDED,
                advice="Another officer is wanted; `kmsgw approval reject` withdraws your consent.",
                approval_id=self.approval_id,
            )
        return (*self.votes, vote)

    def _require(self, now: datetime, *states: ApprovalState) -> None:
        state = self.state_at(now)
        if state in states:
            return
        message, reason, advice = _UNFIT[state]
        raise FailedPrecondition(message, reason=reason, advice=advice, approval_id=self.approval_id)


_UNFIT: Final = {
    ApprovalState.PENDING: (
        "The approval waits for officers.",
        Reason.APPROVAL_PENDING,
        "Ask another officer to decide; `kmsgw approval show` tells who did.",
    ),
    ApprovalState.APPROVED: (
        "The approval has all the consent that it needs.",
        Reason.APPROVAL_DECIDED,
        "Nothing is left to approve; `kmsgw approval reject` stops it until it is used.",
    ),
    ApprovalState.REJECTED: (
        "The approval was refused or taken back.",
        Reason.APPROVAL_REFUSED,
        "Read why with `kmsgw approval show`, then ask anew.",
    ),
    ApprovalState.EXPIRED: (
        "The approval's time is over.",
        Reason.APPROVAL_EXPIRED,
        "Send the request without it: that asks for another.",
    ),
    ApprovalState.USED: (
        "The approval was used. It works once.",
        Reason.APPROVAL_USED,
        "Send the request without it: that asks for another.",
    ),
}


def mismatched(approval_id: str) -> FailedPrecondition:
    """Return the refusal of an approval that is of another request, of another officer, or that does not exist."""
    return FailedPrecondition(
        "The approval is not for this request.",
        reason=Reason.APPROVAL_MISMATCHED,
        advice="Send the very same request as the same officer; any other wants an approval of its own.",
        approval_id=approval_id,
    )


def check_approval_id(text: str) -> str:
    """Return an approval's id; raise `InvalidRequest` where it has not the form of one."""
    if _ID.match(text) is None:
        raise InvalidRequest("approval_id is malformed.", advice="Take it from the refusal or from the list.")
    return text


def check_request_hash(text: str) -> bytes:
    """Return a request hash; raise `InvalidRequest` where it is not 64 hexadecimal digits in lower case."""
    if _HASH.match(text) is None:
        raise InvalidRequest("request_hash is malformed.", advice="Give it as GetApproval answered it.")
    return bytes.fromhex(text)
