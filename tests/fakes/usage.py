"""Usage in memory, with the rules of the database, and commits whose end nobody learns."""

from collections.abc import Mapping, Sequence

from kmsgw.errors import Conflict, StateUnavailable
from kmsgw.model.usage import UNUSED, Place, Usage, UsageTally, VersionUsage
from kmsgw.operations.usage import NewestUsage


class MemoryUsage:
    """A `UsageStore`. `fails` says what becomes of the next addition: "before" its commit or "after" it."""

    def __init__(self) -> None:
        self.sums: dict[Place, Usage] = {}
        self.cursors: dict[str, int] = {}
        self.fails = ""

    def counted(self, log_id: str) -> int:
        return self.cursors.get(log_id, 0)

    def add(self, log_id: str, start: int, end: int, tally: UsageTally) -> Mapping[tuple[str, int], int]:
        fails, self.fails = self.fails, ""
        if fails == "before":
            raise StateUnavailable("gone")
        if self.counted(log_id) != start:
            raise Conflict("counted by another")
        self.cursors[log_id] = end
        for place, usage in tally.items():
            self.sums[place] = self.sums.get(place, UNUSED) + usage
        if fails == "after":
            raise StateUnavailable("gone")
        return {place: self.wraps(*place) for place in tally.wraps()}

    def wraps(self, key_id: str, version: int) -> int:
        return sum(usage.wraps for place, usage in self.sums.items() if place[:2] == (key_id, version))

    def of_key(self, key_id: str) -> Sequence[VersionUsage]:
        found = [VersionUsage(place[1], place[2], usage) for place, usage in self.sums.items() if place[0] == key_id]
        return sorted(found, key=lambda each: (-each.version, each.tenant))

    def newest(self) -> Sequence[NewestUsage]:
        found: dict[str, NewestUsage] = {}
        for (key_id, version, _), usage in self.sums.items():
            before = found.get(key_id)
            if before is None or version > before.version:
                found[key_id] = NewestUsage(key_id, version, usage)
            elif version == before.version:
                found[key_id] = NewestUsage(key_id, version, before.usage + usage)
        return list(found.values())
