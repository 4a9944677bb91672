"""What a failed gRPC call says of itself. Pure, so that both flavours of the client share it.

The gateway describes an error in ``google.rpc.Status`` (AIP-193): ErrorInfo with the reason and the advice, RetryInfo,
RequestInfo. What carries none of these did not come from the gateway, but from gRPC or from something between.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus

from kmsgw.errors import Status

ERROR_DOMAIN = "kmsgw"
REQUEST_ID_KEY = "kmsgw-request-id"
_OFFICERS_WANTED_KEY = "kmsgw-officers-wanted"
_DETAILS_KEY = "grpc-status-details-bin"
_SMALL_NUMBER = re.compile(r"[0-9]{1,4}")

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]

M = TypeVar("M", bound=Message)

# What gRPC says when no connection carried the call. Only this proves that a change was never asked for.
_NEVER_SENT = ("failed to connect to all addresses", "errors resolving ", "DNS resolution failed")

_STATUSES: Mapping[grpc.StatusCode, Status] = {
    **{code: Status[code.name] for code in grpc.StatusCode if code.name in Status.__members__},
    # Something ended the call before its answer: the server, a proxy, or the closing of this very client.
    grpc.StatusCode.CANCELLED: Status.UNAVAILABLE,
}

_BY_NUMBER: Mapping[int, Status] = {code.value[0]: status for code, status in _STATUSES.items()}


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of a failed call.

    ``described`` tells whether the gateway itself described it; ``reason`` is then its code, perhaps one that this
    release does not know. ``retry_after`` is in seconds. ``never_sent`` tells that no byte of the call left.
    ``approval_id`` names the approval that was opened for the request.
    """

    status: Status
    message: str
    described: bool = False
    reason: str = ""
    advice: str = ""
    retry_after: float | None = None
    request_id: str = ""
    never_sent: bool = False
    approval_id: str = ""


def find_request_id(*metadata: Metadata) -> str:
    """Return the request id in the first of these metadata that has one, or an empty text."""
    for each in metadata:
        for key, value in each:
            if key == REQUEST_ID_KEY and isinstance(value, str):
                return value
    return ""


def find_officers_wanted(trailing: Metadata) -> int:
    """Return how many other officers the request of a dry run would want; 0 where the answer does not say."""
    for key, value in trailing:
        if key == _OFFICERS_WANTED_KEY and isinstance(value, str) and _SMALL_NUMBER.fullmatch(value):
            return int(value)
    return 0


def read_failure(code: grpc.StatusCode, details: str, initial: Metadata, trailing: Metadata) -> Failure:
    """Return what a call's status and metadata say. Never fails: what can't be read counts as absent."""
    trailing = tuple(trailing)
    rich = _rich_status(code, trailing)
    info = next((each for each in _unpacked(rich, ErrorInfo) if each.domain == ERROR_DOMAIN), None)
    retry = next(_unpacked(rich, RetryInfo), None)
    request = next(_unpacked(rich, RequestInfo), None)
    return Failure(
        status=_STATUSES.get(code, Status.INTERNAL),
        message=details,
        described=info is not None,
        reason=info.reason if info is not None else "",
        advice=info.metadata.get("advice", "") if info is not None else "",
        retry_after=max(0.0, retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9) if retry is not None else None,
        request_id=find_request_id(trailing, tuple(initial)) or (request.request_id if request is not None else ""),
        never_sent=code is grpc.StatusCode.UNAVAILABLE and info is None and details.startswith(_NEVER_SENT),
        approval_id=info.metadata.get("approval", "") if info is not None else "",
    )


def read_item_failure(rich: RpcStatus) -> Failure:
    """Return what the status of an item of a batch says. Never fails: what can't be read counts as absent."""
    info = next((each for each in _unpacked(rich, ErrorInfo) if each.domain == ERROR_DOMAIN), None)
    retry = next(_unpacked(rich, RetryInfo), None)
    request = next(_unpacked(rich, RequestInfo), None)
    return Failure(
        status=_BY_NUMBER.get(rich.code, Status.INTERNAL),
        message=rich.message,
        described=True,
        reason=info.reason if info is not None else "",
        advice=info.metadata.get("advice", "") if info is not None else "",
        retry_after=max(0.0, retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9) if retry is not None else None,
        request_id=request.request_id if request is not None else "",
    )


def _rich_status(code: grpc.StatusCode, trailing: Metadata) -> RpcStatus:
    """Return the status of the trailing metadata; an empty one where it is absent or contradicts `code`."""
    for key, value in trailing:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                rich = RpcStatus.FromString(value)
            except DecodeError:
                break
            return rich if rich.code == code.value[0] else RpcStatus()
    return RpcStatus()


def _unpacked(rich: RpcStatus, kind: type[M]) -> Iterator[M]:
    """Yield the details that are of this kind and can be read."""
    for packed in rich.details:
        message = kind()
        try:
            if packed.Unpack(message):
                yield message
        except DecodeError:
            continue
