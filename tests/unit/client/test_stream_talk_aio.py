"""A refusal that meets a message on its way: grpc.aio tells of its failure to send, the client of the refusal."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from kmsgw.client.calls.streams import StreamCall
from kmsgw.client.failures import Failure
from kmsgw.client.stream_talk_aio import AsyncGatewayStream, AsyncStreamRpc
from kmsgw.errors import AccessDenied, KmsgwError, Status
from kmsgw.v1 import crypto_service_pb2 as wire

REFUSED = (grpc.StatusCode.PERMISSION_DENIED, "The policies do not allow it.")
FAILED_TO_SEND = (grpc.StatusCode.INTERNAL, "Internal error from Core")


class Rpc:
    """A call of grpc.aio: statuses set in each other's place while an answer is awaited, and more of them later."""

    def __init__(self, at_once: list[tuple[grpc.StatusCode, str]], later: list[tuple[grpc.StatusCode, str]]) -> None:
        self._at_once = at_once
        self._later = later
        self._status = at_once[0]
        self._callback: Callable[[AsyncStreamRpc], None] = lambda _: None

    async def read(self) -> bytes:
        self._set(self._at_once)
        asyncio.get_running_loop().call_later(0.01, self._set, self._later)
        raise grpc.aio.AioRpcError(self._status[0], grpc.aio.Metadata(), grpc.aio.Metadata(), self._status[1], None)

    def _set(self, statuses: list[tuple[grpc.StatusCode, str]]) -> None:
        for status in statuses:
            self._status = status
            self._callback(self)

    async def code(self) -> grpc.StatusCode:
        return self._status[0]

    async def details(self) -> str:
        return self._status[1]

    async def initial_metadata(self) -> tuple[()]:
        return ()

    async def trailing_metadata(self) -> tuple[()]:
        return ()

    def cancel(self) -> bool:
        return False

    def add_done_callback(self, callback: Callable[[AsyncStreamRpc], None]) -> None:
        self._callback = callback


def explained(failure: Failure) -> KmsgwError:
    return AccessDenied(failure.message) if failure.status is Status.PERMISSION_DENIED else KmsgwError(failure.message)


@pytest.mark.parametrize(
    ("at_once", "later"), [([REFUSED, FAILED_TO_SEND], []), ([FAILED_TO_SEND], [REFUSED])], ids=["before", "after"]
)
def test_the_refusal_wins_over_the_failure_to_send(
    at_once: list[tuple[grpc.StatusCode, str]], later: list[tuple[grpc.StatusCode, str]]
) -> None:
    def begin(_: StreamCall, __: AsyncIterator[bytes]) -> AsyncStreamRpc:
        return Rpc(at_once, later)

    async def work() -> None:
        call = StreamCall("/method", [b"some"], 4, bytes, bytes, None, wire.DecryptStreamResponse)
        with pytest.raises(AccessDenied):
            await anext(aiter(AsyncGatewayStream(call, begin, explained)))

    asyncio.run(work())
