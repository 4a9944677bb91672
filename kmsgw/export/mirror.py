"""Logs to a mirror: a folder on another disk or a network mount, which anyone can verify as the log itself.

Files are copied so that the mirror verifies at every moment: full tiles and bundles first, then the partial ones that
the new checkpoint needs, all of them durable before the checkpoint takes the place of the old one, and only then
partial ones are removed, where the full one is there. What was pruned before it could be mirrored is missing here as
it is there, and the same record says so. A log is copied out of sight, and shown with its first checkpoint; the index
of the node's logs comes once all that it lists are there, in one step with those that it adds (`mirror_index`).
"""

import logging
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from kmsgw.audit.export_cursor import log_name, name_apart
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.durable_files import make_folder, read_file, sync_folder, write_file
from kmsgw.export.failure import DeliveryFailed, FailureKind
from kmsgw.export.feed import LogFeed, root_at
from kmsgw.export.mirror_index import INDEX_PATIENCE, MirrorIndex
from kmsgw.export.shelf import Shelf, claimed_origin
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import BundleMissing, damaged
from kmsgw.tlog.hashing import TILE_HASHES
from kmsgw.tlog.node_index import INDEX_PATH
from kmsgw.tlog.note import NOTE_LIMIT, VerifierKey
from kmsgw.tlog.pruned import PRUNED_PATH, Pruning, kept_path
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.tiles import (
    CHECKPOINT_PATH,
    VERIFIER_KEY_PATH,
    bundle_path,
    encode_bundle,
    tile_path,
    tile_width,
)

_DECIMAL = re.compile(rb"[0-9]{1,19}\Z")
_LOG = logging.getLogger(__name__)

ROUND_BUNDLES: Final = 64
"""Bundles that are copied at most before the thread looks whether it is to stop."""

COSIGNED_FOLDER: Final = "cosigned"
"""Folder below a log with the newest checkpoint that each witness cosigned."""


