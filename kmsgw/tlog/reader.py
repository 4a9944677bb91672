"""Reading a log by relative path. Whatever is read is checked against the signed checkpoint before it is handed out.

A tile is believed only when its root is what the tile above it says, and so on up to the signed root. So a search
shows no entry that is not in the signed tree; `verify_log` says besides that nothing is missing or unreadable.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import BundleMissing, bundle_missing, damaged
from kmsgw.tlog.hashing import TILE_HASHES, GrowingTree, complete_root, leaf_hash
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.proof_file import ProofFile
from kmsgw.tlog.proofs import make_consistency, make_inclusion, verify_consistency
from kmsgw.tlog.pruned import PRUNED_PATH, PrunedPart, Pruning
from kmsgw.tlog.tiles import CHECKPOINT_PATH, bundle_path, decode_bundle, decode_tile, tile_path, tile_width

Fetch = Callable[[str], bytes]
"""Gives the bytes at a path relative to the log; raises FileNotFoundError where there are none."""

_CACHED_TILES = 64


def fetch_tile(fetch: Fetch, level: int, index: int, size: int) -> list[bytes]:
    """Return the hashes that the tile has in a tree of `size` leaves, unchecked. Raises `AuditDamaged`.

    A partial tile may have been removed once the full one is there (C2SP tlog-tiles): then that is read.
    """
    width = tile_width(level, index, size)
    path = tile_path(level, index, width)
    try:
        return decode_tile(fetch(path), width, path)
    except FileNotFoundError:
        if width == TILE_HASHES:
            raise damaged(f"{path}: the tile is missing.") from None
    full = tile_path(level, index)
    try:
        return decode_tile(fetch(full), TILE_HASHES, full)[:width]
    except FileNotFoundError:
        raise damaged(f"{path}: the tile is missing.") from None


def fetch_bundle(fetch: Fetch, index: int, size: int) -> list[bytes]:
    """Return the entries that the bundle has in a tree of `size` leaves, unchecked.

    Raises `AuditDamaged`, and `BundleMissing` of it where there is no such file.
    """
    width = tile_width(0, index, size)
    path = bundle_path(index, width)
    try:
        return decode_bundle(fetch(path), width, path)
    except FileNotFoundError:
        if width == TILE_HASHES:
            raise bundle_missing(path) from None
    full = bundle_path(index)
    try:
        return decode_bundle(fetch(full), TILE_HASHES, full)[:width]
    except FileNotFoundError:
        raise bundle_missing(path) from None


class LogReader:
    """One log, as of the checkpoint read last. Not safe for threads.

    Every method raises `AuditDamaged` where what it reads does not belong to the signed tree.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._checkpoint: Checkpoint | None = None
        self._raw = b""
        self._edge = GrowingTree()
        self._tiles: OrderedDict[tuple[int, int], Sequence[bytes]] = OrderedDict()
        self._verifier: VerifierKey | None = None
        self._pruned = PrunedPart(fetch, self._recorded)

    @property
    def origin(self) -> str:
        """Origin of the log; empty before the first `checkpoint`."""
        return self._checkpoint.origin if self._checkpoint else ""

    @property
    def size(self) -> int:
        """Entries of the log; 0 before the first `checkpoint`."""
        return self._checkpoint.size if self._checkpoint else 0

    @property
    def signed_checkpoint(self) -> bytes:
        """The note that this is read by; empty before the first `checkpoint`."""
        return self._raw

    @property
    def edge(self) -> GrowingTree:
        """A tree that can go on from this one."""
        return self._edge.copy()

    def checkpoint(self, verifier: VerifierKey) -> Checkpoint:
        """Read the newest checkpoint, check its signature and its root, and read by it from now on."""
        try:
            raw = self._fetch(CHECKPOINT_PATH)
        except FileNotFoundError:
            raise damaged(f"{CHECKPOINT_PATH}: the checkpoint is missing.") from None
        checkpoint = Checkpoint.open(raw, verifier)
        if checkpoint != self._checkpoint:
            edge = self._read_edge(checkpoint.size)
            if edge.root() != checkpoint.root:
                raise damaged(f"{CHECKPOINT_PATH}: the tiles do not lead to its root of {checkpoint.size} entries.")
            self._edge = edge
            self._tiles.clear()
            self._pruned = PrunedPart(self._fetch, self._recorded)
        self._checkpoint, self._raw, self._verifier = checkpoint, raw, verifier
        return checkpoint

    def _read_edge(self, size: int) -> GrowingTree:
        rows: list[Sequence[bytes]] = []
        level = 0
        while size >> (8 * level):
            whole, rest = divmod(size >> (8 * level), TILE_HASHES)
            rows.append(fetch_tile(self._fetch, level, whole, size) if rest else ())
            level += 1
        return GrowingTree(size, rows)

    def hashes(self, level: int, index: int) -> Sequence[bytes]:
        """Return the hashes of a tile of this tree; fewer than 256 at the right edge."""
        width = tile_width(level, index, self.size)
        assert width
        if width < TILE_HASHES:
            return self._edge.rows[level]
        found = self._tiles.get((level, index))
        if found is None:
            found = fetch_tile(self._fetch, level, index, self.size)
            above, place = divmod(index, TILE_HASHES)
            if complete_root(found) != self.hashes(level + 1, above)[place]:
                path = tile_path(level, index)
                raise damaged(f"{path}: the tile is not the one that {tile_path(level + 1, above)} was made of.")
            self._tiles[level, index] = found
            if len(self._tiles) > _CACHED_TILES:
                self._tiles.popitem(last=False)
        return found

    def node(self, level: int, index: int) -> bytes:
        """Return the root of the complete subtree number `index` of 2^level leaves."""
        tile_level, inner = divmod(level, 8)
        tile, place = divmod(index << inner, TILE_HASHES)
        return complete_root(self.hashes(tile_level, tile)[place : place + (1 << inner)])

    def bundle(self, index: int) -> list[bytes]:
        """Return the entries of a bundle of this tree, each checked against its leaf hash.

        Raises `BundleMissing` where it is not there; `entries` knows what of it was pruned.
        """
        entries = fetch_bundle(self._fetch, index, self.size)
        for place, (entry, leaf) in enumerate(zip(entries, self.hashes(0, index), strict=True)):
            if leaf_hash(entry) != leaf:
                path = bundle_path(index, len(entries))
                raise damaged(f"{path}: entry {index * TILE_HASHES + place} is not the one that was logged.")
        return entries

    def entries(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield index and bytes of the entries from `start` to before `end`, bundle by bundle.

        Entries that were pruned are passed over, where the log itself records that they were.
        """
        stop = self.size if end is None else min(end, self.size)
        at = max(0, start)
        while at < stop:
            known = self._pruned.known
            at = known.next_kept(at) if known is not None else at
            if at >= stop:
                return
            index, place = divmod(at, TILE_HASHES)
            try:
                yield from enumerate(self.bundle(index)[place : place + stop - at], at)
            except BundleMissing as missing:
                kept = self._pruned.kept(index, self.hashes(0, index), missing)
                found = ((index * TILE_HASHES + each, raw) for each, raw in kept.items())
                yield from ((each, raw) for each, raw in found if at <= each < stop)
            at = (index + 1) * TILE_HASHES

    def entry(self, index: int) -> bytes | None:
        """Return one entry of this tree, checked against its leaf hash; None where it was pruned.

        Quicker than `entries` for one, and slower for many of a bundle.
        """
        bundle, place = divmod(index, TILE_HASHES)
        try:
            entry = fetch_bundle(self._fetch, bundle, self.size)[place]
        except BundleMissing:
            return next((raw for _, raw in self.entries(index, index + 1)), None)
        if leaf_hash(entry) != self.hashes(0, bundle)[place]:
            path = bundle_path(bundle, tile_width(0, bundle, self.size))
            raise damaged(f"{path}: entry {index} is not the one that was logged.")
        return entry

    def pruning(self) -> Pruning | None:
        """Return what of this log was pruned, as the log itself records it; None where nothing was."""
        return self._pruned.pruning()

    def _recorded(self, pruning: Pruning) -> bool:
        assert self._verifier is not None
        assert self._checkpoint is not None
        return is_recorded(self._fetch, self._verifier, self._checkpoint, pruning)

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the proof that entry `index` is in this tree, or in that of its first `size` entries.

        Raises `InvalidRequest` where there is none.
        """
        return make_inclusion(self.node, index, self.size if size is None else min(size, self.size))

    def consistency(self, old: int, size: int | None = None) -> list[bytes]:
        """Return the proof that this tree, or that of its first `size` entries, begins with that of `old` entries.

        Raises `InvalidRequest`.
        """
        return make_consistency(self.node, old, self.size if size is None else min(size, self.size))

    def proof_file(self, index: int) -> ProofFile:
        """Return what proves entry `index` offline. Raises `InvalidRequest` where there is none."""
        return ProofFile(index, tuple(self.inclusion(index)), self._raw)


def is_recorded(fetch: Fetch, verifier: VerifierKey, known: Checkpoint, pruning: Pruning) -> bool:
    """Tell whether the log as it is now, which goes on from a known checkpoint, records a pruning. `AuditDamaged`.

    What is read by that checkpoint may have been pruned since: the entry that records it is newer then.
    """
    reader = LogReader(fetch)
    newest = reader.checkpoint(verifier)
    if pruning.entry >= newest.size:
        raise damaged(f"{PRUNED_PATH}: it names entry {pruning.entry}, and the log has {newest.size} entries.")
    if newest.size < known.size:
        raise damaged(f"{CHECKPOINT_PATH}: the log had {known.size} entries and now has {newest.size}.")
    if known.size:
        verify_consistency(known.size, known.root, newest.size, newest.root, reader.consistency(known.size))
    bundle, place = divmod(pruning.entry, TILE_HASHES)
    return pruning.is_recorded_by(reader.bundle(bundle)[place], verifier)
