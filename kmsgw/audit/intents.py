"""Which intents of a log have no outcome yet: followed while entries become tiles, and kept in a file beside the log.

The file is derived and bounds what a start has to read: it says which intents were open at some size of the log, and
the next start reads on from there. It is written every so many entries and at a clean stop. Nothing is believed of it
that could hide an entry: the log itself shows every intent without an outcome.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from kmsgw.audit.record import Phase
from kmsgw.durable_files import may_pass, read_file, sync_folder, write_file

INTENTS_NAME: Final = "intents"
"""Name of the file in the log's folder."""

SAVE_EVERY: Final = 10_000
"""Entries after which the file is written anew: so many a start reads at most, beside those without tiles."""

LOOK_BACK: Final = 200_000
"""Entries that a start looks through where there is no file: about two seconds."""

_PHASE: Final = b'"phase":"'
_REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,64}\Z")
_MODE: Final = 0o640


class OpenIntents:
    """The intents of one log without an outcome, by request id, with the index of each. Not safe for threads."""

    def __init__(self, folder: Path) -> None:
        """Take what the file says, if there is one that makes sense."""
        self._path = folder / INTENTS_NAME
        self.size, self._open = _load(self._path)
        self._saved = self.size

    def start_for(self, size: int) -> int:
        """Return from which entry on a log of so many signed entries must be read, and forget what can't be of it."""
        if not 0 <= self.size <= size:  # there is none, or the folder was put back to an earlier time
            self.size, self._open = max(0, size - LOOK_BACK), {}
        return self.size

    def see(self, entries: Iterable[tuple[int, bytes]], size: int) -> None:
        """Take notice of entries, in order, up to a size of the log."""
        for index, raw in entries:
            if _PHASE in raw:  # else nothing of it is parsed: most of a log are uses of keys
                self._see(index, raw)
        self.size = size

    def _see(self, index: int, raw: bytes) -> None:
        try:
            record: object = json.loads(raw)
        except (ValueError, RecursionError):
            return
        if not isinstance(record, dict):
            return
        request_id = record.get("request_id")
        # No other is ever made; an outcome must be able to say the very same one.
        if not isinstance(request_id, str) or not _REQUEST_ID.match(request_id):
            return
        if record.get("phase") == Phase.INTENT:
            self._open[request_id] = index
        elif record.get("phase") == Phase.OUTCOME:
            self._open.pop(request_id, None)

    @property
    def open(self) -> Mapping[str, int]:
        """The indexes of open intents by their request ids."""
        return dict(self._open)

    def save(self, *, now: bool = False) -> None:
        """Write the file where that is due, or now. Raises OSError, but where it may pass: then it is tried again."""
        due = self.size - self._saved
        if due < SAVE_EVERY and not (now and due):
            return
        document = {"size": self.size, "open": self._open}
        try:
            write_file(self._path, json.dumps(document).encode(), _MODE)
            sync_folder(self._path.parent)
        except OSError as error:
            if not may_pass(error):
                raise
            return
        self._saved = self.size


def _load(path: Path) -> tuple[int, dict[str, int]]:
    try:
        document: object = json.loads(read_file(path, None))
    except (OSError, ValueError, RecursionError):
        return -1, {}
    if not isinstance(document, dict):
        return -1, {}
    size, found = document.get("size"), document.get("open")
    if not isinstance(size, int) or not isinstance(found, dict):
        return -1, {}
    if not all(isinstance(each, int) and 0 <= each < size for each in found.values()):
        return -1, {}
    return size, found
