"""The one tree of errors, with reason codes that stay stable across releases.

An error knows its status (which the server maps to gRPC, and the client maps back), its reason, what happened and
what to do next. Nothing here may hold a secret: messages go to callers and reasons go to the audit log.
"""

from enum import StrEnum
from typing import ClassVar


class Status(StrEnum):
    """Class of an error; the names are those of gRPC's status codes."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    UNAVAILABLE = "UNAVAILABLE"
    CANCELLED = "CANCELLED"
    INTERNAL = "INTERNAL"


class Reason(StrEnum):
    """Stable reason codes, sent as ``google.rpc.ErrorInfo.reason`` and recorded in the audit log."""

    REQUEST_MALFORMED = "REQUEST_MALFORMED"
    FIELD_INVALID = "FIELD_INVALID"
    CONTEXT_INVALID = "CONTEXT_INVALID"
    PLAINTEXT_TOO_LARGE = "PLAINTEXT_TOO_LARGE"
    ENVELOPE_MALFORMED = "ENVELOPE_MALFORMED"
    ENVELOPE_VERSION_UNKNOWN = "ENVELOPE_VERSION_UNKNOWN"
    DECRYPTION_FAILED = "DECRYPTION_FAILED"
    CERTIFICATE_MISSING = "CERTIFICATE_MISSING"
    CERTIFICATE_EXPIRED = "CERTIFICATE_EXPIRED"
    CERTIFICATE_REVOKED = "CERTIFICATE_REVOKED"
    CERTIFICATE_INVALID = "CERTIFICATE_INVALID"
    CRL_STALE = "CRL_STALE"
    PRINCIPAL_UNKNOWN = "PRINCIPAL_UNKNOWN"
    ACCESS_DENIED = "ACCESS_DENIED"
    METHOD_UNKNOWN = "METHOD_UNKNOWN"
    KEY_DISABLED = "KEY_DISABLED"
    KEY_VERSION_DISABLED = "KEY_VERSION_DISABLED"
    KEY_VERSION_IS_PRIMARY = "KEY_VERSION_IS_PRIMARY"
    KEY_VERSION_UNKNOWN = "KEY_VERSION_UNKNOWN"
    KEY_VERSION_BELOW_MINIMUM = "KEY_VERSION_BELOW_MINIMUM"
    KEY_VERSION_IN_USE = "KEY_VERSION_IN_USE"
    KEY_PENDING_DESTRUCTION = "KEY_PENDING_DESTRUCTION"
    KEY_DESTROYED = "KEY_DESTROYED"
    KEY_STATE_UNSUITABLE = "KEY_STATE_UNSUITABLE"
    KEY_PROTECTED = "KEY_PROTECTED"
    DESTRUCTION_UNSUPPORTED = "DESTRUCTION_UNSUPPORTED"
    IMPORT_UNSUPPORTED = "IMPORT_UNSUPPORTED"
    IMPORT_REFUSED = "IMPORT_REFUSED"
    SESSION_REQUIRED = "SESSION_REQUIRED"
    CODE_REQUIRED = "CODE_REQUIRED"
    CODE_REFUSED = "CODE_REFUSED"
    OFFICER_LOCKED = "OFFICER_LOCKED"
    OFFICER_NOT_ENROLLED = "OFFICER_NOT_ENROLLED"
    OFFICER_ENROLLED = "OFFICER_ENROLLED"
    INVITATION_REFUSED = "INVITATION_REFUSED"
    APPROVAL_REQUIRED = "APPROVAL_REQUIRED"
    APPROVAL_PENDING = "APPROVAL_PENDING"
    APPROVAL_REFUSED = "APPROVAL_REFUSED"
    APPROVAL_EXPIRED = "APPROVAL_EXPIRED"
    APPROVAL_USED = "APPROVAL_USED"
    APPROVAL_MISMATCHED = "APPROVAL_MISMATCHED"
    APPROVAL_OWN = "APPROVAL_OWN"
    APPROVAL_DECIDED = "APPROVAL_DECIDED"
    KEY_EXISTS = "KEY_EXISTS"
    KEY_CHANGED = "KEY_CHANGED"
    ALIAS_EXISTS = "ALIAS_EXISTS"
    LIMIT_REACHED = "LIMIT_REACHED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    OVERLOADED = "OVERLOADED"
    REQUEST_UNKNOWN = "REQUEST_UNKNOWN"
    PROVIDER_UNKNOWN = "PROVIDER_UNKNOWN"
    PROVIDER_UNAVAILABLE = "PROVIDER_UNAVAILABLE"
    PROVIDER_MISCONFIGURED = "PROVIDER_MISCONFIGURED"
    MATERIAL_MISSING = "MATERIAL_MISSING"
    STATE_UNAVAILABLE = "STATE_UNAVAILABLE"
    AUDIT_UNAVAILABLE = "AUDIT_UNAVAILABLE"
    AUDIT_DAMAGED = "AUDIT_DAMAGED"
    AUDIT_ROLLED_BACK = "AUDIT_ROLLED_BACK"
    STATE_ROLLED_BACK = "STATE_ROLLED_BACK"
    POLICY_INVALID = "POLICY_INVALID"
    CONFIGURATION_INVALID = "CONFIGURATION_INVALID"
    CALLER_GONE = "CALLER_GONE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    GATEWAY_UNREACHABLE = "GATEWAY_UNREACHABLE"
    INTERNAL = "INTERNAL"


class KmsgwError(Exception):
    """Root of the tree: everything that kmsgw refuses or fails at, on either side of the wire.

    ``message`` says what happened, ``advice`` what to do next; both are safe to show to the caller.
    ``retry_after`` is in seconds and set only where repeating the call can help. ``approval_id`` names the approval
    that the request wants.
    """

    status: ClassVar[Status] = Status.INTERNAL
    default_reason: ClassVar[Reason] = Reason.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        advice: str = "",
        retry_after: float | None = None,
        request_id: str = "",
        approval_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason if reason is not None else self.default_reason
        self.advice = advice
        self.retry_after = retry_after
        self.request_id = request_id
        self.approval_id = approval_id

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


class InvalidRequest(KmsgwError):
    """The request can't be right, whatever the state; repeating it is of no use."""

    status = Status.INVALID_ARGUMENT
    default_reason = Reason.FIELD_INVALID


