"""What the calls answer: frozen, free of protobuf, and silent about secrets when printed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kmsgw.model.access import DecidingPolicy, PrincipalKind
from kmsgw.model.approval import ApprovalState
from kmsgw.model.data_key_limits import KEEP_NOTHING, DataKeyLimits
from kmsgw.model.key import NO_ROTATION_POLICY, KeyState, Origin, RotationPolicy
from kmsgw.model.officer import OfficerState
from kmsgw.model.usage import UNUSED, Usage, VersionUsage
from kmsgw.tlog.entry import parse_record


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
class KeyInfo:
    """A key as the gateway describes it. Give ``etag`` back to change only what was read.

    ``destroy_time`` is when it is to be destroyed, or was. ``minimum_encrypt_version`` is 0 where only the newest
    version encrypts. ``next_rotation`` is when the period of ``rotation`` ends.
    """

    key_id: str
    tenant: str
    provider: str
    state: KeyState
    primary_version: int
    created: datetime
    updated: datetime
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    etag: str = ""
    destroy_time: datetime | None = None
    minimum_decrypt_version: int = 1
    minimum_encrypt_version: int = 0
    deletion_protection: bool = False
    rotation: RotationPolicy = NO_ROTATION_POLICY
    next_rotation: datetime | None = None


@dataclass(frozen=True, slots=True)
class KeyVersionInfo:
    """One version of a key, and why it was made."""

    key_id: str
    version: int
    state: KeyState
    created: datetime
    reason: str = ""
    destroy_time: datetime | None = None
    origin: Origin = Origin.GENERATED


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """What was done under each version of a key, as of about a second ago. Both are newest version first.

    ``usage`` has a row for each version and tenant of callers that used it.
    """

    usage: tuple[VersionUsage, ...]
    versions: tuple[KeyVersionInfo, ...]

    def of(self, version: int) -> Usage:
        """Return the sums over all tenants under one version. Its ``remaining`` is what may still be under it."""
        return sum((each.usage for each in self.usage if each.version == version), UNUSED)


@dataclass(frozen=True, slots=True)
class ScheduledDestruction:
    """A key after its destruction was scheduled or cancelled; ``version`` where it is of one version only."""

    key: KeyInfo
    version: KeyVersionInfo | None = None


@dataclass(frozen=True, slots=True)
class ImportParameters:
    """Where to wrap material to: an RSA key (SubjectPublicKeyInfo, DER), and the token that goes back with it.

    ``expires`` is when the token ends. Give a check value with the material only where ``computes_check_value``.
    """

    public_key: bytes
    token: bytes = field(repr=False)
    expires: datetime
    computes_check_value: bool
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ImportedKey:
    """A key after an import, and the version that holds the material.

    ``check_value`` is the key check value as the provider tells it, 6 hexadecimal digits; empty where it can't.
    """

    key: KeyInfo
    version: KeyVersionInfo
    check_value: str
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


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A secret for one-time codes, as base32 and as ``otpauth`` URI for a QR code. Never printed; shown once."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class RecoveryCodes:
    """Codes for one login each, without the device. Never printed; shown once."""

    codes: tuple[str, ...] = field(repr=False)
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A session for `Client.proving`, never printed; it ends after ``idle_seconds`` without a call."""

    session: str = field(repr=False)
    expires: datetime
    idle_seconds: int
    recovery_codes: int
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class OfficerInfo:
    """An officer and how far its second factor is. Times are None where they say nothing."""

    officer_id: str
    state: OfficerState
    roles: tuple[str, ...]
    confirmed: datetime | None = None
    locked_until: datetime | None = None
    may_enrol_at: datetime | None = None
    recovery_codes: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the gateway takes the caller for. ``session_expires`` is None without a session in force."""

    principal_id: str
    kind: PrincipalKind
    tenant: str
    roles: tuple[str, ...]
    certificate_expires: datetime | None
    session_expires: datetime | None
    officer_state: OfficerState | None
    second_factor_required: bool


@dataclass(frozen=True, slots=True)
class AuditLogInfo:
    """An audit log: its origin, the number of its entries, and the signed checkpoint (C2SP tlog-checkpoint).

    ``verifier_key`` is what the gateway says it is: keep one that came another way.
    """

    log: str
    size: int
    checkpoint: bytes = field(repr=False)
    verifier_key: str


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the audit log: the origin of its log, its index there, and its bytes, which are a line of JSON.

    ``proof`` is its proof (C2SP tlog-proof) with the entry in it, a file for ``kmsgw audit verify --proof``; empty
    where not asked for.
    """

    log: str
    index: int
    raw: bytes
    proof: bytes = field(default=b"", repr=False)

    @property
    def record(self) -> Mapping[str, object]:
        """The entry as an object (docs/audit-log.md); empty where it is not one."""
        return parse_record(self.raw)


@dataclass(frozen=True, slots=True)
class AuditGrowth:
    """A log that still begins with a checkpoint kept from before: ``checkpoint`` is the one to keep from now on.

    ``proof`` is the proof as a file, as ``kmsgw audit verify --proof`` takes it.
    """

    log: str
    old_size: int
    size: int
    checkpoint: bytes = field(repr=False)
    proof: bytes = field(repr=False)
