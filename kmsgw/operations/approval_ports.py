"""What approvals need of the world: a store in which each is decided and used by one atomic step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from kmsgw.model.approval import Approval, ApprovalState


@dataclass(frozen=True, slots=True)
class ApprovalPlace:
    """A place in the list of approvals, which is by creation, newest first: after this one."""

    created: datetime
    approval_id: str


class ApprovalStore(Protocol):
    """Approvals on disk, for all workers and nodes. Every method raises `StateUnavailable` without the database."""

    def open(self, wanted: Approval) -> Approval:
        """Store an approval and return it; where the same requester has an open one with this hash, return that.

        Raises `ResourceExhausted` where the requester has `MAX_PENDING` open ones.
        """

    def find(self, approval_id: str) -> Approval | None:
        """Return the approval with its votes, or None."""

    def page(
        self, tenant: str, state: ApprovalState | None, after: ApprovalPlace | None, limit: int, now: datetime
    ) -> Sequence[Approval]:
        """Return at most `limit` approvals of a tenant, in a state at `now` where one is given, newest first."""

    def decide(self, approval_id: str, next_approval: Callable[[Approval], Approval]) -> Approval | None:
        """Store state and votes of what `next_approval` makes of the approval, and return it; None where none is.

        No other decision and no use comes between. What `next_approval` raises is raised, and nothing stored.
        """

    def consume(self, approval: Approval, now: datetime) -> bool:
        """Mark an approved approval as used, if nobody has and its time is not over; tell whether this call did."""

    def close(self) -> None:
        """Release the connections."""