class MirrorTarget:
    """See `kmsgw.export.target.Target`."""

    def __init__(
        self,
        name: str,
        folder: Path,
        mirror: Path,
        *,
        key: bytes = b"",
        cursors: Path | None = None,
        index_key: VerifierKey | None = None,
        patience: float = INDEX_PATIENCE,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Mirror the logs of ``audit.folder`` into a folder that is there; see `Shelf` for the rest.

        `patience` is how many seconds a new index waits for a log that does not come.
        """
        self.name = name
        self.shelf = Shelf(folder, name, key, cursors, index_key)
        self._mirror = mirror
        self._states: dict[str, _MirroredLog] = {}
        self._index = MirrorIndex(name, folder, mirror, self.shelf.listed, patience, clock)

    @property
    def feeds(self) -> Mapping[str, LogFeed]:
        """The logs, by name."""
        return self.shelf.feeds

    @property
    def faults(self) -> Mapping[str, str]:
        """See `Target.faults`; what is wrong with the node's index is under its name."""
        return {**self.shelf.faults, **({INDEX_PATH: self._index.fault} if self._index.fault else {})}

    def work(self) -> bool:
        """See `Target.work`: some bundles of each log, and its checkpoint once everything below it is there."""
        ready: list[LogFeed] = []
        coming: list[LogFeed] = []
        feeds = self.shelf.refreshed()
        try:
            self._index.look()
        except OSError as error:
            raise _unwritable(error) from None
        for feed in feeds:
            done: list[bool] = []
            self.shelf.attempt(feed, lambda feed=feed, done=done: done.append(self._prepare(feed)))  # type: ignore[misc]
            if done:
                (ready if done[0] else coming).append(feed)
        try:
            self._show(ready, coming)
        except OSError as error:
            self._states.clear()
            raise _unwritable(error) from None
        return bool(coming)

    def lacking(self) -> Mapping[str, str]:
        """Return what is wrong with each log that the mirror has not as it is now, by name; also of logs set aside."""
        lacking = self._index.lacking()
        names = [log_name(origin) or folder for origin, folder in lacking.items()]
        return {**dict.fromkeys(names, "the node's index lists it, and it is not there"), **self.shelf.unread}

    @property
    def has_index(self) -> bool:
        """Whether the mirror has the node's index, or there is none."""
        return self._index.is_there

    @property
    def index_fault(self) -> str:
        """Why the node's index does not come; empty where that is not known, or nothing is wrong with it."""
        return self._index.fault

    def close(self) -> None:
        """See `Target.close`: nothing is open between rounds."""

    def _prepare(self, feed: LogFeed) -> bool:
        """Copy some of what a log's checkpoint needs; tell whether all is there. Raises as `work`."""
        try:
            feed.note_waiting()
            state = self._states.get(feed.log)
            if state is None:
                state = self._states[feed.log] = self._begin(feed)
            return state.prepare(feed)
        except OSError as error:
            self._states.pop(feed.log, None)
            raise _unwritable(error) from None

    def _show(self, ready: Sequence[LogFeed], coming: Sequence[LogFeed]) -> None:
        """Put the checkpoints of logs in place, and the index with them where it is its time. Raises OSError."""
        origins, others = ([feed.verifier.name for feed in feeds] for feeds in (ready, coming))
        bring = self._index.is_due(origins, others)
        if self._index.holds and not bring:
            return
        states = [(self._states[feed.log], feed) for feed in ready]
        unseen = [state for state, feed in states if state.sign_unseen(feed)]
        if bring:
            self._index.prepare()
        # Between the first of these renames and the last there is nothing that takes time.
        for state in unseen:
            state.show()
        if bring:
            self._index.show()
        if unseen:
            sync_folder(self._mirror)
        for state, feed in states:
            state.sign(feed)
            feed.arrived()

    def _begin(self, feed: LogFeed) -> "_MirroredLog":
        """Find out what the mirror has of a log. Raises OSError, `DeliveryFailed`, and `AuditDamaged`."""
        if not self._mirror.is_dir():
            raise DeliveryFailed(
                FailureKind.FILES, f"{self._mirror}: the folder of the mirror is not there.", advice="Is it mounted?"
            )
        folder = self._folder_of(feed)
        path = folder / CHECKPOINT_PATH
        if not path.exists():
            if feed.delivered:
                # A disk that is not mounted looks like this. To fill what is below it would be worse than to wait.
                raise DeliveryFailed(
                    FailureKind.FILES,
                    f"{path}: {feed.delivered} entries were mirrored, and the mirror has none.",
                    advice=f"Mount it again. To mirror the log anew, remove {feed.path}.",
                )
            return _MirroredLog(folder, 0, b"", unseen=not folder.exists())
        raw = path.read_bytes()
        checkpoint = Checkpoint.open(raw, feed.verifier, str(path))
        if checkpoint.size > feed.reader.size or root_at(feed.reader, checkpoint.size) != checkpoint.root:
            raise damaged(
                f"{path}: the mirror holds {checkpoint.size} signed entries, which the log of {feed.reader.size} "
                "does not begin with: one of them was rolled back or rewritten."
            )
        if checkpoint.size != feed.delivered:
            _LOG.warning(
                "%s: the mirror of %s has %d entries, and %d were noted: it goes on from what is there",
                self.name,
                feed.log,
                checkpoint.size,
                feed.delivered,
            )
        return _MirroredLog(folder, checkpoint.size, raw)

    def _folder_of(self, feed: LogFeed) -> Path:
        """Return where a log is mirrored: where another one has its place, from before, in a folder of its own."""
        folder = self._mirror / feed.log
        origin = claimed_origin(folder)
        if origin is None or origin == feed.verifier.name:
            return folder
        apart = self._mirror / name_apart(feed.log, feed.verifier.name)
        _LOG.warning("%s: %s holds %s; the log %s is mirrored in %s", self.name, folder, origin, feed.log, apart.name)
        return apart


class _MirroredLog:
    """The mirror of one log: what its checkpoint holds, and how far the next one is prepared."""

    def __init__(self, folder: Path, size: int, raw: bytes, *, unseen: bool = False) -> None:
        self._place = folder
        # Who verifies the mirror meanwhile takes no folder for a log whose name begins so.
        self._folder = folder.with_name(f".{folder.name}.new") if unseen else folder
        self._size = size
        self._raw = raw
        self._bundles = size // TILE_HASHES
        self._touched: set[Path] = set()
        self._lacks = False
        self._cosigned = raw

    def prepare(self, feed: LogFeed) -> bool:
        """Copy some bundles, or what is left but the checkpoint; tell whether that is there."""
        reader = feed.reader
        if feed.raw_checkpoint == self._raw:
            return True
        end = min(reader.size // TILE_HASHES, self._bundles + ROUND_BUNDLES)
        for number in range(self._bundles, end):
            try:
                self._put(bundle_path(number), encode_bundle(reader.bundle(number)))
            except BundleMissing as missing:
                self._put_kept(feed, number, missing)
            self._put(tile_path(0, number), b"".join(reader.hashes(0, number)))
        self._bundles = end
        if end < reader.size // TILE_HASHES:
            return False
        self._put_upper_tiles(reader)
        for path, data in _edge(reader):
            self._put(path, data)
        if self._lacks and not self._put_pruning(feed):
            return False
        for folder in self._touched:
            sync_folder(folder)
        self._touched.clear()
        return True

    def sign_unseen(self, feed: LogFeed) -> bool:
        """Put the checkpoint in place of a log that is not shown yet; tell whether it is one."""
        if self._folder == self._place:
            return False
        self._sign(feed)
        return True

    def show(self) -> None:
        """Let a log that was copied out of sight be seen."""
        self._folder.rename(self._place)
        self._folder = self._place

    def sign(self, feed: LogFeed) -> None:
        """Put the checkpoint in place, for which all was prepared, and what may come after it."""
        if feed.raw_checkpoint != self._raw:
            self._sign(feed)
        if feed.reader.size != self._size or feed.raw_checkpoint != self._cosigned:
            self._tidy(feed.reader.size)
            self._put_cosigned(feed)
            self._cosigned = feed.raw_checkpoint

    def _put_kept(self, feed: LogFeed, number: int, missing: BundleMissing) -> None:
        """Copy what is kept of a bundle that was pruned. Raises `missing` where it was not."""
        pruning = feed.reader.pruning()
        if pruning is None or (number + 1) * TILE_HASHES > pruning.before:
            raise missing
        self._lacks = True
        kept = feed.folder / kept_path(number)
        if kept.exists():
            self._put(kept_path(number), read_file(kept))

    def _put_pruning(self, feed: LogFeed) -> bool:
        """Copy the record of what was pruned; tell whether the entry that bears it out is under this checkpoint."""
        raw = read_file(feed.folder / PRUNED_PATH)
        if Pruning.parse(raw).entry >= feed.reader.size:
            return False
        self._put(PRUNED_PATH, raw)
        return True

    def _put_cosigned(self, feed: LogFeed) -> None:
        """Copy what witnesses cosigned, as far as the mirror has come."""
        for path in (feed.folder / COSIGNED_FOLDER).glob("[0-9a-f]*"):
            raw = read_file(path, NOTE_LIMIT)
            size = raw.split(b"\n", 2)[1:2]
            if size and _DECIMAL.match(size[0]) and int(size[0]) <= self._size:
                self._put(f"{COSIGNED_FOLDER}/{path.name}", raw)

    def _put_upper_tiles(self, reader: LogReader) -> None:
        level = 1
        while reader.size >> (8 * level + 8):
            for index in range(self._size >> (8 * level + 8), reader.size >> (8 * level + 8)):
                self._put(tile_path(level, index), b"".join(reader.hashes(level, index)))
            level += 1

    def _sign(self, feed: LogFeed) -> None:
        key = self._folder / VERIFIER_KEY_PATH
        make_folder(self._folder)
        if not key.exists():
            write_file(key, f"{feed.verifier}\n".encode())
        write_file(self._folder / CHECKPOINT_PATH, feed.raw_checkpoint)
        sync_folder(self._folder)
        self._raw = feed.raw_checkpoint

    def _tidy(self, size: int) -> None:
        """Remove partial tiles of which the full one is there, as the log does: a reader may be at the others."""
        for partial in _partial_folders(self._size):
            folder = self._folder / partial
            if folder.is_dir() and folder.with_suffix("").exists():
                shutil.rmtree(folder)
        self._size = size

    def _put(self, path: str, data: bytes) -> None:
        target = self._folder / path
        if target.exists() and target.read_bytes() == data:
            return  # of a copy that was broken off
        if target.parent not in self._touched:
            make_folder(target.parent)
            self._touched.add(target.parent)
        write_file(target, data)


def _edge(reader: LogReader) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each bundle and tile that is not full."""
    number, width = divmod(reader.size, TILE_HASHES)
    if width:
        yield bundle_path(number, width), encode_bundle(reader.bundle(number))
    level = 0
    while reader.size >> (8 * level):
        index = reader.size >> (8 * level + 8)
        width = tile_width(level, index, reader.size)
        if width:
            yield tile_path(level, index, width), b"".join(reader.hashes(level, index))
        level += 1


def _partial_folders(size: int) -> Iterator[str]:
    """Yield the folders that hold the partial tiles of a tree."""
    yield bundle_path(size // TILE_HASHES, 1).rpartition("/")[0]
    level = 0
    while size >> (8 * level):
        yield tile_path(level, size >> (8 * level + 8), 1).rpartition("/")[0]
        level += 1


def _unwritable(error: OSError) -> DeliveryFailed:
    text = f"{error.filename}: {error.strerror}."
    return DeliveryFailed(FailureKind.FILES, text, advice="Is the mirror mounted, writable, and has it room?")
