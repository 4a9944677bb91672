"""The rules of a witness (C2SP tlog-witness, add-checkpoint), whatever carries requests and answers.

It cosigns a checkpoint only if the log's tree begins with the one that it cosigned last. What is smaller or different
is refused; what of that raises an alert says `kmsgw.witness.suspicion`.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.note import Note, SigningKey, VerifierKey
from kmsgw.tlog.proofs import verify_consistency
from kmsgw.tlog.schemes import SignatureKind, has_ml_dsa
from kmsgw.witness.answer import SIZE_TYPE, Answer, say
from kmsgw.witness.nodes import KnownNodes
from kmsgw.witness.request import AddCheckpoint, Submitted
from kmsgw.witness.state import HeldOrigin, WitnessState, origin_name
from kmsgw.witness.suspicion import CLOCK_MARGIN_SECONDS, Contradiction, Doubt, Suspicions

_DOUBT_LEVELS: Final = {Doubt.STALE: logging.INFO, Doubt.UNPROVEN: logging.WARNING}


class Notices(Protocol):
    """Whoever counts what a witness finds."""

    def contradicted(self, origin: str, found: Contradiction) -> None:
        """Take note of a contradiction, which is an alert."""

    def doubted(self, origin: str, found: Doubt) -> None:
        """Take note of what anybody may have sent."""


class _Unheard:
    """Counts nothing."""

    def contradicted(self, origin: str, found: Contradiction) -> None:
        """Take no note."""

    def doubted(self, origin: str, found: Doubt) -> None:
        """Take no note."""


@dataclass(frozen=True, slots=True)
class Cosigned:
    """What was cosigned last of a log: how many entries, and when, in seconds since 1970."""

    size: int
    time: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request whose log and signature are known."""

    request: AddCheckpoint
    submitted: Submitted
    trusted: Sequence[VerifierKey]

    @property
    def checkpoint(self) -> Checkpoint:
        """What it says of the log."""
        return self.submitted.checkpoint


@dataclass(frozen=True, slots=True)
class _Before:
    """What was cosigned last: the checkpoint and its note."""

    checkpoint: Checkpoint
    note: Note


