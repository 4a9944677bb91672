"""What is remembered of a node's signed index outside of its folder: an older one that was put back is found and named.

An index counts its changes, and only its node can sign one. Whoever can write `audit.folder` can still put an older one
back, with the logs that it does not list taken away. So the newest number, and a hash of the text, are kept elsewhere:

| memory | where | asked |
| --- | --- | --- |
| a note beside the state of the node's own witness | `audit.witness` | before a start, or `audit repair`, changes it |
| the database | `state.url` | by each worker at its start |
| an entry in each worker's log | the log, and so its witnesses | by `kmsgw audit verify` |
| witnesses elsewhere that know the node | their state | whenever the node sends its index |
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kmsgw.audit.log import DurableLog
from kmsgw.audit.record import AuditRecord, Outcome
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.durable_files import make_folder, read_file, sync_folder, write_file
from kmsgw.errors import AuditUnavailable, ConfigurationError, Reason
from kmsgw.operations.log_ledger import LogLedger
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.index_entry import INDEX_METHOD, KnownIndex
from kmsgw.witness.state import origin_name

FIRST_NUMBER: Final = 1
"""Number of a node's first index."""

INDEX_ADVICE: Final = (
    "Put the newest index back, from a mirror or another copy, and see whether a log went with the one that is there "
    "(docs/audit-rollback.md)."
)
"""What to do about an index that was put back."""

_NOTE_NAME: Final = "index"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexNote:
    """A note of the newest index, in a file below `audit.witness`. For one writer."""

    path: Path

    @classmethod
    def of_node(cls, state: Path) -> "IndexNote":
        """Return the note of the node: which index its last start found or made."""
        return cls(state / _NOTE_NAME)

    @classmethod
    def of_log(cls, state: Path, origin: str) -> "IndexNote":
        """Return the note of a log: which index it has an entry of."""
        return cls(state / origin_name(origin) / _NOTE_NAME)

    def read(self) -> KnownIndex | None:
        """Return it, or None where there is none. Raises `AuditDamaged` where it can't be read."""
        try:
            found = KnownIndex.of_fields(json.loads(read_file(self.path)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            found = None
        if found is None:
            raise damaged(f"{self.path}: the note of the node's signed index can't be read.")
        return found

    def write(self, known: KnownIndex) -> None:
        """Replace it, durably, where it says another thing. Raises OSError and `AuditDamaged`."""
        if self.read() != known:
            make_folder(self.path.parent)
            write_file(self.path, json.dumps(known.fields()).encode() + b"\n")
            sync_folder(self.path.parent)


class IndexWatch:
    """Compares the index that a worker found with what is known, and lets database and log know it."""

    def __init__(
        self,
        place: Path,
        index: KnownIndex,
        node: IndexNote,
        of_log: IndexNote,
        ledger: LogLedger,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Watch over the index at `place`. `node` and `of_log` are the notes of the node and of the worker's log."""
        self._place = place
        self._index = index
        self._node = node
        self._of_log = of_log
        self._ledger = ledger
        self._clock = clock
        self._entered = False

    def faults(self) -> Sequence[str]:
        """Return how the index contradicts what is known. Raises `StateUnavailable` and `AuditDamaged`."""
        return [*self.faults_by_notes(), *self.faults_by_database()]

    def faults_by_notes(self) -> Sequence[str]:
        """Return how it contradicts the notes, which need no database. Raises `AuditDamaged`."""
        node, of_log = self._node.read(), self._of_log.read()
        return [
            *self._contradicted("the note in audit.witness", node),
            *self._contradicted("the note of this log in audit.witness", of_log),
        ]

    def faults_by_database(self) -> Sequence[str]:
        """Return how it contradicts the database. Raises `StateUnavailable`."""
        entry, _ = self._ledger.read(_row(self._index))
        known = None if entry is None else KnownIndex(entry.size, entry.root, self._index.key)
        return self._contradicted("the database", known)

    def _contradicted(self, memory: str, known: KnownIndex | None) -> Sequence[str]:
        fault = self._index.contradicts(known)
        return [f"{self._place}: {memory} knows {fault}"] if fault else []

    def enter(self) -> None:
        """Let the database know the index. Raises `StateUnavailable`."""
        if not self._entered:
            self._ledger.enter(_row(self._index), self._index.number, self._index.digest)
            self._entered = True

    def record(self, log: DurableLog) -> None:
        """Have an entry in the log that says which index the node has, where the last one said another.

        Not of the first: nothing is older, and a node that never changes its logs has no need to say so.
        """
        if self._index.number == FIRST_NUMBER:
            return
        try:
            if self._of_log.read() == self._index:
                return
            log.wait(log.append(index_entry(self._index, self._clock)))
            self._of_log.write(self._index)
        except (AuditUnavailable, OSError) as error:
            _LOG.warning("which index the node has is recorded by the next start: %s", error)


def require_newest(place: Path, index: KnownIndex, state: Path) -> bool:
    """Compare the index at `place` with the note of its node, where no database is asked; tell whether there is one.

    `state` is `audit.witness`. Raises `ConfigurationError` with AUDIT_ROLLED_BACK where it is not the newest, and
    `AuditDamaged` where the note can't be read.
    """
    known = IndexNote.of_node(state).read()
    fault = index.contradicts(known)
    if fault:
        text = f"{Reason.AUDIT_ROLLED_BACK.value}: {place}: the note in audit.witness knows {fault}"
        raise ConfigurationError([text], advice=INDEX_ADVICE)
    return known is not None


def index_entry(index: KnownIndex, clock: Clock) -> bytes:
    """Return the entry of a log that says which index its node has."""
    note = f"the signed index of this node's logs has number {index.number}"
    record = AuditRecord(clock.now(), "", None, INDEX_METHOD, Outcome.OK, "OK", note=note, change=index.fields())
    return record.encode()


def _row(index: KnownIndex) -> str:
    # A plus sign is in no origin of a log (C2SP signed-note), so the row is none of theirs.
    return f"index+{index.key}"
