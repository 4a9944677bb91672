"""What others kept of a log's checkpoints: who repairs or replaces a log must know how long it was at least.

Looked at are the copies that witnesses cosigned, below the log itself and in the state of the node's own witness, and
a mirror. Each counts only where the log's own key signed it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kmsgw.durable_files import read_file
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.note import NOTE_LIMIT, VerifierKey
from kmsgw.tlog.reader import Fetch
from kmsgw.tlog.tiles import CHECKPOINT_PATH
from kmsgw.witness.state import COSIGNED_NAME, origin_name

OWN_MEMORY: Final = "the log itself"
"""The memory that is no other's: the checkpoint in the log's own folder."""

_COSIGNED: Final = "cosigned"


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A checkpoint of a log, signed by it. ``memory`` says where it was kept, for people; ``raw`` is the note."""

    memory: str
    checkpoint: Checkpoint
    raw: bytes = field(repr=False)


def witness_folder_of(logs: Path) -> Path:
    """Return where the state of a node's own witness is by default; `logs` is ``audit.folder``."""
    return logs.with_name(f"{logs.name}-witness")


def kept_checkpoints(
    folder: Path, verifier: VerifierKey, witness: Path | None = None, mirror: Fetch | None = None
) -> Sequence[KeptCheckpoint]:
    """Return what is kept of the log of `verifier`, the largest first; the log's own checkpoint is not among it.

    `folder` is the log's, which may be gone; `witness` the state of the node's own witness. What can't be read, or is
    not signed by the log, is passed over.
    """
    found: list[KeptCheckpoint] = []

    def take(memory: str, raw: bytes) -> None:
        with suppress(AuditDamaged):
            found.append(KeptCheckpoint(memory, Checkpoint.open(raw, verifier), raw))

    with suppress(OSError):
        for path in sorted((folder / _COSIGNED).iterdir()):
            with suppress(OSError):
                take(f"the copy that a witness cosigned ({_COSIGNED}/{path.name})", read_file(path, NOTE_LIMIT))
    if witness is not None:
        with suppress(OSError):
            raw = read_file(witness / origin_name(verifier.name) / COSIGNED_NAME, NOTE_LIMIT)
            take("the witness of this node", raw)
    if mirror is not None:
        with suppress(OSError):
            take("the mirror", mirror(CHECKPOINT_PATH)[:NOTE_LIMIT])
    return sorted(found, key=lambda each: -each.checkpoint.size)
