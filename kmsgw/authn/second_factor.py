"""The officers' second factor: enrolment, one-time codes, recovery codes and sessions.

Each decision is made while the officer's row is held, so it is one step for all threads, workers and nodes: a code is
accepted once, wrong codes are counted one by one, and nothing is decided on a secret that was taken away meanwhile
(docs/adr/0011). A provider is asked before the row is held, never while it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Final, Protocol

from kmsgw.authn import refusals, tokens, totp
from kmsgw.errors import AccessDenied, KmsgwError
from kmsgw.model.access import Principal
from kmsgw.model.officer import Lockout, Officer, OfficerState, Session
from kmsgw.operations.officer_ports import Enrolment, OfficerStore, OfficerUnit, OpenedSession
from kmsgw.operations.verb import Trail

FLOOR_DISTANCE: Final = 24 * 3600 // totp.STEP_SECONDS
"""Steps from the newest accepted step down to the floor: a day. Below it nothing is remembered, and all is refused."""

_SESSIONS_KEPT: Final = 16


class Secrets(Protocol):
    """What seals the secrets for the database."""

    def seal(self, officer_id: str, secret: bytes, trail: Trail) -> bytes:
        """Return a secret as it is stored."""

    def open(self, officer_id: str, sealed: bytes) -> bytes:
        """Return a secret that was sealed."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says of officers."""

    lockout: Lockout
    invitation: bool
    idle: timedelta
    session: timedelta
    reset_delay: timedelta


