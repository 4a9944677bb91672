"""Finds out whether a log or the database was put back to an older state, from three memories that lie apart.

| memory | knows |
| --- | --- |
| the witness of this node, in a folder of its own | the newest checkpoint that it cosigned |
| the database | how long each log was, and at which state epoch |
| a note beside the witness's state | what was entered into the database last |

A log that is shorter than the first or second says was rolled back; a database that is behind the third was. Where all
three were rolled back with the log, a witness on another machine finds it, at the next cosignature.
"""

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kmsgw.audit.index_memory import INDEX_ADVICE, IndexWatch
from kmsgw.durable_files import make_folder, read_file, sync_folder, write_file
from kmsgw.errors import AuditDamaged, ConfigurationError, KmsgwError, Reason, StateUnavailable
from kmsgw.operations.log_ledger import LedgerEntry, LogLedger
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.proofs import verify_consistency
from kmsgw.tlog.reader import LogReader
from kmsgw.witness.request import Submitted
from kmsgw.witness.state import WitnessState, origin_name

ENTER_SECONDS: Final = 5.0
"""How often the size of a log that grows is entered into the database."""

_NOTE_NAME: Final = "database"
_LOG = logging.getLogger(__name__)
_Fault = tuple[Reason, str, str]  # reason, what contradicts what, advice


def _ignore() -> None:
    """Take notice of nothing."""


@dataclass(frozen=True, slots=True)
class EnteredNote:
    """What this node knows of the database: the size of a log that was entered last, and the epoch then."""

    size: int
    epoch: int


