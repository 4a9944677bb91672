"""Cosignatures of a log: in its checkpoint, and in the newest copies that witnesses cosigned, which lie beside it.

A busy log signs faster than its witnesses answer, so its checkpoint has often none of theirs, and the files have.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.note import Note, VerifierKey
from kmsgw.tlog.proofs import verify_consistency
from kmsgw.tlog.reader import Fetch, LogReader
from kmsgw.tlog.tiles import CHECKPOINT_PATH, cosigned_path
from kmsgw.tlog.verification import VerifiedLog

_LATEST: Final = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True, order=True)
class NewestCosignature:
    """What a witness cosigned of a log last: how many entries, and when, in seconds since 1970; 0 says no time."""

    size: int
    seconds: int

    @property
    def time(self) -> datetime | None:
        """When, in UTC; None where it says no time (C2SP tlog-cosignature)."""
        return datetime.fromtimestamp(min(self.seconds, _LATEST), UTC) if self.seconds else None


def newest_cosignature(
    fetch: Fetch, verifier: VerifierKey, verified: VerifiedLog, key: VerifierKey
) -> NewestCosignature | None:
    """Return the newest cosignature of a key that a verified log has, None where it has none.

    A log that grew since it was verified may have one of more entries: it counts for those that were verified. Raises
    `AuditDamaged` where one is wrong or where the log does not begin with what was cosigned, and `InvalidRequest` where
    this machine's library does not know the kind of the key.
    """
    found: list[NewestCosignature] = []
    for path in (CHECKPOINT_PATH, cosigned_path(key.key_id)):
        try:
            raw = fetch(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise damaged(f"{path}: {error.strerror}.") from None
        note = Note.parse(raw, path)
        if note.is_signed_by(key):
            note.require_signature(key, path)
            cosigned = Checkpoint.open(raw, verifier, path)
            _require_growth(fetch, verifier, verified, cosigned, path)
            found.append(NewestCosignature(min(cosigned.size, verified.size), cosigned_seconds(note, key)))
    return max(found, default=None)


def cosigned_seconds(note: Note, key: VerifierKey) -> int:
    """Return when a key cosigned a note, whose signature was verified; 0 where it says no time or did not."""
    mine = [each for each in note.signatures if (each.name, each.key_id) == (key.name, key.key_id)]
    return max((key.time_of(each.signature) or 0 for each in mine), default=0)


def _require_growth(
    fetch: Fetch, verifier: VerifierKey, verified: VerifiedLog, cosigned: Checkpoint, path: str
) -> None:
    reader = LogReader(fetch)
    # Read after what was cosigned: the log of a running worker has grown while it was verified.
    reader.checkpoint(verifier)
    require_beginning(reader, cosigned, path)
    if not _begins_with(reader, verified.size, verified.root):
        raise damaged(f"{CHECKPOINT_PATH}: the log does not begin any more with the {verified.size} entries verified.")


def require_beginning(reader: LogReader, cosigned: Checkpoint, path: str) -> None:
    """Raise `AuditDamaged` naming `path` unless the log, as it was read since, begins with what was cosigned."""
    if cosigned.size > reader.size:
        raise damaged(f"{path}: {cosigned.size} entries were cosigned, and the log has {reader.size}: it was cut.")
    if not _begins_with(reader, cosigned.size, cosigned.root):
        raise damaged(f"{path}: the log does not begin with the {cosigned.size} entries cosigned.")


def _begins_with(reader: LogReader, size: int, root: bytes) -> bool:
    if size == 0 or size > reader.size:
        return size == 0
    try:
        # Its edge has led to the signed root.
        verify_consistency(size, root, reader.size, reader.edge.root(), reader.consistency(size))
    except AuditDamaged:
        return False
    return True