class SecondFactorOfOfficers:
    """The port `SecondFactor`, over a store and the sealed secrets. Safe for threads."""

    def __init__(self, store: OfficerStore, secrets: Secrets, rules: Rules) -> None:
        self._store = store
        self._secrets = secrets
        self._rules = rules

    def enrol(self, officer_id: str, invitation: str, now: datetime, trail: Trail) -> Enrolment:
        """Make a secret, not in force yet; the one before it that was not confirmed is forgotten."""
        self._require_enrollable(self.officer(officer_id), invitation, now)
        secret = totp.new_secret()
        sealed = self._secrets.seal(officer_id, secret, trail)
        with self._store.locked(officer_id) as unit:
            self._require_enrollable(unit.officer, invitation, now)
            # Failures and lock stay: who enrols again and again must not get more guesses by it. The steps that were
            # spent were spent with another secret, and so was the floor.
            unit.save(
                replace(
                    unit.officer,
                    state=OfficerState.UNCONFIRMED,
                    sealed_secret=sealed,
                    invitation_hash=b"",
                    invitation_expires=None,
                    may_enrol_at=None,
                    floor_step=0,
                )
            )
            _forget_uses(unit)
        return Enrolment(totp.secret_text(secret), totp.provisioning_uri(secret, officer_id))

    def confirm(self, officer_id: str, first: str, second: str, now: datetime, trail: Trail) -> Sequence[str]:
        """Put the secret in force by two consecutive codes, which are spent, and return the recovery codes."""
        officer = self.officer(officer_id)
        if officer.state is OfficerState.ACTIVE:
            raise refusals.enrolled()
        if officer.state is not OfficerState.UNCONFIRMED:
            raise refusals.not_enrolled()
        secret = self._secrets.open(officer_id, officer.sealed_secret)
        codes = tokens.new_recovery_codes()

        def accept(unit: OfficerUnit) -> bool:
            steps = totp.consecutive_steps(secret, first, second, now)
            if not steps or not all(unit.spend(step) for step in steps):
                return False
            unit.save(replace(unit.officer, state=OfficerState.ACTIVE, confirmed=now))
            unit.replace_recovery_codes([_recovery_hash(officer_id, code) for code in codes])
            return True

        self._accept(officer, now, trail, accept)
        return codes

    def spend(self, officer_id: str, code: str, now: datetime, trail: Trail) -> None:
        """Accept a one-time code for the call that carries it, and for nothing else ever."""
        officer = self._require_active(officer_id)
        self._accept(officer, now, trail, self._one_time_code(officer, code, now))

    def login(self, principal: Principal, code: str, now: datetime, trail: Trail) -> OpenedSession:
        """Open a session, bound to the certificate, by a one-time code or a recovery code."""
        officer_id = principal.principal_id
        officer = self._require_active(officer_id)
        token = tokens.new_token()
        session = Session(
            tokens.session_hash(token), officer_id, principal.fingerprint, now, now, now + self._rules.session
        )
        recovery = not totp.is_code(code)
        proven = _recovery_code(officer_id, code, now) if recovery else self._one_time_code(officer, code, now)

        def accept(unit: OfficerUnit) -> bool:
            if not proven(unit):
                return False
            unit.add_session(session, _SESSIONS_KEPT)
            return True

        self._accept(officer, now, trail, accept)
        left = officer.recovery_codes - recovery
        if recovery:
            trail.facts |= {"recovery_code": "accepted", "recovery_codes_left": left}
        return OpenedSession(token, session, self._rules.idle, left)

    def find_session(self, principal: Principal, token: str, now: datetime) -> Session | None:
        """Return the session of a token, where it is in force and of this principal's certificate."""
        found = self._store.find_session(tokens.session_hash(token)) if token else None
        if found is None or found.officer_id != principal.principal_id:
            return None
        if not compare_digest(found.fingerprint, principal.fingerprint):
            return None
        if not found.is_valid(now, self._rules.idle):
            # For good: a clock that is put back must not bring it back (threat 3).
            self._store.drop_session(found.session_hash)
            return None
        return found

    def attend(self, principal: Principal, token: str, now: datetime, *, is_use: bool = True) -> None:
        """Let a call pass that carries a session in force, and with `is_use` count it as the session's last use.

        Raises `Unauthenticated` otherwise.
        """
        found = self.find_session(principal, token, now)
        if found is None:
            if self.officer(principal.principal_id).state is not OfficerState.ACTIVE:
                raise refusals.not_enrolled()
            raise refusals.session_ended() if token else refusals.session_missing()
        if is_use and found.is_due_for_touch(now):
            self._store.touch_session(found.session_hash, now)

    def logout(self, token: str) -> None:
        """End a session. One that has ended already is no error."""
        self._store.drop_session(tokens.session_hash(token))

    def reset(self, officer_id: str, now: datetime, *, dry_run: bool) -> Officer:
        """Take secret, codes and sessions away; the officer may enrol anew after the delay."""
        with self._store.locked(officer_id) as unit:
            if unit.officer.state in (OfficerState.NOT_ENROLLED, OfficerState.RESET):
                raise refusals.nothing_to_reset(officer_id)
            made = Officer(officer_id, OfficerState.RESET, may_enrol_at=now + self._rules.reset_delay)
            if not dry_run:
                unit.save(made)
                _forget_uses(unit)
        return made

    def officer(self, officer_id: str) -> Officer:
        """Return an officer as it is; one that never did anything is not enrolled."""
        return self._store.find(officer_id) or Officer(officer_id)

    def officers(self) -> Mapping[str, Officer]:
        """Return every officer that ever did anything, by id."""
        return self._store.all()

    def _require_active(self, officer_id: str) -> Officer:
        officer = self.officer(officer_id)
        if officer.state is not OfficerState.ACTIVE:
            raise refusals.not_enrolled()
        return officer

    def _require_enrollable(self, officer: Officer, invitation: str, now: datetime) -> None:
        if officer.state is OfficerState.ACTIVE:
            raise refusals.enrolled()
        if self._rules.invitation:
            given = tokens.invitation_hash(officer.officer_id, invitation)
            expires = officer.invitation_expires
            if not compare_digest(officer.invitation_hash, given) or expires is None or now >= expires:
                raise refusals.invitation_refused(officer.officer_id)
        if officer.may_enrol_at is not None and now < officer.may_enrol_at:
            raise refusals.enrols_later(officer.may_enrol_at)

    def _one_time_code(self, officer: Officer, code: str, now: datetime) -> Callable[[OfficerUnit], bool]:
        """Return what accepts a one-time code. The provider is asked here, before anything is held."""
        secret = self._secrets.open(officer.officer_id, officer.sealed_secret)

        def accept(unit: OfficerUnit) -> bool:
            # One in a million codes is that of two steps. All of them are spent, and one that was spent before refuses
            # the code: the same six digits never work twice while a step whose code they are is in the window.
            steps, floor = totp.matching_steps(secret, code, now), unit.officer.floor_step
            if not steps or min(steps) <= floor or not all(unit.spend(step) for step in steps):
                return False
            new_floor = max(steps) - FLOOR_DISTANCE
            if new_floor > floor:
                unit.forget_steps(new_floor)
                unit.save(replace(unit.officer, floor_step=new_floor))
            return True

        return accept

    def _accept(self, officer: Officer, now: datetime, trail: Trail, accept: Callable[[OfficerUnit], bool]) -> None:
        """Accept what an officer shows, or count it as wrong and raise `AccessDenied`; either in one step."""
        refusal: KmsgwError | None
        with self._store.locked(officer.officer_id) as unit:
            refusal = self._refusal(officer, unit, now, trail, accept)
        # Raised behind the transaction: an error inside of it would undo the count.
        if refusal is not None:
            raise refusal

    def _refusal(
        self, read: Officer, unit: OfficerUnit, now: datetime, trail: Trail, accept: Callable[[OfficerUnit], bool]
    ) -> AccessDenied | None:
        lockout = self._rules.lockout
        held = unit.officer.settled(now, lockout)
        if held is not unit.officer:
            unit.save(held)
        if held.is_locked(now):
            return _locked(held, trail)
        if held.state is not read.state or held.sealed_secret != read.sealed_secret:
            # It enrolled anew, or was reset, since the code was compared: the code was of a secret that is no more.
            trail.facts["code"] = "refused"
            return refusals.code_refused()
        if accept(unit):
            trail.facts["code"] = "accepted"
            unit.save(unit.officer.after_success())
            return None
        failed = held.after_failure(now, lockout)
        unit.save(failed)
        trail.facts |= {"code": "refused", "wrong_codes": failed.failures}
        return _locked(failed, trail) if failed.is_locked(now) else refusals.code_refused()


def _recovery_code(officer_id: str, text: str, now: datetime) -> Callable[[OfficerUnit], bool]:
    code = tokens.read_recovery_code(text)
    return lambda unit: bool(code) and unit.use_recovery_code(tokens.recovery_hash(officer_id, code), now)


def _recovery_hash(officer_id: str, code: str) -> bytes:
    return tokens.recovery_hash(officer_id, tokens.read_recovery_code(code))


def _forget_uses(unit: OfficerUnit) -> None:
    """Forget what was done with a secret that is no more, and end its sessions."""
    unit.forget_steps(2**62)
    unit.replace_recovery_codes(())
    unit.drop_sessions()


def _locked(officer: Officer, trail: Trail) -> AccessDenied:
    assert officer.locked_until is not None
    trail.facts["locked_until"] = refusals.moment(officer.locked_until)
    return refusals.locked(officer.locked_until)
