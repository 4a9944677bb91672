"""What each principal may ask of this worker: calls and bytes a second, and how much at once. Pure but for the clock.

An account is a token bucket, kept as the moment at which it is even: one number for each rate, nothing to refill. A
call passes while the account is not overdrawn, and is charged whole: so a batch that costs more than a full bucket
passes once, and its caller waits until the debt is paid. `Quotas.take` is the one thing that the hot path calls.
"""

import threading
from dataclasses import dataclass
from typing import Final

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import Overloaded, Reason
from kmsgw.model.access import Principal

SHORTEST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 5.0
"""Seconds between which a refused caller is told to wait."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What may be asked for: calls and bytes of requests a second, and for how many seconds at once after a rest."""

    calls_per_second: float
    bytes_per_second: float
    burst_seconds: float

    def part(self, workers: int) -> "Rate":
        """Return what one of so many workers gives of it."""
        return Rate(self.calls_per_second / workers, self.bytes_per_second / workers, self.burst_seconds)


@dataclass(frozen=True, slots=True)
class Override:
    """Another rate, for the principals and roles that are named."""

    principals: frozenset[str]
    roles: frozenset[str]
    rate: Rate

    def holds_for(self, principal: Principal) -> bool:
        """Tell whether it is this principal's."""
        return principal.principal_id in self.principals or not self.roles.isdisjoint(principal.roles)


@dataclass(frozen=True, slots=True)
class Limits:
    """The rates of all principals, for one worker. The first override that holds counts."""

    default: Rate
    overrides: tuple[Override, ...] = ()

    def rate_of(self, principal: Principal) -> Rate:
        """Return a principal's rate."""
        return next((each.rate for each in self.overrides if each.holds_for(principal)), self.default)


UNLIMITED: Final = Limits(Rate(float("inf"), float("inf"), 1.0))
"""For those who measure or test something else."""


class Account:
    """Two token buckets of one principal. Safe for threads. Times are of the monotonic clock, in seconds."""

    __slots__ = ("_burst", "_bytes_even", "_calls_even", "_lock", "_per_byte", "_per_call", "_queued")

    def __init__(self, rate: Rate) -> None:
        """Begin with full buckets."""
        self._per_call = 1.0 / rate.calls_per_second
        self._per_byte = 1.0 / rate.bytes_per_second
        self._burst = rate.burst_seconds
        self._calls_even = self._bytes_even = self._queued = float("-inf")
        self._lock = threading.Lock()

    def take(self, now: float, calls: int, size: int) -> float:
        """Charge the account and return 0.0; where it is overdrawn, charge nothing and return the seconds to wait.

        Who is refused after others is told to wait longer, as if they queued: not all come back at once.
        """
        if self.pay(now, calls, size):
            return 0.0
        with self._lock:
            turn = max(self._queued, self._calls_even, self._bytes_even) + calls * self._per_call
            self._queued = min(turn, now + LONGEST_WAIT)
            return max(SHORTEST_WAIT, self._queued - now)

    def pay(self, now: float, calls: int, size: int) -> bool:
        """Charge the account and tell that it was; where it is overdrawn, do nothing."""
        full = now - self._burst
        with self._lock:
            calls_even, bytes_even = self._calls_even, self._bytes_even
            if calls_even > now or bytes_even > now:
                return False
            # Not `max`: in every call, and that takes three times as long.
            self._calls_even = (calls_even if calls_even > full else full) + calls * self._per_call  # noqa: FURB136
            self._bytes_even = (bytes_even if bytes_even > full else full) + size * self._per_byte  # noqa: FURB136
        return True

    def charge(self, now: float, calls: int, size: int) -> float:
        """Charge the account whatever it holds, and return the seconds until it is even again, 0.0 where it is.

        Negative amounts give back.
        """
        full = now - self._burst
        with self._lock:
            self._calls_even = max(self._calls_even, full) + calls * self._per_call
            self._bytes_even = max(self._bytes_even, full) + size * self._per_byte
            return max(0.0, self._calls_even - now, self._bytes_even - now)


class Quotas:
    """The accounts of all principals on one worker. Safe for threads; does no I/O."""

    def __init__(self, limits: Limits = UNLIMITED, clock: Clock = SYSTEM_CLOCK) -> None:
        self._now = clock.monotonic
        self._limits = limits
        self._accounts: dict[str, Account] = {}

    def replace(self, limits: Limits) -> None:
        """Put other limits in force. Every principal begins anew, with full buckets."""
        self._limits = limits
        self._accounts = {}

    def take(self, principal: Principal, calls: int = 1, size: int = 0) -> None:
        """Charge a principal for so many calls and bytes. Raises `Overloaded` where it has used up what it may."""
        account = self._accounts.get(principal.principal_id) or self._open(principal)
        wait = account.take(self._now(), calls, size)
        if wait:
            raise Overloaded(
                "This principal has asked for more than its quota.", reason=Reason.QUOTA_EXCEEDED, retry_after=wait
            )

    def pay(self, principal: Principal, calls: int, size: int) -> bool:
        """Charge a principal, and tell that it was; where it has used up what it may, nothing happens."""
        account = self._accounts.get(principal.principal_id) or self._open(principal)
        return account.pay(self._now(), calls, size)

    def charge(self, principal: Principal, calls: int, size: int) -> float:
        """Charge for what a call turned out to cost besides: the items of a batch, the messages of a stream.

        Never refuses. Returns the seconds until the account is even: a stream that pauses for so long keeps its rate.
        """
        account = self._accounts.get(principal.principal_id) or self._open(principal)
        return account.charge(self._now(), calls, size)

    def _open(self, principal: Principal) -> Account:
        # Bounded by the configuration: only its principals are authenticated.
        return self._accounts.setdefault(principal.principal_id, Account(self._limits.rate_of(principal)))


class Ceiling:
    """At most so many of something at once, in all and of each principal. Safe for threads; never waits."""

    def __init__(self, what: str, most: int, most_each: int) -> None:
        """Limit `what`, which is told to who is refused: "calls that wait for a thread"."""
        self._what = what
        self._most = most
        self._most_each = most_each
        self._of: dict[str, int] = {}
        self._all = 0
        self._lock = threading.Lock()

    def enter(self, principal_id: str) -> None:
        """Count one more; `leave` must follow. Raises `Overloaded` where there are as many as there may be."""
        with self._lock:
            mine = self._of.get(principal_id, 0)
            if mine < self._most_each and self._all < self._most:
                self._of[principal_id] = mine + 1
                self._all += 1
                return
        whose = "This principal" if mine >= self._most_each else "The gateway"
        raise Overloaded(f"{whose} has too many {self._what}.")

    def leave(self, principal_id: str) -> None:
        """Count one less."""
        with self._lock:
            self._all -= 1
            mine = self._of[principal_id] - 1
            if mine:
                self._of[principal_id] = mine
            else:
                del self._of[principal_id]
