"""The logs of this node's workers as `AuditService` reads them: from their files, and by few at a time."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from kmsgw.errors import Overloaded
from kmsgw.operations.control.audit_ports import FoundLog
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.tiles import CHECKPOINT_PATH, VERIFIER_KEY_PATH

_AT_ONCE: Final = 2
"""A look takes up to a second of a core: auditors must not hold every thread, nor slow down the keys' callers."""


class NodeLogs:
    """The `AuditLogs` in the folders below `folder`. Safe for threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def find(self) -> Sequence[FoundLog]:
        """Return the logs that have a checkpoint, by origin. Raises `AuditDamaged` where a key can't be read."""
        found = [
            FoundLog(VerifierKey.parse(path.read_text(encoding="utf-8")), partial(_read, path.parent))
            for path in self._folder.glob(f"*/{VERIFIER_KEY_PATH}")
            if (path.parent / CHECKPOINT_PATH).exists()  # a worker that starts for the first time writes it last
        ]
        return sorted(found, key=lambda log: log.verifier.name)

    @contextmanager
    def look(self) -> Iterator[None]:
        """Take a place to look in, and give it back at the end. Raises `Overloaded` where two others look."""
        if not self._places.acquire(blocking=False):
            raise Overloaded("Too many look into the audit log.", advice="Ask again in a moment, one after the other.")
        try:
            yield
        finally:
            self._places.release()


def _read(log: Path, path: str) -> bytes:
    return (log / path).read_bytes()
