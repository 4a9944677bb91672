"""What officers are told where their second factor does not suffice, with the command that comes next.

A wrong code, one that was used and one that is too old answer alike: the difference would help who guesses.
"""

from datetime import UTC, datetime

from kmsgw.errors import AccessDenied, AlreadyExists, FailedPrecondition, Reason, Unauthenticated


def moment(time: datetime) -> str:
    """Return a time as people and the audit log read it, in UTC and whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def session_missing() -> Unauthenticated:
    """Return the error for an officer's call without a session."""
    return Unauthenticated("The call carries no session.", reason=Reason.SESSION_REQUIRED, advice="Run `kmsgw login`.")


def session_ended() -> Unauthenticated:
    """Return the error for a session that is not in force, whatever the cause."""
    return Unauthenticated(
        "The session has ended, or it is not of this certificate.",
        reason=Reason.SESSION_REQUIRED,
        advice="Run `kmsgw login`.",
    )


def not_enrolled() -> Unauthenticated:
    """Return the error for an officer without a second factor in force."""
    return Unauthenticated(
        "This officer has no second factor yet.",
        reason=Reason.OFFICER_NOT_ENROLLED,
        advice="Run `kmsgw officer enrol`, then `kmsgw officer confirm`.",
    )


def code_required() -> AccessDenied:
    """Return the error for a sensitive call without a code."""
    return AccessDenied(
        "This wants a fresh one-time code in the same call.",
        reason=Reason.CODE_REQUIRED,
        advice="Run the command again and give the code that your device shows.",
    )


def code_refused() -> AccessDenied:
    """Return the one error for a code that is wrong, was used, or is of another time."""
    return AccessDenied(
        "The code is not accepted.",
        reason=Reason.CODE_REFUSED,
        advice="Wait for the next code of your device, and run the command again with it; each code works once.",
    )


def locked(until: datetime) -> AccessDenied:
    """Return the error for an officer that gave too many wrong codes."""
    return AccessDenied(
        f"Too many wrong codes: locked until {moment(until)}.",
        reason=Reason.OFFICER_LOCKED,
        advice="Wait until then and run the command again; check the clock of your device.",
    )


def enrolled() -> AlreadyExists:
    """Return the error for an officer that would enrol twice."""
    return AlreadyExists(
        "This officer is enrolled.",
        reason=Reason.OFFICER_ENROLLED,
        advice="Run `kmsgw login`; without the device use a recovery code, or let another officer run "
        "`kmsgw officer reset`.",
    )


def enrols_later(time: datetime) -> FailedPrecondition:
    """Return the error for an officer that was reset a moment ago."""
    return FailedPrecondition(
        f"This officer was reset, and may enrol again from {moment(time)}.",
        reason=Reason.OFFICER_LOCKED,
        advice="Run `kmsgw officer enrol` then. Whoever did not ask for the reset tells the other officers now.",
    )


def invitation_refused(officer_id: str) -> AccessDenied:
    """Return the one error for an invitation that is missing, wrong, used or expired."""
    return AccessDenied(
        "Enrolling wants an invitation that is in force.",
        reason=Reason.INVITATION_REFUSED,
        advice=f"Let the operator run `kmsgwd --invite {officer_id}` and give you what it prints.",
    )


def nothing_to_reset(officer_id: str) -> FailedPrecondition:
    """Return the error for a reset of an officer that has no second factor."""
    return FailedPrecondition(
        f"The officer {officer_id} has no second factor.",
        reason=Reason.OFFICER_NOT_ENROLLED,
        advice="There is nothing to reset: the officer runs `kmsgw officer enrol`.",
    )
