"""The checkpoints of a log that witnesses cosigned, to prove entries by.

A busy log signs faster than its witnesses answer: its newest checkpoint has seldom a cosignature. Those that have lie
beside it, and prove what was logged before them as well.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.cosigned import require_beginning
from kmsgw.tlog.note import Note, VerifierKey, add_signatures
from kmsgw.tlog.reader import Fetch, LogReader
from kmsgw.tlog.tiles import CHECKPOINT_PATH, COSIGNED_FOLDER

_COSIGNERS: Final = 64


@dataclass(frozen=True, slots=True)
class CosignedCheckpoint:
    """A checkpoint that the log signed, with the cosignatures that lie beside the log; none of these is verified."""

    checkpoint: Checkpoint
    raw: bytes
    path: str

    def is_cosigned_by(self, witnesses: Sequence[VerifierKey]) -> bool:
        """Tell whether every witness cosigned it. Raises `InvalidRequest` where this machine can't tell."""
        note = Note.parse(self.raw, self.path)
        try:
            for witness in witnesses:
                note.require_signature(witness, self.path)
        except AuditDamaged:
            return False
        return True


def cosigned_paths(folder: Path) -> Sequence[str]:
    """Return the paths, relative to a log's folder, of the newest checkpoints that witnesses cosigned: 64 at most."""
    found = (folder / COSIGNED_FOLDER).glob("[0-9a-f]" * 8)
    return [f"{COSIGNED_FOLDER}/{each.name}" for each in sorted(found) if each.is_file()][:_COSIGNERS]


def cosigned_checkpoints(fetch: Fetch, verifier: VerifierKey, paths: Iterable[str]) -> Sequence[CosignedCheckpoint]:
    """Return the cosigned checkpoints of a log, the newest first: its own, and those at `paths`.

    To be read before the log itself, which grows meanwhile. Where witnesses cosigned the same one, it has the
    cosignatures of all. What is no checkpoint of this log is passed over: a proof can do without it.
    """
    found: dict[bytes, CosignedCheckpoint] = {}
    for path in (*paths, CHECKPOINT_PATH):
        with suppress(AuditDamaged, OSError):
            raw = fetch(path)
            checkpoint = Checkpoint.open(raw, verifier, path)
            if lines := _cosignatures(raw, path, verifier.name):
                known = found.get(checkpoint.body)
                merged = raw if known is None else add_signatures(known.raw, lines)
                found[checkpoint.body] = CosignedCheckpoint(checkpoint, merged, path)
    return sorted(found.values(), key=lambda each: -each.checkpoint.size)


def _cosignatures(raw: bytes, path: str, origin: str) -> bytes:
    """Return the signature lines of all but the log itself."""
    lines = raw.rpartition(b"\n\n")[2].splitlines(keepends=True)
    signatures = Note.parse(raw, path).signatures
    return b"".join(line for line, each in zip(lines, signatures, strict=True) if each.name != origin)


def newest_covering(
    reader: LogReader, cosigned: Iterable[CosignedCheckpoint], size: int, witnesses: Sequence[VerifierKey] = ()
) -> CosignedCheckpoint | None:
    """Return the first of the checkpoints that has `size` entries or more, and that all `witnesses` cosigned, if any.

    `reader` has read the log after them. Raises `AuditDamaged` where the log does not begin with what was cosigned.
    """
    for each in cosigned:
        if each.checkpoint.size >= size and each.is_cosigned_by(witnesses):
            require_beginning(reader, each.checkpoint, each.path)
            return each
    return None
