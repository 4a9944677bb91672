"""The signed index of a node: every log that it ever had, so that a log that was taken away whole is noticed.

A signed note. Its text names the node, counts the changes of the index, and lists the logs; ``key`` lines are verifier
keys, of the log above them or, below ``witness``, of the node's own witness. A log that is lost stays listed, with the
size and root of the newest checkpoint that was known of it::

    kmsgw.example/log/node1
    number 2
    log worker-0 kmsgw.example/log/node1/worker-0
    key kmsgw.example/log/node1/worker-0+…
    lost kmsgw.example/log/node1/worker-1 1234 JrMFtGYT2swoXiJf8CTSJiXzRsxtANIdftEzHwZ6mLw=
    key kmsgw.example/log/node1/worker-1+…
    witness
    key kmsgw.example/log/node1/witness+…
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kmsgw.tlog.damage import damaged
from kmsgw.tlog.hashing import HASH_BYTES
from kmsgw.tlog.note import Note, SigningKey, VerifierKey, is_key_name

INDEX_PATH: Final = "index"
"""Name of the index, in the folder that holds the logs."""

INDEX_KEY_PATH: Final = "index.key"
"""Name of the file beside it with the node's verifier key, for convenience."""

INDEX_LIMIT: Final = 1 << 20
"""Longest index that is read, in bytes: some 500 logs, each with an ML-DSA-44 key of 1.8 kB. It grows with each log."""

_FOLDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}\Z")
_SIZE: Final = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")
_NUMBER: Final = re.compile(r"number ([1-9][0-9]{0,18})\Z")


@dataclass(frozen=True, slots=True)
class IndexedLog:
    """A log: its folder, beside the index, its origin, and the keys that each of its checkpoints is signed with."""

    folder: str
    origin: str
    keys: Sequence[VerifierKey]


@dataclass(frozen=True, slots=True)
class LostLog:
    """A log that somebody said is lost: it had ``size`` entries at least, and ``root`` is that of their tree.

    ``size`` is 0 where no checkpoint of it was known any more.
    """

    origin: str
    size: int
    root: bytes
    keys: Sequence[VerifierKey]

    @property
    def line(self) -> str:
        """What the index says of it, before its keys."""
        return f"lost {self.origin} {self.size} {b64encode(self.root).decode()}"

    @classmethod
    def of(cls, words: Sequence[str], keys: Sequence[VerifierKey]) -> "LostLog | None":
        """Return the log of a line without its first word, or None where it is malformed."""
        if len(words) != 3 or not is_key_name(words[0]) or not _SIZE.match(words[1]):
            return None
        try:
            root = b64decode(words[2], validate=True)
        except (ValueError, binascii.Error):
            return None
        return cls(words[0], int(words[1]), root, tuple(keys)) if len(root) == HASH_BYTES else None


@dataclass(frozen=True, slots=True)
class NodeIndex:
    """The logs of a node. ``number`` grows with each change, so that an older index can be told from a newer."""

    node: str
    number: int
    logs: Sequence[IndexedLog]
    witness_keys: Sequence[VerifierKey] = ()
    lost: Sequence[LostLog] = ()

    @property
    def body(self) -> bytes:
        """The signed text."""
        lines = [self.node, f"number {self.number}"]
        for log in self.logs:
            lines += [f"log {log.folder} {log.origin}", *(f"key {key}" for key in log.keys)]
        for gone in self.lost:
            lines += [gone.line, *(f"key {key}" for key in gone.keys)]
        if self.witness_keys:
            lines += ["witness", *(f"key {key}" for key in self.witness_keys)]
        return "".join(f"{line}\n" for line in lines).encode()

    def sign(self, key: SigningKey) -> bytes:
        """Return the signed note."""
        assert key.name == self.node
        return self.body + b"\n" + key.signature_line(self.body)

    @classmethod
    def open(cls, raw: bytes, verifier: VerifierKey, where: str = INDEX_PATH) -> "NodeIndex":
        """Return the index of a note that `verifier` signed for the node of its name. Raises `AuditDamaged`."""
        note = Note.parse(raw, where, INDEX_LIMIT)
        note.require_signature(verifier, where)
        index = cls._parse(note.body, where)
        if index.node != verifier.name:
            raise damaged(f"{where}: it is of {index.node}, and the verifier key is of {verifier.name}.")
        return index

    @classmethod
    def _parse(cls, body: bytes, where: str) -> "NodeIndex":
        lines = body.decode().removesuffix("\n").split("\n")
        number = _NUMBER.match(lines[1]) if len(lines) > 1 else None
        if number is None or not is_key_name(lines[0]):
            raise damaged(f"{where}: it must begin with the node's name and the index's number.")
        sections: list[tuple[list[str], list[VerifierKey]]] = []
        for line in lines[2:]:
            word, *rest = line.split(" ")
            if word == "key" and len(rest) == 1 and sections:
                sections[-1][1].append(VerifierKey.parse(rest[0]))
            else:
                sections.append(([word, *rest], []))
        logs: list[IndexedLog] = []
        lost: list[LostLog] = []
        witness: list[VerifierKey] = []
        for (word, *rest), of in sections:
            if word == "log" and len(rest) == 2 and _FOLDER.match(rest[0]) and is_key_name(rest[1]):
                logs.append(IndexedLog(rest[0], rest[1], tuple(of)))
            elif word == "lost" and (gone := LostLog.of(rest, of)) is not None:
                lost.append(gone)
            elif word == "witness" and not rest:
                witness += of
            else:
                raise damaged(f"{where}: a line is neither a log, nor a key, nor the witness.")
        made = cls(lines[0], int(number[1]), tuple(logs), tuple(witness), tuple(lost))
        every: list[IndexedLog | LostLog] = [*logs, *lost]
        names, origins = {log.folder for log in logs}, {each.origin for each in every}
        if (
            made.body != body
            or len(names) < len(logs)
            or len(origins) < len(every)
            or not all(each.keys for each in every)
        ):
            raise damaged(f"{where}: it is not as a node writes it, or names a log twice.")
        return made
