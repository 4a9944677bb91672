"""What became of a job's rows, counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self, cast

from kmsgw.rewrapping.rows import Json


class Move(NamedTuple):
    """Envelopes of a key that went from one version to another; the same where they were under it already."""

    key_id: str
    source: int
    target: int


@dataclass(slots=True)
class Tally:
    """Counts of rows: ``moves`` is what was rewrapped or was under its version already, ``set_aside`` by reason.

    ``left_alone`` changed or went away meanwhile, ``empty`` held no envelope. Every row that was looked at is in
    exactly one of them. ``seconds`` is the time that the job was at work.
    """

    moves: Counter[Move] = field(default_factory=Counter)
    set_aside: Counter[str] = field(default_factory=Counter)
    left_alone: int = 0
    empty: int = 0
    seconds: float = 0.0

    @property
    def rewrapped(self) -> int:
        """Rows that were stored under a newer version."""
        return sum(count for move, count in self.moves.items() if move.source != move.target)

    @property
    def already(self) -> int:
        """Rows that were under the newest version when the job came."""
        return sum(count for move, count in self.moves.items() if move.source == move.target)

    @property
    def rows(self) -> int:
        """Rows that were looked at."""
        return self.moves.total() + self.set_aside.total() + self.left_alone + self.empty

    @property
    def behind(self) -> int:
        """Rows that are under an older version than others of their key, which was rotated meanwhile."""
        newest: Counter[str] = Counter()
        for move in self.moves:
            newest[move.key_id] = max(move.target, newest[move.key_id])
        return sum(count for move, count in self.moves.items() if move.target < newest[move.key_id])

    def to_json(self) -> Mapping[str, Json]:
        """Return what `from_json` takes."""
        return {
            "moves": [[*move, count] for move, count in sorted(self.moves.items())],
            "set_aside": dict(sorted(self.set_aside.items())),
            "left_alone": self.left_alone,
            "empty": self.empty,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Json]) -> Self:
        """Return the tally of `to_json`, which the journal's checksum vouches for."""
        moves = cast("Sequence[tuple[str, int, int, int]]", found["moves"])
        return cls(
            moves=Counter({Move(key_id, source, target): count for key_id, source, target, count in moves}),
            set_aside=Counter(cast("Mapping[str, int]", found["set_aside"])),
            left_alone=cast("int", found["left_alone"]),
            empty=cast("int", found["empty"]),
            seconds=float(cast("float", found["seconds"])),
        )
