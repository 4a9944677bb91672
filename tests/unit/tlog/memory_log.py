"""A whole log in a dictionary of paths, written the plain way, to test readers against."""

from collections.abc import Sequence

from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.hashing import GrowingTree, leaf_hash
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.tiles import bundle_path, encode_bundle, tile_path


class MemoryLog:
    """Files of a log over entries. ``extend`` grows it as a writer would, leaving the partial tiles behind."""

    def __init__(self, key: SigningKey, entries: Sequence[bytes] = ()) -> None:
        self.key = key
        self.entries: list[bytes] = []
        self.files: dict[str, bytes] = {}
        self._tree = GrowingTree()
        self.extend(entries)

    def extend(self, entries: Sequence[bytes]) -> None:
        for entry in entries:
            self.entries.append(entry)
            for full in self._tree.append(leaf_hash(entry)):
                self.files[tile_path(full.level, full.index)] = full.data
        for level, row in enumerate(self._tree.rows):
            if row:
                index = self._tree.size >> (8 * level + 8)
                self.files[tile_path(level, index, len(row))] = b"".join(row)
        for start in range(0, len(self.entries), 256):
            bundle = self.entries[start : start + 256]
            self.files[bundle_path(start // 256, len(bundle))] = encode_bundle(bundle)
        self.sign()

    def sign(self) -> None:
        self.files["checkpoint"] = Checkpoint(self.key.name, self._tree.size, self._tree.root()).sign(self.key)

    def fetch(self, path: str) -> bytes:
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(path) from None
