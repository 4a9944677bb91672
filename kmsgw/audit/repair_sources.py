"""What is left of a damaged log, wherever it is: bundles whole and partial, tiles, the write-ahead file, a mirror.

Nothing here is believed: what is read is a candidate, and only the signed root says which candidates are true.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from kmsgw.audit.wal import WAL_NAME
from kmsgw.audit.wal_format import HEADER_BYTES, SEAL_BYTES, Frame, first_of, read_frames
from kmsgw.audit.wal_key import WalKey
from kmsgw.durable_files import read_file
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.hashing import HASH_BYTES, TILE_HASHES, leaf_hash
from kmsgw.tlog.pruned import decode_kept, kept_path
from kmsgw.tlog.reader import Fetch
from kmsgw.tlog.tiles import bundle_path, tile_path


def _decoded(data: bytes) -> list[bytes]:
    """Return the entries at the beginning of a bundle that are whole."""
    entries: list[bytes] = []
    at = 0
    while at + 2 <= len(data) and len(entries) < TILE_HASHES:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            break
        entries.append(data[at + 2 : end])
        at = end
    return entries


class Sources:
    """The files of one log and of its mirror, if there is one."""

    def __init__(self, folder: Path, mirror: Fetch | None = None, key: WalKey | None = None) -> None:
        self._folder = folder
        self._mirror = mirror
        self.key = key

    @property
    def wal_path(self) -> Path:
        """Where the write-ahead file is."""
        return self._folder / WAL_NAME

    def read(self, path: str) -> bytes | None:
        """Return a file of the log, or None where it can't be read."""
        try:
            return read_file(self._folder / path, None)
        except OSError:
            return None

    def mirrored(self, path: str) -> bytes | None:
        """Return a file of the mirror, or None."""
        try:
            return None if self._mirror is None else self._mirror(path)
        except OSError:
            return None

    def all(self, path: str) -> Iterator[bytes]:
        """Yield what there is at a path, the log's first."""
        for found in (self.read(path), self.mirrored(path)):
            if found is not None:
                yield found

    def is_folder(self, path: str) -> bool:
        """Tell whether a folder is there."""
        return (self._folder / path).is_dir()

    def _widths(self, path: str, width: int) -> Iterator[bytes]:
        """Yield a tile or bundle of at least `width`, and narrower ones, the widest first."""
        yield from self.all(path)
        if width < TILE_HASHES:
            yield from self.all(f"{path}.p/{width}")
        with suppress(OSError):
            names = [each.name for each in (self._folder / f"{path}.p").iterdir()]
            for name in sorted((int(each) for each in names if each.isdecimal()), reverse=True):
                if name != width:
                    yield from filter(None, [self.read(f"{path}.p/{name}")])

    def tiles(self, level: int, index: int, width: int) -> list[bytes]:
        """Return what could be the first `width` hashes of a tile."""
        size = width * HASH_BYTES
        found = (data[:size] for data in self._widths(tile_path(level, index), width) if len(data) >= size)
        return list(dict.fromkeys(found))

    def rows(self, index: int) -> Iterator[Sequence[bytes]]:
        """Yield what could be the first entries of a bundle, best first."""
        for data in self._widths(bundle_path(index), 0):
            yield _decoded(data)
        for width in range(TILE_HASHES - 1, 0, -1) if self._mirror is not None else ():
            partial = self.mirrored(f"{bundle_path(index)}.p/{width}")
            if partial is not None:
                yield _decoded(partial)

    def kept(self, index: int) -> Mapping[int, bytes]:
        """Return what could be the entries of a kept bundle, by place."""
        for data in self.all(kept_path(index)):
            with suppress(AuditDamaged):
                return decode_kept(data, kept_path(index))
        return {}

    @cached_property
    def wal(self) -> bytes | None:
        """The write-ahead file, or None."""
        return self.read(WAL_NAME)

    @cached_property
    def frames(self) -> Sequence[Frame]:
        """The good frames of the write-ahead file. Without a key, seals are believed by their checksums alone."""
        return read_frames(self.wal, self.wal_path, self.key) if self.wal is not None else ()

    @cached_property
    def by_leaf(self) -> Mapping[bytes, bytes]:
        """Entries of good frames of the write-ahead file by their leaf hash."""
        return {leaf_hash(each.entry): each.entry for each in self.frames}

    @cached_property
    def waiting(self) -> Mapping[int, bytes]:
        """Entries of the write-ahead file by index, as far as its header and frames without a gap say."""
        if self.wal is None or (first := first_of(self.wal)) is None:
            return {}
        found: dict[int, bytes] = {}
        at = HEADER_BYTES
        for each in self.frames:
            if each.at not in (at, at + SEAL_BYTES):
                break
            found[first + len(found)] = each.entry
            at = each.end
        return found

    def entries(self, index: int, leaves: Sequence[bytes]) -> dict[int, bytes]:
        """Return the entries of a bundle that have the leaf hashes, by place, whatever they are found in."""
        found: dict[int, bytes] = {}
        for row in self.rows(index):
            for place, (raw, leaf) in enumerate(zip(row, leaves, strict=False)):
                if place not in found and leaf_hash(raw) == leaf:
                    found[place] = raw
            if len(found) == len(leaves):
                return found
        for place, raw in self.kept(index).items():
            if place < len(leaves) and leaf_hash(raw) == leaves[place]:
                found.setdefault(place, raw)
        for place, leaf in enumerate(leaves):
            if place not in found and leaf in self.by_leaf:
                found[place] = self.by_leaf[leaf]
        return found

    def leaves(self, index: int, width: int) -> list[bytes]:
        """Return what could be the leaf hashes of a bundle of `width` entries, one after the other, best first."""
        found = self.tiles(0, index, width)
        for row in self.rows(index):
            if len(row) >= width:
                found.append(b"".join(map(leaf_hash, row[:width])))
        start = index * TILE_HASHES
        waiting = [self.waiting[each] for each in range(start, start + width) if each in self.waiting]
        if waiting and len(waiting) == width:
            found.append(b"".join(map(leaf_hash, waiting)))
        elif waiting:
            # The beginning of the bundle from what is left of it, the end from the write-ahead file.
            for row in self.rows(index):
                if len(row) >= width - len(waiting):
                    joined = [*row[: width - len(waiting)], *waiting]
                    found.append(b"".join(map(leaf_hash, joined)))
        return list(dict.fromkeys(found))
