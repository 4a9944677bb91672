"""GetKeyUsage: what was done under each version of a key; and whether a version is still in use."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.model.access import Action
from kmsgw.model.key import Key, KeyVersion
from kmsgw.model.usage import UNUSED, Usage, VersionUsage, is_in_use
from kmsgw.operations.control.in_use import KeyInUse
from kmsgw.operations.usage import UsageStore
from kmsgw.operations.verb import Access, Grant


@dataclass(frozen=True, slots=True)
class GetKeyUsageCommand:
    """Show the usage of `key`."""

    key: str


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """The usage of a key, and all its versions; both newest version first."""

    key_id: str
    usage: tuple[VersionUsage, ...]
    versions: tuple[KeyVersion, ...]


class GetKeyUsage:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, store: UsageStore) -> None:
        self._store = store

    def accesses(self, command: GetKeyUsageCommand) -> Sequence[Access]:
        """Wants to see the key's usage."""
        return (Access(Action.GET_KEY_USAGE, command.key),)

    def run(self, command: GetKeyUsageCommand, grant: Grant) -> KeyUsage:  # noqa: ARG002
        """Return the usage as of about a second ago. Raises `StateUnavailable`."""
        key = grant.key()
        return KeyUsage(key.key_id, tuple(self._store.of_key(key.key_id)), tuple(reversed(key.versions)))


class UsedLately:
    """The `KeyInUse` that asks the counts: a version is in use that was used lately, or isn't emptied."""

    def __init__(
        self, store: UsageStore, recent: timedelta, others: Sequence[KeyInUse] = (), clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """Take for used lately what was used within `recent`. `others` are asked too, and first."""
        self._store = store
        self._recent = recent
        self._others = tuple(others)
        self._clock = clock

    def in_use(self, key: Key, versions: Collection[int]) -> str | None:
        """Return in words why one of these versions is still in use, or None. Raises `StateUnavailable`."""
        for each in self._others:
            words = each.in_use(key, versions)
            if words is not None:
                return words
        now = self._clock.now()
        sums: dict[int, Usage] = {}
        for found in self._store.of_key(key.key_id):
            sums[found.version] = sums.get(found.version, UNUSED) + found.usage
        for version in sorted(versions):
            usage = sums.get(version, UNUSED)
            if is_in_use(usage, now, self._recent):
                return _in_words(version, usage, now)
        return None


def _in_words(version: int, usage: Usage, now: datetime) -> str:
    last = usage.last_used
    assert last is not None, "what has counts was used at a time"
    left = "1 envelope or data key" if usage.remaining == 1 else f"{usage.remaining:,} envelopes or data keys"
    days = max(0, (now - last).days)
    ago = "today" if days == 0 else f"{days} {'day' if days == 1 else 'days'} ago"
    return (
        f"Version {version} is in use: {left} may be under it, and it was last used {last:%Y-%m-%d %H:%M} UTC ({ago})."
    )
