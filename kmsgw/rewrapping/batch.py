"""What a job will do to a batch of rows, as the journal records it before anything is stored."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeAlias, cast

from kmsgw.rewrapping.calls import Answered, Outcome
from kmsgw.rewrapping.rows import Json, Row, RowFault, Wrapping
from kmsgw.rewrapping.tally import Move

_ChangeEntry: TypeAlias = tuple[str, str, str, str, int, int, str]
_FaultEntry: TypeAlias = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """A row to store anew. ``old`` and ``new`` are the row's digests before and after."""

    place: str
    old: str
    new: str
    move: Move
    wrapping: Wrapping


@dataclass(frozen=True, slots=True)
class Batch:
    """`count` rows between two positions, and what becomes of each."""

    start: str
    end: str
    count: int
    changes: Sequence[Change] = ()
    already: Counter[Move] = field(default_factory=Counter)
    faults: Sequence[tuple[str, RowFault]] = ()
    empty: int = 0
    gone: int = 0

    @classmethod
    def of(cls, start: str, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> Self:
        """Return the batch of rows and what the gateway answered for each."""
        changes: list[Change] = []
        already: Counter[Move] = Counter()
        faults: list[tuple[str, RowFault]] = []
        empty = gone = 0
        for row, outcome in zip(rows, outcomes, strict=True):
            fault = row.fault or (outcome if isinstance(outcome, RowFault) else None)
            if row.gone:
                gone += 1
            elif fault is not None:
                faults.append((row.place, fault))
            elif not isinstance(outcome, Answered):
                empty += 1
            else:
                wrapping = outcome.wrapping
                move = Move(outcome.key_id, outcome.source_version, wrapping.key_version)
                if move.source == move.target:
                    already[move] += 1
                else:
                    changes.append(Change(row.place, row.digest(), row.digest_with(wrapping), move, wrapping))
        end = rows[-1].after if rows else start
        return cls(start, end, len(rows), changes, already, faults, empty, gone)

    def to_json(self) -> Mapping[str, Json]:
        """Return what `from_json` takes."""
        return {
            "start": self.start,
            "end": self.end,
            "count": self.count,
            "changes": [
                [each.place, each.old, each.new, *each.move, base64.b64encode(each.wrapping.wrapped).decode("ascii")]
                for each in self.changes
            ],
            "already": [[*move, count] for move, count in self.already.items()],
            "faults": [[place, fault.reason, fault.message, fault.request_id] for place, fault in self.faults],
            "empty": self.empty,
            "gone": self.gone,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Json]) -> Self:
        """Return the batch of `to_json`, which the journal's checksum vouches for."""
        changes = [
            Change(place, old, new, Move(key_id, source, target), Wrapping(target, base64.b64decode(wrapped)))
            for place, old, new, key_id, source, target, wrapped in cast("Sequence[_ChangeEntry]", found["changes"])
        ]
        already = cast("Sequence[tuple[str, int, int, int]]", found["already"])
        return cls(
            start=cast("str", found["start"]),
            end=cast("str", found["end"]),
            count=cast("int", found["count"]),
            changes=changes,
            already=Counter({Move(key_id, source, target): count for key_id, source, target, count in already}),
            faults=[
                (place, RowFault(reason, message, request_id))
                for place, reason, message, request_id in cast("Sequence[_FaultEntry]", found["faults"])
            ],
            empty=cast("int", found["empty"]),
            gone=cast("int", found["gone"]),
        )
