"""Logs that a witness takes from the signed indexes of nodes, so that nobody must add the keys of new workers by hand.

A node sends its index (``POST /add-index``, which is kmsgw's own and no part of C2SP): a signed note, believed by the
node's verifier key alone. The newest is kept. So an older one that was put back on the node is noticed here, and so is
a log that an index has lost.

| answer | to |
| --- | --- |
| 200 | the newest index, or the one that is known |
| 400, 403, 404 | no index; not signed by the key of its node; of a node that is not known |
| 409 | an older one than the known, or another of the same number; the known number as ``text/x.kmsgw.index-number`` |
| 422 | a newer one that lacks a log of the known one, or names one that is not the node's |
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.node_index import INDEX_LIMIT, NodeIndex
from kmsgw.tlog.note import Note, VerifierKey
from kmsgw.witness.answer import INDEX_NUMBER_TYPE, Answer, say
from kmsgw.witness.state import WitnessState
from kmsgw.witness.suspicion import Suspicions


class IndexFault(StrEnum):
    """How a signed index contradicts the newest one that is known of its node."""

    ROLLED_BACK = "rolled-back"
    """An older one. Indexes are public, so anybody may have sent it: a doubt."""

    FORKED = "forked"
    """Another of the same number."""

    SHRUNK = "shrunk"
    """A newer one that lacks a log."""


def _ignore(_node: str, _found: IndexFault) -> None:
    """Take notice of nothing."""


class KnownNodes:
    """The nodes whose indexes a witness believes, and their newest indexes. Safe for threads."""

    def __init__(
        self,
        keys: Sequence[VerifierKey],
        state: WitnessState,
        clock: Clock = SYSTEM_CLOCK,
        on_fault: Callable[[str, IndexFault], None] = _ignore,
    ) -> None:
        """Believe indexes that are signed with `keys`. Raises `AuditDamaged` where one that was kept is not."""
        self._keys = {key.name: key for key in keys}
        self._state = state
        self._suspicions = Suspicions(clock)
        self._on_fault = on_fault
        self._lock = threading.Lock()
        self._newest: dict[str, NodeIndex] = {}
        for key in self._keys.values():
            with state.holding(str(key)) as held:
                raw = held.index()
            if raw is not None:
                self._newest[key.name] = NodeIndex.open(raw, key)

    def names(self) -> Iterable[str]:
        """Return the names of the nodes."""
        return sorted(self._keys)

    def origins(self) -> Iterable[str]:
        """Return the origins of all logs in the newest indexes."""
        with self._lock:
            return [log.origin for index in self._newest.values() for log in index.logs]

    def keys_of(self, origin: str) -> Sequence[VerifierKey]:
        """Return the keys that a log is believed by; none where no index lists it."""
        with self._lock:
            for index in self._newest.values():
                for log in index.logs:
                    if log.origin == origin:
                        return log.keys
        return ()

    def add(self, raw: bytes) -> Answer:
        """Answer an index. 200 only once it is durable. Raises OSError."""
        try:
            note = Note.parse(raw, "index", INDEX_LIMIT)
            node = note.body.split(b"\n", 1)[0].decode()
            if node not in self._keys:
                return say(404, "This witness does not know the node.")
            key = self._keys[node]
            if not _is_signed(note, key):
                return say(403, "The index is not signed by the key that this witness knows of the node.")
            index = NodeIndex.open(raw, key)
        except AuditDamaged as error:
            return say(400, error.message)
        with self._lock, self._state.holding(str(key)) as held:
            kept = held.index()
            known = None if kept is None else NodeIndex.open(kept, key)
            if known is not None and (index.number < known.number or _differs(index, known)):
                fault = IndexFault.ROLLED_BACK if index.number < known.number else IndexFault.FORKED
                self._tell(fault, index, known)
                return Answer(409, b"%d\n" % known.number, INDEX_NUMBER_TYPE)
            if text := _fault(index, known):
                self._tell(IndexFault.SHRUNK, index, known)
                return say(422, text)
            if known is None or index.number > known.number:
                held.replace_index(raw)
            self._newest[node] = index
        return Answer(200, b"")

    def _tell(self, found: IndexFault, index: NodeIndex, known: NodeIndex | None) -> None:
        self._on_fault(index.node, found)
        level = logging.WARNING if found is IndexFault.ROLLED_BACK else logging.CRITICAL
        number = 0 if known is None else known.number
        text = f"its index of number {index.number} is refused, and number {number} is known"
        self._suspicions.write(level, found, index.node, text)


def _is_signed(note: Note, key: VerifierKey) -> bool:
    try:
        note.require_signature(key, "index")
    except AuditDamaged:
        return False
    return True


def _differs(index: NodeIndex, known: NodeIndex) -> bool:
    return index.number == known.number and index.body != known.body


def _fault(index: NodeIndex, known: NodeIndex | None) -> str:
    """Return what is wrong with a newer index; empty where nothing is."""
    strange = [log.origin for log in index.logs if not log.origin.startswith(f"{index.node}/")]
    if strange:
        return f"The index names {strange[0]}, which is not below its node."
    lacking = _named(known) - _named(index) if known is not None else set()
    return f"The index lacks {', '.join(sorted(lacking))}, which an older one lists." if lacking else ""


def _named(index: NodeIndex) -> set[str]:
    """Return the origins of the logs that an index has, or says are lost."""
    return {log.origin for log in index.logs} | {log.origin for log in index.lost}
