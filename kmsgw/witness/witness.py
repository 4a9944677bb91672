"""The rules of a witness (C2SP tlog-witness, add-checkpoint), whatever carries requests and answers.

It cosigns a checkpoint only if the log's tree begins with the one that it cosigned last: one that is smaller, or
different, is refused, kept as evidence, and told to whoever watches.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.note import Note, SigningKey, VerifierKey
from kmsgw.tlog.proofs import verify_consistency
from kmsgw.witness.request import AddCheckpoint, Submitted
from kmsgw.witness.state import HeldOrigin, WitnessState, origin_name

SIZE_TYPE: Final = "text/x.tlog.size"
"""Content type of an answer that tells the size of the newest cosigned checkpoint."""

_TEXT: Final = "text/plain; charset=utf-8"
_LOG = logging.getLogger(__name__)


class Contradiction(StrEnum):
    """How a signed checkpoint contradicts the one that was cosigned before."""

    SHRUNK = "shrunk"
    """It has fewer entries: the log was rolled back, or an old request came again."""

    FORKED = "forked"
    """It is of the same size and another root: the log was rewritten."""

    UNPROVEN = "unproven"
    """Its proof does not show that its tree begins with the one cosigned: rewritten, or the proof is wrong."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answers: a status of HTTP, a body and its type."""

    status: int
    body: bytes
    content_type: str = _TEXT


def _say(status: int, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode())


def _ignore(_origin: str, _found: Contradiction) -> None:
    """Take notice of nothing."""


class Witness:
    """A witness of some logs. Safe for threads; several processes may share key and state."""

    def __init__(
        self,
        keys: Sequence[SigningKey],
        logs: Mapping[str, Sequence[VerifierKey]],
        state: WitnessState,
        *,
        clock: Clock = SYSTEM_CLOCK,
        on_contradiction: Callable[[str, Contradiction], None] = _ignore,
    ) -> None:
        """Cosign with `keys` for `logs`: origins, and the keys that each is believed by."""
        assert keys
        self._keys = tuple(keys)
        self._logs = dict(logs)
        self._state = state
        self._clock = clock
        self._on_contradiction = on_contradiction

    def newest(self, origin: str) -> bytes | None:
        """Return the note that was cosigned last for a log, or None. Raises OSError."""
        return self._state.newest(origin)

    def origin_of(self, name: str) -> str | None:
        """Return the log whose origin has this SHA-256 in lower-case hex, or None."""
        return next((origin for origin in self._logs if origin_name(origin) == name), None)

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer a request. 200 only once the new checkpoint is durable. Raises OSError where that can't be."""
        try:
            request = AddCheckpoint.parse(body)
            submitted = Submitted.parse(request.note)
        except AuditDamaged as error:
            return _say(400, error.message)
        checkpoint = submitted.checkpoint
        trusted = self._logs.get(checkpoint.origin)
        if trusted is None:
            return _say(404, "This witness does not know the log.")
        if not _is_signed(submitted.note, trusted):
            return _say(403, "No key that this witness knows of the log has signed the checkpoint.")
        if request.old > checkpoint.size:
            return _say(400, "The old size is above that of the checkpoint.")
        with self._state.holding(checkpoint.origin) as held:
            return self._decide(request, submitted, held)

    def _decide(self, request: AddCheckpoint, submitted: Submitted, held: HeldOrigin) -> Answer:
        checkpoint = submitted.checkpoint
        before = _remembered(held.newest(), checkpoint.origin)
        known = before.size if before is not None else 0
        contradiction = _contradiction(before, checkpoint)
        if contradiction is not None:
            self._report(contradiction, before, submitted, request.note, held)
        if request.old != known or (contradiction is Contradiction.FORKED and not request.proof):
            # As many entries and another root is a conflict too (C2SP tlog-witness), not a wrong proof.
            return Answer(409, b"%d\n" % known, SIZE_TYPE)
        fault = _fault(request, submitted, before)
        if fault:
            if contradiction is None and before is not None:
                self._report(Contradiction.UNPROVEN, before, submitted, request.note, held)
            return _say(422, fault)
        lines = b"".join(key.signature_line(submitted.note.body, self._now()) for key in self._keys)
        held.replace(submitted.note.body + b"\n" + _own_lines(request.note, self._logs[checkpoint.origin]) + lines)
        return Answer(200, lines)

    def _now(self) -> int:
        return int(self._clock.now().timestamp())

    def _report(
        self,
        found: Contradiction,
        before: Checkpoint | None,
        submitted: Submitted,
        note: bytes,
        held: HeldOrigin,
    ) -> None:
        checkpoint = submitted.checkpoint
        _LOG.critical(
            "a checkpoint of %s is refused, %s: it has %d entries and root %s, and %d with root %s were cosigned",
            checkpoint.origin,
            found.value,
            checkpoint.size,
            checkpoint.root.hex(),
            before.size if before is not None else 0,
            before.root.hex() if before is not None else "",
        )
        held.keep_evidence(found.value, note)
        self._on_contradiction(checkpoint.origin, found)


def _is_signed(note: Note, trusted: Sequence[VerifierKey]) -> bool:
    """Tell whether a trusted key signed the note, and no signature that says to be of one is wrong."""
    mine = [key for key in trusted if note.is_signed_by(key)]
    try:
        for key in mine:
            note.require_signature(key, "checkpoint")
    except AuditDamaged:
        return False
    return bool(mine)


def _own_lines(raw: bytes, trusted: Sequence[VerifierKey]) -> bytes:
    """Return the signature lines of the log itself; whatever else stands under its checkpoint was not looked at."""
    ids = {(key.name, key.key_id) for key in trusted}
    lines = raw.rpartition(b"\n\n")[2].splitlines(keepends=True)
    return b"".join(
        line
        for line, each in zip(lines, Note.parse(raw, "checkpoint").signatures, strict=True)
        if (each.name, each.key_id) in ids
    )


def _remembered(raw: bytes | None, origin: str) -> Checkpoint | None:
    """Return the checkpoint that was cosigned last. Raises `AuditDamaged`: a state that rots is not an empty one."""
    if raw is None:
        return None
    checkpoint = Submitted.parse(raw).checkpoint
    assert checkpoint.origin == origin
    return checkpoint


def _contradiction(before: Checkpoint | None, checkpoint: Checkpoint) -> Contradiction | None:
    """Return what is plain without a proof."""
    if before is None:
        return None
    if checkpoint.size < before.size:
        return Contradiction.SHRUNK
    if checkpoint.size == before.size and checkpoint.root != before.root:
        return Contradiction.FORKED
    return None


def _fault(request: AddCheckpoint, submitted: Submitted, before: Checkpoint | None) -> str:
    """Return what is wrong with root and proof, the old size being the known one; empty where nothing is."""
    checkpoint = submitted.checkpoint
    if not submitted.root_fits:
        return "The root of a tree without entries is wrong."
    if before is None or before.size == 0:
        return "The proof from an empty tree must be empty." if request.proof else ""
    try:
        verify_consistency(before.size, before.root, checkpoint.size, checkpoint.root, request.proof)
    except AuditDamaged as error:
        return error.message
    return ""
