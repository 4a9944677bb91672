"""Hashes of RFC 6962, section 2.1, and a tree that grows by appending and keeps only its right edge.

The edge is kept as tlog-tiles cuts it: for each tile level the hashes of the one tile that is not full. That is all
a writer needs to go on, and all a verifier needs to find the root: at most 255 hashes a level, whatever the size.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_BYTES = 32
"""Length of every hash: SHA-256."""

TILE_HASHES = 256
"""Hashes in a full tile, and entries in a full bundle (C2SP tlog-tiles)."""

EMPTY_ROOT = sha256(b"").digest()
"""Root of the tree without entries."""

SIZE_LIMIT = 1 << 62
"""Trees are smaller than this, so that no number in a file can make a loop run for ever."""


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def complete_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root over hashes whose number is a power of two."""
    assert hashes
    assert len(hashes) & (len(hashes) - 1) == 0
    row = list(hashes)
    while len(row) > 1:
        pairs = iter(row)
        row = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return row[0]


@dataclass(frozen=True, slots=True)
class FullTile:
    """A tile that has just become full: its level, its index and its 8,192 bytes."""

    level: int
    index: int
    data: bytes


_NO_TILES: tuple[FullTile, ...] = ()


class GrowingTree:
    """A tree that takes leaf hashes one by one and knows its root. Not safe for threads."""

    __slots__ = ("_rows", "_size")

    def __init__(self, size: int = 0, rows: Iterable[Sequence[bytes]] = ()) -> None:
        """Go on from a tree of `size` leaves, given the hashes of the tile that is not full, from level 0 up."""
        self._size = size
        self._rows: list[list[bytes]] = [list(row) for row in rows]
        for level, row in enumerate(self._rows):
            assert len(row) == (size >> (8 * level)) % TILE_HASHES
        assert size >> (8 * len(self._rows)) == 0

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    @property
    def rows(self) -> Sequence[Sequence[bytes]]:
        """For each tile level the hashes of the tile that is not full; a row may be empty."""
        return self._rows

    def copy(self) -> "GrowingTree":
        """Return a tree that grows apart from this one."""
        return GrowingTree(self._size, self._rows)

    def append(self, leaf: bytes) -> Sequence[FullTile]:
        """Add a leaf hash and return the tiles that this makes full, the lowest level first."""
        self._size += 1
        if not self._rows:
            self._rows.append([])
        row = self._rows[0]
        row.append(leaf)
        return self._close_full_tiles() if len(row) == TILE_HASHES else _NO_TILES

    def _close_full_tiles(self) -> Sequence[FullTile]:
        full: list[FullTile] = []
        level = 0
        while len(self._rows[level]) == TILE_HASHES:
            row = self._rows[level]
            full.append(FullTile(level, (self._size >> (8 * level + 8)) - 1, b"".join(row)))
            self._rows[level] = []
            level += 1
            if level == len(self._rows):
                self._rows.append([])
            self._rows[level].append(complete_root(row))
        return full

    def root(self) -> bytes:
        """Return the root over all leaves; `EMPTY_ROOT` where there are none."""
        root: bytes | None = None
        for row in self._rows:
            end = len(row)
            while end:
                width = end & -end
                left = complete_root(row[end - width : end])
                root = left if root is None else node_hash(left, root)
                end -= width
        return EMPTY_ROOT if root is None else root


def root_of(entries: Iterable[bytes]) -> bytes:
    """Return the root of a tree over entries."""
    tree = GrowingTree()
    for entry in entries:
        tree.append(leaf_hash(entry))
    return tree.root()
