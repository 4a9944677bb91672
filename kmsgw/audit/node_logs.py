"""The logs of this node's workers as `AuditService` reads them: from their files, and by few at a time.

Which logs there are, and by which keys they are read, is told by the node's signed index alone. The keys that lie
beside the logs are for convenience: who can write there could put a log of his own there, with a key of his own.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from kmsgw.audit.node_index import read_index
from kmsgw.durable_files import read_file
from kmsgw.errors import Overloaded
from kmsgw.operations.control.audit_ports import FoundLog
from kmsgw.tlog.cosigned_proof import cosigned_paths
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.node_index import INDEX_PATH, IndexedLog
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.tiles import CHECKPOINT_PATH

_AT_ONCE: Final = 2
"""A look takes up to a second of a core: auditors must not hold every thread, nor slow down the keys' callers."""


class NodeLogs:
    """The `AuditLogs` in the folders below `folder`. Safe for threads. `key` returns that of the node's index."""

    def __init__(self, folder: Path, key: Callable[[], VerifierKey]) -> None:
        self._folder = folder
        self._key = key
        self._number = 0
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def find(self) -> Sequence[FoundLog]:
        """Return the logs that the index lists, by origin. Raises `AuditDamaged` where the index is not as signed.

        One that is not there is among them: whoever reads it is told so, and never that there are only the others.
        """
        key = self._key()
        try:
            index = read_index(self._folder, key)
        except OSError as error:
            raise damaged(f"{INDEX_PATH}: the signed index of the logs can't be read: {error.strerror}.") from None
        if index is None:
            raise damaged(f"{INDEX_PATH}: the signed index of the logs is missing.")
        if index.number < self._number:
            raise damaged(
                f"{INDEX_PATH}: the signed index of the logs has number {index.number} and had {self._number}: it was "
                "rolled back."
            )
        self._number = index.number
        found = [
            FoundLog(
                log.keys[0],
                partial(_read, self._folder, log),
                partial(cosigned_paths, self._folder / log.folder),
            )
            for log in index.logs
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


def _read(folder: Path, log: IndexedLog, path: str) -> bytes:
    """Return a file of a log. Raises FileNotFoundError, and `AuditDamaged` where the log is gone or can't be read."""
    try:
        return read_file(folder / log.folder / path)
    except FileNotFoundError:
        if path != CHECKPOINT_PATH:
            raise
        raise damaged(
            f"{log.origin}: the log is missing: the signed index of this node lists it, and {log.folder}/{path} is "
            "not there."
        ) from None
    except OSError as error:
        raise damaged(f"{log.origin}: {log.folder}/{path} can't be read: {error.strerror}.") from None
