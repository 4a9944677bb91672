"""What the officers' second factor needs of the world: where it is stored, who the officers are, what checks codes."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from kmsgw.model.access import Principal
from kmsgw.model.officer import Officer, Session
from kmsgw.operations.verb import Trail


class OfficerUnit(Protocol):
    """One officer, locked: nobody else sees or changes it before the transaction ends."""

    @property
    def officer(self) -> Officer:
        """The officer as stored; one that never did anything is not enrolled."""

    def save(self, officer: Officer) -> None:
        """Write the officer. ``recovery_codes`` is not written: it is counted."""

    def spend(self, step: int) -> bool:
        """Note that the code of a step was accepted. Returns False, and changes nothing, where it was already."""

    def forget_steps(self, up_to: int) -> None:
        """Forget the spent steps up to a number; the officer's ``floor_step`` must refuse them from now on."""

    def replace_recovery_codes(self, hashes: Sequence[bytes]) -> None:
        """Put these recovery codes in the place of all that there were."""

    def use_recovery_code(self, code_hash: bytes, now: datetime) -> bool:
        """Use a recovery code up. Returns False where there is no such code, or it was used."""

    def add_session(self, session: Session, keep: int) -> None:
        """Add a session of this officer; of the others those stay that have not expired, the newest `keep` of all."""

    def drop_sessions(self) -> None:
        """End every session of this officer."""


class OfficerStore(Protocol):
    """Officers on disk. Every method raises `StateUnavailable` where the database does not answer."""

    def find(self, officer_id: str) -> Officer | None:
        """Return an officer, or None where it never did anything."""

    def all(self) -> Mapping[str, Officer]:
        """Return every officer that ever did anything, by id."""

    def locked(self, officer_id: str) -> AbstractContextManager[OfficerUnit]:
        """Open a transaction that holds one officer. It commits when its block ends without an exception."""

    def find_session(self, session_hash: bytes) -> Session | None:
        """Return a session of an officer whose second factor is in force, or None."""

    def open_sessions(self, now: datetime) -> int:
        """Return how many sessions have not expired. Some of them may have lain idle for too long."""

    def touch_session(self, session_hash: bytes, now: datetime) -> None:
        """Write when a session was used last, unless a later use is written; one far in the future is none."""

    def drop_session(self, session_hash: bytes) -> None:
        """End a session."""

    def close(self) -> None:
        """Release the connections."""


class OfficerDirectory(Protocol):
    """The principals of the configuration."""

    def find(self, principal_id: str) -> Principal | None:
        """Return the principal of this id, or None."""

    def officers(self, tenant: str) -> Sequence[Principal]:
        """Return the officers of a tenant, by id."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A secret that was made, as text in base32 and as ``otpauth`` URI. Shown once."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session that was opened, with its token, which is shown once. ``idle`` is how long it may lie unused."""

    token: str = field(repr=False)
    session: Session
    idle: timedelta
    recovery_codes: int


class SecondFactor(Protocol):
    """What makes and checks secrets, codes and sessions. Every method tells the audit record by the trail it is given.

    Every method raises `StateUnavailable` without the database, and those that look at a code `ProviderUnavailable`
    without the provider of the secrets.
    """

    def enrol(self, officer_id: str, invitation: str, now: datetime, trail: Trail) -> Enrolment:
        """Make a secret, not in force yet. Raises `AlreadyExists`, `FailedPrecondition` or `AccessDenied`."""

    def confirm(self, officer_id: str, first: str, second: str, now: datetime, trail: Trail) -> Sequence[str]:
        """Put the secret in force by two consecutive codes and return the recovery codes. Raises `AccessDenied`."""

    def login(self, principal: Principal, code: str, now: datetime, trail: Trail) -> OpenedSession:
        """Open a session by a one-time code or a recovery code. Raises `AccessDenied` or `Unauthenticated`."""

    def find_session(self, principal: Principal, token: str, now: datetime) -> Session | None:
        """Return the session of a token, where it is in force and of this principal's certificate."""

    def logout(self, token: str) -> None:
        """End a session."""

    def reset(self, officer_id: str, now: datetime, *, dry_run: bool) -> Officer:
        """Take the second factor away. Raises `FailedPrecondition` where there is none."""

    def officer(self, officer_id: str) -> Officer:
        """Return an officer as it is; one that never did anything is not enrolled."""

    def officers(self) -> Mapping[str, Officer]:
        """Return every officer that ever did anything, by id."""
