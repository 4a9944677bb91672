"""What stands between a call that policy may allow and the verb that it asks for: sessions, codes, approvals.

A gate lets a petition pass, or raises. Its notes go into the audit record of the call. Gates see what the call carries
in its metadata only when they ask for it: reading it costs more than the encryption of a small value.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from google.protobuf.message import Message

from kmsgw.model.access import Principal
from kmsgw.model.key import Key
from kmsgw.model.proof import APPROVAL_METADATA, CODE_METADATA, SESSION_METADATA, Proof
from kmsgw.operations.verb import Trail
from kmsgw.server.rpcs import Rpc

__all__ = ["APPROVAL_METADATA", "CODE_METADATA", "SESSION_METADATA", "Gate", "Petition", "Proof"]


@dataclass(frozen=True, slots=True)
class Petition:
    """A call at a gate. ``keys`` are those of its accesses, and empty before policy was asked.

    ``trail`` takes what the audit record is to say of a call that the gate refuses. ``is_call`` is false where nobody
    called: a feed that is still open asks whether it may go on.
    """

    principal: Principal
    rpc: Rpc
    message: Message = field(repr=False)
    command: Any = field(repr=False)
    keys: tuple[Key | None, ...]
    proof: Callable[[], Proof] = field(repr=False)
    request_id: str
    now: datetime
    trail: Trail = field(default_factory=Trail, repr=False)
    is_call: bool = True

    @property
    def dry_run(self) -> bool:
        """Whether the call only wants to know whether it would succeed."""
        return bool(getattr(self.command, "dry_run", False))


class Gate(Protocol):
    """One thing that a call must show."""

    def admit(self, petition: Petition) -> Mapping[str, object]:
        """Let a petition pass and return notes for its audit record, or raise a `KmsgwError`."""
