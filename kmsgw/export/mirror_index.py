"""The signed index of a node's logs, on its way to a mirror: it comes in one step with the logs that it adds.

Who verifies a mirror wants just the logs that its index lists, and no log that knows of a newer one. So while a new
index waits for a log that it lists, checkpoints wait with it, for a while: evidence off the host is worth more.

People restore a node's index from here. So only what was checked comes, never over a later one, and what it takes the
place of is kept: who can write ``audit.folder`` must not be able to spoil the copy by spoiling the original.
"""

import logging
from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from kmsgw.clock import Clock
from kmsgw.durable_files import make_folder, read_file, sync_folder, write_file
from kmsgw.errors import KmsgwError
from kmsgw.export.listed_keys import CheckedIndex, ListedKeys, require_successor
from kmsgw.export.shelf import claimed_origin
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.node_index import INDEX_KEY_PATH, INDEX_LIMIT, INDEX_PATH, NodeIndex
from kmsgw.tlog.note import NOTE_LIMIT, VerifierKey
from kmsgw.tlog.tiles import CHECKPOINT_PATH

_LOG = logging.getLogger(__name__)

INDEX_PATIENCE: Final = 60.0
"""How many seconds a new index, and what is to come with it, waits for a log that it lists and that does not come."""

REPLACED_FOLDER: Final = "replaced"
"""Folder on a mirror with each index that another took the place of, by the beginning of its SHA-256."""

_NEW_INDEX: Final = ".index.new"
_NEW_KEY: Final = ".index.key.new"


