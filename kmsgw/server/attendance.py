"""The gates of officers' calls: a session with every one, and a fresh one-time code with each that changes something.

The code comes after policy, so that a call that is forbidden anyway wastes none; the session before it, so that who
has stolen a certificate alone learns nothing of what it may do.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol

from kmsgw.authn import refusals
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.operations.verb import Trail
from kmsgw.operations.waiting import before_waiting
from kmsgw.server.gates import Petition

_NOTHING: Final[Mapping[str, object]] = {}
_OFFICERS: Final = "/kmsgw.v1.OfficerService/"
_WITHOUT_SESSION: Final = frozenset(
    {
        *(_OFFICERS + name for name in ("EnrollOfficer", "ConfirmOfficer", "Login", "WhoAmI")),
        "/kmsgw.v1.SystemService/GetStatus",
    }
)
"""What leads to a session, and what says how to get there."""

_WITHOUT_CODE: Final = frozenset(_OFFICERS + name for name in ("EnrollOfficer", "ConfirmOfficer", "Login", "Logout"))
"""What changes state and takes its codes in the request, or needs none."""


class Attendance(Protocol):
    """What checks sessions and codes."""

    def attend(self, principal: Principal, token: str, now: datetime, *, is_use: bool = True) -> None:
        """Let a call pass that carries a session in force, used with it if `is_use`. Raises `Unauthenticated`."""

    def spend(self, officer_id: str, code: str, now: datetime, trail: Trail) -> None:
        """Accept a one-time code once. Raises `AccessDenied`."""


class SessionGate:
    """Wants a session of the certificate, before policy is asked."""

    def __init__(self, attendance: Attendance) -> None:
        self._attendance = attendance

    def admit(self, petition: Petition) -> Mapping[str, object]:
        """Let pass with a session in force. Raises `Unauthenticated`, or `StateUnavailable` without the database."""
        before_waiting()
        if petition.principal.kind is PrincipalKind.OFFICER and petition.rpc.method not in _WITHOUT_SESSION:
            # A feed goes on by itself: it must not keep a session in use whose officer has left.
            self._attendance.attend(petition.principal, petition.proof().session, petition.now, is_use=petition.is_call)
        return _NOTHING


class CodeGate:
    """Wants a one-time code for what changes state, and spends it, after policy has allowed the call."""

    def __init__(self, attendance: Attendance) -> None:
        self._attendance = attendance

    def admit(self, petition: Petition) -> Mapping[str, object]:
        """Let pass with a right code, which is of no use any more then. Raises `AccessDenied`."""
        method, operation = petition.rpc.method, petition.rpc.operation
        if petition.principal.kind is not PrincipalKind.OFFICER:
            return _NOTHING
        if not operation.changes_state or petition.dry_run or method in _WITHOUT_CODE:
            return _NOTHING
        code = petition.proof().code
        if not code:
            raise refusals.code_required()
        self._attendance.spend(petition.principal.principal_id, code, petition.now, petition.trail)
        return _NOTHING
