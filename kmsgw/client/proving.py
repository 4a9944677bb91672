"""What an officer's calls prove, on the client's side: session, one-time code, approval. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from kmsgw.errors import InvalidRequest, KmsgwError, Reason
from kmsgw.model.proof import APPROVAL_METADATA, CODE_METADATA, SESSION_METADATA, Proof

CodeSource: TypeAlias = Callable[[KmsgwError], str]
"""Returns a fresh one-time code, or raises to give up. It is told why: the gateway wants a code, or refused one."""

MAX_PROOF_CHARACTERS = 512
"""Longest session, code or approval id that is sent; the gateway's own are far shorter."""


@dataclass(frozen=True, slots=True)
class Bearing:
    """What the calls of one view of a client carry. With a `source`, a code is asked for when the gateway wants it."""

    proof: Proof = field(default=Proof())
    source: CodeSource | None = field(default=None, repr=False)

    def extended(self, session: str, code: str | CodeSource, approval: str) -> "Bearing":
        """Return this with what is given put over it. Raises `InvalidRequest` where it can't be sent."""
        fixed, source = (code, self.source) if isinstance(code, str) else ("", code)
        return Bearing(
            Proof(
                _sendable(session, "session") or self.proof.session,
                _sendable(fixed, "one-time code") or ("" if source is not self.source else self.proof.code),
                _sendable(approval, "approval") or self.proof.approval,
            ),
            source,
        )

    def with_code(self, code: str) -> "Bearing":
        """Return this with another code. Raises `InvalidRequest` where it can't be sent."""
        proof = Proof(self.proof.session, _sendable(code, "one-time code"), self.proof.approval)
        return Bearing(proof, self.source)

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

    def source_for(self, error: KmsgwError) -> CodeSource | None:
        """Return where to get a code after a call failed so; None where none would help, or there is no source."""
        # A login is refused like that too, for the code in its request: another code beside it would not help it.
        asked = error.reason is Reason.CODE_REQUIRED or (error.reason is Reason.CODE_REFUSED and self.proof.code != "")
        return self.source if asked else None


NOTHING_BORNE = Bearing()
"""What the calls of services carry."""


def _sendable(text: str, name: str) -> str:
    # gRPC would name an illegal value in its own error; it is a secret, so it is checked before.
    if len(text) > MAX_PROOF_CHARACTERS or not text.isascii() or not text.isprintable() or text != text.strip():
        raise InvalidRequest(f"The {name} is not one that can be sent.", advice="Give it as it was given to you.")
    return text
