"""What was done under each version of a key, and what follows from it: when to rotate, and whether it is in use."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from kmsgw.model.key import DEFAULT_BUDGET, WRAP_LIMIT, Key, KeyState, RotationPolicy

LATEST_BUDGET: Final = WRAP_LIMIT - 2**29
"""Wraps at which a version is rotated whatever its policy says: 2^28 before any worker refuses to wrap under it."""

Place = tuple[str, int, str]
"""Key id, version, and tenant of the callers."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts under one version.

    ``envelopes`` the gateway made, re-encryptions among them; ``data_keys`` it handed out; ``decrypts`` are also data
    keys opened for their holders; ``rewraps_away`` went from here to another version, ``rewraps_here`` came from one.
    ``wraps`` are uses of the material; ``sealed_bytes`` plaintext that the gateway sealed.
    """

    envelopes: int = 0
    data_keys: int = 0
    decrypts: int = 0
    rewraps_away: int = 0
    rewraps_here: int = 0
    wraps: int = 0
    sealed_bytes: int = 0
    last_used: datetime | None = None

    @property
    def messages(self) -> int:
        """Envelopes made and data keys handed out: what a budget of messages counts."""
        return self.envelopes + self.data_keys

    @property
    def remaining(self) -> int:
        """How many envelopes and data keys may still be under the version. An estimate (docs/rotation.md)."""
        return max(0, self.envelopes + self.data_keys + self.rewraps_here - self.rewraps_away)

    def __add__(self, other: "Usage") -> "Usage":
        """Return the sums, and the later last use."""
        times = [each.last_used for each in (self, other) if each.last_used is not None]
        return Usage(
            self.envelopes + other.envelopes,
            self.data_keys + other.data_keys,
            self.decrypts + other.decrypts,
            self.rewraps_away + other.rewraps_away,
            self.rewraps_here + other.rewraps_here,
            self.wraps + other.wraps,
            self.sealed_bytes + other.sealed_bytes,
            max(times, default=None),
        )


UNUSED: Final = Usage()


@dataclass(frozen=True, slots=True)
class VersionUsage:
    """What the callers of one tenant did under one version."""

    version: int
    tenant: str
    usage: Usage


class UsageTally:
    """Counts on their way to the database, by key, version and tenant. Not safe for threads.

    It is added to for every call, so the sums are plain lists: 0.4 µs a call, where frozen values take 2.
    """

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[Place, tuple[list[int], list[datetime]]] = {}

    def __bool__(self) -> bool:
        return bool(self._sums)

    def __len__(self) -> int:
        return len(self._sums)

    def at(self, place: Place, time: datetime) -> list[int]:
        """Return the counts of a place to add to, in the order of `Usage`'s fields, and take note of its use."""
        found = self._sums.get(place)
        if found is None:
            found = self._sums[place] = ([0] * 7, [time])
        elif time > found[1][0]:
            found[1][0] = time
        return found[0]

    def items(self) -> Iterator[tuple[Place, Usage]]:
        """Yield the sums, sorted by place: whoever writes them takes its locks in this order."""
        for place in sorted(self._sums):
            counts, last = self._sums[place]
            made, handed, opened, away, here, wraps, sealed = counts
            yield place, Usage(made, handed, opened, away, here, wraps, sealed, last[0])

    def add(self, other: "UsageTally") -> None:
        """Add another tally to this one."""
        for place, (counts, last) in other._sums.items():  # noqa: SLF001  of the same class
            mine = self.at(place, last[0])
            for index, count in enumerate(counts):
                mine[index] += count

    def wraps(self) -> Mapping[tuple[str, int], int]:
        """Return the wraps by key and version, where there are any."""
        found: dict[tuple[str, int], int] = {}
        for (key_id, version, _), (counts, _) in self._sums.items():
            if counts[WRAPS]:
                found[key_id, version] = found.get((key_id, version), 0) + counts[WRAPS]
        return found

    def only_wraps(self) -> "UsageTally":
        """Return a tally of the wraps alone: of calls that were not answered, but whose wraps were made."""
        made = UsageTally()
        for place, (counts, last) in self._sums.items():
            if counts[WRAPS]:
                made.at(place, last[0])[WRAPS] = counts[WRAPS]
        return made


ENVELOPES, DATA_KEYS, DECRYPTS, REWRAPS_AWAY, REWRAPS_HERE, WRAPS, SEALED_BYTES = range(7)
"""Where each count stands in what `UsageTally.at` returns."""


def with_defaults(policy: RotationPolicy) -> RotationPolicy:
    """Return a policy with the budgets that safety asks for, where it names none or a later one."""
    wraps = DEFAULT_BUDGET if policy.max_wraps is None else policy.max_wraps
    messages = DEFAULT_BUDGET if policy.max_messages is None else policy.max_messages
    return replace(policy, max_messages=messages, max_wraps=min(wraps, LATEST_BUDGET))


def next_rotation(key: Key) -> datetime | None:
    """Return when the period of the key's rotation policy ends; None without a period, or where it is not in use."""
    if key.rotation.period is None or key.state is not KeyState.ENABLED or not key.versions:
        return None
    return key.primary.created + key.rotation.period


def due_rotation(key: Key, newest: Usage, now: datetime) -> str:
    """Return why the key has to be rotated now, given what was done under its newest version; empty where it has not.

    The reasons are ``schedule``, ``budget: messages``, ``budget: bytes`` and ``budget: wraps``.
    """
    if key.state is not KeyState.ENABLED:
        return ""
    at = next_rotation(key)
    if at is not None and at <= now:
        return "schedule"
    policy = with_defaults(key.rotation)
    for name, count, limit in (
        ("messages", newest.messages, policy.max_messages),
        ("bytes", newest.sealed_bytes, policy.max_bytes),
        ("wraps", newest.wraps, policy.max_wraps),
    ):
        if limit is not None and count >= limit:
            return f"budget: {name}"
    return ""


def is_in_use(usage: Usage, now: datetime, recent: timedelta) -> bool:
    """Tell whether a version was used lately, or something may still be encrypted under it."""
    return usage.remaining > 0 or (usage.last_used is not None and now - usage.last_used < recent)
