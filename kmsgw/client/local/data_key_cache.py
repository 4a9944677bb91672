"""The data keys that a process keeps, and what is to be done about them when. No I/O; safe for threads.

Time and again there is a round: leases are renewed, many in one call, and data keys that will soon end are replaced
before that, while values go on being sealed under the old ones. When a round is, and when a data key is replaced, is
drawn by chance, so that processes which share nothing don't do it in one moment.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from kmsgw.client.calls.data_key_leases import MAX_LEASE_BYTES, MAX_LEASES, RenewedLease
from kmsgw.client.local.held_data_key import HeldDataKey
from kmsgw.client.local.origin import Origin, Place
from kmsgw.clock import Clock
from kmsgw.v1 import crypto_service_pb2 as wire

ROUND: Final = (0.2, 0.5)
"""Parts of the shortest lease after which the next round is, at the earliest and at the latest."""

REPEATED_ROUND: Final = (0.05, 0.15)
"""The same after a round that failed."""

REPLACED: Final = (0.6, 0.9)
"""Parts of a data key's life after which it is replaced where it is in use, at the earliest and at the latest."""

_FRESH: Final = 0.8
_SECOND_CHANCES: Final = 16
_RANDOM: Final = secrets.SystemRandom()


@dataclass(slots=True, eq=False)
class Loan:
    """A data key that is kept. ``renewed_with`` and ``seen_with`` are the messages left when that was last done."""

    origin: Origin
    held: HeldDataKey
    replace_at: float
    superseded: bool = False
    renewed_with: int = 0
    seen_with: int = 0