class MirrorIndex:
    """Brings the index of one folder of logs to one mirror. ``fault`` says why it does not come, empty where it may."""

    def __init__(
        self, target: str, folder: Path, mirror: Path, listed: ListedKeys | None, patience: float, clock: Clock
    ) -> None:
        """Bring an index that `listed` reads with the node's key; None where the key is only known from files.

        Then the mirror's own ``index.key`` counts, and the folder's where the mirror has none yet.
        """
        self._target = target
        self._folder = folder
        self._mirror = mirror
        self._listed = listed
        self._by_files = listed is None
        self._patience = patience
        self._clock = clock
        self.fault = ""
        self._node: CheckedIndex | None = None
        self._there: bytes | None = None
        self._is_waiting = False
        self._since: float | None = None
        self._said = ("", False)

    def look(self) -> None:
        """Read the node's index, after the checkpoints: so they tell of no newer one. Raises OSError of the mirror."""
        fault = ""
        self._node, self._is_waiting = None, False
        try:
            self._node = self._read()
            self._is_waiting = self._node is not None and self._is_new(self._node)
        except KmsgwError as error:
            fault = error.message
        if fault and fault != self.fault:
            _LOG.error("%s: the index of the node's logs is not mirrored: %s", self._target, fault)
        self.fault = fault
        if not self._is_waiting:
            self._since, self._said = None, ("", False)
        elif self._since is None:
            self._since = self._clock.monotonic()

    def _read(self) -> CheckedIndex | None:
        """Return the node's index; None where there is none to be had by files. Raises `KmsgwError`."""
        try:
            if self._by_files and not self._listen_to_files():
                return None
            return None if self._listed is None else self._listed.checked()
        except OSError as error:
            raise damaged(f"{error.filename}: {error.strerror}.") from None

    def _listen_to_files(self) -> bool:
        """Take the key that is beside an index; tell whether there are both. Raises OSError and `AuditDamaged`."""
        beside = [each / INDEX_KEY_PATH for each in (self._mirror, self._folder)]
        found = next((path for path in beside if path.exists()), None)
        if found is None or not (self._folder / INDEX_PATH).exists():
            return False
        key = VerifierKey.parse(read_file(found, NOTE_LIMIT).decode("utf-8", "replace"))
        if self._listed is None or self._listed.key != key:
            self._listed = ListedKeys(self._folder, key)
        return True

    def _is_new(self, node: CheckedIndex) -> bool:
        """Tell whether the mirror is to get this index. Raises `AuditDamaged` where its own is later, and OSError."""
        # What is there now, and not what was: it may be another disk, and others may bring it up to date too.
        path = self._mirror / INDEX_PATH
        self._there = read_file(path, INDEX_LIMIT) if path.exists() else b""
        if node.raw == self._there:
            return False
        own = _opened(self._there, node.key)
        if own is not None:
            require_successor(node.index, own, "the mirror has")
        return own is None or own.number < node.index.number

    @property
    def _is_late(self) -> bool:
        return self._since is not None and self._clock.monotonic() - self._since >= self._patience

    def is_due(self, ready: Collection[str], coming: Collection[str]) -> bool:
        """Tell whether a new index is to come now, with the logs of the origins `ready`; `coming` are being copied."""
        if not self._is_waiting:
            return False
        lacking = {origin: name for origin, name in self.lacking().items() if origin not in ready}
        if not lacking:
            return True
        self._say(", ".join(sorted(lacking.values())))
        return self._is_late and not lacking.keys() & set(coming)

    def _say(self, names: str) -> None:
        """Tell the log of this process what the index waits for, once, and once that it waits no more."""
        if (names, self._is_late) == self._said:
            return
        self._said = (names, self._is_late)
        text = "goes on without" if self._is_late else f"waits {self._patience:.0f} s at most, and others with it, for"
        _LOG.warning("%s: the new index of the node's logs %s what it lists: %s", self._target, text, names)

    @property
    def holds(self) -> bool:
        """Whether no checkpoint may come now: the mirror's index would be missing a log, or be older than one knows."""
        unread = self._node is None and not self._by_files  # spoilt since the logs were read: a log may be new
        return unread or (self._is_waiting and bool(self._there) and not self._is_late)

    @property
    def is_there(self) -> bool:
        """Whether the mirror has the node's index as it is now, or there is none."""
        if self.fault or self._is_waiting:
            return False
        return self._node is not None or not (self._folder / INDEX_PATH).exists()

    def lacking(self) -> Mapping[str, str]:
        """Return the logs that the node's index lists and the mirror has not: folders by origins."""
        if self._node is None:
            return {}
        # By origins: on a mirror a log has a folder by its own name, wherever it lies on the node.
        there = {
            claimed_origin(path.parent)
            for path in self._mirror.glob(f"*/{CHECKPOINT_PATH}")
            if not path.parent.name.startswith(".")
        }
        return {log.origin: log.folder for log in self._node.index.logs if log.origin not in there}

    def prepare(self) -> None:
        """Write the index and its key aside, so that nothing but a rename is left to do. Raises OSError."""
        assert self._node is not None
        if self._there:
            self._keep(self._there, self._node.key)
        write_file(self._mirror / _NEW_KEY, f"{self._node.key}\n".encode())
        write_file(self._mirror / _NEW_INDEX, self._node.raw)
        sync_folder(self._mirror)

    def _keep(self, raw: bytes, key: VerifierKey) -> None:
        """Keep what is about to be replaced, with the key that was beside it."""
        place = self._mirror / REPLACED_FOLDER / f"index-{sha256(raw).hexdigest()[:16]}"
        if place.exists():
            return
        make_folder(place.parent)
        beside = self._mirror / INDEX_KEY_PATH
        if beside.exists():
            write_file(place.with_suffix(".key"), read_file(beside, NOTE_LIMIT))
        write_file(place, raw)
        sync_folder(place.parent)
        level = logging.WARNING if _opened(raw, key) is None else logging.INFO
        _LOG.log(level, "%s: the mirror's index is replaced, and kept as %s", self._target, place)

    def show(self) -> None:
        """Put the index in its place. Raises OSError."""
        assert self._node is not None
        (self._mirror / _NEW_KEY).rename(self._mirror / INDEX_KEY_PATH)
        (self._mirror / _NEW_INDEX).rename(self._mirror / INDEX_PATH)
        sync_folder(self._mirror)
        self._there, self._is_waiting = self._node.raw, False


def _opened(raw: bytes, key: VerifierKey) -> NodeIndex | None:
    """Return the mirror's own index; None where there is none that this key signed."""
    try:
        return NodeIndex.open(raw, key)
    except KmsgwError:
        return None
