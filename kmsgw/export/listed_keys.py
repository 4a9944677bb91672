"""The keys that the node's signed index lists its logs under: those alone are exported, and with those keys.

The keys beside the logs are for convenience. Who can write ``audit.folder`` could put a log of the same origin in a
log's place, with a key of his own, and have entries of the true one count as exported that never left.
"""

from collections.abc import Mapping
from pathlib import Path

from kmsgw.durable_files import read_beginning
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.node_index import INDEX_LIMIT, INDEX_PATH, NodeIndex
from kmsgw.tlog.note import VerifierKey


class ListedKeys:
    """Reads the index in a folder of logs. Not safe for threads."""

    def __init__(self, folder: Path, key: VerifierKey) -> None:
        """Read the index in ``audit.folder`` with the node's `key`; nothing is opened yet."""
        self._path = folder / INDEX_PATH
        self._key = key
        self._raw = b""
        self._number = 0
        self._keys: Mapping[str, VerifierKey] = {}

    def read(self) -> Mapping[str, VerifierKey]:
        """Return the first key of each log by its origin: those set aside, and those that are lost and may come back.

        Raises `AuditDamaged` where the index is gone, not as the node signed it, or older than before; and OSError.
        """
        try:
            raw = read_beginning(self._path, INDEX_LIMIT + 1)
        except FileNotFoundError:
            raise damaged(f"{INDEX_PATH}: the signed index of the logs is missing.") from None
        if raw != self._raw:
            index = NodeIndex.open(raw, self._key)
            if index.number < self._number:
                raise damaged(
                    f"{INDEX_PATH}: the signed index of the logs has number {index.number} and had {self._number}: it "
                    "was rolled back."
                )
            self._keys = {
                **{log.origin: log.keys[0] for log in index.logs},
                **{gone.origin: gone.keys[0] for gone in index.lost},
            }
            self._raw, self._number = raw, index.number
        return self._keys