class EnvelopeMalformed(InvalidRequest):
    """The bytes are not an envelope of a known format."""

    default_reason = Reason.ENVELOPE_MALFORMED


class DecryptionFailed(InvalidRequest):
    """The one error for every envelope that does not open: wrong context, wrong key, changed bytes.

    One message for all of them, so that the answer is no oracle (threat 16).
    """

    default_reason = Reason.DECRYPTION_FAILED

    def __init__(self) -> None:
        super().__init__(
            "The envelope does not open.",
            advice="Give the same encryption context as when it was made, and the envelope unchanged.",
        )


class Unauthenticated(KmsgwError):
    """The connection carries no certificate that the gateway accepts."""

    status = Status.UNAUTHENTICATED
    default_reason = Reason.PRINCIPAL_UNKNOWN


class AccessDenied(KmsgwError):
    """Forbidden, or no such key: both answer alike (threat 16)."""

    status = Status.PERMISSION_DENIED
    default_reason = Reason.ACCESS_DENIED

    def __init__(self, message: str = "", *, reason: Reason | None = None, advice: str = "") -> None:
        super().__init__(
            message or "The key does not exist, or policy does not allow this.",
            reason=reason,
            advice=advice or "Ask an auditor for `kmsgw policy explain REQUEST_ID`.",
        )


class MethodUnknown(KmsgwError):
    """The gateway has no such method."""

    status = Status.UNIMPLEMENTED
    default_reason = Reason.METHOD_UNKNOWN


class NotFound(KmsgwError):
    """Something that the caller may know of does not exist."""

    status = Status.NOT_FOUND
    default_reason = Reason.REQUEST_UNKNOWN


class AlreadyExists(KmsgwError):
    """A name is taken."""

    status = Status.ALREADY_EXISTS
    default_reason = Reason.KEY_EXISTS


class FailedPrecondition(KmsgwError):
    """The state forbids it, for example a disabled key."""

    status = Status.FAILED_PRECONDITION
    default_reason = Reason.KEY_DISABLED


class Conflict(KmsgwError):
    """Something changed meanwhile; read it again, then repeat."""

    status = Status.ABORTED
    default_reason = Reason.KEY_CHANGED


class ResourceExhausted(KmsgwError):
    """A quota or a limit is reached."""

    status = Status.RESOURCE_EXHAUSTED
    default_reason = Reason.LIMIT_REACHED


class Overloaded(ResourceExhausted):
    """More is asked for than there is room for now: refused before anything was done. Always with ``retry_after``."""

    default_reason = Reason.OVERLOADED

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        advice: str = "Wait as long as the answer says, and send fewer calls at once.",
        retry_after: float = 1.0,
    ) -> None:
        super().__init__(message, reason=reason, advice=advice, retry_after=retry_after)


class Unavailable(KmsgwError):
    """A part that the answer needs is down; repeating the call after ``retry_after`` seconds can help."""

    status = Status.UNAVAILABLE
    default_reason = Reason.GATEWAY_UNREACHABLE

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        advice: str = "Try again in a moment.",
        retry_after: float | None = 1.0,
        request_id: str = "",
    ) -> None:
        super().__init__(message, reason=reason, advice=advice, retry_after=retry_after, request_id=request_id)


class ProviderUnavailable(Unavailable):
    """The HSM, Vault or store that holds the key's material does not answer."""

    default_reason = Reason.PROVIDER_UNAVAILABLE


class StateUnavailable(Unavailable):
    """The database does not answer, so that no state is known to be current."""

    default_reason = Reason.STATE_UNAVAILABLE


class AuditUnavailable(Unavailable):
    """The audit log can't be written, so that no result may leave."""

    default_reason = Reason.AUDIT_UNAVAILABLE


class DeadlineExceeded(KmsgwError):
    """The call's deadline passed."""

    status = Status.DEADLINE_EXCEEDED
    default_reason = Reason.DEADLINE_EXCEEDED


class InternalError(KmsgwError):
    """A fault of kmsgw itself."""


class ConfigurationError(KmsgwError):
    """The configuration, or something it names, is wrong; ``faults`` lists every fault found."""

    status = Status.FAILED_PRECONDITION
    default_reason = Reason.CONFIGURATION_INVALID

    def __init__(self, faults: list[str], *, reason: Reason | None = None, advice: str = "") -> None:
        super().__init__("; ".join(faults), reason=reason, advice=advice)
        self.faults = tuple(faults)


class AuditDamaged(KmsgwError):
    """The audit log contradicts itself: a frame, a tile, an entry or a signature is not what it must be."""

    status = Status.FAILED_PRECONDITION
    default_reason = Reason.AUDIT_DAMAGED
