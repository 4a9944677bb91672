"""What an officer's calls prove, on the client's side: session, one-time code, approval. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from kmsgw.errors import InvalidRequest, KmsgwError, Reason
from kmsgw.model.proof import APPROVAL_METADATA, CODE_METADATA, SESSION_METADATA, Proof

CodeSource: TypeAlias = Callable[[KmsgwError], str]
"""Returns a fresh one-time code, or raises to give up. It is told why: the gateway wants a code, or refused one."""

ApprovalSource: TypeAlias = Callable[[KmsgwError], str]
"""Returns the id of an approval once it is given, or raises to give up. The error names the one that is wanted."""

Foreseen: TypeAlias = Callable[[int], None]
"""Is told, after a dry run, how many other officers must consent to the request itself. It must return at once."""

MAX_PROOF_CHARACTERS = 512
"""Longest session, code or approval id that is sent; the gateway's own are far shorter."""


@dataclass(frozen=True, slots=True)
class Bearing:
    """What the calls of one view of a client carry.

    With a `source`, a code is asked for when the gateway wants it; with an `approver`, an approval. `foreseen` is told
    what a dry run foresees.
    """

    proof: Proof = field(default=Proof())
    source: CodeSource | None = field(default=None, repr=False)
    approver: ApprovalSource | None = field(default=None, repr=False)
    foreseen: Foreseen | None = field(default=None, repr=False)

    def extended(
        self, session: str, code: str | CodeSource, approval: str | ApprovalSource, foreseen: Foreseen | None = None
    ) -> "Bearing":
        """Return this with what is given put over it. Raises `InvalidRequest` where it can't be sent."""
        fixed, source = (code, self.source) if isinstance(code, str) else ("", code)
        given, approver = (approval, self.approver) if isinstance(approval, str) else ("", approval)
        return Bearing(
            Proof(
                _sendable(session, "session") or self.proof.session,
                _sendable(fixed, "one-time code") or ("" if source is not self.source else self.proof.code),
                _sendable(given, "approval") or self.proof.approval,
            ),
            source,
            approver,
            foreseen or self.foreseen,
        )

    def with_code(self, code: str) -> "Bearing":
        """Return this with another code. Raises `InvalidRequest` where it can't be sent."""
        proof = Proof(self.proof.session, _sendable(code, "one-time code"), self.proof.approval)
        return replace(self, proof=proof)

    def with_approval(self, approval: str) -> "Bearing":
        """Return this with an approval and without a code: the one that was carried has been used."""
        proof = Proof(self.proof.session, "", _sendable(approval, "approval"))
        return replace(self, proof=proof)

    def foresee(self, officers_wanted: int) -> None:
        """Tell whoever is to be told that the request of a dry run would want the consent of others."""
        if officers_wanted and self.foreseen is not None:
            self.foreseen(officers_wanted)

    @property
    def repeatable(self) -> bool:
        """Whether a call that may have arrived can be sent again: a code works once, so its repetition is refused."""
        return not self.proof.code

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of a call."""
        pairs = (
            (SESSION_METADATA, self.proof.session),
            (CODE_METADATA, self.proof.code),
            (APPROVAL_METADATA, self.proof.approval),
        )
        return tuple((name, value) for name, value in pairs if value)

    def remedy_for(self, error: KmsgwError) -> "Callable[[], Bearing] | None":
        """Return how to get what to send the call with again after it failed so; None where there is no way.

        The way may be to wait for a person, and raises where that person gives up.
        """
        approver = self.approver if error.reason in _WANTS_APPROVAL else None
        if approver is not None:
            return lambda: self.with_approval(approver(error))
        source = self._source_for(error)
        return None if source is None else lambda: self.with_code(source(error))

    def _source_for(self, error: KmsgwError) -> CodeSource | None:
        # A login is refused like that too, for the code in its request: another code beside it would not help it.
        asked = error.reason is Reason.CODE_REQUIRED or (error.reason is Reason.CODE_REFUSED and self.proof.code != "")
        return self.source if asked else None


_WANTS_APPROVAL = frozenset({Reason.APPROVAL_REQUIRED, Reason.APPROVAL_PENDING})

NOTHING_BORNE = Bearing()
"""What the calls of services carry."""


def _sendable(text: str, name: str) -> str:
    # gRPC would name an illegal value in its own error; it is a secret, so it is checked before.
    if len(text) > MAX_PROOF_CHARACTERS or not text.isascii() or not text.isprintable() or text != text.strip():
        raise InvalidRequest(f"The {name} is not one that can be sent.", advice="Give it as it was given to you.")
    return text
