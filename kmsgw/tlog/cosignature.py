"""What cosigners sign (C2SP tlog-cosignature): the messages of cosignature/v1 and subtree/v1, and the time in front.

A plain signature of a log is over the text itself. A cosignature is over a message made of a time and the checkpoint,
so that it says when the cosigner saw the log grow consistently to that size.
"""

import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Final

from kmsgw.tlog.damage import damaged

TIME_BYTES: Final = 8
"""Length of the time before a cosignature: seconds since 1970, big-endian."""

TIME_LIMIT: Final = 1 << 63
"""Times are smaller than this."""

_SUBTREE_LABEL: Final = b"subtree/v1\n\x00"
_TREE: Final = re.compile(rb"([^\n]{1,255})\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n")


@dataclass(frozen=True, slots=True)
class TimedSignature:
    """A ``timestamped_signature``: when, in seconds since 1970, and the signature of the scheme."""

    time: int
    signature: bytes

    @classmethod
    def parse(cls, blob: bytes, signature_bytes: int) -> "TimedSignature | None":
        """Return its two parts, or None where the length or the time is out of bounds."""
        time = int.from_bytes(blob[:TIME_BYTES], "big")
        if len(blob) != TIME_BYTES + signature_bytes or time >= TIME_LIMIT:
            return None
        return cls(time, blob[TIME_BYTES:])

    def encode(self) -> bytes:
        """Return time and signature as they stand in a signature line."""
        return self.time.to_bytes(TIME_BYTES, "big") + self.signature


def cosigned_text(time: int, body: bytes) -> bytes:
    """Return the message of cosignature/v1 (Ed25519) over a checkpoint's body."""
    return b"cosignature/v1\ntime %d\n" % time + body


def cosigned_subtree(name: str, time: int, body: bytes) -> bytes:
    """Return the message of subtree/v1 (ML-DSA-44) over the whole tree of a checkpoint; `name` is the cosigner's.

    Raises `AuditDamaged` where the body is no checkpoint: this scheme signs trees, and no other text.
    """
    origin, size, root = _tree_of(body)
    return b"".join((
        _SUBTREE_LABEL,
        _short(name.encode()),
        time.to_bytes(TIME_BYTES, "big"),
        _short(origin),
        bytes(8),
        size.to_bytes(8, "big"),
        root,
    ))  # fmt: skip


def _short(text: bytes) -> bytes:
    assert 0 < len(text) <= 255
    return bytes([len(text)]) + text


def _tree_of(body: bytes) -> tuple[bytes, int, bytes]:
    """Return origin, size and root of a checkpoint's body. `kmsgw.tlog.checkpoint` is made of notes, and so of this."""
    match = _TREE.match(body)
    if match is None:
        raise damaged("An ML-DSA-44 signature stands under a text that is no checkpoint.")
    return match[1], int(match[2]), b64decode(match[3])
