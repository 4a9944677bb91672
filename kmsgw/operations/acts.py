"""What the gateway does by itself, when its time has come: recorded like what callers ask for, before and after."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from kmsgw.errors import KmsgwError
from kmsgw.model.access import Action


@dataclass(frozen=True, slots=True)
class GatewayAct:
    """One change of a key that nobody asked for in this moment. ``method`` names it as an RPC's would.

    ``change`` says what it changes, and why. ``action`` is set where an RPC does the same.
    """

    method: str
    key_id: str
    key_version: int
    now: datetime
    request_id: str
    action: Action | None = None
    change: Mapping[str, object] = field(default_factory=dict)


class ActRecord(Protocol):
    """The audit log, as the gateway's own acts see it. Both methods return when the entry is durable.

    Both raise `AuditUnavailable`; where `intend` does, the act must not happen.
    """

    def intend(self, act: GatewayAct) -> None:
        """Record what is about to be done."""

    def conclude(self, act: GatewayAct, error: KmsgwError | None) -> None:
        """Record how it ended: done where `error` is None."""
