"""Where a job stands: what the journal keeps of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self, cast

from kmsgw.rewrapping.rows import Json
from kmsgw.rewrapping.tally import Tally


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What a job is: its source as described, what was found at its start, its number of rows, its aside file."""

    source: Mapping[str, Json]
    found: Mapping[str, Json]
    aside: Path
    started: datetime

    @property
    def rows(self) -> int:
        """Rows that the source had at the start."""
        return cast("int", self.found["rows"])

    def to_json(self) -> Mapping[str, Json]:
        """Return what `from_json` takes."""
        started = self.started.isoformat()
        return {"source": self.source, "found": self.found, "aside": str(self.aside), "started": started}

    @classmethod
    def from_json(cls, found: Mapping[str, Json]) -> Self:
        """Return the record of `to_json`, which the journal's checksum vouches for."""
        return cls(
            source=cast("Mapping[str, Json]", found["source"]),
            found=cast("Mapping[str, Json]", found["found"]),
            aside=Path(cast("str", found["aside"])),
            started=datetime.fromisoformat(cast("str", found["started"])),
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after a batch: position, what the source keeps of its own, length of the aside file, counts."""

    position: str = ""
    source: Mapping[str, Json] = field(default_factory=dict)
    aside_bytes: int = 0
    tally: Tally = field(default_factory=Tally)
    time: datetime | None = None

    def to_json(self) -> Mapping[str, Json]:
        """Return what `from_json` takes."""
        return {
            "position": self.position,
            "source": self.source,
            "aside_bytes": self.aside_bytes,
            "tally": self.tally.to_json(),
            "time": None if self.time is None else self.time.isoformat(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Json]) -> Self:
        """Return the checkpoint of `to_json`; the beginning, of an empty entry."""
        if not found:
            return cls()
        time = cast("str | None", found["time"])
        return cls(
            position=cast("str", found["position"]),
            source=cast("Mapping[str, Json]", found["source"]),
            aside_bytes=cast("int", found["aside_bytes"]),
            tally=Tally.from_json(cast("Mapping[str, Json]", found["tally"])),
            time=None if time is None else datetime.fromisoformat(time),
        )
