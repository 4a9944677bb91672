"""The signed index of a node's logs, on its way to a mirror: it comes in one step with the logs that it adds.

Who verifies a mirror wants just the logs that its index lists, and no log that knows of a newer one. So while a new
index waits for a log that it lists, checkpoints wait with it, for a while: evidence off the host is worth more.
"""

import logging
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from kmsgw.clock import Clock
from kmsgw.durable_files import read_file, sync_folder, write_file
from kmsgw.export.shelf import claimed_origin
from kmsgw.tlog.node_index import INDEX_KEY_PATH, INDEX_PATH
from kmsgw.tlog.tiles import CHECKPOINT_PATH

_LOG = logging.getLogger(__name__)

INDEX_PATIENCE: Final = 60.0
"""How many seconds a new index, and what is to come with it, waits for a log that it lists and that does not come."""

_NEW_INDEX: Final = ".index.new"
_LISTED: Final = re.compile(r"^log (\S+) (\S+)$", re.MULTILINE)


class MirrorIndex:
    """Brings the index of one folder of logs to one mirror."""

    def __init__(self, target: str, folder: Path, mirror: Path, patience: float, clock: Clock) -> None:
        self._target = target
        self._folder = folder
        self._mirror = mirror
        self._patience = patience
        self._clock = clock
        self._raw = b""
        self._there: bytes | None = None
        self._since: float | None = None
        self._said = ("", False)

    def look(self) -> None:
        """Read the node's index, after the checkpoints: so they tell of no newer one. Raises OSError."""
        if self._there is None:
            path = self._mirror / INDEX_PATH
            self._there = path.read_bytes() if path.exists() else b""
        key, index = self._folder / INDEX_KEY_PATH, self._folder / INDEX_PATH
        self._raw = read_file(index) if key.exists() and index.exists() else b""
        if not self._is_waiting:
            self._since, self._said = None, ("", False)
        elif self._since is None:
            self._since = self._clock.monotonic()

    @property
    def _is_waiting(self) -> bool:
        return bool(self._raw) and self._raw != self._there

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
        return self._is_waiting and bool(self._there) and not self._is_late

    @property
    def is_there(self) -> bool:
        """Whether the mirror has the node's index as it is now, or there is none."""
        return not self._is_waiting and (bool(self._raw) or not (self._folder / INDEX_PATH).exists())

    def lacking(self) -> Mapping[str, str]:
        """Return the logs that the node's index lists and the mirror has not: folders by origins."""
        # By origins: on a mirror a log has a folder by its own name, wherever it lies on the node.
        there = {
            claimed_origin(path.parent)
            for path in self._mirror.glob(f"*/{CHECKPOINT_PATH}")
            if not path.parent.name.startswith(".")
        }
        listed = _LISTED.findall(self._raw.decode("utf-8", "replace"))
        return {origin: name for name, origin in listed if origin not in there}

    def prepare(self) -> None:
        """Write the index aside, so that nothing but a rename is left to do. Raises OSError."""
        write_file(self._mirror / INDEX_KEY_PATH, read_file(self._folder / INDEX_KEY_PATH))
        write_file(self._mirror / _NEW_INDEX, self._raw)
        sync_folder(self._mirror)

    def show(self) -> None:
        """Put the index in its place. Raises OSError."""
        (self._mirror / _NEW_INDEX).rename(self._mirror / INDEX_PATH)
        sync_folder(self._mirror)
        self._there = self._raw
