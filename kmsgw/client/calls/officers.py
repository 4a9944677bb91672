"""The verbs of OfficerService. `timeout` bounds a call in seconds over all attempts."""

from collections.abc import Mapping
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from kmsgw.client.calls.call import Answer, Call, Page, method_path, time_of
from kmsgw.client.officer_results import Enrolment, Identity, LoginSession, OfficerInfo, RecoveryCodes
from kmsgw.errors import InternalError
from kmsgw.model.access import PrincipalKind
from kmsgw.model.officer import OfficerState
from kmsgw.v1 import officer_service_pb2 as wire

_SERVICE = wire.DESCRIPTOR.services_by_name["OfficerService"]
_ENROLL = method_path(_SERVICE, "EnrollOfficer")
_CONFIRM = method_path(_SERVICE, "ConfirmOfficer")
_LOGIN = method_path(_SERVICE, "Login")
_LOGOUT = method_path(_SERVICE, "Logout")
_RESET = method_path(_SERVICE, "ResetOfficer")
_LIST = method_path(_SERVICE, "ListOfficers")
_WHO_AM_I = method_path(_SERVICE, "WhoAmI")

_STATES: Mapping[int, OfficerState] = {
    wire.OFFICER_STATE_NOT_ENROLLED: OfficerState.NOT_ENROLLED,
    wire.OFFICER_STATE_UNCONFIRMED: OfficerState.UNCONFIRMED,
    wire.OFFICER_STATE_ACTIVE: OfficerState.ACTIVE,
    wire.OFFICER_STATE_LOCKED: OfficerState.LOCKED,
    wire.OFFICER_STATE_RESET: OfficerState.RESET,
}


def enrol(invitation: str = "", *, timeout: float | None = None) -> Call[Enrolment]:
    """Begin the enrolment of the calling officer. Nothing is in force before `confirm`.

    Raises `AlreadyExists` where it is enrolled, `AccessDenied` with INVITATION_REFUSED, and `FailedPrecondition` with
    OFFICER_LOCKED for a while after a reset.
    """
    request = wire.EnrollOfficerRequest(invitation=invitation)

    def read(answer: Answer) -> Enrolment:
        response = wire.EnrollOfficerResponse.FromString(answer.payload)
        return Enrolment(response.secret, response.uri, request_id=answer.request_id)

    return Call(_ENROLL, request.SerializeToString(), read, repeatable=False, timeout=timeout)


def confirm(first_code: str, second_code: str, *, timeout: float | None = None) -> Call[RecoveryCodes]:
    """End the enrolment with the codes of two steps that follow each other, and return the recovery codes.

    Both codes are used up by it. Raises `AccessDenied` with CODE_REFUSED or OFFICER_LOCKED.
    """
    request = wire.ConfirmOfficerRequest(first_code=first_code, second_code=second_code)

    def read(answer: Answer) -> RecoveryCodes:
        response = wire.ConfirmOfficerResponse.FromString(answer.payload)
        return RecoveryCodes(tuple(response.recovery_codes), request_id=answer.request_id)

    return Call(_CONFIRM, request.SerializeToString(), read, repeatable=False, timeout=timeout)


def login(code: str, *, timeout: float | None = None) -> Call[LoginSession]:
    """Open a session by a one-time code or a recovery code, for `proving`. It works with this certificate alone.

    Raises `AccessDenied` with CODE_REFUSED or OFFICER_LOCKED, and `Unauthenticated` with OFFICER_NOT_ENROLLED.
    """

    def read(answer: Answer) -> LoginSession:
        response = wire.LoginResponse.FromString(answer.payload)
        return LoginSession(
            response.session,
            time_of(response.expire_time),
            response.idle_seconds,
            response.recovery_codes,
            request_id=answer.request_id,
        )

    return Call(_LOGIN, wire.LoginRequest(code=code).SerializeToString(), read, repeatable=False, timeout=timeout)


def logout(*, timeout: float | None = None) -> Call[None]:
    """End the session that the call carries."""

    def read(answer: Answer) -> None:
        wire.LogoutResponse.FromString(answer.payload)

    return Call(_LOGOUT, wire.LogoutRequest().SerializeToString(), read, repeatable=False, timeout=timeout)


def reset(officer_id: str, *, reason: str, dry_run: bool = False, timeout: float | None = None) -> Call[OfficerInfo]:
    """Take the second factor of another officer away; it may enrol anew after a delay.

    Raises `FailedPrecondition` with OFFICER_NOT_ENROLLED where there is nothing to take, or with APPROVAL_REQUIRED.
    """
    request = wire.ResetOfficerRequest(officer_id=officer_id, dry_run=dry_run, reason=reason)

    def read(answer: Answer) -> OfficerInfo:
        return _info(wire.ResetOfficerResponse.FromString(answer.payload).officer)

    return Call(_RESET, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def list_officers(page_token: str, *, page_size: int = 100, timeout: float | None = None) -> Call[Page[OfficerInfo]]:
    """Iterate over the officers of the caller's tenant, by id. `page_size` is 1 to 1,000."""
    request = wire.ListOfficersRequest(page_size=page_size, page_token=page_token)

    def read(answer: Answer) -> Page[OfficerInfo]:
        response = wire.ListOfficersResponse.FromString(answer.payload)
        return Page(tuple(map(_info, response.officers)), response.next_page_token)

    return Call(_LIST, request.SerializeToString(), read, timeout=timeout)


def who_am_i(*, timeout: float | None = None) -> Call[Identity]:
    """Return who the gateway takes the caller for, and whether the session that the call carries is in force."""

    def read(answer: Answer) -> Identity:
        response = wire.WhoAmIResponse.FromString(answer.payload)
        try:
            kind = PrincipalKind(response.kind)
        except ValueError:
            raise _unknown("kind of principal", response.kind) from None
        return Identity(
            principal_id=response.principal_id,
            kind=kind,
            tenant=response.tenant,
            roles=tuple(response.roles),
            certificate_expires=_time(response.certificate_expire_time, response.HasField("certificate_expire_time")),
            session_expires=_time(response.session_expire_time, response.HasField("session_expire_time")),
            officer_state=_state(response.officer_state) if response.officer_state else None,
            second_factor_required=response.second_factor_required,
        )

    return Call(_WHO_AM_I, wire.WhoAmIRequest().SerializeToString(), read, timeout=timeout)


def _info(officer: wire.Officer) -> OfficerInfo:
    return OfficerInfo(
        officer_id=officer.officer_id,
        state=_state(officer.state),
        roles=tuple(officer.roles),
        confirmed=_time(officer.confirm_time, officer.HasField("confirm_time")),
        locked_until=_time(officer.lock_end_time, officer.HasField("lock_end_time")),
        may_enrol_at=_time(officer.enrol_time, officer.HasField("enrol_time")),
        recovery_codes=officer.recovery_codes,
    )


def _time(stamp: Timestamp, present: bool) -> datetime | None:
    return time_of(stamp) if present else None


def _state(sent: int) -> OfficerState:
    found = _STATES.get(sent)
    if found is None:
        raise _unknown("state of an officer", str(sent))
    return found


def _unknown(what: str, sent: str) -> InternalError:
    return InternalError(f"The gateway answers an unknown {what}: {sent}.", advice="Use an SDK as new as the gateway.")
