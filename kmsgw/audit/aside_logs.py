"""Logs that were set aside, as they were then: what a witness knew better at that time is no news, and later is.

How long such a log was is in the first entry of the log that took its place, which is signed for there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kmsgw.audit.generation import BEGIN_METHOD
from kmsgw.audit.kept_checkpoints import OWN_MEMORY
from kmsgw.durable_files import read_file
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.entry import parse_record
from kmsgw.tlog.hashing import HASH_BYTES
from kmsgw.tlog.node_index import NodeIndex
from kmsgw.tlog.note import decode_base64
from kmsgw.tlog.proofs import verify_consistency
from kmsgw.tlog.reader import LogReader


@dataclass(frozen=True, slots=True)
class AsideLog:
    """A log that was set aside. ``then`` is its checkpoint at that time; None where it had none that could be read.

    ``told`` tells whether a log after it says so: without that, nobody knows whether it has changed.
    """

    then: Checkpoint | None = None
    told: bool = False

    def is_still(self, reader: LogReader) -> bool:
        """Tell whether the log, as read, is what was set aside, or that with entries after it."""
        then = self.then
        if then is None or then.size > reader.size:
            return not self.told
        if then.size == 0:
            return True
        try:
            proof = reader.consistency(then.size)
            verify_consistency(then.size, then.root, reader.size, reader.edge.root(), proof)
        except (AuditDamaged, OSError):
            return False
        return True


def read_aside_logs(logs: Path, index: NodeIndex) -> Mapping[str, AsideLog]:
    """Return what the first entries of a node's logs say of those before them, by origin; `logs` is ``audit.folder``.

    A log whose first entry can't be read, or was pruned, says nothing here: its own checks tell of that.
    """
    found: dict[str, AsideLog] = {}
    for log in index.logs:
        reader = LogReader(lambda path, folder=logs / log.folder: read_file(folder / path))  # type: ignore[misc]
        try:
            reader.checkpoint(log.keys[0])
            first = reader.entry(0) if reader.size else None
        except (AuditDamaged, OSError):
            continue
        if first is not None:
            _take(first, found)
    return found


def _take(first: bytes, found: dict[str, AsideLog]) -> None:
    record = parse_record(first)
    change = record.get("change")
    # A refused call may have asked for a method of this name: only the log itself has no request.
    if record.get("method") != BEGIN_METHOD or record.get("request_id") or not isinstance(change, dict):
        return
    origin, known = change.get("before"), change.get("known")
    if change.get("lost") is not False or not isinstance(origin, str):
        return
    mine = [each for each in known if isinstance(each, dict)] if isinstance(known, list) else []
    own = next((_checkpoint(origin, each) for each in mine if each.get("memory") == OWN_MEMORY), None)
    found[origin] = AsideLog(own, told=True)


def _checkpoint(origin: str, fields: Mapping[str, object]) -> Checkpoint | None:
    size, root = fields.get("size"), fields.get("root")
    raw = decode_base64(root) if isinstance(root, str) else None
    if not isinstance(size, int) or size < 0 or raw is None or len(raw) != HASH_BYTES:
        return None
    return Checkpoint(origin, size, raw)
