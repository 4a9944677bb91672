"""Raw calls to a gateway, and the whole of what it answers: the SDK keeps some of that to itself."""

import contextlib
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from kmsgw.server.status import DETAILS_METADATA, REQUEST_ID_METADATA
from kmsgw.v1 import (
    approval_service_pb2,
    audit_service_pb2,
    common_pb2,
    crypto_service_pb2,
    key_service_pb2,
    officer_service_pb2,
    policy_service_pb2,
    system_service_pb2,
)
from tests.support.gateway import Gateway
from tests.support.patience import patient

SERVICES = {
    service.name: service
    for module in (
        approval_service_pb2,
        audit_service_pb2,
        crypto_service_pb2,
        key_service_pb2,
        officer_service_pb2,
        policy_service_pb2,
        system_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
}
"""Every service of kmsgw's contract, by its short name."""

METHODS = {
    method.name: f"/{service.full_name}/{method.name}" for service in SERVICES.values() for method in service.methods
}
"""Path of each method of kmsgw, by its name alone."""

PASSING = frozenset({"OVERLOADED", "STATE_UNAVAILABLE", "PROVIDER_UNAVAILABLE"})
"""Reasons that say when to ask again, as a machine that stood still gives them: no answer to what was asked."""

_OPTIONS = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
_IN_FLIGHT = 24


@dataclass(frozen=True)
class Answer:
    """Everything that a caller can see of one answer."""

    code: grpc.StatusCode
    body: bytes = field(default=b"", repr=False)
    text: str = ""
    reason: str = ""
    details: bytes = b""
    metadata: tuple[tuple[str, str | bytes], ...] = ()

    @property
    def ok(self) -> bool:
        return self.code is grpc.StatusCode.OK

    @property
    def request_id(self) -> str:
        """Id under which the request is recorded, from the trailing metadata."""
        return next((str(value) for key, value in self.metadata if key == REQUEST_ID_METADATA), "")

    @property
    def error(self) -> tuple[str, str]:
        """Names of status and reason: what the documentation promises of an error."""
        return self.code.name, self.reason

    def without_request_id(self) -> tuple[object, ...]:
        """Return all of it, with a fixed text in place of the request id: what must not differ."""
        own, none = self.request_id, "-" * 36
        assert len(own) == len(none)

        def plain(value: str | bytes) -> str | bytes:
            if isinstance(value, bytes):
                return value.replace(own.encode(), none.encode())
            return value.replace(own, none)

        metadata = tuple((key, plain(value)) for key, value in self.metadata)
        return self.code, self.body, self.text, metadata


class Caller:
    """One connection of a principal; a new one may reach another worker. Close it."""

    def __init__(self, gateway: Gateway, principal: str) -> None:
        credentials = gateway.credentials(principal)
        self._channel = grpc.secure_channel(
            gateway.address,
            grpc.ssl_channel_credentials(credentials.ca, credentials.private_key, credentials.certificate),
            options=_OPTIONS,
        )

    def call(self, method: str, request: Message | bytes, timeout: float = 60.0) -> Answer:
        """Make one call, once. `method` is a name of `METHODS`, or a path."""
        return self.calls(method, [request], timeout)[0]

    def answered(self, method: str, request: Message | bytes, passing: Collection[str] = PASSING) -> Answer:
        """Make a call until its reason is none of those, and return that answer; after a long time, the last one."""
        end = time.monotonic() + patient(60.0)
        answer = self.call(method, request)
        while answer.reason in passing and time.monotonic() < end:
            answer = self.call(method, request)
        return answer

    def calls(self, method: str, requests: Iterable[Message | bytes], timeout: float = 60.0) -> list[Answer]:
        """Make many calls, a bounded number of them at a time, and return their answers in order."""
        send = self._channel.unary_unary(METHODS.get(method, method), None, None)
        pending: list[grpc.CallFuture[bytes]] = []
        answers: list[Answer] = []
        for request in requests:
            body = request if isinstance(request, bytes) else request.SerializeToString()
            pending.append(send.future(body, timeout=timeout))
            if len(pending) == _IN_FLIGHT:
                answers.append(answer_of(pending.pop(0)))
        return answers + [answer_of(each) for each in pending]

    def converse(
        self, method: str, messages: Iterable[Message | bytes], timeout: float = 60.0
    ) -> tuple[list[bytes], Answer]:
        """Make one call that streams, close this side behind the messages, and return what is answered."""
        bodies = (each if isinstance(each, bytes) else each.SerializeToString() for each in messages)
        stream = self._channel.stream_stream(METHODS.get(method, method), None, None)(bodies, timeout=timeout)
        answered: list[bytes] = []
        with contextlib.suppress(grpc.RpcError):
            answered += stream
        return answered, answer_of(cast("grpc.CallFuture[bytes]", stream), streamed=True)

    def first(self, method: str, request: Message, timeout: float = 60.0) -> Answer:
        """Make one call that is answered with a stream, take its first message, and end it."""
        body = request.SerializeToString()
        stream = self._channel.unary_stream(METHODS.get(method, method), None, None)(body, timeout=timeout)
        try:
            message = next(iter(stream))
        except grpc.RpcError:
            return answer_of(cast("grpc.CallFuture[bytes]", stream), streamed=True)
        stream.cancel()  # type: ignore[no-untyped-call]
        return Answer(grpc.StatusCode.OK, message)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def answer_of(future: "grpc.CallFuture[bytes]", *, streamed: bool = False) -> Answer:
    """Wait for the end of a call and return what it was answered."""
    code = future.code()
    metadata = cast("Sequence[tuple[str, str | bytes]]", future.trailing_metadata() or ())
    pairs = tuple((key, value) for key, value in metadata)
    if code is grpc.StatusCode.OK:
        return Answer(code, b"" if streamed else future.result(), metadata=pairs)
    details = next((cast("bytes", value) for key, value in pairs if key == DETAILS_METADATA), b"")
    reason = ""
    for packed in status_pb2.Status.FromString(details).details:
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info):
            reason = info.reason
    return Answer(code, b"", future.details() or "", reason, details, pairs)


def pairs(**context: str) -> list[common_pb2.ContextPair]:
    """Return an encryption context as the wire has it."""
    return [common_pb2.ContextPair(key=key, value=value) for key, value in context.items()]
