"""Officers: how far their second factor is, when they are locked, and the sessions that they work in. Pure."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

LONGEST_LOCK: Final = timedelta(hours=1)
"""No lock lasts longer, however many wrong codes there were."""

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""A session may seem to have begun so far in the future: the clocks of two nodes are never the same."""

TOUCH_INTERVAL: Final = timedelta(seconds=30)
"""The last use of a session is written at most so often."""


class OfficerState(StrEnum):
    """How far an officer's second factor is."""

    NOT_ENROLLED = "not-enrolled"
    UNCONFIRMED = "unconfirmed"
    ACTIVE = "active"
    LOCKED = "locked"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Lockout:
    """When wrong codes lock an officer: from the number ``after`` on, for ``first``, twice as long with each more."""

    after: int
    first: timedelta

    def delay(self, failures: int) -> timedelta:
        """Return how long so many wrong codes in a row lock: nothing for few, at most `LONGEST_LOCK`."""
        if failures < self.after:
            return timedelta(0)
        # The exponent is bounded: two to the power of a count that an attacker raises is a number without end.
        return min(self.first * (1 << min(failures - self.after, 32)), LONGEST_LOCK)


@dataclass(frozen=True, slots=True)
class Officer:
    """The second factor of one officer, as it is stored. ``state`` is never `LOCKED`: time tells that.

    ``sealed_secret`` is an envelope, empty where there is no secret. Steps of one-time codes up to ``floor_step`` are
    refused; which of those above it were accepted is stored beside. ``recovery_codes`` counts those that are left.
    """

    officer_id: str
    state: OfficerState = OfficerState.NOT_ENROLLED
    sealed_secret: bytes = field(repr=False, default=b"")
    invitation_hash: bytes = field(repr=False, default=b"")
    invitation_expires: datetime | None = None
    confirmed: datetime | None = None
    may_enrol_at: datetime | None = None
    floor_step: int = 0
    failures: int = 0
    locked_until: datetime | None = None
    recovery_codes: int = 0

    def state_at(self, now: datetime) -> OfficerState:
        """Return the state as of now."""
        if self.state is OfficerState.ACTIVE and self.is_locked(now):
            return OfficerState.LOCKED
        return self.state

    def is_locked(self, now: datetime) -> bool:
        """Tell whether no code is looked at now."""
        return self.locked_until is not None and now < self.locked_until

    def settled(self, now: datetime, lockout: Lockout) -> "Officer":
        """Return the officer with a lock that ends no later than one that began now.

        A lock that was set while the clock was ahead would otherwise last as long as the clock was wrong (threat 3).
        It is never ended by this: whoever moves the clock back waits at least a whole delay.
        """
        latest = now + lockout.delay(self.failures)
        if self.locked_until is None or self.locked_until <= max(latest, now):
            return self
        return replace(self, locked_until=latest)

    def after_failure(self, now: datetime, lockout: Lockout) -> "Officer":
        """Return the officer after one more wrong code."""
        failures = self.failures + 1
        delay = lockout.delay(failures)
        return replace(self, failures=failures, locked_until=now + delay if delay else None)

    def after_success(self) -> "Officer":
        """Return the officer after a right code."""
        return replace(self, failures=0, locked_until=None)


@dataclass(frozen=True, slots=True)
class Session:
    """A session: known by the hash of its token, and of no use with another certificate than that of its login."""

    session_hash: bytes = field(repr=False)
    officer_id: str
    fingerprint: str
    created: datetime
    last_used: datetime
    expires: datetime

    def is_valid(self, now: datetime, idle: timedelta) -> bool:
        """Tell whether it has neither expired nor lain idle, as far as the clock can be believed.

        One from the future is refused: it would outlive its limits by as much as the clock was moved back (threat 3).
        """
        return self.created - CLOCK_TOLERANCE <= now < self.expires and now - self.last_used < idle

    def is_due_for_touch(self, now: datetime) -> bool:
        """Tell whether this use of it is to be written down."""
        return now - self.last_used >= TOUCH_INTERVAL or self.last_used - now > CLOCK_TOLERANCE
