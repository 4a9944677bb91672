"""The gate of approvals: what one officer may not do alone waits here for the consent of others.

It stands last, after policy and after the one-time code: nobody opens an approval for what policy forbids, and no
approval is used by a call that goes no further for want of a code. An approval is used before the verb runs. Used
after it, a crash between the two would let it be used again.
"""

from collections.abc import Mapping
from datetime import timedelta

from kmsgw.errors import Conflict, FailedPrecondition, Reason
from kmsgw.model.approval import Approval, ApprovalState, check_approval_id, mismatched
from kmsgw.model.names import is_name
from kmsgw.model.request_id import new_request_id
from kmsgw.operations.approval_ports import ApprovalStore
from kmsgw.operations.approval_rules import ApprovalNumbers, officers_wanted
from kmsgw.server.gates import Petition
from kmsgw.server.request_text import readable_json, request_hash


class ConsentGate:
    """Opens approvals, and uses them. Safe for threads."""

    def __init__(self, store: ApprovalStore, numbers: ApprovalNumbers, valid: timedelta) -> None:
        self._store = store
        self._numbers = numbers
        self._valid = valid

    def admit(self, petition: Petition) -> Mapping[str, object]:
        """Let pass what wants no consent, and what carries it; open an approval for the rest, and refuse.

        A dry run passes, and its trail says how many officers the request itself would want.

        Raises `FailedPrecondition` with APPROVAL_REQUIRED and the id of the approval that was opened, or with the
        reason why the one that the call carries does not do.
        """
        if not petition.rpc.operation.changes_state:
            return {}
        key = petition.keys[0] if petition.keys else None
        needed = officers_wanted(petition.rpc.method, petition.command, key, self._numbers)
        if petition.dry_run:
            petition.trail.officers_wanted = needed
        if petition.dry_run or not needed:
            return {}
        digest = request_hash(petition.principal.principal_id, petition.rpc.method, petition.message, petition.keys)
        given = petition.proof().approval
        if not given:
            opened = self._store.open(self._wanted(petition, digest, needed))
            petition.trail.facts["approval"] = opened.approval_id
            raise _refusal(opened, petition)
        petition.trail.facts["approval"] = check_approval_id(given)
        return {"approved_by": self._used(given, petition, digest, needed)}

    def _used(self, approval_id: str, petition: Petition, digest: bytes, needed: int) -> list[str]:
        approval = self._usable(approval_id, petition, digest, needed)
        if not self._store.consume(approval, petition.now):
            # Another call, a refusal or the end of its time came between. What is stored now says which.
            self._usable(approval_id, petition, digest, needed)
            raise Conflict("The approval changed meanwhile.", advice="Look at it with `kmsgw approval show`.")
        return list(approval.approvers)

    def _usable(self, approval_id: str, petition: Petition, digest: bytes, needed: int) -> Approval:
        found = self._store.find(approval_id)
        if found is None or found.tenant != petition.principal.tenant:
            raise mismatched(approval_id)
        found.require_usable(petition.principal.principal_id, digest, needed, petition.now)
        return found

    def _wanted(self, petition: Petition, digest: bytes, needed: int) -> Approval:
        return Approval(
            approval_id=new_request_id(petition.now),
            tenant=petition.principal.tenant,
            requester=petition.principal.principal_id,
            method=petition.rpc.method,
            key_id=_subject(petition),
            request_hash=digest,
            request_json=readable_json(petition.message),
            reason=str(getattr(petition.command, "reason", "")),
            needed=needed,
            created=petition.now,
            expires=petition.now + self._valid,
        )


def _refusal(approval: Approval, petition: Petition) -> FailedPrecondition:
    if approval.state_at(petition.now) is ApprovalState.APPROVED:
        message, advice = "An approval for this request is ready.", "Send the request again with it."
    else:
        officers = "1 other officer" if approval.needed == 1 else f"{approval.needed} other officers"
        message = f"This wants the consent of {officers}."
        advice = "Let them decide on the approval, then send the very same request again with it."
    return FailedPrecondition(message, reason=Reason.APPROVAL_REQUIRED, advice=advice, approval_id=approval.approval_id)


def _subject(petition: Petition) -> str:
    """Return the id of the key that a petition is about, or would make; empty where there is none."""
    if petition.keys and petition.keys[0] is not None:
        return petition.keys[0].key_id
    named = (getattr(petition.command, field, "") for field in ("key_id", "key"))
    return next((name for name in named if isinstance(name, str) and is_name(name)), "")
