"""Verbs on approvals: ListApprovals, GetApproval, Approve, Reject. What is another tenant's does not exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from kmsgw.errors import AccessDenied, NotFound
from kmsgw.model.access import AccessRequest, Action, PrincipalKind
from kmsgw.model.approval import Approval, ApprovalState, check_approval_id, check_request_hash
from kmsgw.model.key import check_text
from kmsgw.operations.approval_ports import ApprovalPlace, ApprovalStore
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.verb import Access, Grant, change_of

MAX_APPROVAL_PAGE: Final = 50
"""Approvals in one answer, whatever is asked for: with eleven votes each they stay below the SDK's 1 MiB."""


@dataclass(frozen=True, slots=True)
class SeenApproval:
    """An approval, and its state at the time of the answer."""

    approval: Approval
    state: ApprovalState


@dataclass(frozen=True, slots=True)
class ListApprovalsCommand:
    """Show a page of approvals, newest first, from after a place."""

    state: ApprovalState | None
    page_size: int
    after: ApprovalPlace | None


@dataclass(frozen=True, slots=True)
class ApprovalPage:
    """A page of approvals; ``next_after`` is None on the last."""

    approvals: tuple[SeenApproval, ...]
    next_after: ApprovalPlace | None


class ListApprovals:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, store: ApprovalStore) -> None:
        self._store = store

    def accesses(self, command: ListApprovalsCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants to see the tenant's approvals."""
        return (Access(Action.LIST_APPROVALS),)

    def run(self, command: ListApprovalsCommand, grant: Grant) -> ApprovalPage:
        """Return the approvals of the caller's tenant."""
        size = min(command.page_size, MAX_APPROVAL_PAGE)
        found = self._store.page(grant.principal.tenant, command.state, command.after, size + 1, grant.now)
        shown = tuple(_seen(each, grant.now) for each in found[:size])
        last = shown[-1].approval if len(found) > size else None
        return ApprovalPage(shown, None if last is None else ApprovalPlace(last.created, last.approval_id))


@dataclass(frozen=True, slots=True)
class GetApprovalCommand:
    """Show one approval."""

    approval_id: str

    def __post_init__(self) -> None:
        check_approval_id(self.approval_id)


class GetApproval:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, store: ApprovalStore) -> None:
        self._store = store

    def accesses(self, command: GetApprovalCommand) -> Sequence[Access]:
        """Wants to see the tenant's approvals."""
        return (Access(Action.LIST_APPROVALS, change={"approval": command.approval_id}),)

    def run(self, command: GetApprovalCommand, grant: Grant) -> SeenApproval:
        """Return it. Raises `NotFound`."""
        return _seen(_of_tenant(self._store, command.approval_id, grant), grant.now)


@dataclass(frozen=True, slots=True)
class ApproveCommand:
    """Consent to the request with this hash (hexadecimal)."""

    approval_id: str
    request_hash: str
    reason: str
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_approval_id(self.approval_id)
        check_request_hash(self.request_hash)
        check_text(self.reason, "reason")


class Approve:
    """The verb."""

    changes_state: ClassVar[bool] = True

    def __init__(self, store: ApprovalStore) -> None:
        self._store = store

    def accesses(self, command: ApproveCommand) -> Sequence[Access]:
        """Wants to decide for the tenant."""
        change = change_of(
            command.reason,
            dry_run=command.dry_run,
            approval=command.approval_id,
            request_hash=command.request_hash,
            decision="approve",
        )
        return (Access(Action.DECIDE_APPROVAL, change=change),)

    def run(self, command: ApproveCommand, grant: Grant) -> SeenApproval:
        """Consent. Raises `NotFound`, `AccessDenied` for one's own, `FailedPrecondition` as `Approval.approved_by`."""
        if grant.principal.kind is not PrincipalKind.OFFICER:
            raise AccessDenied("Only officers consent.", advice="Ask an officer with the role approver.")
        found = _of_tenant(self._store, command.approval_id, grant)
        expected = check_request_hash(command.request_hash)

        def consented(stored: Approval) -> Approval:
            _tell(stored, grant)
            return stored.approved_by(grant.principal.principal_id, expected, command.reason, grant.now)

        decided = consented(found) if command.dry_run else self._store.decide(command.approval_id, consented)
        return _decided(decided, grant.now)


@dataclass(frozen=True, slots=True)
class RejectCommand:
    """Refuse a request, or take one's own back."""

    approval_id: str
    reason: str
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_approval_id(self.approval_id)
        check_text(self.reason, "reason")


class Reject:
    """The verb."""

    changes_state: ClassVar[bool] = True

    def __init__(self, store: ApprovalStore, authorizer: Authorizer) -> None:
        self._store = store
        self._authorizer = authorizer

    def accesses(self, command: RejectCommand) -> Sequence[Access]:
        """Wants to see the tenant's approvals; whether it wants to decide turns on whose request it is."""
        change = change_of(command.reason, dry_run=command.dry_run, approval=command.approval_id, decision="reject")
        return (Access(Action.LIST_APPROVALS, change=change),)

    def run(self, command: RejectCommand, grant: Grant) -> SeenApproval:
        """Refuse it. Raises `NotFound`, `AccessDenied`, and `FailedPrecondition` as `Approval.rejected_by`.

        Whoever asked may always take it back, also where policy lets it decide nothing.
        """
        found = self._store.find(command.approval_id)
        if found is None or found.requester != grant.principal.principal_id:
            self._require_decider(grant)
        found = _of_tenant(self._store, command.approval_id, grant)

        def refused(stored: Approval) -> Approval:
            _tell(stored, grant)
            return stored.rejected_by(grant.principal.principal_id, command.reason, grant.now)

        decided = refused(found) if command.dry_run else self._store.decide(command.approval_id, refused)
        return _decided(decided, grant.now)

    def _require_decider(self, grant: Grant) -> None:
        asked = AccessRequest(grant.principal, Action.DECIDE_APPROVAL, grant.principal.tenant)
        if not self._authorizer.decide(asked).allowed:
            raise AccessDenied("Policy does not let you decide on the requests of others.")


def _tell(approval: Approval, grant: Grant) -> None:
    """Let the record of a decision say what was decided on, so that a search for the key or the requester finds it."""
    grant.trail.key_id = approval.key_id
    grant.trail.facts.update(requester=approval.requester, method=approval.method)


def _of_tenant(store: ApprovalStore, approval_id: str, grant: Grant) -> Approval:
    """Return an approval of the caller's tenant. Another's is answered like none: an id tells a stranger nothing."""
    found = store.find(approval_id)
    if found is None or found.tenant != grant.principal.tenant:
        raise _unknown()
    return found


def _decided(approval: Approval | None, now: datetime) -> SeenApproval:
    if approval is None:
        raise _unknown()
    return _seen(approval, now)


def _seen(approval: Approval, now: datetime) -> SeenApproval:
    return SeenApproval(approval, approval.state_at(now))


def _unknown() -> NotFound:
    return NotFound("There is no such approval.", advice="Look for it with `kmsgw approval list`.")
