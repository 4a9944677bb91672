"""OfficerService: from the wire to commands, and from results to the wire."""

from collections.abc import Sequence
from datetime import datetime

from kmsgw.errors import InvalidRequest
from kmsgw.model.access import Principal
from kmsgw.model.names import is_name
from kmsgw.model.officer import Officer, OfficerState
from kmsgw.operations.control.key_views import check_page_size
from kmsgw.operations.control.officer_views import Identity, ListOfficersCommand, OfficerPage, WhoAmICommand
from kmsgw.operations.control.officers import (
    ConfirmOfficerCommand,
    EnrollOfficerCommand,
    LoginCommand,
    LogoutCommand,
    ResetOfficerCommand,
)
from kmsgw.operations.officer_ports import Enrolment, OpenedSession
from kmsgw.server.wire_keys import timestamp
from kmsgw.v1 import officer_service_pb2 as pb

_TO_WIRE = {
    OfficerState.NOT_ENROLLED: pb.OFFICER_STATE_NOT_ENROLLED,
    OfficerState.UNCONFIRMED: pb.OFFICER_STATE_UNCONFIRMED,
    OfficerState.ACTIVE: pb.OFFICER_STATE_ACTIVE,
    OfficerState.LOCKED: pb.OFFICER_STATE_LOCKED,
    OfficerState.RESET: pb.OFFICER_STATE_RESET,
}


def officer_message(principal: Principal, officer: Officer, now: datetime | None = None) -> pb.Officer:
    """Write an officer as of now; None for one that was changed this moment."""
    made = pb.Officer(
        officer_id=principal.principal_id,
        state=_TO_WIRE[officer.state if now is None else officer.state_at(now)],
        roles=sorted(principal.roles),
        recovery_codes=officer.recovery_codes,
    )
    if officer.confirmed is not None:
        made.confirm_time.CopyFrom(timestamp(officer.confirmed))
    if officer.locked_until is not None and now is not None and officer.is_locked(now):
        made.lock_end_time.CopyFrom(timestamp(officer.locked_until))
    if officer.may_enrol_at is not None:
        made.enrol_time.CopyFrom(timestamp(officer.may_enrol_at))
    return made


def enroll_officer_command(request: pb.EnrollOfficerRequest) -> EnrollOfficerCommand:
    """Read an EnrollOfficer request."""
    return EnrollOfficerCommand(request.invitation)


def enroll_officer_response(result: Enrolment) -> pb.EnrollOfficerResponse:
    """Write an EnrollOfficer response."""
    return pb.EnrollOfficerResponse(secret=result.secret, uri=result.uri)


def confirm_officer_command(request: pb.ConfirmOfficerRequest) -> ConfirmOfficerCommand:
    """Read a ConfirmOfficer request."""
    return ConfirmOfficerCommand(request.first_code, request.second_code)


def confirm_officer_response(result: Sequence[str]) -> pb.ConfirmOfficerResponse:
    """Write a ConfirmOfficer response."""
    return pb.ConfirmOfficerResponse(recovery_codes=result)


def login_command(request: pb.LoginRequest) -> LoginCommand:
    """Read a Login request."""
    if not request.code:
        raise InvalidRequest("code is required.", advice="Give the code that your device shows, or a recovery code.")
    return LoginCommand(request.code)


def login_response(result: OpenedSession) -> pb.LoginResponse:
    """Write a Login response."""
    return pb.LoginResponse(
        session=result.token,
        expire_time=timestamp(result.session.expires),
        idle_seconds=int(result.idle.total_seconds()),
        recovery_codes=result.recovery_codes,
    )


def logout_command(request: pb.LogoutRequest) -> LogoutCommand:  # noqa: ARG001
    """Read a Logout request."""
    return LogoutCommand()


def logout_response(result: None) -> pb.LogoutResponse:  # noqa: ARG001
    """Write a Logout response."""
    return pb.LogoutResponse()


def reset_officer_command(request: pb.ResetOfficerRequest) -> ResetOfficerCommand:
    """Read a ResetOfficer request."""
    return ResetOfficerCommand(request.officer_id, request.dry_run, request.reason)


def reset_officer_response(result: tuple[Principal, Officer]) -> pb.ResetOfficerResponse:
    """Write a ResetOfficer response."""
    return pb.ResetOfficerResponse(officer=officer_message(*result))


def list_officers_command(request: pb.ListOfficersRequest) -> ListOfficersCommand:
    """Read a ListOfficers request; its page token is the last id of the page before."""
    if request.page_token and not is_name(request.page_token):
        raise InvalidRequest("page_token is malformed.", advice="Give next_page_token back as it was answered.")
    return ListOfficersCommand(check_page_size(request.page_size), request.page_token)


def list_officers_response(result: OfficerPage) -> pb.ListOfficersResponse:
    """Write a ListOfficers response."""
    return pb.ListOfficersResponse(
        officers=[officer_message(principal, officer, result.now) for principal, officer in result.officers],
        next_page_token=result.next_after,
    )


def who_am_i_command(request: pb.WhoAmIRequest) -> WhoAmICommand:  # noqa: ARG001
    """Read a WhoAmI request."""
    return WhoAmICommand()


def who_am_i_response(result: Identity) -> pb.WhoAmIResponse:
    """Write a WhoAmI response."""
    principal = result.principal
    made = pb.WhoAmIResponse(
        principal_id=principal.principal_id,
        kind=principal.kind.value,
        tenant=principal.tenant,
        roles=sorted(principal.roles),
        officer_state=pb.OFFICER_STATE_UNSPECIFIED if result.state is None else _TO_WIRE[result.state],
        second_factor_required=result.second_factor_required,
    )
    if principal.certificate_expires is not None:
        made.certificate_expire_time.CopyFrom(timestamp(principal.certificate_expires))
    if result.session is not None:
        made.session_expire_time.CopyFrom(timestamp(result.session.expires))
    return made
