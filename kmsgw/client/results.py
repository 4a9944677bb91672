"""What the calls answer but those about keys, officers and audit logs: frozen, and silent about secrets."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kmsgw.model.access import DecidingPolicy
from kmsgw.model.approval import ApprovalState
from kmsgw.model.data_key_limits import KEEP_NOTHING, DataKeyLimits


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A sealed value. Store ``envelope``. ``key_version`` counts from 1. ``request_id`` finds the audit entry."""

    envelope: bytes = field(repr=False)
    key_id: str
    key_version: int
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Decrypted:
    """An opened value, or the 32 bytes of a data key where a wrapped data key was given. Never printed.

    ``limits`` say what may be done with a data key; they say nothing of a value.
    """

    plaintext: bytes = field(repr=False)
    key_id: str
    key_version: int
    request_id: str = field(default="", compare=False)
    limits: DataKeyLimits = field(default=KEEP_NOTHING, compare=False)


@dataclass(frozen=True, slots=True)
class ReEncrypted:
    """A value sealed anew, and the key that opened the source."""

    envelope: bytes = field(repr=False)
    source_key_id: str
    source_key_version: int
    key_id: str
    key_version: int
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """The same envelope with its data key under the newest version."""

    envelope: bytes = field(repr=False)
    key_id: str
    source_key_version: int
    key_version: int
    request_id: str = field(default="", compare=False)

    @property
    def changed(self) -> bool:
        """Whether the envelope was under an older version, and so has to be stored again."""
        return self.source_key_version != self.key_version


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key: 32 bytes to use and forget, never printed, and the same wrapped, to store.

    ``limits`` are what the gateway lets be done with it. Who keeps it honours them; local encryption does.
    """

    plaintext: bytes = field(repr=False)
    wrapped: bytes = field(repr=False)
    key_id: str
    key_version: int
    request_id: str = field(default="", compare=False)
    limits: DataKeyLimits = field(default=KEEP_NOTHING, compare=False)


@dataclass(frozen=True, slots=True)
class Mac:
    """The keyed hash of a value, 32 bytes: equal values of one index have equal ones."""

    mac: bytes = field(repr=False)
    key_id: str
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class WrappedDataKey:
    """A data key that nobody has seen: `decrypt` answers it later."""

    wrapped: bytes = field(repr=False)
    key_id: str
    key_version: int
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request was allowed or refused. No policies on a refusal: nothing permits it.

    ``reason`` and ``time`` are those of the recorded answer; empty and None for a hypothetical request.
    """

    allowed: bool
    explanation: str
    policies: tuple[DecidingPolicy, ...]
    reason: str
    principal_id: str
    roles: tuple[str, ...]
    action: str
    key_id: str
    time: datetime | None


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """A policy in force: its text in Cedar, and the file that it is from."""

    policy_id: str
    permits: bool
    advice: str
    source: str
    file: str


@dataclass(frozen=True, slots=True)
class ApprovalVoteInfo:
    """What one officer decided on an approval, and why."""

    officer_id: str
    approves: bool
    reason: str
    time: datetime


@dataclass(frozen=True, slots=True)
class ApprovalInfo:
    """Consent of ``needed`` other officers to one exact request. Give ``request_hash`` back to approve what was read.

    ``request_json`` is the request for people to read; in lists it is left out.
    """

    approval_id: str
    state: ApprovalState
    requester: str
    method: str
    key_id: str
    request_hash: str
    request_json: str
    reason: str
    needed: int
    votes: tuple[ApprovalVoteInfo, ...]
    created: datetime
    expires: datetime


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """A key provider as it is now. ``fault`` says why it does not serve."""

    name: str
    kind: str
    serving: bool
    fault: str
    mechanism: str
    development_only: bool


@dataclass(frozen=True, slots=True)
class ExportInfo:
    """How far an audit log of a node, by its origin, has been exported to a target; ``lag`` signed entries have not.

    ``lag_seconds`` is the age of the oldest of these, 0 without any, and None where the gateway can't tell.
    """

    target: str
    log: str
    delivered: int
    lag: int
    lag_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """The state of the worker that took the call, and who the gateway takes the caller for."""

    version: str
    environment: str
    node: str
    worker: str
    serving: bool
    providers: tuple[ProviderInfo, ...]
    audit_serving: bool
    audit_origin: str
    audit_size: int
    policy_digest: str
    development_certificates: bool
    principal_id: str
    roles: tuple[str, ...]
    exports: tuple[ExportInfo, ...] = ()


class Health(StrEnum):
    """The answer of the standard health service (grpc.health.v1)."""

    UNKNOWN = "UNKNOWN"
    SERVING = "SERVING"
    NOT_SERVING = "NOT_SERVING"
    SERVICE_UNKNOWN = "SERVICE_UNKNOWN"
