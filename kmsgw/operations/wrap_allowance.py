"""How often a version may still be wrapped under: asked before each wrap, so that no version is worn out.

Who wraps data keys under one AES key with random nonces may do so 2^32 times (NIST SP 800-38D, section 8.3); kmsgw
stops at half of that. The sum over all workers and nodes is in the database and about a second old, so each worker
stops `WRAP_MARGIN` before the limit. What can be wrapped beyond what a worker knows is bounded:

- its own wraps since they were last stored are known exactly, and more than `UNSTORED_LIMIT` (2^18) are refused;
- what it read of the others is at most `READ_SECONDS` (10) old. In that time another wraps at most 2^18 times: that is
  26,000 a second, above what a worker of Python can ask of any provider. Besides, another has at most 2^18 unstored.

So W workers overshoot by less than W · 2^19, and the margin of 2^28 is enough for 512 workers. A version is rotated
long before any of this (`kmsgw.model.usage`).
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import ResourceExhausted, StateUnavailable
from kmsgw.model.key import WRAP_LIMIT
from kmsgw.operations.waiting import before_waiting

WRAP_MARGIN: Final = 2**28
"""Wraps before the limit at which a worker stops: enough for 512 workers."""

UNSTORED_LIMIT: Final = 2**18
"""Wraps of one worker under one version that may wait to be stored."""

READ_SECONDS: Final = 10.0
"""Age of a sum of the database after which it is read anew before the next wrap."""

Version = tuple[str, int]
"""Key id and number."""


class WrapAllowance(Protocol):
    """Says whether a version may be wrapped under once more."""

    def spend(self, key_id: str, version: int) -> None:
        """Count a wrap that is about to be made. Raises `ResourceExhausted` where there are none left."""


class _Unlimited:
    def spend(self, key_id: str, version: int) -> None:
        """Allow it."""


UNLIMITED: Final[WrapAllowance] = _Unlimited()
"""For tests of what has nothing to do with limits."""


@dataclass(slots=True)
class _Account:
    """``stored`` is the database's sum as read at ``read_at``; ``unstored`` are own wraps that are not in it."""

    stored: int
    read_at: float
    unstored: int = 0


class StoredWraps:
    """The allowance of one worker. Safe for threads; no lock is held over the database."""

    def __init__(
        self,
        read: Callable[[str, int], int],
        *,
        limit: int = WRAP_LIMIT - WRAP_MARGIN,
        unstored_limit: int = UNSTORED_LIMIT,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`read` returns the wraps of a version that are in the database, and raises `StateUnavailable`."""
        self._read = read
        self._limit = limit
        self._unstored_limit = unstored_limit
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[Version, _Account] = {}

    def spend(self, key_id: str, version: int) -> None:
        """Count a wrap that is about to be made.

        Raises `ResourceExhausted` where there are none left, `StateUnavailable` where that can't be known.
        """
        place = key_id, version
        with self._lock:
            if self._spent_if_fresh(place):
                return
        before_waiting()
        now = self._clock.monotonic()
        stored = self._read(key_id, version)
        with self._lock:
            account = self._accounts.setdefault(place, _Account(stored, now))
            if now >= account.read_at:
                account.stored, account.read_at = max(stored, account.stored), now
            if not self._spent_if_fresh(place):
                raise StateUnavailable("The database is slow to answer.")

    def _spent_if_fresh(self, place: Version) -> bool:
        account = self._accounts.get(place)
        if account is None or self._clock.monotonic() - account.read_at > READ_SECONDS:
            return False
        if account.stored + account.unstored >= self._limit:
            raise ResourceExhausted(
                f"Version {place[1]} of the key has wrapped as many data keys as is safe.",
                advice="Ask an officer to rotate the key: the gateway should have done so, and its log says why not.",
            )
        if account.unstored >= self._unstored_limit:
            raise ResourceExhausted(
                "Usage can't be stored as fast as it is made.",
                advice="Look at the database: it is slow, or refuses to write.",
                retry_after=1.0,
            )
        account.unstored += 1
        return True

    def stored(self, own: Mapping[Version, int], sums: Mapping[Version, int]) -> None:
        """Take note of what was stored: `own` wraps of this worker, and the database's `sums` after that."""
        now = self._clock.monotonic()
        with self._lock:
            for place, wraps in own.items():
                account = self._accounts.get(place)
                if account is not None:
                    account.unstored = max(0, account.unstored - wraps)
                    account.stored, account.read_at = max(account.stored, sums.get(place, 0)), now
            idle = [
                place
                for place, account in self._accounts.items()
                if not account.unstored and now - account.read_at > READ_SECONDS
            ]
            for place in idle:
                del self._accounts[place]
