"""The file that proves one entry offline: an inclusion proof and the checkpoint it leads to (C2SP tlog-proof)."""

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.hashing import HASH_BYTES, leaf_hash
from kmsgw.tlog.note import NOTE_LIMIT, VerifierKey, decode_base64
from kmsgw.tlog.proofs import verify_inclusion

_MAGIC = "c2sp.org/tlog-proof@v1"
_EXTRA = "extra "
PROOF_LIMIT = 4 * NOTE_LIMIT
"""Longest proof file that is parsed, in bytes: an entry in base64, hashes, and a note."""

_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})\Z")


def split_proof(raw: bytes) -> tuple[list[str], bytes]:
    """Return the lines before the empty line of a proof, and the note after it. Raises `AuditDamaged`."""
    if len(raw) > PROOF_LIMIT:
        raise damaged(f"The proof file is longer than {PROOF_LIMIT} bytes.")
    head, separator, checkpoint = raw.partition(b"\n\n")
    if not separator:
        raise damaged("The proof file is cut: it has no checkpoint after an empty line.")
    try:
        return head.decode("ascii").split("\n"), checkpoint
    except UnicodeDecodeError:
        raise damaged("The proof file is not ASCII before its checkpoint.") from None


def decode_hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    """Return the hashes of a proof, a line each in base64. Raises `AuditDamaged`."""
    hashes: list[bytes] = []
    for line in lines:
        each = decode_base64(line)
        if each is None or len(each) != HASH_BYTES:
            raise damaged("The proof file has a line that is not base64 of a hash.")
        hashes.append(each)
    return tuple(hashes)


@dataclass(frozen=True, slots=True)
class ProofFile:
    """Entry `index` is in the log of `checkpoint` (the signed note); ``hashes`` go from leaf to root.

    ``entry`` are the entry's bytes where the file carries them, in the optional line "extra": as trustworthy as what
    `verify` says of them, and no more.
    """

    index: int
    hashes: Sequence[bytes]
    checkpoint: bytes
    entry: bytes | None = None

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        extra = [] if self.entry is None else [_EXTRA + b64encode(self.entry).decode()]
        lines = [_MAGIC, *extra, f"index {self.index}", *(b64encode(each).decode() for each in self.hashes), "", ""]
        return "\n".join(lines).encode() + self.checkpoint

    @classmethod
    def parse(cls, raw: bytes) -> "ProofFile":
        """Return the proof of a file, strictly parsed and not verified. Raises `AuditDamaged`."""
        lines, checkpoint = split_proof(raw)
        magic, *rest = lines
        entry: bytes | None = None
        if rest and rest[0].startswith(_EXTRA):
            entry = decode_base64(rest.pop(0).removeprefix(_EXTRA))
            if entry is None:
                raise damaged("The proof file has an extra line that is not base64.")
        match = _INDEX.match(rest[0]) if rest else None
        if magic != _MAGIC or match is None:
            raise damaged(f"The proof file must begin with the lines {_MAGIC} and index N.")
        return cls(int(match[1]), decode_hashes(rest[1:]), checkpoint, entry)

    def verify(self, entry: bytes, verifier: VerifierKey) -> Checkpoint:
        """Return the checkpoint, once its signature and the proof of `entry` hold. Raises `AuditDamaged`."""
        checkpoint = Checkpoint.open(self.checkpoint, verifier, "checkpoint of the proof")
        verify_inclusion(leaf_hash(entry), self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint
