"""A log that is set aside or lost, and the one that begins in its place: `kmsgw audit repair --set-aside`, `--lost`."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kmsgw.audit.kept_checkpoints import OWN_MEMORY, KeptCheckpoint, kept_checkpoints
from kmsgw.audit.mending import REPAIRS_FOLDER, left_folders, put_left_aside, said_of_left, set_aside, wal_left
from kmsgw.audit.repair import plan_repair
from kmsgw.audit.repair_plan import RepairKey
from kmsgw.audit.succession import (
    Predecessor,
    finish,
    is_beginning,
    listed_log,
    place_of,
    remember_index,
    require_newest_index,
    succeed,
    words_on,
    write_words,
)
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation
from kmsgw.cli.log_files import key_beside
from kmsgw.cli.log_owner import require_owner
from kmsgw.cli.log_seal import load_repair_key
from kmsgw.cli.output import Record
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.durable_files import read_file
from kmsgw.errors import AuditDamaged, ConfigurationError
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.node_index import IndexedLog
from kmsgw.tlog.note import NOTE_LIMIT, VerifierKey
from kmsgw.tlog.reader import Fetch
from kmsgw.tlog.tiles import CHECKPOINT_PATH

_COLUMNS = ("memory", "size")
_SIGNS = (CHECKPOINT_PATH, "tile")
_DRY = "Dry run: nothing was changed. Give --yes and --reason to do it."


@dataclass(frozen=True, slots=True)
class Succession:
    """What was asked for. ``folder`` is the log's, resolved; ``keys`` is ``[audit] keys``, None to begin no new log."""

    invocation: Invocation
    folder: Path
    keys: Path | None
    witness: Path
    mirror: Fetch | None
    reason: str
    who: str

    def put_aside(self, given: Sequence[VerifierKey], *, yes: bool) -> None:
        """Rename the folder of a log that is locked, and begin a new one where that is asked for."""
        before: Predecessor | None = None
        if self.keys is not None:
            self._require_newest(self.keys)
            before = Predecessor(self._keys_of(self.keys, given), "", ())
            self._show(self._known(before.keys[0], self.folder))
        if not yes:
            anew = " A new log with a new origin begins." if before is not None else ""
            self.invocation.note(f"{self.folder} would be renamed.{anew} {_DRY}")
            return
        now = SYSTEM_CLOCK.now()
        place = set_aside(self.folder, now)
        write_words(self.folder.parent, place.name, reason=self.reason, who=self.who, now=now)
        self.invocation.note(f"Set aside, whole as it was: {place}")
        if before is not None:
            self._succeed(Predecessor(before.keys, place.name, self._known(before.keys[0], place)), earlier="")

    def replace_lost(self, *, yes: bool) -> None:
        """Begin a new log in the place of one that is gone: it may have been set aside before, and else is lost."""
        assert self.keys is not None
        logs, worker = self.folder.parent, self.folder.name
        if any((self.folder / sign).exists() for sign in _SIGNS) and not is_beginning(self.keys, worker):
            raise CommandError(
                f"{self.folder}: a log is there, or what is left of one.",
                "Mend it, or give --set-aside and not --lost.",
            )
        if not logs.is_dir() or not self.keys.is_dir():
            raise CommandError(
                f"{logs} or {self.keys}: no such folder.", "Give the place of the log, and what [audit] keys names."
            )
        if yes:
            require_owner(logs)
        self._require_newest(self.keys)
        listed = listed_log(logs, self.keys, worker)
        if listed is None:
            raise CommandError(
                f"No signed index says which log was in {self.folder}.", "Look whether --begin-anew is [audit] keys."
            )
        if yes and finish(logs, self.keys, worker, listed):
            self.invocation.note(f"What was begun before is finished: {listed.origin} is the log of {worker} now.")
            return
        self._require_beyond_mending(listed)
        place = place_of(logs, listed.origin)
        place = "" if place == worker else place
        before = Predecessor(listed.keys, place, self._known(listed.keys[0], logs / (place or worker)))
        self._show(before.known)
        if place:
            self.invocation.note(f"{listed.origin} is not lost: it is in {logs / place}.")
        else:
            size = before.known[0].checkpoint.size if before.known else 0
            self.invocation.note(f"{listed.origin} is lost, with {size} entries at least, as far as anybody knows.")
        if not yes:
            self.invocation.note(f"A new log with a new origin would begin. {_DRY}")
            return
        put_left_aside(self.folder, listed.origin, SYSTEM_CLOCK.now())
        left = left_folders(logs, listed.origin)
        for each in left:
            self.invocation.note(f"What was left of it is in {each}.")
        key = self._key_of(listed)
        said = [said_of_left(each, None if key is None else key.wal) for each in left]
        self._succeed(replace(before, left=said), earlier=words_on(logs, place) if place else "")

    def _require_beyond_mending(self, listed: IndexedLog) -> None:
        """Raise `CommandError` where what is left of a log is enough to mend it: then it is not lost."""
        wal = wal_left(self.folder)
        if wal is None:
            return
        if self._can_be_mended(listed):
            raise CommandError(
                f"{self.folder}: the log is not lost: its write-ahead file is there, and mends it.",
                f"See what does: kmsgw audit repair {self.folder} --keys {self.keys}, with the same --from and "
                f"--witness, and --verifier-key {listed.keys[0]}.",
            )
        self.invocation.note(
            f"{wal} is left of it, which can't mend it. Entries may be in it: it is kept, in "
            f"{self.folder.parent / REPAIRS_FOLDER}."
        )

    def _can_be_mended(self, listed: IndexedLog) -> bool:
        known = kept_checkpoints(self.folder, listed.keys[0], self.witness, self.mirror)
        try:
            return plan_repair(self.folder, listed.keys[0], self.mirror, self._key_of(listed), known).starts
        except AuditDamaged:  # so much of it is damaged that nobody looks through it
            return False

    def _key_of(self, listed: IndexedLog) -> RepairKey | None:
        """Return the key of a log; None where it is gone, or another's."""
        assert self.keys is not None
        # A beginning that was stopped may have put it aside already.
        parted = sorted(self.keys.glob(f"{self.folder.name}.lost-*.key"))
        for log in (self.folder, *(path.with_suffix("") for path in parted)):
            with suppress(ConfigurationError, CommandError):
                return load_repair_key(self.keys, log, listed.keys[0])
        return None

    def _require_newest(self, keys: Path) -> None:
        """Raise `ConfigurationError` where the index is an older one that was put back: its word moves a good log."""
        if not require_newest_index(self.folder.parent, keys, self.witness):
            self.invocation.note(
                f"Not compared: whether the node's index is the newest. No note of it is in {self.witness}; give the "
                "folder of [audit] witness with --witness."
            )

    def _succeed(self, before: Predecessor, *, earlier: str) -> None:
        assert self.keys is not None
        verifier = succeed(
            self.folder.parent,
            self.keys,
            self.folder.name,
            before,
            reason=self.reason,
            who=self.who,
            now=SYSTEM_CLOCK.now(),
            earlier=earlier,
        )
        remember_index(self.folder.parent, self.keys, self.witness)
        self.invocation.note(
            f"A new log begins, with a key of its own: {verifier.name}\n"
            "Its first entry says why. Give your auditors its verifier key, and tell your security officer."
        )

    def _keys_of(self, keys: Path, given: Sequence[VerifierKey]) -> Sequence[VerifierKey]:
        """Return the keys of the log that is there: as the index lists them, else as given, else as they lie beside."""
        listed = listed_log(self.folder.parent, keys, self.folder.name)
        if listed is not None:
            return listed.keys
        if given:
            return given
        return [key_beside(self.folder)]

    def _known(self, verifier: VerifierKey, folder: Path) -> Sequence[KeptCheckpoint]:
        """Return what is known of a log, the largest first: its own checkpoint, if one is left, and those kept."""
        found = list(kept_checkpoints(folder, verifier, self.witness, self.mirror))
        for left in left_folders(self.folder.parent, verifier.name):
            found += kept_checkpoints(left, verifier)
        with suppress(OSError, AuditDamaged):
            raw = read_file(folder / CHECKPOINT_PATH, NOTE_LIMIT)
            found.append(KeptCheckpoint(OWN_MEMORY, Checkpoint.open(raw, verifier), raw))
        return sorted(found, key=lambda each: -each.checkpoint.size)

    def _show(self, known: Sequence[KeptCheckpoint]) -> None:
        records: list[Record] = [{"memory": each.memory, "size": each.checkpoint.size} for each in known]
        self.invocation.records(records, _COLUMNS, "Nobody keeps a checkpoint of this log.")
