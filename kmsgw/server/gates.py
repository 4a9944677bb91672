"""What stands between a call that policy may allow and the verb that it asks for: sessions, codes, approvals.

A gate lets a petition pass, or raises. Its notes go into the audit record of the call. Gates see what the call carries
in its metadata only when they ask for it: reading it costs more than the encryption of a small value.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from google.protobuf.message import Message

from kmsgw.model.access import Principal
from kmsgw.model.key import Key
from kmsgw.server.rpcs import Rpc

SESSION_METADATA: Final = "kmsgw-session"
CODE_METADATA: Final = "kmsgw-one-time-code"
APPROVAL_METADATA: Final = "kmsgw-approval"


@dataclass(frozen=True, slots=True)
class Proof:
    """What an officer's call carries besides its request. Empty texts stand for what is not there."""

    session: str = field(repr=False, default="")
    code: str = field(repr=False, default="")
    approval: str = ""


@dataclass(frozen=True, slots=True)
class Petition:
    """A call at a gate. ``keys`` are those of its accesses, and empty before policy was asked."""

    principal: Principal
    rpc: Rpc
    message: Message = field(repr=False)
    command: Any = field(repr=False)
    keys: tuple[Key | None, ...]
    proof: Callable[[], Proof] = field(repr=False)
    request_id: str
    now: datetime

    @property
    def dry_run(self) -> bool:
        """Whether the call only wants to know whether it would succeed."""
        return bool(getattr(self.command, "dry_run", False))


class Gate(Protocol):
    """One thing that a call must show."""

    def admit(self, petition: Petition) -> Mapping[str, object]:
        """Let a petition pass and return notes for its audit record, or raise a `KmsgwError`."""
