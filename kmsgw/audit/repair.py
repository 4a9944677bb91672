"""The repair of a damaged log: a plan of what can be mended for certain, and its doing, which loses nothing.

What is mended is met by the signed checkpoint: a tile, a bundle and each entry of them is written only where the root
comes out that the log signed. Entries that are durable and not signed for yet are in the write-ahead file alone. All of
its good frames stay, in their order. Where it can't be known whether others were lost, or whether the log itself wrote
what is there, whoever repairs must say what is to be done, and the log says so in an entry.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Final

from kmsgw.audit.kept_checkpoints import KeptCheckpoint
from kmsgw.audit.repair_plan import Finding, RepairKey, RepairPlan
from kmsgw.audit.repair_sources import Sources
from kmsgw.audit.repair_wal import mend_wal
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import HASH_BYTES, TILE_HASHES, GrowingTree, joined_root, leaf_hash
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.pruned import PRUNE_METHOD, PRUNED_PATH, Pruning, decode_kept, encode_kept, kept_path, runs_of
from kmsgw.tlog.reader import Fetch
from kmsgw.tlog.tiles import (
    CHECKPOINT_PATH,
    VERIFIER_KEY_PATH,
    bundle_path,
    encode_bundle,
    tile_path,
    tile_width,
)

_TRIED: Final = 256


def plan_repair(
    folder: Path,
    verifier: VerifierKey,
    mirror: Fetch | None = None,
    key: RepairKey | None = None,
    kept: Sequence[KeptCheckpoint] = (),
) -> RepairPlan:
    """Return what is wrong with a log and what mends it. Changes nothing; the log must not be written meanwhile.

    `kept` are checkpoints of it that witnesses kept, the largest first: a log that has less must not go on unnoticed.
    Without its key the plan can be looked at, not done: nobody knows who wrote the write-ahead file.
    """
    return _Planner(folder, verifier, mirror, key, kept).plan()


class _Planner:
    """The making of one plan."""

    def __init__(
        self,
        folder: Path,
        verifier: VerifierKey,
        mirror: Fetch | None,
        key: RepairKey | None,
        kept: Sequence[KeptCheckpoint],
    ) -> None:
        self._sources = Sources(folder, mirror, None if key is None else key.wal)
        self._verifier = verifier
        self._plan = RepairPlan(key=key)
        self._kept = kept
        self._tiles: list[bytes] = []
        self._borrowed = False

    def plan(self) -> RepairPlan:
        plan = self._plan
        checkpoint = self._checkpoint()
        if checkpoint is None:
            return plan.give_up(CHECKPOINT_PATH, "no checkpoint that the log signed is left")
        plan.size = checkpoint.size
        self._verifier_key()
        if not self._find_leaves(checkpoint):
            return plan.give_up("tile", f"what is left does not lead to the signed root of {checkpoint.size} entries")
        self._mend_tiles()
        pruning = self._pruning()
        for index in range(len(self._tiles)):
            self._mend_bundle(index, pruning)
        rows = [self._leaves(index) for index in range(len(self._tiles))]
        mend_wal(plan, self._sources, rows, borrowed=self._borrowed)
        plan.superseded = list(self._superseded())
        return plan

    def _checkpoint(self) -> Checkpoint | None:
        """Return the signed checkpoint, by the mirror's where the log's own is lost."""
        own = self._opened(self._sources.read(CHECKPOINT_PATH))
        other = self._opened(self._sources.mirrored(CHECKPOINT_PATH))
        largest = max((each.size for each in (own, other) if each is not None), default=-1)
        if self._kept and self._kept[0].checkpoint.size > largest:
            return self._remembered(own, self._kept[0])
        if own is not None:
            if other is not None and other.size > own.size:
                text = (
                    f"the mirror has a checkpoint of {other.size} entries, and the log one of {own.size}: rolled back"
                )
                self._plan.give_up(CHECKPOINT_PATH, text)
            return own
        if other is not None:
            self._borrowed = True
            data = self._sources.mirrored(CHECKPOINT_PATH)
            self._plan.mend(CHECKPOINT_PATH, "missing or not signed by the log", "taken from the mirror", data)
            self._plan.loss.append("the newest checkpoint is lost, and may have been of more entries than the mirror's")
        return other

    def _remembered(self, own: Checkpoint | None, known: KeptCheckpoint) -> Checkpoint | None:
        """Return a checkpoint that others kept, where the log has all that is under it: more than its own one says."""
        size = known.checkpoint.size
        if not self._find_leaves(known.checkpoint):
            text = f"{known.memory} knows {size} entries, and what is left does not lead to their root: rolled back"
            self._plan.give_up(CHECKPOINT_PATH, text)
            return own
        self._borrowed = True
        fault = "missing or not signed by the log" if own is None else f"of {own.size} entries alone"
        text = f"{fault}, and {known.memory} knows {size}"
        self._plan.mend(CHECKPOINT_PATH, text, f"taken from {known.memory}", known.raw)
        self._plan.loss.append(f"the newest checkpoint is lost, and may have been of more than {size} entries")
        return known.checkpoint

    def _opened(self, raw: bytes | None) -> Checkpoint | None:
        try:
            return None if raw is None else Checkpoint.open(raw, self._verifier)
        except AuditDamaged:
            return None

    def _verifier_key(self) -> None:
        line = f"{self._verifier}\n".encode()
        if self._sources.read(VERIFIER_KEY_PATH) != line:
            self._plan.mend(VERIFIER_KEY_PATH, "missing or of another key", "written from the key that was given", line)

    def _find_leaves(self, checkpoint: Checkpoint) -> bool:
        """Find the leaf hashes of all entries; true only where the signed root comes out."""
        whole, rest = divmod(checkpoint.size, TILE_HASHES)
        choices = [self._choices(index, TILE_HASHES, checkpoint.size) for index in range(whole)]
        if rest:
            choices.append(self._choices(whole, rest, checkpoint.size))
        if any(not each for each in choices) or prod(len(each) for each in choices) > _TRIED:
            return not choices and checkpoint.size == 0
        for tiles in product(*choices):
            tree = GrowingTree()
            for data in tiles[:whole]:
                tree.append_tile(data)
            for data in tiles[whole:]:
                for at in range(0, len(data), HASH_BYTES):
                    tree.append(data[at : at + HASH_BYTES])
            if tree.root() == checkpoint.root:
                self._tiles = list(tiles)
                return True
        return False

    def _choices(self, index: int, width: int, size: int) -> list[bytes]:
        """Return what the leaf hashes of a bundle could be; one choice where the tile above says which."""
        found = self._sources.leaves(index, width)
        if width < TILE_HASHES or len(found) < 2:
            return found
        above, place = divmod(index, TILE_HASHES)
        for tile in self._sources.tiles(1, above, tile_width(1, above, size)):
            wanted = tile[place * HASH_BYTES : (place + 1) * HASH_BYTES]
            fitting = [each for each in found if joined_root(each) == wanted]
            if fitting:
                return fitting
        return found

    def _mend_tiles(self) -> None:
        tree = GrowingTree()
        for data in self._tiles:
            if len(data) == TILE_HASHES * HASH_BYTES:
                for full in tree.append_tile(data):
                    self._mend_tile(full.level, full.index, full.data)
            else:
                for at in range(0, len(data), HASH_BYTES):
                    tree.append(data[at : at + HASH_BYTES])
        for level, row in enumerate(tree.rows):
            if row:
                self._mend_tile(level, tree.size >> (8 * level + 8), b"".join(row))

    def _mend_tile(self, level: int, index: int, data: bytes) -> None:
        width = len(data) // HASH_BYTES
        path = tile_path(level, index, width)
        found = self._sources.read(path)
        if found is None and width < TILE_HASHES:
            # The full one may be there already, of a checkpoint that was never written.
            full = self._sources.read(tile_path(level, index))
            found = full[: len(data)] if full is not None and len(full) == TILE_HASHES * HASH_BYTES else None
        if found != data:
            text = "the tile is missing" if found is None else "the tile is not the one of the signed tree"
            self._plan.mend(path, text, "made anew", data)

    def _leaves(self, index: int) -> list[bytes]:
        data = self._tiles[index]
        return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]

    def _mend_bundle(self, index: int, pruning: Pruning | None) -> None:
        leaves = self._leaves(index)
        path = bundle_path(index, len(leaves))
        there = [each for each in (path, bundle_path(index)) if self._sources.read(each) is not None]
        if there and self._holds(there[0], leaves):
            return
        pruned = pruning is not None and (index + 1) * TILE_HASHES <= pruning.before
        if pruned and not there:
            assert pruning is not None
            self._mend_kept(index, leaves, pruning)
            return
        text = "the bundle is missing" if not there else "the bundle holds other entries than the signed tree"
        found = self._sources.entries(index, leaves)
        if len(found) == len(leaves):
            entries = [found[place] for place in range(len(leaves))]
            self._plan.mend(path, text, "made anew", encode_bundle(entries))
            return
        lost = [index * TILE_HASHES + place for place in range(len(leaves)) if place not in found]
        self._plan.findings.append(Finding(path, f"{text}; {len(lost)} entries from {lost[0]} on are nowhere"))
        if len(leaves) < TILE_HASHES:
            self._plan.starts = False

    def _holds(self, path: str, leaves: Sequence[bytes]) -> bool:
        data = self._sources.read(path) or b""
        row: list[bytes] = []
        at = 0
        while at + 2 <= len(data):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            if end > len(data):
                return False
            row.append(data[at + 2 : end])
            at = end
        exact = len(row) == len(leaves) or (len(row) == TILE_HASHES and path == bundle_path_of(path))
        return exact and at == len(data) and [leaf_hash(raw) for raw in row[: len(leaves)]] == list(leaves)

    def _mend_kept(self, index: int, leaves: Sequence[bytes], pruning: Pruning) -> None:
        places = list(pruning.places(index))
        path = kept_path(index)
        data = self._sources.read(path)
        try:
            kept = decode_kept(data or b"", path)
        except AuditDamaged:
            kept = None
        whole = kept is not None and all(place in kept for place in places)
        if kept is not None and whole and all(leaf_hash(raw) == leaves[place] for place, raw in kept.items()):
            return
        found = self._sources.entries(index, leaves)
        missing = [place for place in places if place not in found]
        if missing:
            first = index * TILE_HASHES + missing[0]
            self._plan.findings.append(Finding(path, f"{len(missing)} kept entries from {first} on are nowhere"))
        else:
            made = encode_kept({place: found[place] for place in sorted(found)})
            self._plan.mend(path, "kept entries are missing or other than logged", "made anew", made)

    def _pruning(self) -> Pruning | None:
        """Return what the log records that was pruned, and make the file of it anew where it is damaged."""
        for data in self._sources.all(PRUNED_PATH):
            try:
                pruning = Pruning.parse(data)
            except AuditDamaged:
                continue
            raw = self._entry(pruning.entry)
            if raw is not None and pruning.is_recorded_by(raw, self._verifier):
                if data != self._sources.read(PRUNED_PATH):
                    self._plan.mend(PRUNED_PATH, "missing or damaged", "taken from the mirror", data)
                return pruning
        gone = next((at for at in range(len(self._tiles)) if self._present(at)), len(self._tiles))
        if not gone:
            return None
        made = self._pruning_of(gone)
        if made is not None:
            self._plan.mend(PRUNED_PATH, "missing or damaged", "made anew, as the log records it", made.encode())
        return made

    def _present(self, index: int) -> bool:
        return self._sources.read(bundle_path(index, len(self._tiles[index]) // HASH_BYTES)) is not None

    def _pruning_of(self, gone: int) -> Pruning | None:
        """Return the newest pruning that the log records, where the kept bundles are those that it says."""
        kept = [at * TILE_HASHES + place for at in range(gone) for place in sorted(self._sources.kept(at))]
        key = self._plan.key
        undone: set[str] = set()
        for at in range(len(self._tiles) - 1, -1, -1):
            found = self._sources.entries(at, self._leaves(at)) if self._present(at) else {}
            for place in sorted(found, reverse=True):
                if PRUNE_METHOD.encode() not in found[place]:
                    continue
                told = LoggedEntry.parse("", at * TILE_HASHES + place, found[place])
                if told.text("phase") == "outcome" and told.text("outcome") != "ok":
                    undone.add(told.text("request_id"))
                if told.text("request_id") in undone:
                    continue
                for before in {gone * TILE_HASHES, *(n * TILE_HASHES for n in range(max(1, gone - 8), gone + 8))}:
                    runs = runs_of(index for index in kept if index < before)
                    pruning = Pruning(before, runs, at * TILE_HASHES + place)
                    if pruning.is_intended_by(found[place]):
                        return pruning if key is None else _signed(key, pruning)
        return None

    def _entry(self, index: int) -> bytes | None:
        bundle, place = divmod(index, TILE_HASHES)
        if bundle >= len(self._tiles):
            return None
        return self._sources.entries(bundle, self._leaves(bundle)).get(place)

    def _superseded(self) -> Iterator[str]:
        """Yield the folders of partial tiles and bundles of which the full one is in the signed tree."""
        size = self._plan.size
        levels: list[tuple[Callable[[int], str], int]] = [(bundle_path, 0)]
        level = 0
        while size >> (8 * level):
            levels.append((lambda index, at=level: tile_path(at, index), level))  # type: ignore[misc]
            level += 1
        for path, at in levels:
            for index in range(size >> (8 * at + 8)):
                partial = f"{path(index)}.p"
                if self._sources.is_folder(partial):
                    yield partial


def _signed(key: RepairKey, pruning: Pruning) -> Pruning:
    return pruning.signed(key.signature_lines(pruning.signed_text, int(SYSTEM_CLOCK.now().timestamp())))


def bundle_path_of(path: str) -> str:
    """Return the path of the full bundle of one that may be partial."""
    return path.partition(".p/")[0]
