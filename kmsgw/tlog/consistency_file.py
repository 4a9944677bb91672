"""The file that proves a log to begin with an older checkpoint of it: the request of C2SP tlog-witness.

``old N``, the hashes of the proof a line each in base64, an empty line, the newer checkpoint. What a witness is sent
is kept as a file, so one form serves both, and whoever has the older checkpoint can verify it offline.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.proof_file import decode_hashes, split_proof
from kmsgw.tlog.proofs import verify_consistency

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})\Z")


def is_consistency_file(raw: bytes) -> bool:
    """Tell whether a file says that it proves consistency; nothing else of it is looked at."""
    return raw.startswith(b"old ")


@dataclass(frozen=True, slots=True)
class ConsistencyFile:
    """The tree of ``checkpoint`` (the signed note) begins with that of ``old`` entries; ``hashes`` are the proof."""

    old: int
    hashes: Sequence[bytes]
    checkpoint: bytes

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        lines = [f"old {self.old}", *(b64encode(each).decode() for each in self.hashes), "", ""]
        return "\n".join(lines).encode() + self.checkpoint

    @classmethod
    def parse(cls, raw: bytes) -> "ConsistencyFile":
        """Return the proof of a file, strictly parsed and not verified. Raises `AuditDamaged`."""
        lines, checkpoint = split_proof(raw)
        match = _OLD.match(lines[0])
        if match is None:
            raise damaged("The consistency proof must begin with the line old N.")
        return cls(int(match[1]), decode_hashes(lines[1:]), checkpoint)

    def verify(self, old: Checkpoint, verifier: VerifierKey) -> Checkpoint:
        """Return the newer checkpoint, once it is signed and proven to begin with `old`. Raises `AuditDamaged`.

        `old` must be of the same log and verified already.
        """
        new = Checkpoint.open(self.checkpoint, verifier, "checkpoint of the proof")
        if old.origin != new.origin:
            raise damaged(f"The kept checkpoint is of {old.origin}, and the proof is of {new.origin}.")
        if old.size > new.size:
            raise damaged(f"The log has {new.size} entries and had {old.size}: it was cut.")
        if old.size != self.old:
            raise damaged(f"The kept checkpoint has {old.size} entries, and the proof begins at {self.old}.")
        if old.size:
            verify_consistency(old.size, old.root, new.size, new.root, self.hashes)
        elif self.hashes:
            raise damaged("The proof is too long: every log begins with no entries.")
        return new
