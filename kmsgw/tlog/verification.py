"""Verification of a whole log, offline, from its files and its verifier key alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import BundleMissing, damaged
from kmsgw.tlog.hashing import HASH_BYTES, TILE_HASHES, GrowingTree, bundle_leaves, leaf_hash
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.pruned import PrunedPart, Pruning
from kmsgw.tlog.reader import Fetch, fetch_bundle, fetch_tile, is_recorded
from kmsgw.tlog.tiles import CHECKPOINT_PATH, bundle_path, tile_path

Progress = Callable[[int, int], None]
"""Told after each bundle how many entries of how many are verified."""


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


def verify_log(fetch: Fetch, verifier_key: VerifierKey, progress: Progress | None = None) -> VerifiedLog:
    """Check the signature, each entry against its leaf hash, each tile of each level, and the root.

    Reads each file once and holds one tile a level, so memory does not grow with the log. Raises `AuditDamaged` that
    names the first file that is wrong.
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
        for full in tree.append_tile(_full_leaves(fetch, index, checkpoint.size, pruned)):
            tiles += 1
            if full.level:
                _require_tile(fetch, full.level, full.index, checkpoint.size, full.data)
        tiles += 1
        if progress is not None:
            progress(tree.size, checkpoint.size)
    if rest:
        for leaf in _verified_leaves(fetch, whole, checkpoint.size):
            tree.append(leaf)
        tiles += 1
        if progress is not None:
            progress(tree.size, checkpoint.size)
    tiles += _verify_edge(fetch, tree)
    if tree.root() != checkpoint.root:
        raise damaged(f"{CHECKPOINT_PATH}: the entries do not have its root.")
    return VerifiedLog(checkpoint.origin, checkpoint.size, checkpoint.root, tiles, pruned.known)


def _full_leaves(fetch: Fetch, index: int, size: int, pruned: PrunedPart) -> bytes:
    """Return a full tile of leaf hashes, once the entries of its bundle have them, but those that were pruned."""
    try:
        tile = fetch(tile_path(0, index))
        if len(tile) == TILE_HASHES * HASH_BYTES and bundle_leaves(fetch(bundle_path(index))) == tile:
            return tile
    except FileNotFoundError:
        pass  # told below, by name
    try:
        return b"".join(_verified_leaves(fetch, index, size))
    except BundleMissing as missing:
        leaves = fetch_tile(fetch, 0, index, size)
        pruned.kept(index, leaves, missing)
        return b"".join(leaves)


def _verified_leaves(fetch: Fetch, index: int, size: int) -> Sequence[bytes]:
    """Return the leaf hashes of a tile, each compared with its entry: slowly, and naming the first that is wrong."""
    entries = fetch_bundle(fetch, index, size)
    leaves = fetch_tile(fetch, 0, index, size)
    for place, (entry, leaf) in enumerate(zip(entries, leaves, strict=True)):
        if leaf_hash(entry) != leaf:
            raise damaged(
                f"{bundle_path(index, len(entries))}: entry {index * TILE_HASHES + place} does not have the hash "
                f"in {tile_path(0, index, len(entries))}."
            )
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
