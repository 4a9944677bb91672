"""The keys that the node's signed index lists its logs under: those alone are exported, and with those keys.

The keys beside the logs are for convenience. Who can write ``audit.folder`` could put a log of the same origin in a
log's place, with a key of his own, and have entries of the true one count as exported that never left.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kmsgw.durable_files import read_beginning
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.node_index import INDEX_LIMIT, INDEX_PATH, NodeIndex
from kmsgw.tlog.note import VerifierKey


@dataclass(frozen=True, slots=True)
class CheckedIndex:
    """A node's index as `key` signed it, and the bytes in which that was found: no others are handed on."""

    raw: bytes
    index: NodeIndex
    key: VerifierKey


class ListedKeys:
    """Reads the index in a folder of logs. Not safe for threads."""

    def __init__(self, folder: Path, key: VerifierKey) -> None:
        """Read the index in ``audit.folder`` with the node's `key`; nothing is opened yet."""
        self._path = folder / INDEX_PATH
        self.key = key
        self._checked: CheckedIndex | None = None
        self._keys: Mapping[str, VerifierKey] = {}

    def read(self) -> Mapping[str, VerifierKey]:
        """Return the first key of each log by its origin: those set aside, and those that are lost and may come back.

        Raises as `checked`.
        """
        self.checked()
        return self._keys

    def checked(self) -> CheckedIndex:
        """Return the index as it is now.

        Raises `AuditDamaged` where it is gone, not as the node signed it, older than before, or another of the same
        number; and OSError.
        """
        try:
            raw = read_beginning(self._path, INDEX_LIMIT + 1)
        except FileNotFoundError:
            raise damaged(f"{INDEX_PATH}: the signed index of the logs is missing.") from None
        before = self._checked
        if before is not None and raw == before.raw:
            return before
        index = NodeIndex.open(raw, self.key)
        if before is not None:
            require_successor(index, before.index, "it had before")
        self._keys = {
            **{log.origin: log.keys[0] for log in index.logs},
            **{gone.origin: gone.keys[0] for gone in index.lost},
        }
        self._checked = CheckedIndex(raw, index, self.key)
        return self._checked


def require_successor(index: NodeIndex, before: NodeIndex, whose: str) -> None:
    """Raise `AuditDamaged` unless `index` is `before` or a later one; `whose` says of which number `before` is."""
    if index.number < before.number:
        raise damaged(
            f"{INDEX_PATH}: the signed index of the logs has number {index.number}, and {before.number} is what "
            f"{whose}: it was rolled back."
        )
    if index.number == before.number and index.body != before.body:
        raise damaged(
            f"{INDEX_PATH}: the signed index of the logs has number {index.number} and is another one than {whose}: "
            "somebody else signs with the node's key, or an older folder was put back and went on."
        )
