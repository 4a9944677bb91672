"""The repair of a write-ahead file: every good frame that is not signed for is kept, in its order.

Which frames are signed for is told by their hashes. Where damage lies between those that are not, entries of it may be
lost, and the plan says so.
"""

from collections.abc import Sequence
from typing import Final

from kmsgw.audit.repair_plan import Finding, RepairPlan
from kmsgw.audit.repair_sources import Sources
from kmsgw.audit.wal import WAL_NAME, encode_frames, encode_wal, first_of
from kmsgw.tlog.hashing import TILE_HASHES, leaf_hash

_HEADER_BYTES: Final = 20
_FRAME_HEAD: Final = 8

_Frames = Sequence[tuple[int, bytes]]


def mend_wal(plan: RepairPlan, sources: Sources, leaves: Sequence[Sequence[bytes]], *, borrowed: bool) -> None:
    """Take up what is wrong with the write-ahead file. `leaves` are those of the signed tree, bundle by bundle.

    `borrowed` tells that the checkpoint is the mirror's: the log may have gone further than that.
    """
    data = sources.wal
    if data is None:
        if borrowed:
            plan.give_up(WAL_NAME, "missing, and so is the log's own checkpoint")
            return
        plan.mend(WAL_NAME, "missing", f"begun anew with entry {plan.size}", encode_wal(plan.size, ()))
        plan.loss.append("entries that were not signed for may have been in the write-ahead file")
        return
    first = first_of(data)
    if first is not None and first > plan.size:
        plan.give_up(
            WAL_NAME, f"it begins with entry {first}, and {plan.size} are signed for: those between are nowhere"
        )
        return
    signed = _signed(sources, leaves, first)
    known = {leaf for row in leaves for leaf in row}
    start = None if signed is None else _HEADER_BYTES + len(encode_frames(signed))
    if start is not None and all(leaf_hash(raw) in known for at, raw in sources.frames if at < start):
        tail = [(at, raw) for at, raw in sources.frames if at >= start]
        end = _end_of(tail, start)
        plan.waiting = [raw for _, raw in tail]
        if end is not None and len(data) >= start:
            if signed is not None and data[_HEADER_BYTES:start] == encode_frames(signed):
                if end < len(data):
                    plan.findings.append(Finding(WAL_NAME, f"torn at byte {end}", "cut off"))
                return
            _renew(plan, data, sources.frames)
            return
    _realign(plan, data, sources.frames, leaves, borrowed=borrowed)


def _signed(sources: Sources, leaves: Sequence[Sequence[bytes]], first: int | None) -> list[bytes] | None:
    """Return the entries from the file's first on that are signed for, or None where any of them is not known."""
    if first is None:
        return None
    found: list[bytes] = []
    for bundle in range(first // TILE_HASHES, len(leaves)):
        entries = sources.entries(bundle, leaves[bundle])
        for place in range(max(0, first - bundle * TILE_HASHES), len(leaves[bundle])):
            if place not in entries:
                return None
            found.append(entries[place])
    return found


def _realign(
    plan: RepairPlan, data: bytes, frames: _Frames, leaves: Sequence[Sequence[bytes]], *, borrowed: bool
) -> None:
    """Keep all after the last frame that is signed for."""
    known = {leaf for row in leaves for leaf in row}
    last = max((place for place, (_, raw) in enumerate(frames) if leaf_hash(raw) in known), default=-1)
    if last < 0 and borrowed:
        plan.give_up(
            WAL_NAME, "no frame of it is signed for: entries between the mirror's checkpoint and it may be lost"
        )
        return
    tail = frames[last + 1 :]
    plan.waiting = [raw for _, raw in tail]
    start = _HEADER_BYTES
    exact = last < 0 and len(data) >= start and first_of(data) == plan.size
    if last >= 0:
        start = frames[last][0] + _FRAME_HEAD + len(frames[last][1])
        exact = bool(leaves) and leaf_hash(frames[last][1]) == leaves[-1][-1]
    if not exact or _end_of(tail, start) is None:
        plan.loss.append("frames of the write-ahead file are damaged or cut off, and entries of them may be lost")
    foreign = sum(1 for _, raw in frames[: last + 1] if leaf_hash(raw) not in known)
    if foreign:
        plan.loss.append(f"{foreign} frames of the write-ahead file hold other entries than those signed for")
    _renew(plan, data, frames)


def _renew(plan: RepairPlan, data: bytes, frames: _Frames) -> None:
    new = encode_wal(plan.size, plan.waiting)
    kept = f"begun anew with entry {plan.size}; {len(plan.waiting)} entries that are not signed for are kept"
    plan.mend(WAL_NAME, _fault(data, frames), kept, new)


def _end_of(frames: _Frames, start: int) -> int | None:
    """Return where frames end that follow one another from `start` on, or None where anything is between them."""
    at = start
    for offset, raw in frames:
        if offset != at:
            return None
        at = offset + _FRAME_HEAD + len(raw)
    return at


def _fault(data: bytes, frames: _Frames) -> str:
    """Return what is wrong with a file, and where."""
    if first_of(data) is None:
        return "at byte 0: the header is damaged"
    at = _HEADER_BYTES
    for offset, raw in frames:
        if offset != at:
            break
        at = offset + _FRAME_HEAD + len(raw)
    return f"at byte {at}: the frame is damaged" if at < len(data) else f"at byte {at}: it ends, or holds other entries"
