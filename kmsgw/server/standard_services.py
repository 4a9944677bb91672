"""Health and reflection: grpcio's own services, behind the authentication of all the others.

Refusals are recorded. Successes are not: probes come each second, and touch no key.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from kmsgw.errors import InvalidRequest, KmsgwError, Reason
from kmsgw.server.answering import abort_with, certificate_of
from kmsgw.server.passage import Call
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.reception import Reception

_STANDARD = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/", "/grpc.reflection.v1.")

_MALFORMED: Final = object()
"""Stands for bytes that are no request. grpcio would answer INTERNAL, where the fault is the caller's."""


class StandardServiceGuard(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Lets only known principals at health and reflection, and only with requests that are some."""

    def __init__(
        self, authenticate: Callable[[bytes | None], object], pipeline: Pipeline, reception: Reception
    ) -> None:
        self._authenticate = authenticate
        self._pipeline = pipeline
        self._reception = reception

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "grpc.RpcMethodHandler[Any, Any] | None"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Wrap the handlers of services other than kmsgw's own."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(_STANDARD) or handler.stream_unary:
            return handler
        read = _reading(handler.request_deserializer)
        if handler.unary_unary:
            return grpc.stream_unary_rpc_method_handler(
                self._one(handler.unary_unary, method), read, handler.response_serializer
            )
        if handler.unary_stream:
            behaviour = self._many(handler.unary_stream, method, whole=False)
        else:
            assert handler.stream_stream is not None
            behaviour = self._many(handler.stream_stream, method, whole=True)
        return grpc.stream_stream_rpc_method_handler(behaviour, read, handler.response_serializer)

    def _one(self, behaviour: Callable[[Any, grpc.ServicerContext], Any], method: str) -> Callable[..., Any]:
        def guarded(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with self._refusing(method, context) as certificate:
                self._authenticate(certificate)
                request = _message(self._reception.receive(requests, certificate or b"", context.cancel))
            return behaviour(request, context)

        return guarded

    def _many(self, behaviour: Callable[..., Iterator[Any]], method: str, *, whole: bool) -> Callable[..., Any]:
        """Guard a method that answers with a stream; with `whole` it takes one as well."""

        def guarded(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            with self._refusing(method, context) as certificate:
                self._authenticate(certificate)
                self._reception.open_stream(context)
                if whole:
                    yield from behaviour(map(_message, requests), context)
                    return
                asked = _message(self._reception.receive(requests, certificate or b"", context.cancel))
            yield from behaviour(asked, context)

        return guarded

    @contextmanager
    def _refusing(self, method: str, context: grpc.ServicerContext) -> Iterator[bytes | None]:
        """Give the caller's certificate, and answer and record what is refused meanwhile."""
        certificate = certificate_of(context)
        try:
            yield certificate
        except KmsgwError as error:
            abort_with(context, self._pipeline.refuse(Call(method, b"", certificate, context.peer()), error))


def _reading(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    def read(raw: bytes) -> Any:
        assert deserialize is not None
        try:
            return deserialize(raw)
        except DecodeError:
            return _MALFORMED

    return read


def _message(request: Any) -> Any:
    """Return a request that is one. Raises `InvalidRequest` for any other."""
    if request is _MALFORMED:
        raise InvalidRequest(
            "The request is not a message of this method.",
            reason=Reason.REQUEST_MALFORMED,
            advice="Use stubs generated from the standard's proto files.",
        )
    return request