class Witness:
    """A witness of some logs. Safe for threads; several processes may share key and state."""

    def __init__(
        self,
        keys: Sequence[SigningKey],
        logs: Mapping[str, Sequence[VerifierKey]],
        state: WitnessState,
        *,
        nodes: KnownNodes | None = None,
        clock: Clock = SYSTEM_CLOCK,
        notices: Notices = _Unheard(),  # noqa: B008  it holds nothing
    ) -> None:
        """Cosign with `keys` for `logs`: origins, and the keys that each is believed by; and for those of `nodes`.

        A key that this machine's library can't verify with is left out.
        """
        assert keys
        self._keys = tuple(keys)
        self._logs = {origin: _usable(each) for origin, each in logs.items()}
        self._nodes = nodes
        self._state = state
        self._clock = clock
        self._notices = notices
        self._suspicions = Suspicions(clock)

    def newest(self, origin: str) -> bytes | None:
        """Return the note that was cosigned last for a log, or None. Raises OSError."""
        return self._state.newest(origin)

    def origins(self) -> Iterable[str]:
        """Return the logs that it knows."""
        return sorted({*self._logs, *(() if self._nodes is None else self._nodes.origins())})

    def nodes(self) -> Iterable[str]:
        """Return the nodes whose indexes it believes."""
        return () if self._nodes is None else self._nodes.names()

    def lost(self) -> Iterable[str]:
        """Return the logs that their nodes say are lost; they stay among `origins`."""
        return () if self._nodes is None else sorted(self._nodes.lost())

    def origin_of(self, name: str) -> str | None:
        """Return the log whose origin has this SHA-256 in lower-case hex, or None."""
        return next((origin for origin in self.origins() if origin_name(origin) == name), None)

    def cosigned(self, origin: str) -> Cosigned | None:
        """Return what was cosigned last of a log, or None. Raises OSError and `AuditDamaged`."""
        before = _remembered(self._state.newest(origin), origin)
        if before is None:
            return None
        return Cosigned(before.checkpoint.size, _newest_time(before.note, [key.verifier for key in self._keys]) or 0)

    def add_index(self, raw: bytes) -> Answer:
        """Answer the signed index of a node (`kmsgw.witness.nodes`). Raises OSError where it can't be kept."""
        return say(404, "This witness knows no node.") if self._nodes is None else self._nodes.add(raw)

    def add_checkpoint(self, body: bytes) -> Answer:
        """Answer a request. 200 only once the new checkpoint is durable. Raises OSError where that can't be."""
        try:
            request = AddCheckpoint.parse(body)
            submitted = Submitted.parse(request.note)
        except AuditDamaged as error:
            return say(400, error.message)
        checkpoint = submitted.checkpoint
        trusted = self._trusted(checkpoint.origin)
        if not trusted:
            return say(404, "This witness does not know the log.")
        if not _is_signed(submitted.note, trusted) or not self._is_of_log(submitted.note, checkpoint.origin, trusted):
            return say(403, "No key that this witness knows of the log has signed the checkpoint.")
        if request.old > checkpoint.size:
            return say(400, "The old size is above that of the checkpoint.")
        with self._state.holding(checkpoint.origin) as held:
            return self._decide(_Asked(request, submitted, trusted), held)

    def _trusted(self, origin: str) -> Sequence[VerifierKey]:
        if origin in self._logs:
            return self._logs[origin]
        return () if self._nodes is None else _usable(self._nodes.keys_of(origin))

    def _is_of_log(self, note: Note, origin: str, trusted: Sequence[VerifierKey]) -> bool:
        """Tell whether the log itself signed, and not a further key that the holder of its node's key put beside it."""
        return origin in self._logs or note.is_signed_by(trusted[0])

    def _decide(self, asked: _Asked, held: HeldOrigin) -> Answer:
        checkpoint, request = asked.checkpoint, asked.request
        before = _remembered(held.newest(), checkpoint.origin)
        known = before.checkpoint.size if before is not None else 0
        forked = before is not None and checkpoint.size == known and checkpoint.root != before.checkpoint.root
        if before is not None and checkpoint.size < known:
            self._shrunk(asked, before, held)
        elif before is not None and forked:
            self._contradict(Contradiction.FORKED, asked, before, held)
        if request.old != known or (forked and not request.proof):
            # tlog-witness v1.0.0: as many entries and another root is a conflict too, and not a wrong proof.
            return Answer(409, b"%d\n" % known, SIZE_TYPE)
        fault = _fault(request, asked.submitted, None if before is None else before.checkpoint)
        if fault:
            if before is not None and checkpoint.size > known:
                self._doubt(Doubt.UNPROVEN, asked, before, held)
            return say(422, fault)
        note = asked.submitted.note
        lines = b"".join(key.signature_line(note.body, self._now()) for key in self._keys)
        held.replace(note.body + b"\n" + _own_lines(request.note, asked.trusted) + lines)
        self._suspicions.cosigned(checkpoint.origin)
        return Answer(200, lines)

    def _now(self) -> int:
        return int(self._clock.now().timestamp())

    def _shrunk(self, asked: _Asked, before: _Before, held: HeldOrigin) -> None:
        """Tell a log that was rolled back from an old checkpoint that somebody sent again."""
        was, is_now = (_newest_time(note, asked.trusted) for note in (before.note, asked.submitted.note))
        if was is not None and is_now is not None and is_now > was + CLOCK_MARGIN_SECONDS:
            self._contradict(Contradiction.SHRUNK, asked, before, held)
        else:
            self._doubt(Doubt.STALE, asked, before, held)

    def _doubt(self, found: Doubt, asked: _Asked, before: _Before, held: HeldOrigin) -> None:
        origin = asked.checkpoint.origin
        if self._suspicions.lasts(origin, found):
            self._contradict(found.contradiction, asked, before, held)
            return
        self._notices.doubted(origin, found)
        if found is Doubt.UNPROVEN:
            held.keep_evidence(found.value, asked.request.note)  # it may yet be one of two trees
        self._suspicions.write(
            _DOUBT_LEVELS[found],
            found,
            origin,
            f"a checkpoint of {asked.checkpoint.size} entries is refused, and {before.checkpoint.size} were cosigned; "
            "anybody could have sent it",
        )

    def _contradict(self, found: Contradiction, asked: _Asked, before: _Before, held: HeldOrigin) -> None:
        origin = asked.checkpoint.origin
        held.keep_evidence(found.value, asked.request.note)
        self._notices.contradicted(origin, found)
        self._suspicions.write(
            logging.CRITICAL,
            found,
            origin,
            f"a checkpoint of {asked.checkpoint.size} entries with root {asked.checkpoint.root.hex()} is refused, and "
            f"{before.checkpoint.size} with root {before.checkpoint.root.hex()} were cosigned",
        )


def _usable(keys: Sequence[VerifierKey]) -> tuple[VerifierKey, ...]:
    return tuple(key for key in keys if key.kind is not SignatureKind.ML_DSA_44 or has_ml_dsa())


def _newest_time(note: Note, keys: Sequence[VerifierKey]) -> int | None:
    """Return the newest time in signatures of these keys, which were verified before; None where none tells one."""
    known = {(key.name, key.key_id): key for key in keys}
    times = [
        time
        for each in note.signatures
        if (key := known.get((each.name, each.key_id))) is not None and (time := key.time_of(each.signature))
    ]
    return max(times, default=None)


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


def _remembered(raw: bytes | None, origin: str) -> _Before | None:
    """Return the checkpoint that was cosigned last. Raises `AuditDamaged`: a state that rots is not an empty one."""
    if raw is None:
        return None
    submitted = Submitted.parse(raw)
    assert submitted.checkpoint.origin == origin
    return _Before(submitted.checkpoint, submitted.note)


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
