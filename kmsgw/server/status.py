"""Errors to gRPC: a status with google.rpc details, the same bytes for the same error."""

from collections.abc import Iterable

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from kmsgw.errors import KmsgwError, Reason, Unavailable
from kmsgw.model.proof import APPROVAL_METADATA, CODE_METADATA, SESSION_METADATA, TRACEPARENT_METADATA, Proof

DOMAIN = "kmsgw"
REQUEST_ID_METADATA = "kmsgw-request-id"
DETAILS_METADATA = "grpc-status-details-bin"
OFFICERS_WANTED_METADATA = "kmsgw-officers-wanted"
_PROOFS = (SESSION_METADATA, CODE_METADATA, APPROVAL_METADATA, TRACEPARENT_METADATA)


def failure_metadata(error: KmsgwError, request_id: str) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailing metadata of a failed call."""
    return ((REQUEST_ID_METADATA, request_id), (DETAILS_METADATA, status_details(error, request_id)))


def success_metadata(request_id: str, officers_wanted: int) -> tuple[tuple[str, str], ...]:
    """Return the trailing metadata of an answer: of a dry run also how many officers the request itself would want."""
    if not officers_wanted:
        return ((REQUEST_ID_METADATA, request_id),)
    return ((REQUEST_ID_METADATA, request_id), (OFFICERS_WANTED_METADATA, str(officers_wanted)))


def stopping() -> Unavailable:
    """Return the refusal of a call that comes during a stop."""
    return Unavailable(
        "The gateway is stopping.", reason=Reason.SHUTTING_DOWN, advice="Try again: another will answer."
    )


def read_proof(metadata: Iterable[tuple[str, str | bytes]]) -> Proof:
    """Read what an officer's call carries. A name that comes twice counts as none: which was meant is unknown."""
    found: dict[str, list[str]] = {}
    for name, value in metadata:
        if name in _PROOFS and isinstance(value, str):
            found.setdefault(name, []).append(value)
    once = {name: values[0] for name, values in found.items() if len(values) == 1}
    return Proof(*(once.get(name, "") for name in _PROOFS))


def grpc_code(error: KmsgwError) -> grpc.StatusCode:
    """Return the status code of an error."""
    return grpc.StatusCode[error.status.value]


def status_details(error: KmsgwError, request_id: str) -> bytes:
    """Return a serialised google.rpc.Status with ErrorInfo, RequestInfo and, where a retry can help, RetryInfo."""
    details = [
        error_details_pb2.ErrorInfo(
            reason=error.reason.value,
            domain=DOMAIN,
            metadata={name: text for name, text in (("advice", error.advice), ("approval", error.approval_id)) if text},
        ),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    packed = [_packed(detail) for detail in details]
    if error.retry_after is not None:
        seconds = int(error.retry_after)
        delay = Duration(seconds=seconds, nanos=int((error.retry_after - seconds) * 1e9))
        packed.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    status = status_pb2.Status(code=code_pb2.Code.Value(error.status.value), message=error.message, details=packed)
    return bytes(status.SerializeToString(deterministic=True))


def _packed(
    detail: error_details_pb2.ErrorInfo | error_details_pb2.RequestInfo | error_details_pb2.RetryInfo,
) -> AnyMessage:
    made = AnyMessage()
    made.Pack(detail, deterministic=True)
    return made
