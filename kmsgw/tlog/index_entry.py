"""What a log says of the signed index of its node: the number, a hash of the text, and whose index it is."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from kmsgw.tlog.node_index import NodeIndex
from kmsgw.tlog.note import VerifierKey

INDEX_METHOD: Final = "/kmsgw/NodeIndex"
"""The method of such an entry."""

INDEX_MARK: Final = f'"{INDEX_METHOD}"'.encode()
"""What the bytes of such an entry hold, and those of no other but by accident."""

_DIGEST_DIGITS: Final = 64


@dataclass(frozen=True, slots=True)
class KnownIndex:
    """An index as it is remembered. ``digest`` is SHA-256 of its text; ``key`` that of the node's key, in hex."""

    number: int
    digest: bytes
    key: str

    @classmethod
    def of(cls, index: NodeIndex, key: VerifierKey) -> "KnownIndex":
        """Return what is to be remembered of an index that `key` signed."""
        return cls(index.number, sha256(index.body).digest(), sha256(str(key).encode()).hexdigest())

    @classmethod
    def of_fields(cls, fields: object) -> "KnownIndex | None":
        """Return the index of `fields`, or None where they say none."""
        if not isinstance(fields, Mapping):
            return None
        number, digest, key = (fields.get(name) for name in ("index_number", "index_sha256", "index_key_sha256"))
        if not isinstance(number, int) or not isinstance(digest, str) or not isinstance(key, str):
            return None
        try:
            raw = bytes.fromhex(digest)
        except ValueError:
            return None
        return cls(number, raw, key) if len(digest) == len(key) == _DIGEST_DIGITS else None

    def fields(self) -> dict[str, object]:
        """Return it as it stands in the ``change`` of an entry."""
        return {"index_number": self.number, "index_sha256": self.digest.hex(), "index_key_sha256": self.key}

    def contradicts(self, known: "KnownIndex | None") -> str:
        """Return how what is known excludes that this is the newest index; empty where it does not.

        Indexes of another key count by themselves: a node whose key was replaced begins at 1.
        """
        if known is None or known.key != self.key or (known.number, known.digest) == (self.number, self.digest):
            return ""
        if known.number > self.number:
            return f"number {known.number}, and the index has number {self.number}: it was rolled back"
        if known.number == self.number:
            return f"another index of number {known.number}: it was rolled back and changed, or replaced"
        return ""


def index_of_entry(entry: bytes) -> KnownIndex | None:
    """Return the index that an entry tells of, or None: cheap for entries that tell of something else."""
    if INDEX_MARK not in entry:
        return None
    try:
        record = json.loads(entry)
    except ValueError:
        return None
    # A refused call may have asked for a method of this name: only the log itself has no peer and no request.
    if not isinstance(record, dict) or record.get("method") != INDEX_METHOD or record.get("request_id"):
        return None
    return KnownIndex.of_fields(record.get("change"))


def newest(found: Iterable[KnownIndex]) -> KnownIndex | None:
    """Return the one of the highest number, or None of none."""
    return max(found, key=lambda each: each.number, default=None)