class DatabaseNote:
    """The note of one log, in a file. For one writer."""

    def __init__(self, state: Path, origin: str) -> None:
        self._path = state / origin_name(origin) / _NOTE_NAME

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def read(self) -> EnteredNote | None:
        """Return the note, or None where there is none. Raises `AuditDamaged` where it can't be read."""
        try:
            found = json.loads(read_file(self._path))
            return EnteredNote(int(found["size"]), int(found["epoch"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise damaged(f"{self._path}: the note of what is in the database can't be read.") from None

    def write(self, note: EnteredNote) -> None:
        """Replace the note, durably. Raises OSError."""
        make_folder(self._path.parent)
        write_file(self._path, json.dumps({"size": note.size, "epoch": note.epoch}).encode() + b"\n")
        sync_folder(self._path.parent)


class RollbackGuard:
    """Watches over one log and the database. `require` at the start; then `run` keeps the memories up to date."""

    def __init__(
        self,
        folder: Path,
        origin: str,
        reader: Callable[[], LogReader],
        witness: WitnessState,
        ledger: LogLedger,
        index: IndexWatch | None = None,
        on_refused: Callable[[], None] = _ignore,
    ) -> None:
        """Watch the log in `folder`, and the node's index; `reader` returns one that read the newest checkpoint.

        `on_refused` is told where a rollback is found after the start, which had no database: the worker must end then.
        """
        self._folder = folder
        self._origin = origin
        self._reader = reader
        self._witness = witness
        self._ledger = ledger
        self._index = index
        self._on_refused = on_refused
        self._compared = False
        self._note = DatabaseNote(witness.folder, origin)
        self._known = self._note.read()
        self._entered = -1
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.state_rolled_back = False

    def require(self) -> None:
        """Raise `ConfigurationError` with every rollback that is found: AUDIT_ROLLED_BACK, STATE_ROLLED_BACK.

        Raises `StateUnavailable` where the other memories know of none and the database doesn't answer, and
        `AuditDamaged` where a memory can't be read.
        """
        reader = self._reader()
        # First what needs no database: whoever put the log back could keep the database from answering.
        found = self._index_faults(IndexWatch.faults_by_notes)
        found += self._log_faults(reader, "the witness of this node", self._cosigned())
        try:
            found += self._faults_by_database(reader)
        except StateUnavailable:
            if not found:
                raise
        self._compared = not found
        if found:
            raise ConfigurationError(
                [f"{reason.value}: {text}" for reason, text, _ in found],
                reason=found[0][0],
                advice=" ".join(dict.fromkeys(advice for _, _, advice in found)),
            )

    def _faults_by_database(self, reader: LogReader) -> list[_Fault]:
        entry, epoch = self._ledger.read(self._origin)
        found = self._index_faults(IndexWatch.faults_by_database)
        found += self._log_faults(reader, "the database", _of(entry, self._origin))
        fault = self._state_fault(entry, epoch)
        if fault:
            found.append((Reason.STATE_ROLLED_BACK, f"the database: {fault}", _ADVICE[Reason.STATE_ROLLED_BACK]))
        return found

    def _index_faults(self, ask: Callable[[IndexWatch], Sequence[str]]) -> list[_Fault]:
        texts = ask(self._index) if self._index is not None else ()
        return [(Reason.AUDIT_ROLLED_BACK, text, INDEX_ADVICE) for text in texts]

    def _log_faults(self, reader: LogReader, memory: str, known: Checkpoint | None) -> list[_Fault]:
        fault = None if known is None else _contradiction(reader, known)
        if fault is None:
            return []
        text = f"{self._folder}: {memory} knows {fault}"
        return [(Reason.AUDIT_ROLLED_BACK, text, _ADVICE[Reason.AUDIT_ROLLED_BACK])]

    def _cosigned(self) -> Checkpoint | None:
        raw = self._witness.newest(self._origin)
        return None if raw is None else Submitted.parse(raw).checkpoint

    def _state_fault(self, entry: LedgerEntry | None, epoch: int) -> str:
        known = self._known
        size = entry.size if entry is not None else 0
        if known is None or (epoch >= known.epoch and size >= known.size):
            return ""
        return (
            f"it was at epoch {known.epoch} and knew {known.size} entries of {self._origin}, and is at epoch {epoch} "
            f"and knows {size}: it was rolled back, or is another one"
        )

    def enter(self) -> None:
        """Enter the size of the log into the database and note that. Raises `KmsgwError` and OSError."""
        if self._index is not None:
            self._index.enter()
        reader = self._reader()
        if reader.size == self._entered:
            return
        entry = self._ledger.enter(self._origin, reader.size, reader.edge.root())
        known = self._known
        if known is not None and entry.epoch < known.epoch:
            # The note stays, so that the next start is refused.
            if not self.state_rolled_back:
                _LOG.critical(
                    "%s: the database is at epoch %d and was at %d: it was rolled back while kmsgw runs. %s",
                    Reason.STATE_ROLLED_BACK.value, entry.epoch, known.epoch, _ADVICE[Reason.STATE_ROLLED_BACK],
                )  # fmt: skip
            self.state_rolled_back = True
            return
        self._known = EnteredNote(reader.size, entry.epoch)
        self._note.write(self._known)
        self._entered = reader.size

    def start(self) -> None:
        """Begin to keep the memories up to date."""
        self._thread = threading.Thread(target=self._run, name="log-ledger", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Keep them no more; enter what there is a last time, once the log is closed."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._attempt()

    def _run(self) -> None:
        while not self._stopped.wait(ENTER_SECONDS):
            self._attempt()

    def _attempt(self) -> None:
        try:
            if not self._compared:
                # Before anything is entered: an entry would make the database forget what there is to find.
                self.require()
            self.enter()
        except ConfigurationError as error:
            _LOG.critical("%s %s", error.message, error.advice)
            self._on_refused()
        except (KmsgwError, OSError) as error:
            _LOG.warning("the size of %s can't be entered into the database: %s", self._origin, error)
        except Exception:  # noqa: BLE001  without this thread no size would ever be entered again
            _LOG.exception("the size of a log can't be entered into the database")


def _of(entry: LedgerEntry | None, origin: str) -> Checkpoint | None:
    return None if entry is None else Checkpoint(origin, entry.size, entry.root)


def _contradiction(reader: LogReader, known: Checkpoint) -> str | None:
    """Return how a log contradicts what is known of it, or None."""
    if known.size > reader.size:
        return f"{known.size} entries of this log, which has {reader.size}: it was rolled back"
    if known.size == 0:
        return None
    try:
        proof = reader.consistency(known.size)
        verify_consistency(known.size, known.root, reader.size, reader.edge.root(), proof)
    except AuditDamaged:
        return f"{known.size} entries that this log of {reader.size} does not begin with: it was rewritten"
    return None


_ADVICE: Final = {
    Reason.AUDIT_ROLLED_BACK: (
        "Put the newest copy of the log's folder back. Where there is none, tell your security officer, and set the "
        "log aside for a new one: kmsgw audit repair FOLDER --set-aside --begin-anew KEYS (docs/audit-rollback.md)."
    ),
    Reason.STATE_ROLLED_BACK: (
        "Keys may be enabled again that were disabled since: put the newest copy of the database back. Where an "
        "older one is meant, run `kmsgwd --accept-older-state` once (docs/audit-rollback.md)."
    ),
}
