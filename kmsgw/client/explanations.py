"""From a failed call to the error that the caller catches: class, reason, message, and what to do next. Pure."""

from collections.abc import Mapping
from datetime import datetime

from kmsgw.client.failures import Failure
from kmsgw.errors import (
    AccessDenied,
    AlreadyExists,
    AuditUnavailable,
    Conflict,
    DeadlineExceeded,
    DecryptionFailed,
    EnvelopeMalformed,
    FailedPrecondition,
    InternalError,
    InvalidRequest,
    KmsgwError,
    MethodUnknown,
    NotFound,
    ProviderUnavailable,
    Reason,
    ResourceExhausted,
    StateUnavailable,
    Status,
    Unauthenticated,
    Unavailable,
)

_BY_STATUS: Mapping[Status, type[KmsgwError]] = {
    kind.status: kind
    for kind in (
        InvalidRequest,
        NotFound,
        AlreadyExists,
        AccessDenied,
        Unauthenticated,
        FailedPrecondition,
        Conflict,
        ResourceExhausted,
        MethodUnknown,
        DeadlineExceeded,
        Unavailable,
        InternalError,
    )
}

_BY_REASON: Mapping[Reason, type[KmsgwError]] = {
    Reason.DECRYPTION_FAILED: DecryptionFailed,
    Reason.ENVELOPE_MALFORMED: EnvelopeMalformed,
    Reason.ENVELOPE_VERSION_UNKNOWN: EnvelopeMalformed,
    Reason.PROVIDER_UNAVAILABLE: ProviderUnavailable,
    Reason.STATE_UNAVAILABLE: StateUnavailable,
    Reason.AUDIT_UNAVAILABLE: AuditUnavailable,
}

# What gRPC says of a connection that did not come about, and what that means here. The first that fits counts.
_CONNECTION_FAULTS: tuple[tuple[str, str, str], ...] = (
    ("Connection refused", "nothing listens there.", "Check the address, and that kmsgwd runs."),
    (
        "Hostname Verification Check failed",
        "its certificate is for another name.",
        "Use a name that is in the certificate, or give it as target_name.",
    ),
    ("certificate has expired", "its certificate has expired.", "Ask the gateway's operator to renew it."),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not of the CA that the credentials name.",
        "Check the CA file, and that this is the right gateway.",
    ),
    ("WRONG_VERSION_NUMBER", "what listens there does not speak TLS.", "Check the address and the port."),
    ("http1.x server", "what listens there does not speak gRPC.", "Check the address and the port."),
    ("errors resolving", "its name can't be resolved.", "Check the address and the name service."),
    ("DNS resolution failed", "its name can't be resolved.", "Check the address and the name service."),
    ("security handshaker", "the credentials can't be used.", "Make the credentials with Credentials.from_files."),
    (
        # In TLS 1.3 a server looks at the client's certificate after the client believes the handshake done.
        "Socket closed",
        "it closed the connection at once, as it does with a certificate that it does not accept.",
        "Check that your certificate is of a CA that the gateway trusts, not expired and not revoked.",
    ),
)


def explain_failure(
    failure: Failure,
    *,
    target: str,
    timeout: float,
    repeatable: bool,
    before: str = "",
    certificate_expired: datetime | None = None,
) -> KmsgwError:
    """Return the error to raise for a failed call.

    `target` and `timeout` (seconds) are those of the call; `repeatable` tells whether it changes no state;
    `before` is what the attempt before it failed with, empty for the first;
    `certificate_expired` is the end of the client's own certificate where that has passed.
    """
    if failure.described:
        return _described(failure)
    if failure.status is Status.UNAVAILABLE:
        return _unreachable(failure, target, repeatable, certificate_expired)
    if failure.status is Status.DEADLINE_EXCEEDED:
        text = f"There was no answer within {timeout:g} seconds."
        if before:
            text += f" The attempt before failed: {before}"
        return _finished(DeadlineExceeded(text, advice=_repeat_advice(repeatable)), failure)
    if failure.status is Status.UNIMPLEMENTED:
        return _finished(
            MethodUnknown("The gateway does not know this method.", advice="Use a gateway as new as this SDK."),
            failure,
        )
    return _finished(_of_class(_BY_STATUS[failure.status], failure.message, None), failure)


def explain_item(failure: Failure) -> KmsgwError:
    """Return the error of an item of a batch."""
    return _described(failure)


def _described(failure: Failure) -> KmsgwError:
    """Return the error as the gateway described it. The reason of a newer gateway goes into the text, not lost."""
    try:
        reason = Reason(failure.reason)
    except ValueError:
        message = f"{failure.message} [{failure.reason}]".strip()
        return _finished(_of_class(_BY_STATUS[failure.status], message, None), failure)
    kind = _BY_REASON.get(reason, _BY_STATUS[failure.status])
    if kind.status is not failure.status:
        kind = _BY_STATUS[failure.status]
    return _finished(_of_class(kind, failure.message, reason), failure)


def _of_class(kind: type[KmsgwError], message: str, reason: Reason | None) -> KmsgwError:
    if issubclass(kind, DecryptionFailed):
        return kind()
    return kind(message or "The gateway gave no reason.", reason=reason)


def _finished(error: KmsgwError, failure: Failure) -> KmsgwError:
    """Return the error with what every error of a call has. The gateway's word on retrying counts, or none."""
    error.request_id = failure.request_id
    error.advice = failure.advice or error.advice
    error.retry_after = failure.retry_after
    error.approval_id = failure.approval_id
    return error


def _unreachable(failure: Failure, target: str, repeatable: bool, certificate_expired: datetime | None) -> KmsgwError:
    if not failure.never_sent:
        return _finished(
            Unavailable("The connection to the gateway broke.", advice=_repeat_advice(repeatable)),
            failure,
        )
    if certificate_expired is not None:
        # gRPC tells of the address that it tried last, so its words may be of another that nothing listens at.
        expired = Unauthenticated(
            f"Your certificate expired on {certificate_expired:%Y-%m-%d at %H:%M} UTC: the gateway at {target} takes "
            "no call with it.",
            reason=Reason.CERTIFICATE_EXPIRED,
            advice="Renew it, and make a new client.",
        )
        return _finished(expired, failure)
    what, advice = "no connection came about.", "Check the address and the network."
    for sign, meaning, remedy in _CONNECTION_FAULTS:
        if sign in failure.message:
            what, advice = meaning, remedy
            break
    return _finished(Unavailable(f"The gateway at {target} can't be reached: {what}", advice=advice), failure)


def _repeat_advice(repeatable: bool) -> str:
    if repeatable:
        return "Try again in a moment."
    return "The change may have been made all the same: look before you repeat it."
