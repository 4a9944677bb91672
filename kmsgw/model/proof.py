"""What an officer's call carries besides its request, and the names of the metadata that carry it."""

from dataclasses import dataclass, field
from typing import Final

SESSION_METADATA: Final = "kmsgw-session"
"""The session of a login, with every call of an officer."""

CODE_METADATA: Final = "kmsgw-one-time-code"
"""A fresh one-time code, with each sensitive call, which consumes it."""

APPROVAL_METADATA: Final = "kmsgw-approval"
"""The id of an approval, where one is wanted."""

TRACEPARENT_METADATA: Final = "traceparent"
"""The caller's trace (W3C Trace Context), with any call."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a call carries in its metadata. Empty texts stand for what is not there.

    ``traceparent`` says which trace of the caller's it belongs to (W3C Trace Context); nothing is decided by it.
    """

    session: str = field(repr=False, default="")
    code: str = field(repr=False, default="")
    approval: str = ""
    traceparent: str = ""
