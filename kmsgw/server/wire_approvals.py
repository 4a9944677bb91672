"""ApprovalService: from the wire to commands, and from results to the wire."""

from datetime import UTC, datetime, timedelta

from kmsgw.errors import InvalidRequest
from kmsgw.model.approval import ApprovalState, check_approval_id
from kmsgw.operations.approval_ports import ApprovalPlace
from kmsgw.operations.control.approvals import (
    ApprovalPage,
    ApproveCommand,
    GetApprovalCommand,
    ListApprovalsCommand,
    RejectCommand,
    SeenApproval,
)
from kmsgw.operations.control.key_views import check_page_size
from kmsgw.server.wire_keys import timestamp
from kmsgw.v1 import approval_service_pb2 as pb

_TO_WIRE = {
    ApprovalState.PENDING: pb.APPROVAL_STATE_PENDING,
    ApprovalState.APPROVED: pb.APPROVAL_STATE_APPROVED,
    ApprovalState.REJECTED: pb.APPROVAL_STATE_REJECTED,
    ApprovalState.EXPIRED: pb.APPROVAL_STATE_EXPIRED,
    ApprovalState.USED: pb.APPROVAL_STATE_USED,
}
_FROM_WIRE = {wire: state for state, wire in _TO_WIRE.items()}
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MAX_MICROSECONDS = 10**17


def list_approvals_command(request: pb.ListApprovalsRequest) -> ListApprovalsCommand:
    """Read a ListApprovals request."""
    if request.state and request.state not in _FROM_WIRE:
        raise InvalidRequest("state is not one of the contract.", advice="Leave it out for all states.")
    return ListApprovalsCommand(
        _FROM_WIRE.get(request.state), check_page_size(request.page_size), _place(request.page_token)
    )


def list_approvals_response(result: ApprovalPage) -> pb.ListApprovalsResponse:
    """Write a ListApprovals response. The requests themselves are left to GetApproval: each may have 64 KiB."""
    return pb.ListApprovalsResponse(
        approvals=[approval_message(each, with_request=False) for each in result.approvals],
        next_page_token=_token(result.next_after) if result.next_after is not None else "",
    )


def get_approval_command(request: pb.GetApprovalRequest) -> GetApprovalCommand:
    """Read a GetApproval request."""
    return GetApprovalCommand(request.approval_id)


def get_approval_response(result: SeenApproval) -> pb.GetApprovalResponse:
    """Write a GetApproval response."""
    return pb.GetApprovalResponse(approval=approval_message(result))


def approve_command(request: pb.ApproveRequest) -> ApproveCommand:
    """Read an Approve request."""
    return ApproveCommand(request.approval_id, request.request_hash, request.reason, request.dry_run)


def approve_response(result: SeenApproval) -> pb.ApproveResponse:
    """Write an Approve response."""
    return pb.ApproveResponse(approval=approval_message(result))


def reject_command(request: pb.RejectRequest) -> RejectCommand:
    """Read a Reject request."""
    return RejectCommand(request.approval_id, request.reason, request.dry_run)


def reject_response(result: SeenApproval) -> pb.RejectResponse:
    """Write a Reject response."""
    return pb.RejectResponse(approval=approval_message(result))


def approval_message(seen: SeenApproval, *, with_request: bool = True) -> pb.Approval:
    """Write an approval."""
    approval = seen.approval
    return pb.Approval(
        approval_id=approval.approval_id,
        state=_TO_WIRE[seen.state],
        requester=approval.requester,
        method=approval.method,
        key_id=approval.key_id,
        request_hash=approval.request_hash.hex(),
        request_json=approval.request_json if with_request else "",
        reason=approval.reason,
        needed=approval.needed,
        votes=[
            pb.ApprovalVote(
                officer_id=vote.officer_id,
                approves=vote.approves,
                reason=vote.reason,
                vote_time=timestamp(vote.time),
            )
            for vote in approval.votes
        ],
        create_time=timestamp(approval.created),
        expire_time=timestamp(approval.expires),
    )


def _token(place: ApprovalPlace) -> str:
    return f"{(place.created - _UNIX_EPOCH) // _MICROSECOND}.{place.approval_id}"


def _place(token: str) -> ApprovalPlace | None:
    if not token:
        return None
    number, _, approval_id = token[:100].partition(".")
    if not (number.isascii() and number.isdecimal() and int(number) < _MAX_MICROSECONDS):
        raise InvalidRequest("page_token is malformed.", advice="Give next_page_token back as it was answered.")
    return ApprovalPlace(_UNIX_EPOCH + int(number) * _MICROSECOND, check_approval_id(approval_id))
