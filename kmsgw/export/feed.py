"""One log as one target sees it: the signed entries from its cursor on, and nothing else."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from kmsgw.audit.export_cursor import ExportCursor, cursor_path, load_cursor, put_aside, save_cursor
from kmsgw.durable_files import read_beginning, read_file
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import EMPTY_ROOT, TILE_HASHES, node_hash
from kmsgw.tlog.note import NOTE_LIMIT, VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.tiles import CHECKPOINT_PATH, VERIFIER_KEY_PATH

_LOG = logging.getLogger(__name__)


class LogFeed:
    """Reads one log for one target. Not safe for threads; `delivered` and `waiting_since` may be read by others."""

    def __init__(self, folder: Path, log: str, target: str, key: bytes = b"") -> None:
        """Read the log `log` of ``audit.folder``; nothing is opened yet. `key` seals its cursor.

        ``folder`` is where the log lies: by its name at first, and anywhere once that is set.
        """
        self.log = log
        self.folder = folder / log
        self.path = cursor_path(folder, target, log)
        self._key = key
        self.waiting_since: datetime | None = None
        self.taken = 0
        self._target = target
        self._cursor: ExportCursor | None = None
        self._reader: LogReader | None = None
        self._raw = b""

    @property
    def delivered(self) -> int:
        """Entries that have arrived for certain."""
        return 0 if self._cursor is None else self._cursor.size

    @property
    def reader(self) -> LogReader:
        """The log as of the checkpoint that `refresh` read last."""
        assert self._reader is not None
        return self._reader

    @property
    def verifier(self) -> VerifierKey:
        """The verifier key that the log is read with: as the index lists it, or as it lay beside a copy's log."""
        assert self._cursor is not None
        return self._cursor.verifier

    @property
    def raw_checkpoint(self) -> bytes:
        """The checkpoint as `refresh` read it, with all its signatures."""
        return self._raw

    def refresh(self, listed: Mapping[str, VerifierKey] | None = None) -> bool:
        """Read the newest checkpoint; tell whether it is another one.

        `listed` are the keys of the node's logs by origin, None for a folder that is no node's: then the key that lies
        beside the log is used. Raises `AuditDamaged` where the log is not listed, or does not continue what was read or
        exported before, and OSError.
        """
        raw = self._fetch(CHECKPOINT_PATH)
        key = None if listed is None else self._listed_key(raw, listed)
        if self._cursor is None or _is_of_another_key(self._cursor, key):
            self._open(key)
        if raw == self._raw and self._reader is not None:
            return False
        # Apart from the one in use, so that after an error nothing unproven is ever handed out.
        reader = LogReader(lambda path: raw if path == CHECKPOINT_PATH else self._fetch(path))
        reader.checkpoint(self.verifier)
        self._require_continued(reader)
        self._reader, self._raw = reader, raw
        return True

    def take(self, count: int, size: int) -> Sequence[LoggedEntry]:
        """Return the next entries, at most so many and, but for the first, of so many bytes; empty where none is new.

        Entries that were pruned, as the log itself records, are passed over. What is returned counts as taken, and as
        delivered only after `confirm`. Raises `AuditDamaged`, and OSError.
        """
        start = self.taken
        found: list[LoggedEntry] = []
        total = 0
        for index, raw in self.reader.entries(start) if start < self.reader.size else ():
            total += len(raw)
            if found and total > size:
                break
            found.append(LoggedEntry.parse(self.reader.origin, index, raw))
            # To the end of a bundle at most: the next one would be read and checked twice.
            if len(found) == count or (index + 1) % TILE_HASHES == 0:
                break
        if start == self.delivered and found:
            self.waiting_since = found[0].time
        self.taken = found[-1].index + 1 if found else self.reader.size
        pruned = self.taken - start - len(found)
        if pruned > 0:
            _LOG.warning(
                "%s: %d entries of %s, from %d on, were pruned before they were exported",
                self._target,
                pruned,
                self.log,
                start,
            )
        return found

    def confirm(self, through: int | None = None) -> None:
        """Note durably that all that was taken has arrived, or what is before entry `through`. Raises OSError."""
        size = self.taken if through is None else through
        if size == self.delivered:
            return
        cursor = ExportCursor(self.verifier, size, root_at(self.reader, size))
        save_cursor(self.path, cursor, self._key)
        self._cursor = cursor
        self.waiting_since = None

    def note_waiting(self) -> None:
        """Note since when entries wait, for a target that does not `take` them. Raises as `take` does."""
        if self.waiting_since is None and self.taken < self.reader.size:
            self.take(1, 0)
            self.rewind()

    def arrived(self) -> None:
        """Note durably that the whole log, as of the checkpoint that `refresh` read, has arrived. Raises OSError."""
        self.taken = self.reader.size
        self.confirm()

    def rewind(self) -> None:
        """Forget what was taken and not confirmed: it is handed out again."""
        self.taken = self.delivered

    def claimed_size(self) -> int:
        """Return how many entries the checkpoint claims now, unverified: for figures. Reads the file; 0 on a fault."""
        try:
            return int(read_beginning(self.folder / CHECKPOINT_PATH, NOTE_LIMIT).split(b"\n")[1])
        except (OSError, ValueError, IndexError):
            return 0

    def _fetch(self, path: str) -> bytes:
        return read_file(self.folder / path)

    def _listed_key(self, raw: bytes, listed: Mapping[str, VerifierKey]) -> VerifierKey:
        # By what the checkpoint claims: whether it is true is shown by its signature, with this key.
        origin = raw.partition(b"\n")[0].decode("utf-8", "replace")
        key = listed.get(origin)
        if key is None:
            raise damaged(f"{self.folder.name}: the node's signed index does not list {origin!r}.")
        return key

    def _open(self, key: VerifierKey | None) -> None:
        try:
            cursor = load_cursor(self.path, self._key)
        except AuditDamaged as error:
            _LOG.error(
                "%s: %s It is put aside as %s, and export begins again: entries arrive twice",
                self._target,
                error.message,
                put_aside(self.path).name,
            )
            cursor = None
        if cursor is not None and _is_of_another_key(cursor, key):
            _LOG.error(
                "%s: the cursor of %s is of another log of its name, whose key the node's signed index does not list. "
                "It is put aside as %s, and export begins again",
                self._target,
                self.log,
                put_aside(self.path).name,
            )
            cursor = None
        if cursor is None:
            if key is None:
                key = VerifierKey.parse(self._fetch(VERIFIER_KEY_PATH).decode("utf-8", "replace"))
            cursor = ExportCursor(key)
            # Also a cursor at 0 is on disk: the key that the log is read with from now on is in it.
            save_cursor(self.path, cursor, self._key)
        if self._cursor is not None and self._cursor.verifier != cursor.verifier:
            self._reader, self._raw = None, b""
        self._cursor = cursor
        self.taken = cursor.size

    def _require_continued(self, reader: LogReader) -> None:
        assert self._cursor is not None
        known = [(self._cursor.size, self._cursor.root, "exported")]
        if self._reader is not None:
            before = Checkpoint.open(self._raw, self.verifier)
            known.append((before.size, before.root, "signed"))
        for size, root, what in known:
            if reader.size < size:
                raise damaged(
                    f"{self.log}/{CHECKPOINT_PATH}: the log has {reader.size} entries, and {size} were {what}."
                )
            if root_at(reader, size) != root:
                raise damaged(f"{self.log}/{CHECKPOINT_PATH}: its first {size} entries are not those that were {what}.")


def _is_of_another_key(cursor: ExportCursor, key: VerifierKey | None) -> bool:
    return key is not None and cursor.verifier.name == key.name and cursor.verifier != key


def root_at(reader: LogReader, size: int) -> bytes:
    """Return the root that the log had when it had `size` entries (RFC 6962, section 2.1). Raises `AuditDamaged`."""
    if size == reader.size:
        return reader.edge.root()
    root: bytes | None = None
    end = size
    while end:
        width = end & -end
        left = reader.node(width.bit_length() - 1, end // width - 1)
        root = left if root is None else node_hash(left, root)
        end -= width
    return EMPTY_ROOT if root is None else root
