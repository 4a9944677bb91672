"""Connections of a principal to the gateway, for greenlets.

Import this after Locust has forked, never before: gRPC's library does not survive a fork. Calls are the SDK's own, sent
once each: the SDK's retries would hide failures, and gRPC shares one connection between channels that are alike, which
would leave all load to one of the gateway's workers.
"""

import itertools
from collections.abc import Iterator
from typing import Final, TypeVar, cast

import grpc
import grpc.experimental.gevent  # type: ignore[import-not-found]
from gevent.event import Event  # type: ignore[import-untyped]

from kmsgw.client import Credentials
from kmsgw.client.calls.call import Answer, Call
from kmsgw.client.calls.streams import StreamCall
from kmsgw.client.channel import channel_credentials, channel_options
from kmsgw.client.failures import Failure, read_failure
from kmsgw.client.stream_talk import GatewayStream, StreamRpc
from kmsgw.errors import InternalError, KmsgwError, Unavailable

T = TypeVar("T")

WRONG_ANSWER: Final = "WRONG_ANSWER"
"""Reason of a failure that only the caller can see: the gateway answered, and not what it should."""

grpc.experimental.gevent.init_gevent()  # before any channel is made


class CallFailed(Exception):
    """The gateway refused a call, or it got no answer. Its text is the reason code, or gRPC's status."""


class Connections:
    """Several connections of one principal, used in turn."""

    def __init__(self, address: str, credentials: Credentials, count: int) -> None:
        options = (*channel_options(""), ("grpc.use_local_subchannel_pool", 1))
        self._channels = [
            grpc.secure_channel(address, channel_credentials(credentials), options=options) for _ in range(count)
        ]
        self._turn = itertools.cycle(range(count))
        self._methods: dict[tuple[int, str], grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}

    def send(self, call: Call[T], timeout: float) -> T:
        """Make a call, once, and return its result. Raises `CallFailed`."""
        which = next(self._turn)
        method = self._methods.get((which, call.method))
        if method is None:
            method = self._methods[which, call.method] = self._channels[which].unary_unary(call.method, None, None)
        # A future that wakes its greenlet needs a third less of the processor than a call that blocks (measured).
        done = Event()
        future = method.future(call.request, timeout=timeout)
        future.add_done_callback(lambda _: done.set())
        try:
            done.wait()
        finally:
            future.cancel()  # type: ignore[no-untyped-call]  # where the user is stopped meanwhile; of no effect on a call that has ended
        try:
            return call.result(Answer(future.result()))
        except grpc.RpcError as error:
            failed = cast("grpc.Call", error)
            code = failed.code()
            failure = read_failure(code, failed.details() or "", (), failed.trailing_metadata() or ())
            raise CallFailed(failure.reason or code.name) from None
        except InternalError:
            raise CallFailed(WRONG_ANSWER) from None

    def stream(self, call: StreamCall, timeout: float) -> bytes:
        """Make a call that streams both ways, once, and return all that was answered. Raises `CallFailed`."""
        channel = self._channels[next(self._turn)]
        reasons: list[str] = []

        def begin(call: StreamCall, messages: Iterator[bytes]) -> StreamRpc:
            return cast("StreamRpc", channel.stream_stream(call.method, None, None)(messages, timeout=timeout))

        def note(failure: Failure) -> KmsgwError:
            reasons.append(failure.reason or failure.status.name)
            return Unavailable("The stream has failed.", advice="Its reason is counted.")

        with GatewayStream(call, begin, note) as stream:  # cancels it where the user is stopped meanwhile
            try:
                return b"".join(stream)
            except KmsgwError:
                raise CallFailed(reasons[0] if reasons else WRONG_ANSWER) from None

    def close(self) -> None:
        """Release the connections."""
        for channel in self._channels:
            channel.close()
