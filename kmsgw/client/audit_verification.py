"""What is verified of the audit log on the caller's side, by verifier keys that the gateway has no say in."""

from collections.abc import Iterable, Mapping, Sequence

from kmsgw.client.audit_results import AuditEntry, AuditGrowth
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.consistency_file import ConsistencyFile
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.proof_file import ProofFile
from kmsgw.v1 import audit_service_pb2 as wire

_KEPT = "kept checkpoint"


def keys_of(texts: Sequence[str]) -> Mapping[str, VerifierKey]:
    """Return verifier keys by the origin that they are for. Raises `AuditDamaged` where one is malformed."""
    keys = [VerifierKey.parse(text) for text in texts]
    return {key.name: key for key in keys}


def proven(entry: wire.AuditEntry, checkpoint: bytes, keys: Mapping[str, VerifierKey]) -> AuditEntry:
    """Return an entry with its proof, which holds it too, verified where keys are given. Raises `AuditDamaged`."""
    proof = ProofFile(entry.index, tuple(entry.proof_hashes), checkpoint, entry.entry)
    if keys:
        key = keys.get(entry.log)
        if key is None:
            raise AuditDamaged(
                "The gateway answered an entry of a log whose verifier key is not given.",
                advice="Give the verifier keys of all its logs, from a place that it can't change.",
            )
        proof.verify(entry.entry, key)
    return AuditEntry(entry.log, entry.index, entry.entry, proof.encode())


def require_place(entry: AuditEntry, log: str, index: int) -> None:
    """Raise `AuditDamaged` unless an entry is the one that was asked for."""
    if (entry.log, entry.index) != (log, index):
        raise AuditDamaged("The gateway answered another entry than was asked for.", advice="Tell its administrator.")


def kept_size(kept: bytes, key: VerifierKey) -> int:
    """Return the size of a checkpoint that was kept. Raises `AuditDamaged` where it is not signed by the key."""
    return Checkpoint.open(kept, key, _KEPT).size


def grown(kept: bytes, hashes: Iterable[bytes], checkpoint: bytes, key: VerifierKey) -> AuditGrowth:
    """Return the proven growth of a log. Raises `AuditDamaged` where the newest checkpoint does not continue `kept`."""
    old = Checkpoint.open(kept, key, _KEPT)
    proof = ConsistencyFile(old.size, tuple(hashes), checkpoint)
    new = proof.verify(old, key)
    return AuditGrowth(new.origin, old.size, new.size, checkpoint, proof.encode())
