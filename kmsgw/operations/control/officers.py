"""Officers: enrolling, logging in and out, and resetting one that lost its device."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from kmsgw.errors import AccessDenied, InvalidRequest
from kmsgw.model.access import Action, Principal, PrincipalKind
from kmsgw.model.key import check_text
from kmsgw.model.names import check_name
from kmsgw.model.officer import Officer
from kmsgw.operations.officer_ports import Enrolment, OfficerDirectory, OpenedSession, SecondFactor
from kmsgw.operations.verb import Access, Grant, change_of


@dataclass(frozen=True, slots=True)
class EnrollOfficerCommand:
    """Begin the enrolment of the caller, with an invitation where the configuration wants one."""

    invitation: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConfirmOfficerCommand:
    """End the enrolment of the caller with the codes of two steps that follow each other."""

    first_code: str = field(repr=False)
    second_code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LoginCommand:
    """Open a session of the caller by a one-time code or a recovery code."""

    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LogoutCommand:
    """End the session that the call carries."""


@dataclass(frozen=True, slots=True)
class ResetOfficerCommand:
    """Take the second factor of another officer away, for a reason that is recorded."""

    officer_id: str
    dry_run: bool
    reason: str

    def __post_init__(self) -> None:
        check_name(self.officer_id, "officer_id")
        check_text(self.reason, "reason")
        if not self.reason:
            raise InvalidRequest("reason is required.", advice="Say why: it is recorded in the audit log.")


class EnrollOfficer:
    """The verb."""

    changes_state: ClassVar[bool] = True

    def __init__(self, second_factor: SecondFactor) -> None:
        self._second_factor = second_factor

    def accesses(self, command: EnrollOfficerCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants to enrol."""
        return (Access(Action.ENROL_OFFICER),)

    def run(self, command: EnrollOfficerCommand, grant: Grant) -> Enrolment:
        """Make a secret. Raises `AlreadyExists` where there is one in force."""
        officer = require_officer(grant.principal)
        return self._second_factor.enrol(officer.principal_id, command.invitation, grant.now, grant.trail)


class ConfirmOfficer:
    """The verb."""

    changes_state: ClassVar[bool] = True

    def __init__(self, second_factor: SecondFactor) -> None:
        self._second_factor = second_factor

    def accesses(self, command: ConfirmOfficerCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants to enrol."""
        return (Access(Action.ENROL_OFFICER),)

    def run(self, command: ConfirmOfficerCommand, grant: Grant) -> Sequence[str]:
        """Put the secret in force and return the recovery codes. Raises `AccessDenied` for wrong codes."""
        officer = require_officer(grant.principal)
        return self._second_factor.confirm(
            officer.principal_id, command.first_code, command.second_code, grant.now, grant.trail
        )


class Login:
    """The verb. No policy is asked: a session permits nothing, it is only wanted besides."""

    changes_state: ClassVar[bool] = True

    def __init__(self, second_factor: SecondFactor) -> None:
        self._second_factor = second_factor

    def accesses(self, command: LoginCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants nothing that policy decides on."""
        return ()

    def run(self, command: LoginCommand, grant: Grant) -> OpenedSession:
        """Open a session. Raises `AccessDenied` for a wrong code and `Unauthenticated` for who is not enrolled."""
        return self._second_factor.login(require_officer(grant.principal), command.code, grant.now, grant.trail)


class Logout:
    """The verb."""

    changes_state: ClassVar[bool] = True

    def __init__(self, second_factor: SecondFactor) -> None:
        self._second_factor = second_factor

    def accesses(self, command: LogoutCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants nothing that policy decides on."""
        return ()

    def run(self, command: LogoutCommand, grant: Grant) -> None:  # noqa: ARG002
        """End the session, where it is the caller's own."""
        officer = require_officer(grant.principal)
        token = grant.session()
        if self._second_factor.find_session(officer, token, grant.now) is not None:
            self._second_factor.logout(token)


class ResetOfficer:
    """The verb. Whoever resets needs the approval of two others, by configuration, and never resets itself."""

    changes_state: ClassVar[bool] = True

    def __init__(self, second_factor: SecondFactor, directory: OfficerDirectory) -> None:
        self._second_factor = second_factor
        self._directory = directory

    def accesses(self, command: ResetOfficerCommand) -> Sequence[Access]:
        """Wants to reset in the caller's tenant, whoever it names: that another has this officer shows at no gate."""
        change = change_of(command.reason, dry_run=command.dry_run, officer_id=command.officer_id)
        return (Access(Action.RESET_OFFICER, change=change),)

    def run(self, command: ResetOfficerCommand, grant: Grant) -> tuple[Principal, Officer]:
        """Reset.

        Raises `AccessDenied` for who is no officer of the tenant, and `FailedPrecondition` where nothing is there to
        reset.
        """
        if command.officer_id == grant.principal.principal_id:
            raise AccessDenied(
                "Nobody resets its own second factor.",
                advice=f"Let another officer run `kmsgw officer reset {command.officer_id}`.",
            )
        found = self._directory.find(command.officer_id)
        if found is None or found.kind is not PrincipalKind.OFFICER or found.tenant != grant.principal.tenant:
            # Who is configured in another tenant is nobody's business.
            grant.trail.facts["officer"] = "unknown"
            raise AccessDenied
        return found, self._second_factor.reset(found.principal_id, grant.now, dry_run=command.dry_run)


def require_officer(principal: Principal) -> Principal:
    """Return the principal. Raises `AccessDenied` where it is a service."""
    if principal.kind is not PrincipalKind.OFFICER:
        raise AccessDenied("Only officers have a second factor.", advice="Use an officer's certificate.")
    return principal
