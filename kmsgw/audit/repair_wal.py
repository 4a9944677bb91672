"""The repair of a write-ahead file: every good frame that is not signed for is kept, in its order.

The seal over a group says which entries it holds, and that the log wrote them. Frames without such a seal are signed
for where the tree has their hash; what else there is of them is unproven, and whoever repairs decides. Where a gap lies
between what is not signed for, entries may be lost, and the plan says so.
"""

from collections.abc import Sequence
from typing import Final

from kmsgw.audit.repair_plan import Finding, RepairPlan
from kmsgw.audit.repair_sources import Sources
from kmsgw.audit.wal import WAL_NAME
from kmsgw.audit.wal_format import HEADER_BYTES, SEAL_BYTES, Frame, ScannedWal, first_of, scan_wal
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.hashing import TILE_HASHES, leaf_hash

_LOST: Final = "frames of the write-ahead file are damaged or cut off, and entries of them may be lost"

_Leaves = Sequence[Sequence[bytes]]


def mend_wal(plan: RepairPlan, sources: Sources, leaves: _Leaves, *, borrowed: bool) -> None:
    """Take up what is wrong with the write-ahead file. `leaves` are those of the signed tree, bundle by bundle.

    `borrowed` tells that the checkpoint is the mirror's: the log may have gone further than that.
    """
    data = sources.wal
    if data is None:
        if borrowed:
            plan.give_up(WAL_NAME, "missing, and so is the log's own checkpoint")
            return
        plan.findings.append(Finding(WAL_NAME, "missing", f"begun anew with entry {plan.size}"))
        plan.loss.append("entries that were not signed for may have been in the write-ahead file")
        return
    first = first_of(data)
    if first is not None and first > plan.size:
        plan.give_up(
            WAL_NAME, f"it begins with entry {first}, and {plan.size} are signed for: those between are nowhere"
        )
        return
    known = {leaf for row in leaves for leaf in row}
    tail = [each for each in sources.frames if _is_waiting(each, plan.size, known)]
    plan.waiting = [each.entry for each in tail]
    plan.unproven = [place for place, each in enumerate(tail) if each.index is None]
    scanned, fault = _scanned(data, sources, leaves, plan.size)
    if not fault:
        if scanned is not None and scanned.torn:
            plan.findings.append(Finding(WAL_NAME, f"torn at byte {scanned.end}", "cut off"))
        return
    if borrowed and not any(leaf_hash(each.entry) in known or each.index == plan.size for each in sources.frames):
        plan.give_up(
            WAL_NAME, "no frame of it is signed for: entries between the mirror's checkpoint and it may be lost"
        )
        return
    if not _is_whole(data, sources.frames, tail, leaves, plan.size):
        plan.loss.append(_LOST)
    foreign = sum(1 for each in sources.frames if _is_foreign(each, plan.size, known))
    if foreign:
        plan.loss.append(f"{foreign} frames of the write-ahead file hold other entries than those signed for")
    kept = f"begun anew with entry {plan.size}; {len(plan.waiting)} entries that are not signed for are there"
    plan.findings.append(Finding(WAL_NAME, fault, kept))


def _scanned(data: bytes, sources: Sources, leaves: _Leaves, size: int) -> tuple[ScannedWal | None, str]:
    """Return what a start would see of the file, and why it would refuse it, if it would."""
    try:
        scanned = scan_wal(data, sources.wal_path, sources.key)
    except AuditDamaged as error:
        return None, error.message.removeprefix(f"{sources.wal_path}: ").removesuffix(".")
    return scanned, _disagreement(scanned, leaves, size)


def _is_waiting(frame: Frame, size: int, known: set[bytes]) -> bool:
    """Tell whether an entry is not signed for."""
    return frame.index >= size if frame.index is not None else leaf_hash(frame.entry) not in known


def _is_foreign(frame: Frame, size: int, known: set[bytes]) -> bool:
    return frame.index is not None and frame.index < size and leaf_hash(frame.entry) not in known


def _disagreement(scanned: ScannedWal, leaves: _Leaves, size: int) -> str:
    """Return where a file that is sound in itself and the signed tree contradict each other, or nothing."""
    if scanned.first + len(scanned.entries) < size:
        return f"it ends before entry {scanned.first + len(scanned.entries)}, and {size} are signed for"
    for index in range(scanned.first, size):
        bundle, place = divmod(index, TILE_HASHES)
        if leaf_hash(scanned.entries[index - scanned.first]) != leaves[bundle][place]:
            return f"entry {index} is not the one that the signed tree holds"
    return ""


def _is_whole(data: bytes, frames: Sequence[Frame], tail: Sequence[Frame], leaves: _Leaves, size: int) -> bool:
    """Tell whether nothing can be lost that was not signed for: what is left goes on without a gap from there."""
    sealed = [each.index for each in frames if each.index is not None]
    if sealed and sealed[-1] >= size - 1:
        # By the indexes that seals say, whatever is damaged before.
        waiting = [index for index in sealed if index >= size]
        at = max(each.end for each in frames if each.index is not None) + SEAL_BYTES
        return waiting == list(range(size, size + len(waiting))) and _is_run(
            [each for each in frames if each.at >= at], at
        )
    if first_of(data) == size:
        return _is_run(frames, HEADER_BYTES)
    last = next((each for each in reversed(frames) if leaves and leaf_hash(each.entry) == leaves[-1][-1]), None)
    return last is not None and bool(tail) and _is_run([each for each in frames if each.at >= last.end], last.end)


def _is_run(frames: Sequence[Frame], at: int) -> bool:
    """Tell whether frames follow one another from an offset on, with nothing but a seal between them."""
    for each in frames:
        if each.at not in (at, at + SEAL_BYTES):
            return False
        at = each.end
    return True
