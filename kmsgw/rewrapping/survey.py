"""A dry run: what is under which version, from the headers alone. Nothing is asked and nothing is changed."""

from collections import Counter
from dataclasses import dataclass, field
from threading import Event
from typing import NamedTuple

from kmsgw.envelope.format import parse_envelope
from kmsgw.rewrapping.rows import R, Source


class KeyAndVersion(NamedTuple):
    """A key version."""

    key_id: str
    key_version: int


@dataclass(slots=True)
class Survey:
    """Counts of rows: by version, unusable ones by reason, and those without an envelope."""

    versions: Counter[KeyAndVersion] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    empty: int = 0

    @property
    def rows(self) -> int:
        """Rows that were looked at."""
        return self.versions.total() + self.unusable.total() + self.empty


def survey(source: Source[R], batch: int, stop: Event) -> Survey:
    """Count the rows of a source, `batch` at a time; ends early where `stop` is set."""
    source.look(source.begin())
    made = Survey()
    position = ""
    while not stop.is_set() and (rows := source.read(position, batch)):
        for row in rows:
            if row.fault is not None:
                made.unusable[row.fault.reason] += 1
            elif row.gone or not row.header:
                made.empty += 1
            else:
                envelope = parse_envelope(row.header, payload_optional=True)
                made.versions[KeyAndVersion(envelope.key_id, envelope.key_version)] += 1
        position = rows[-1].after
    return made
