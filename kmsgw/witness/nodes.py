"""Logs that a witness takes from the signed indexes of nodes, so that nobody must add the keys of new workers by hand.

A node sends its index (``POST /add-index``, which is kmsgw's own and no part of C2SP): a signed note, believed by the
node's verifier key alone. The newest is kept. So an older one that was put back on the node is noticed here, and so is
a log that an index has lost. Who has the node's key alone can't take a log off the witness: one that an index says is
lost is still served and cosigned, by the key that was known of it.

| answer | to |
| --- | --- |
| 200 | the newest index, or the one that is known; logs that it newly says are lost are alerts |
| 400, 403, 404 | no index; not signed by the key of its node; of a node that is not known |
| 409 | an older one than the known, or another of the same number; the known number as ``text/x.kmsgw.index-number`` |
| 422 | a newer one that lacks a log of the known one, says another thing of it, or names one that is not the node's |
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.node_index import INDEX_LIMIT, NodeIndex
from kmsgw.tlog.note import Note, VerifierKey
from kmsgw.witness.answer import INDEX_NUMBER_TYPE, Answer, say
from kmsgw.witness.index_fault import GRAVE, IndexFault, contradiction, is_own, keys_of, loss, strange_in
from kmsgw.witness.state import HeldOrigin, WitnessState
from kmsgw.witness.suspicion import Suspicions


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
        """Return the origins of all logs in the newest indexes, those that are lost among them."""
        with self._lock:
            return [origin for index in self._newest.values() for origin in keys_of(index)]

    def lost(self) -> Iterable[str]:
        """Return the origins of the logs that the newest indexes say are lost."""
        with self._lock:
            return [gone.origin for index in self._newest.values() for gone in index.lost if is_own(gone.origin, index)]

    def keys_of(self, origin: str) -> Sequence[VerifierKey]:
        """Return the keys that a log is believed by, the one that never changes first; none where no index lists it.

        A log that is lost keeps its keys: else who has the node's key could end what this witness shows and checks.
        """
        with self._lock:
            for index in self._newest.values():
                if keys := keys_of(index).get(origin):
                    return keys
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
            if kept is not None and known is not None:
                if found := contradiction(index, known):
                    self._tell(*found, index, known)
                    if found[0] in GRAVE:
                        _keep(held, found[0], raw, kept)
                    return _refusal(*found, known)
            elif text := strange_in(index):
                self._tell(IndexFault.SHRUNK, text, index, known)
                return say(422, text)
            if known is None or index.number > known.number:
                self._tell_lost(index, known)  # before it is kept: a loss is told twice rather than never
                held.replace_index(raw)
            self._newest[node] = index
        return Answer(200, b"")

    def _tell(self, found: IndexFault, text: str, index: NodeIndex, known: NodeIndex | None) -> None:
        self._on_fault(index.node, found)
        level = logging.CRITICAL if found in GRAVE else logging.WARNING
        number = 0 if known is None else known.number
        more = f": {text}" if text else ""
        line = f"its index of number {index.number} is refused, and number {number} is known{more}"
        self._suspicions.write(level, found, index.node, line)

    def _tell_lost(self, index: NodeIndex, known: NodeIndex | None) -> None:
        """Raise an alert for each log that is newly lost. Raises OSError and `AuditDamaged`.

        The index is believed all the same: a node that knows only an older checkpoint of its log must not be locked
        out of its witnesses for ever.
        """
        before = {gone.origin for gone in known.lost} if known is not None else set()
        for gone in index.lost:
            if gone.origin in before:
                continue
            raw = self._state.newest(gone.origin)
            if raw is None and known is None:
                continue  # lost before this witness knew anything of the node
            found, cosigned = loss(gone, raw)
            self._on_fault(index.node, found)
            line = f"the index of number {index.number} says that it is lost after {gone.size} entries, {cosigned}"
            self._suspicions.write(logging.WARNING, found, gone.origin, line)


def _is_signed(note: Note, key: VerifierKey) -> bool:
    try:
        note.require_signature(key, "index")
    except AuditDamaged:
        return False
    return True


def _refusal(found: IndexFault, text: str, known: NodeIndex) -> Answer:
    if found in (IndexFault.ROLLED_BACK, IndexFault.FORKED):
        return Answer(409, b"%d\n" % known.number, INDEX_NUMBER_TYPE)
    return say(422, text)


def _keep(held: HeldOrigin, found: IndexFault, raw: bytes, kept: bytes) -> None:
    """Keep a refused index, and the known one, which a newer will replace: only the two together show anything."""
    held.keep_evidence(found.value, raw)
    held.keep_evidence(f"known-{found.value}", kept)
