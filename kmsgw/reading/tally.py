"""Counting without end in bounded memory: names that come late, and rows that are old, give way to a number."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

OTHERS = "(others)"
"""What is counted for names beyond the bound."""

OTHER_PAIRS = (OTHERS, OTHERS)
"""The same where names are pairs."""


Name = TypeVar("Name", str, tuple[str, str])


class Tally(Generic[Name]):
    """Numbers in columns for each name, for at most so many names; those that come after are counted as `others`.

    Who asks can make up names. So a flood of them costs a report its detail, and never its memory or its sums.
    """

    __slots__ = ("_limit", "_others", "_rows", "_width")

    def __init__(self, width: int, others: Name, limit: int = 1000) -> None:
        self._rows: dict[Name, list[int]] = {}
        self._width = width
        self._others: Name = others
        self._limit = limit

    def add(self, name: Name, column: int, count: int) -> None:
        """Count for a name in a column."""
        self.row(name)[column] += count

    def row(self, name: Name) -> list[int]:
        """Return the numbers to be counted in for a name. They stay the same ones."""
        row = self._rows.get(name)
        if row is None:
            if len(self._rows) >= self._limit and name != self._others:
                return self.row(self._others)
            row = self._rows[name] = [0] * self._width
        return row

    def rows(self) -> Mapping[Name, Sequence[int]]:
        """Return the columns of each name, the largest sum first, the others last."""
        names = sorted(self._rows, key=lambda name: (name == self._others, -sum(self._rows[name]), name))
        return {name: tuple(self._rows[name]) for name in names}


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """An entry as a report lists it. ``said`` is what its officer gave as a reason, or what its note says."""

    microseconds: int
    origin: str
    index: int
    time: str = field(compare=False, default="")
    principal: str = field(compare=False, default="")
    method: str = field(compare=False, default="")
    key: str = field(compare=False, default="")
    result: str = field(compare=False, default="")
    said: str = field(compare=False, default="")
    facts: str = field(compare=False, default="")
    request_id: str = field(compare=False, default="")


class Newest:
    """The newest rows, at most so many, and how many there were."""

    __slots__ = ("_held", "_limit", "seen")

    def __init__(self, limit: int = 1000) -> None:
        self._held: list[Row] = []
        self._limit = limit
        self.seen = 0
        """How many there were, with those that were left out."""

    def add(self, row: Row) -> None:
        """Take a row; an older one gives way where there are too many."""
        self.seen += 1
        if len(self._held) < self._limit:
            heapq.heappush(self._held, row)
        elif row > self._held[0]:
            heapq.heapreplace(self._held, row)

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows that are held, by time."""
        return iter(sorted(self._held))

    @property
    def left_out(self) -> int:
        """How many older ones are not held."""
        return self.seen - len(self._held)
