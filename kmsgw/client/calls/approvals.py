"""The verbs of ApprovalService. `timeout` bounds a call in seconds over all attempts."""

from collections.abc import Mapping

from kmsgw.client.calls.call import Answer, Call, Page, method_path, time_of
from kmsgw.client.results import ApprovalInfo, ApprovalVoteInfo
from kmsgw.errors import InternalError
from kmsgw.model.approval import ApprovalState, check_approval_id, check_request_hash
from kmsgw.model.key import check_text
from kmsgw.v1 import approval_service_pb2 as wire

_SERVICE = wire.DESCRIPTOR.services_by_name["ApprovalService"]
_LIST = method_path(_SERVICE, "ListApprovals")
_GET = method_path(_SERVICE, "GetApproval")
_APPROVE = method_path(_SERVICE, "Approve")
_REJECT = method_path(_SERVICE, "Reject")

_TO_WIRE: Mapping[ApprovalState, wire.ApprovalState] = {
    ApprovalState.PENDING: wire.APPROVAL_STATE_PENDING,
    ApprovalState.APPROVED: wire.APPROVAL_STATE_APPROVED,
    ApprovalState.REJECTED: wire.APPROVAL_STATE_REJECTED,
    ApprovalState.EXPIRED: wire.APPROVAL_STATE_EXPIRED,
    ApprovalState.USED: wire.APPROVAL_STATE_USED,
}
_FROM_WIRE = {sent: state for state, sent in _TO_WIRE.items()}


def list_approvals(
    page_token: str, *, state: ApprovalState | None = None, page_size: int = 100, timeout: float | None = None
) -> Call[Page[ApprovalInfo]]:
    """Iterate over approvals, newest first; their ``request_json`` is left out. `timeout` is for each page."""
    wanted = wire.APPROVAL_STATE_UNSPECIFIED if state is None else _TO_WIRE[state]
    request = wire.ListApprovalsRequest(state=wanted, page_size=page_size, page_token=page_token)

    def read(answer: Answer) -> Page[ApprovalInfo]:
        response = wire.ListApprovalsResponse.FromString(answer.payload)
        return Page(tuple(map(_info, response.approvals)), response.next_page_token)

    return Call(_LIST, request.SerializeToString(), read, timeout=timeout)


def get_approval(approval_id: str, *, timeout: float | None = None) -> Call[ApprovalInfo]:
    """Return one approval, with the request that it is for. Raises `NotFound`."""
    request = wire.GetApprovalRequest(approval_id=check_approval_id(approval_id))

    def read(answer: Answer) -> ApprovalInfo:
        return _info(wire.GetApprovalResponse.FromString(answer.payload).approval)

    return Call(_GET, request.SerializeToString(), read, timeout=timeout)


def approve(
    approval_id: str, request_hash: str, *, reason: str = "", dry_run: bool = False, timeout: float | None = None
) -> Call[ApprovalInfo]:
    """Consent to the request of another officer; `request_hash` is that of the approval as it was read.

    With `dry_run` nothing is decided, no one-time code is wanted, and the answer is what would be.

    Raises `AccessDenied` for one's own, and `FailedPrecondition` where the hash is another, where the caller has
    decided before, and where nothing is left to decide.
    """
    check_request_hash(request_hash)
    request = wire.ApproveRequest(
        approval_id=check_approval_id(approval_id),
        request_hash=request_hash,
        reason=check_text(reason, "reason"),
        dry_run=dry_run,
    )

    def read(answer: Answer) -> ApprovalInfo:
        return _info(wire.ApproveResponse.FromString(answer.payload).approval)

    return Call(_APPROVE, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def reject(
    approval_id: str, *, reason: str = "", dry_run: bool = False, timeout: float | None = None
) -> Call[ApprovalInfo]:
    """Refuse the request of another officer, or take one's own back. Raises `FailedPrecondition` where it is over.

    With `dry_run` nothing is decided, no one-time code is wanted, and the answer is what would be.
    """
    request = wire.RejectRequest(
        approval_id=check_approval_id(approval_id), reason=check_text(reason, "reason"), dry_run=dry_run
    )

    def read(answer: Answer) -> ApprovalInfo:
        return _info(wire.RejectResponse.FromString(answer.payload).approval)

    return Call(_REJECT, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def _info(approval: wire.Approval) -> ApprovalInfo:
    state = _FROM_WIRE.get(approval.state)
    if state is None:
        raise InternalError("The gateway answers a state that this SDK does not know.", advice="Use a newer SDK.")
    return ApprovalInfo(
        approval_id=approval.approval_id,
        state=state,
        requester=approval.requester,
        method=approval.method,
        key_id=approval.key_id,
        request_hash=approval.request_hash,
        request_json=approval.request_json,
        reason=approval.reason,
        needed=approval.needed,
        votes=tuple(
            ApprovalVoteInfo(vote.officer_id, vote.approves, vote.reason, time_of(vote.vote_time))
            for vote in approval.votes
        ),
        created=time_of(approval.create_time),
        expires=time_of(approval.expire_time),
    )
