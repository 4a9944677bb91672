"""The bytes of a request: whether they are taken, and the message that they hold."""

from typing import Final

from google.protobuf.message import DecodeError, Message

from kmsgw.errors import InvalidRequest, MethodUnknown, Reason
from kmsgw.server.rpcs import Rpc

LARGE_BYTES: Final = 160 * 1024
"""Longest request that is read where calls must not wait: 100 values of 1 KiB, and what is with them."""


def check_request(rpc: Rpc | None, request: bytes) -> None:
    """Raise `MethodUnknown` where there is no such method, and `InvalidRequest` where the request is too long."""
    if rpc is None:
        raise MethodUnknown("The gateway has no such method.", advice="Check the method's name and the version.")
    limit = rpc.max_request_bytes
    if len(request) > limit:
        raise InvalidRequest(
            f"The request has {len(request)} bytes; this method takes {limit}.",
            reason=Reason.PLAINTEXT_TOO_LARGE,
            advice="Seal large values in the client with a data key.",
        )


def parse_request(rpc: Rpc, request: bytes) -> Message:
    """Return the message of a request. Raises `InvalidRequest` where it is none of the method."""
    try:
        return rpc.request.FromString(request)
    except DecodeError:
        raise InvalidRequest(
            "The request is not a message of this method.",
            reason=Reason.REQUEST_MALFORMED,
            advice="Use stubs generated from kmsgw's proto files.",
        ) from None