@dataclass(frozen=True, slots=True)
class LeaseBatch:
    """Leases for one call, each with the loans that it is for and the messages that each of them had left."""

    leases: tuple[wire.DataKeyLease, ...]
    loans: tuple[tuple[tuple[Loan, int], ...], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Round:
    """What is to be done now: leases to renew, and loans whose data keys are to be replaced."""

    batches: tuple[LeaseBatch, ...]
    replace: tuple[Loan, ...]


class DataKeyCache:
    """Data keys by their place. At most `entries`: then one that was not used lately goes."""

    def __init__(self, entries: int, clock: Clock, wake: Callable[[], None]) -> None:
        """`wake` is called, from any thread, when the next round has become earlier than it was."""
        self.held: dict[Place, HeldDataKey] = {}
        """For looking up alone: one lookup needs no lock."""
        self.next_round = float("inf")
        self._entries = entries
        self._clock = clock
        self._wake = wake
        self._loans: dict[Place, Loan] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._loans)

    def put(self, origin: Origin, held: HeldDataKey) -> None:
        """Keep a data key in place of the one before it. One that may not be kept is not."""
        if not held.may_keep:
            return
        now = self._clock.monotonic()
        left = held.messages_left
        life = held.dies_at - now
        loan = Loan(origin, held, now + life * _RANDOM.uniform(*REPLACED), renewed_with=left, seen_with=left)
        held.when_low(self.hurry)
        with self._lock:
            before = self._loans.pop(origin.place, None)
            if before is None and len(self._loans) >= self._entries:
                self._evict()
            self._loans[origin.place] = loan
            self.held[origin.place] = held
        if before is not None:
            before.held.destroy()
        self._plan_round(now + held.lease_seconds * _RANDOM.uniform(*ROUND))

    def hurry(self) -> None:
        """Have a round at once."""
        self._plan_round(self._clock.monotonic())

    def drop(self, place: Place, held: HeldDataKey) -> None:
        """Destroy a data key, where it is still the one that is kept in its place."""
        with self._lock:
            loan = self._loans.get(place)
            if loan is not None and loan.held is held:
                self._remove(place)

    def clear(self) -> None:
        """Destroy all."""
        with self._lock:
            for place in list(self._loans):
                self._remove(place)

    def abandon(self) -> None:
        """Forget all, in a child process after a fork, where locks may be held by threads that are no more."""
        self._lock = threading.Lock()
        self._loans.clear()
        self.held.clear()
        self.next_round = float("inf")

    def wake_by(self, wake: Callable[[], None]) -> None:
        """Call `wake` from now on."""
        self._wake = wake

    def begin_round(self) -> Round:
        """Return what is to be done now, and plan the next round."""
        now = self._clock.monotonic()
        with self._lock:
            for place, loan in list(self._loans.items()):
                if now >= loan.held.ends:
                    self._remove(place)
            loans = list(self._loans.values())
            shortest = min((loan.held.lease_seconds for loan in loans), default=float("inf"))
            self.next_round = now + shortest * _RANDOM.uniform(*ROUND)
        # What was not used since its lease began is let go: it may have been for one value.
        in_use = [loan for loan in loans if loan.held.messages_left != loan.renewed_with]
        due = [loan for loan in in_use if _wants_renewal(loan, now)]
        replace = (loan for loan in in_use if loan.superseded or loan.held.running_low or now >= loan.replace_at)
        return Round(tuple(_batches(due)), tuple(replace))

    def settle(self, batch: LeaseBatch, answers: Sequence[RenewedLease], asked: float) -> None:
        """Take note of what became of leases that were asked for at the time `asked`."""
        superseded = False
        for loans, answer in zip(batch.loans, answers, strict=True):
            for loan, left in loans:
                if answer.seconds > 0:
                    loan.renewed_with = left
                    loan.held.prolong(asked + min(answer.seconds, loan.held.lease_seconds))
                elif answer.superseded:
                    superseded = loan.superseded = True
                else:
                    self.drop(loan.origin.place, loan.held)
        if superseded:
            self.hurry()

    def failed(self) -> None:
        """Have the next round soon: the gateway did not answer this one."""
        now = self._clock.monotonic()
        with self._lock:
            shortest = min((loan.held.lease_seconds for loan in self._loans.values()), default=float("inf"))
        self.next_round = now + shortest * _RANDOM.uniform(*REPEATED_ROUND)

    def _plan_round(self, at: float) -> None:
        if at < self.next_round:
            self.next_round = at
            self._wake()

    def _remove(self, place: Place) -> None:
        self.held.pop(place, None)
        self._loans.pop(place).held.destroy()

    def _evict(self) -> None:
        """Remove the oldest that was not used since it was last looked at; after some looks, the oldest."""
        for _ in range(_SECOND_CHANCES):
            place, loan = next(iter(self._loans.items()))
            left = loan.held.messages_left
            if left == loan.seen_with or not left:
                break
            loan.seen_with = left
            self._loans[place] = self._loans.pop(place)
        self._remove(next(iter(self._loans)))


def _wants_renewal(loan: Loan, now: float) -> bool:
    held = loan.held
    return not loan.superseded and held.ends < held.dies_at and held.ends - now < held.lease_seconds * _FRESH


def _batches(loans: Sequence[Loan]) -> Iterator[LeaseBatch]:
    """Yield batches that one call can take. Loans that the gateway would answer alike share a lease."""
    shared: dict[bytes, tuple[wire.DataKeyLease, list[tuple[Loan, int]]]] = {}
    for loan in loans:
        lease = loan.origin.lease(loan.held)
        known = lease.SerializeToString(deterministic=True)
        shared.setdefault(known, (lease, []))[1].append((loan, loan.held.messages_left))
    taken: list[tuple[wire.DataKeyLease, list[tuple[Loan, int]]]] = []
    size = 0
    for known, each in shared.items():
        if len(taken) == MAX_LEASES or size + len(known) > MAX_LEASE_BYTES:
            yield _batch(taken)
            taken, size = [], 0
        taken.append(each)
        size += len(known) + 4
    if taken:
        yield _batch(taken)


def _batch(taken: Sequence[tuple[wire.DataKeyLease, list[tuple[Loan, int]]]]) -> LeaseBatch:
    return LeaseBatch(tuple(lease for lease, _ in taken), tuple(tuple(loans) for _, loans in taken))
