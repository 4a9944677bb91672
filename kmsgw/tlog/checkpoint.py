"""Checkpoints: the signed statement of a log's size and root (C2SP tlog-checkpoint)."""

import re
from base64 import b64encode
from dataclasses import dataclass

from kmsgw.tlog.damage import damaged
from kmsgw.tlog.hashing import EMPTY_ROOT, HASH_BYTES, SIZE_LIMIT
from kmsgw.tlog.note import Note, SigningKey, VerifierKey, decode_base64, is_key_name

_SIZE = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: its origin, the number of its entries, and the root over them."""

    origin: str
    size: int
    root: bytes

    @property
    def body(self) -> bytes:
        """The signed text: origin, size and base64 of the root, a line each."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n".encode()

    def sign(self, *keys: SigningKey, time: int = 0) -> bytes:
        """Return the note, signed by the log's keys; `time`, in seconds since 1970, stands in ML-DSA-44 signatures."""
        assert all(key.name == self.origin for key in keys)
        return self.body + b"\n" + b"".join(key.signature_line(self.body, time) for key in keys)

    @classmethod
    def parse_body(cls, body: bytes, where: str) -> "Checkpoint":
        """Return the checkpoint of a note's body. Extension lines are refused. Raises `AuditDamaged`."""
        lines = body.decode().split("\n")
        if len(lines) != 4 or lines[3]:
            raise damaged(f"{where}: the body must be three lines: origin, size, root.")
        root = decode_base64(lines[2])
        if not is_key_name(lines[0]):
            raise damaged(f"{where}: the origin is malformed.")
        if not _SIZE.match(lines[1]) or int(lines[1]) >= SIZE_LIMIT:
            raise damaged(f"{where}: the size is malformed.")
        if root is None or len(root) != HASH_BYTES:
            raise damaged(f"{where}: the root is not base64 of {HASH_BYTES} bytes.")
        size = int(lines[1])
        if size == 0 and root != EMPTY_ROOT:
            raise damaged(f"{where}: the root of a tree without entries is wrong.")
        return cls(lines[0], size, root)

    @classmethod
    def open(cls, raw: bytes, verifier: VerifierKey, where: str = "checkpoint") -> "Checkpoint":
        """Return the checkpoint of a note that `verifier` signed for the log of its name. Raises `AuditDamaged`."""
        note = Note.parse(raw, where)
        note.require_signature(verifier, where)
        checkpoint = cls.parse_body(note.body, where)
        if checkpoint.origin != verifier.name:
            raise damaged(f"{where}: its origin is {checkpoint.origin}, and the verifier key is of {verifier.name}.")
        return checkpoint
