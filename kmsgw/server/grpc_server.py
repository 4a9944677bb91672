"""The transport: grpcio's public synchronous server, in front of the pipeline.

Every method, listed or not, comes to one generic handler with its bytes as they are, so that nothing is answered
before the pipeline has seen it. Health and reflection are grpcio's own services behind the same authentication.
"""

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import KmsgwError, Unavailable
from kmsgw.server.answering import abort_with, certificate_of
from kmsgw.server.direct import DirectLoop
from kmsgw.server.full_pool import full_pool
from kmsgw.server.passage import Call
from kmsgw.server.pipeline import Pipeline
from kmsgw.server.reception import Reception
from kmsgw.server.rpcs import MAX_BATCH_BYTES
from kmsgw.server.standard_services import StandardServiceGuard
from kmsgw.server.status import read_proof, stopping, success_metadata
from kmsgw.server.stream_calls import Authenticate, StreamCalls, StreamLimits
from kmsgw.server.unread_answers import UnreadAnswers

MAX_MESSAGE_BYTES = MAX_BATCH_BYTES + 1024 * 1024
"""What is longer is refused by the transport itself, before the gateway sees it."""

_MAX_ANSWER_BYTES = 2 * MAX_BATCH_BYTES

_WINDOW_BYTES = 96 * 1024
"""What a stream may send before it is asked to.

With 64 KiB, HTTP/2's own, each value of 64 KiB waited for another round trip with its last bytes: a third of its CPU.
"""

_LOOK_SECONDS = 0.05
_QUIET_LOOKS = 5
"""So often in a row a stop must find that no call has come, before it goes on."""

_QUIET_LIMIT_SECONDS = 3.0
"""So long a stop waits for that: a caller that does not wait as it is told must not hold it up."""


class _CatchAll(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs alone
    """Answers every method that no other service has; those of `streaming` as streams."""

    def __init__(
        self,
        pipeline: Pipeline,
        authenticate: Authenticate,
        reception: Reception,
        unread: UnreadAnswers,
        streams: StreamCalls,
        streaming: frozenset[str],
    ) -> None:
        self._pipeline = pipeline
        self._authenticate = authenticate
        self._reception = reception
        self._unread = unread
        self._streams = streams
        self._streaming = streaming
        self.draining = False
        self.last_call = 0.0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        """Return a handler that takes and gives bytes.

        It is one of streams, since grpcio hands those over before their message is there.
        """
        method = handler_call_details.method
        if method in self._streaming:
            return self._streams.handler(method)

        def answer(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            certificate = certificate_of(context)
            if self.draining:
                self.last_call = SYSTEM_CLOCK.monotonic()
            principal_id = ""
            try:
                # Who is nobody, and who does not read its answers, gets no further message in.
                principal_id = self._authenticate(certificate).principal_id
                self._unread.admit(principal_id)
                request = self._reception.receive(requests, certificate or b"", context.cancel)
            except KmsgwError as error:
                reply = self._pipeline.refuse(Call(method, b"", certificate, context.peer()), error)
            else:
                call = Call(
                    method, request, certificate, context.peer(), lambda: read_proof(context.invocation_metadata())
                )
                reply = self._pipeline.refuse(call, stopping()) if self.draining else self._pipeline.handle(call)
            if reply.error is not None:
                abort_with(context, reply)
            context.set_trailing_metadata(success_metadata(reply.request_id, reply.officers_wanted))
            unread = self._unread.sent(principal_id, len(reply.message), context.cancel)
            if not context.add_callback(lambda: self._unread.left(unread)):
                self._unread.left(unread)
            return reply.message

        return grpc.stream_unary_rpc_method_handler(answer)


class GrpcServer:
    """A listening server. One a worker; workers share the port with SO_REUSEPORT.

    The methods of `inline` are answered by the direct loop (`kmsgw.server.direct`), without a thread of their own.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        authenticate: Authenticate,
        credentials: grpc.ServerCredentials,
        address: str,
        *,
        threads: int,
        max_connection_age_seconds: int,
        max_connections: int = 10_000,
        max_streams: int = 1000,
        inline: frozenset[str] = frozenset(),
        streaming: frozenset[str] = frozenset(),
        stream_limits: StreamLimits = StreamLimits(),  # noqa: B008  frozen
        register: tuple[Callable[[grpc.Server], None], ...] = (),
    ) -> None:
        self._reception = Reception(threads)
        pool = full_pool(threads, "call")
        self._server = grpc.server(
            pool,
            interceptors=[StandardServiceGuard(authenticate, pipeline, self._reception)],
            options=(
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", _MAX_ANSWER_BYTES),
                ("grpc.max_concurrent_streams", max_streams),
                # Else grpcio widens the windows of quick connections to many MiB a stream, and keeps what comes in them
                # of messages that nobody has asked for. With 96 KiB a value of 64 KiB comes with its call; of what is
                # longer only what is asked for comes whole.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
                ("grpc.max_allowed_incoming_connections", max_connections),
                ("grpc.max_metadata_size", 16 * 1024),
                ("grpc.max_connection_age_ms", max_connection_age_seconds * 1000),
                # A connection that is to close carries its streams to their end; new calls go to another.
                ("grpc.max_connection_age_grace_ms", int(max(60.0, stream_limits.seconds + 10.0) * 1000)),
                ("grpc.server_handshake_timeout_ms", 10_000),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ),
        )
        for each in register:
            each(self._server)
        self._streams = StreamCalls(pipeline, authenticate, self._reception, stream_limits)
        self._unread = UnreadAnswers()
        self._calls = _CatchAll(pipeline, authenticate, self._reception, self._unread, self._streams, streaming)
        self._server.add_generic_rpc_handlers((self._calls,))
        self._loop = DirectLoop(self._server, pipeline, authenticate, inline, pool, self._unread) if inline else None
        try:
            self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            raise Unavailable(
                f"The address {address} can't be listened on.", advice="See which program has the port."
            ) from None

    def start(self) -> None:
        """Begin to accept connections."""
        self._reception.start()
        self._unread.start()
        self._streams.start()
        (self._loop or self._server).start()

    def stop(self, grace: float) -> None:
        """Take no more calls, and wait at most `grace` seconds for those in flight."""
        self._calls.draining = self._streams.draining = True
        if self._loop is not None:
            self._loop.draining = True
        began = SYSTEM_CLOCK.monotonic()
        self._await_quiet(grace)
        now = SYSTEM_CLOCK.monotonic()
        self._server.stop(max(0.0, grace - (now - began))).wait()
        self._streams.stop()
        self._reception.stop()
        self._unread.stop()

    def _await_quiet(self, grace: float) -> None:
        """Wait until no call comes any more, for at most `grace` seconds.

        grpcio drops the calls that it has received and not handed over yet, and their callers see CANCELLED. Refused
        callers wait as they are told; shortly after, nothing is on its way any more. That is looked at in steps, and
        not read off the clock: on a machine that stood still for a second nothing came either.
        """
        quiet, last = 0, self._last_call()
        for _ in range(round(min(_QUIET_LIMIT_SECONDS, grace) / _LOOK_SECONDS)):
            if quiet == _QUIET_LOOKS:
                return
            SYSTEM_CLOCK.sleep(_LOOK_SECONDS)
            seen = self._last_call()
            quiet, last = quiet + 1 if seen == last else 0, seen

    def _last_call(self) -> float:
        """Return when the last call came that was refused for the stop, by the monotonic clock."""
        return max(self._calls.last_call, self._loop.last_call if self._loop is not None else 0.0)
