"""The body of add-checkpoint (C2SP tlog-witness): old size, consistency proof, checkpoint. Written and read here."""

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.hashing import EMPTY_ROOT, HASH_BYTES, SIZE_LIMIT
from kmsgw.tlog.note import NOTE_LIMIT, Note, decode_base64

REQUEST_LIMIT: Final = NOTE_LIMIT + 4096
"""Longest request that is read, in bytes: a note, and a proof of 63 lines."""

PROOF_LIMIT: Final = 63
"""Most lines of a proof."""

_ANY_ORIGIN: Final = b"origin"
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})\Z")


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A checkpoint that a witness is asked to cosign; ``proof`` leads from the tree of ``old`` entries to it."""

    old: int
    proof: Sequence[bytes]
    note: bytes

    def encode(self) -> bytes:
        """Return the body of the request."""
        lines = [f"old {self.old}", *(b64encode(each).decode() for each in self.proof), "", ""]
        return "\n".join(lines).encode() + self.note

    @classmethod
    def parse(cls, raw: bytes) -> "AddCheckpoint":
        """Return the parts of a request, strictly parsed. Raises `AuditDamaged`."""
        head, separator, note = raw.partition(b"\n\n")
        if len(raw) > REQUEST_LIMIT or not separator:
            raise damaged("The request is too long, or has no empty line before its checkpoint.")
        lines = head.decode("ascii", "replace").split("\n")
        match = _OLD.match(lines[0])
        if match is None or int(match[1]) >= SIZE_LIMIT:
            raise damaged("The request must begin with the line: old SIZE.")
        if len(lines) - 1 > PROOF_LIMIT:
            raise damaged(f"The proof has more than {PROOF_LIMIT} lines.")
        proof: list[bytes] = []
        for line in lines[1:]:
            each = decode_base64(line)
            if each is None or len(each) != HASH_BYTES:
                raise damaged("A line of the proof is not base64 of a hash.")
            proof.append(each)
        return cls(int(match[1]), tuple(proof), note)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A checkpoint as it came: what it says of the log, and the note. ``root_fits`` is false of a wrong empty tree."""

    checkpoint: Checkpoint
    note: Note
    root_fits: bool

    @classmethod
    def parse(cls, raw: bytes) -> "Submitted":
        """Return the parts of a note, nothing verified. Extension lines are let pass. Raises `AuditDamaged`."""
        note = Note.parse(raw, "checkpoint")
        lines = note.body.split(b"\n")
        if len(lines) < 4 or not all(lines[:-1]):
            raise damaged("checkpoint: the body must be at least three lines, none of them empty.")
        # An origin may be any text (C2SP tlog-checkpoint): one that no log here can have is unknown, and not malformed.
        # A wrong root of an empty tree has a status of its own, so it is no fault of the form either.
        size = b"1" if lines[1] == b"0" else lines[1]
        read = Checkpoint.parse_body(b"\n".join((_ANY_ORIGIN, size, lines[2], b"")), "checkpoint")
        empty = size != lines[1]
        checkpoint = Checkpoint(lines[0].decode(), 0 if empty else read.size, read.root)
        return cls(checkpoint, note, not empty or read.root == EMPTY_ROOT)
