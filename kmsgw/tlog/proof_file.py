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
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})\Z")


@dataclass(frozen=True, slots=True)
class ProofFile:
    """Entry `index` is in the log of `checkpoint` (the signed note); ``hashes`` go from leaf to root."""

    index: int
    hashes: Sequence[bytes]
    checkpoint: bytes

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        lines = [_MAGIC, f"index {self.index}", *(b64encode(each).decode() for each in self.hashes), "", ""]
        return "\n".join(lines).encode() + self.checkpoint

    @classmethod
    def parse(cls, raw: bytes) -> "ProofFile":
        """Return the proof of a file, strictly parsed and not verified. Raises `AuditDamaged`."""
        head, separator, checkpoint = raw[: 2 * NOTE_LIMIT].partition(b"\n\n")
        if not separator or len(raw) > 2 * NOTE_LIMIT:
            raise damaged("The proof file is cut, too long, or has no checkpoint after an empty line.")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise damaged("The proof file is not ASCII before its checkpoint.") from None
        match = _INDEX.match(lines[1]) if len(lines) > 1 else None
        if lines[0] != _MAGIC or match is None:
            raise damaged(f"The proof file must begin with the lines {_MAGIC} and index N.")
        hashes: list[bytes] = []
        for line in lines[2:]:
            each = decode_base64(line)
            if each is None or len(each) != HASH_BYTES:
                raise damaged("The proof file has a line that is not base64 of a hash.")
            hashes.append(each)
        return cls(int(match[1]), tuple(hashes), checkpoint)

    def verify(self, entry: bytes, verifier: VerifierKey) -> Checkpoint:
        """Return the checkpoint, once its signature and the proof of `entry` hold. Raises `AuditDamaged`."""
        checkpoint = Checkpoint.open(self.checkpoint, verifier, "checkpoint of the proof")
        verify_inclusion(leaf_hash(entry), self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint
