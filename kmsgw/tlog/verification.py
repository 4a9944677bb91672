"""Verification of a whole log, offline, from its files and its verifier key alone."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import BundleMissing, damaged
from kmsgw.tlog.hashing import HASH_BYTES, TILE_HASHES, GrowingTree, bundle_leaves, leaf_hash
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.pruned import PrunedPart, Pruning
from kmsgw.tlog.reader import Fetch, fetch_bundle, fetch_tile, is_recorded
from kmsgw.tlog.tiles import CHECKPOINT_PATH, bundle_path, decode_bundle, tile_path

Progress = Callable[[int, int], None]
"""Told after each bundle how many entries of how many are verified."""


@dataclass(frozen=True, slots=True)
class Taking:
    """Entries to be handed on while their log is verified: those with an index in ``span``, but what was pruned.

    ``take`` is told index and bytes of each once it has the hash that its tile says. Whether the tree over these hashes
    is the signed one is known at the end: whoever takes must be able to forget it all.
    """

    span: range
    take: Callable[[int, bytes], None]

    def of_bundle(self, start: int, entries: Iterable[tuple[int, bytes]]) -> None:
        """Hand on the entries of the bundle that begins with the entry `start`."""
        span, take = self.span, self.take
        if start >= span.stop or start + TILE_HASHES <= span.start:
            return
        for index, raw in entries:
            if index in span:
                take(index, raw)


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """A log of which every entry, every tile and the signature hold. ``tiles`` counts hash tiles and bundles.

    ``pruning`` is what was pruned of it, as the log itself records: of that only the hashes were verified.
    """

    origin: str
    size: int
    root: bytes
    tiles: int
    pruning: Pruning | None = None


def verify_log(
    fetch: Fetch, verifier_key: VerifierKey, progress: Progress | None = None, taking: Taking | None = None
) -> VerifiedLog:
    """Check the signature, each entry against its leaf hash, each tile of each level, and the root.

    Reads each file once and holds one tile a level, so memory does not grow with the log; `taking` says who wants the
    entries that are read. Raises `AuditDamaged` that names the first file that is wrong.
    """
    try:
        checkpoint = Checkpoint.open(fetch(CHECKPOINT_PATH), verifier_key)
    except FileNotFoundError:
        raise damaged(f"{CHECKPOINT_PATH}: the checkpoint is missing.") from None
    pruned = PrunedPart(fetch, lambda pruning: is_recorded(fetch, verifier_key, checkpoint, pruning))
    tree = GrowingTree()
    tiles = 0
    whole, rest = divmod(checkpoint.size, TILE_HASHES)
    for index in range(whole):
        for full in tree.append_tile(_full_leaves(fetch, index, checkpoint.size, pruned, taking)):
            tiles += 1
            if full.level:
                _require_tile(fetch, full.level, full.index, checkpoint.size, full.data)
        tiles += 1
        if progress is not None:
            progress(tree.size, checkpoint.size)
    if rest:
        for leaf in _verified_leaves(fetch, whole, checkpoint.size, taking):
            tree.append(leaf)
        tiles += 1
        if progress is not None:
            progress(tree.size, checkpoint.size)
    tiles += _verify_edge(fetch, tree)
    if tree.root() != checkpoint.root:
        raise damaged(f"{CHECKPOINT_PATH}: the entries do not have its root.")
    return VerifiedLog(checkpoint.origin, checkpoint.size, checkpoint.root, tiles, pruned.known)


def _full_leaves(fetch: Fetch, index: int, size: int, pruned: PrunedPart, taking: Taking | None) -> bytes:
    """Return a full tile of leaf hashes, once the entries of its bundle have them, but those that were pruned."""
    start = index * TILE_HASHES
    try:
        tile, bundle = fetch(tile_path(0, index)), fetch(bundle_path(index))
    except FileNotFoundError:
        bundle = tile = b""  # told below, by name
    if len(tile) == TILE_HASHES * HASH_BYTES and bundle_leaves(bundle) == tile:
        if taking is not None:
            taking.of_bundle(start, enumerate(decode_bundle(bundle, TILE_HASHES, bundle_path(index)), start))
        return tile
    try:
        return b"".join(_verified_leaves(fetch, index, size, taking))
    except BundleMissing as missing:
        leaves = fetch_tile(fetch, 0, index, size)
        kept = pruned.kept(index, leaves, missing)
        if taking is not None:
            taking.of_bundle(start, ((start + place, raw) for place, raw in kept.items()))
        return b"".join(leaves)


def _verified_leaves(fetch: Fetch, index: int, size: int, taking: Taking | None) -> Sequence[bytes]:
    """Return the leaf hashes of a tile, each compared with its entry: slowly, and naming the first that is wrong."""
    entries = fetch_bundle(fetch, index, size)
    leaves = fetch_tile(fetch, 0, index, size)
    for place, (entry, leaf) in enumerate(zip(entries, leaves, strict=True)):
        if leaf_hash(entry) != leaf:
            raise damaged(
                f"{bundle_path(index, len(entries))}: entry {index * TILE_HASHES + place} does not have the hash "
                f"in {tile_path(0, index, len(entries))}."
            )
    if taking is not None:
        taking.of_bundle(index * TILE_HASHES, enumerate(entries, index * TILE_HASHES))
    return leaves


def _verify_edge(fetch: Fetch, tree: GrowingTree) -> int:
    """Check the tiles that are not full and return their number."""
    rows: Sequence[Sequence[bytes]] = tree.rows
    for level, row in enumerate(rows):
        if level and row:
            _require_tile(fetch, level, tree.size >> (8 * level + 8), tree.size, b"".join(row))
    return sum(1 for row in rows if row)


def _require_tile(fetch: Fetch, level: int, index: int, size: int, data: bytes) -> None:
    if b"".join(fetch_tile(fetch, level, index, size)) != data:
        raise damaged(f"{tile_path(level, index, len(data) // 32)}: the tile is not that of the entries below it.")
