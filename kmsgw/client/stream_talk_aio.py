"""Streams of the client for asyncio, and work on files: the same as for threads, to ``async for`` and to await."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar, cast

import grpc

from kmsgw.client.calls.call import Call
from kmsgw.client.calls.streams import StreamAnswers, StreamCall, StreamSummary
from kmsgw.client.failures import Failure, find_request_id, read_failure
from kmsgw.client.files.tasks import FileTask
from kmsgw.client.stream_pieces import chunks_of, pieces_of_any
from kmsgw.errors import InternalError, KmsgwError

T = TypeVar("T")

_FAILED_TO_SEND: Final = "Internal error from Core"
_STATUS_SECONDS: Final = 10.0


class AsyncStreamRpc(Protocol):
    """What grpc makes of a call that streams."""

    async def read(self) -> Any:
        """Return the next answer, or `grpc.aio.EOF`."""

    async def code(self) -> grpc.StatusCode:
        """Return the status."""

    async def details(self) -> str:
        """Return the status's text."""

    async def initial_metadata(self) -> Any:
        """Return the metadata of the beginning."""

    async def trailing_metadata(self) -> Any:
        """Return the metadata of the end."""

    def cancel(self) -> bool:
        """End the call."""

    def add_done_callback(self, callback: Callable[["AsyncStreamRpc"], None]) -> None:
        """Call back each time that the call gets a status."""


AsyncBegin = Callable[[StreamCall, AsyncIterator[bytes]], AsyncStreamRpc]
Explain = Callable[[Failure], KmsgwError]


class AsyncGatewayStream:
    """What the gateway answers to a stream, for ``async for``. Close it, or leave its block, to end it early."""

    def __init__(self, call: StreamCall, begin: AsyncBegin, explain: Explain) -> None:
        self._call = call
        self._begin = begin
        self._explain = explain
        self._fault: BaseException | None = None
        self._rpc: AsyncStreamRpc | None = None
        self._summary: StreamSummary | None = None
        self._answers = self._talk()

    @property
    def summary(self) -> StreamSummary:
        """What became of it. Raises `InternalError` before the iteration has ended without an exception."""
        if self._summary is None:
            raise InternalError("The stream is not whole.", advice="Iterate to its end first.")
        return self._summary

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._answers

    async def __anext__(self) -> bytes:
        return await anext(self._answers)

    def close(self) -> None:
        """End the call, if it has not ended."""
        if self._rpc is not None:
            self._rpc.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _talk(self) -> AsyncIterator[bytes]:
        call = self._call
        pieces = pieces_of_any(call.source)
        head, rest = await _take_head(pieces, call.head_bytes)
        rpc = self._rpc = self._begin(call, self._messages(call.start(head), rest, pieces))
        answers, end = StreamAnswers(call), _End(rpc)
        try:
            while True:
                outcome = await _next(rpc, end)
                if isinstance(outcome, Failure):
                    raise self._fault or self._explain(outcome)
                if outcome is None:
                    break
                if chunk := answers.read(outcome):
                    yield chunk
            self._summary = answers.summary(
                find_request_id(await rpc.trailing_metadata() or (), await rpc.initial_metadata() or ())
            )
        finally:
            rpc.cancel()

    async def _messages(self, start: bytes, rest: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield what is sent; grpc asks for the next only when the last has left."""
        call, sent = self._call, len(rest)
        yield start
        try:
            for chunk in chunks_of(rest):
                yield call.chunk(chunk)
            async for piece in pieces:
                for chunk in chunks_of(piece):
                    sent += len(chunk)
                    yield call.chunk(chunk)
        except (GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001  the caller's own, raised where it waits for the answers
            self._fault = error
            if self._rpc is not None:
                self._rpc.cancel()
            return
        if call.end is not None:
            yield call.end(sent)


class _End:
    """Why a call failed, as the gateway says it and not as grpc.aio does."""

    # Where the gateway refuses while something is being sent, grpc.aio puts its own failure to send in the place of the
    # gateway's status, be it that this comes a moment later or that it was there already. So each status is looked at
    # in the moment when it is set.

    def __init__(self, rpc: AsyncStreamRpc) -> None:
        self._rpc = rpc
        self._told = asyncio.Event()
        self._failure: Failure | None = None
        rpc.add_done_callback(self._look)

    async def failure(self) -> Failure:
        """Return why the call failed, once the gateway has said it or does not say it for long."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._told.wait(), _STATUS_SECONDS)
        return self._failure or await _read_status(self._rpc)

    def _look(self, rpc: AsyncStreamRpc) -> None:
        if self._failure is None:
            failure = _ran(_read_status(rpc))
            if failure.message != _FAILED_TO_SEND:
                self._failure = failure
                self._told.set()


def _ran(ready: Coroutine[None, None, T]) -> T:
    """Run what has nothing to wait for."""
    try:
        ready.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    raise InternalError("A call that has a status waits for it.")


async def _read_status(rpc: AsyncStreamRpc) -> Failure:
    return read_failure(
        await rpc.code(),
        await rpc.details() or "",
        await rpc.initial_metadata() or (),
        await rpc.trailing_metadata() or (),
    )


async def _next(rpc: AsyncStreamRpc, end: _End) -> bytes | Failure | None:
    """Return the next answer, None behind the last, or why there is none."""
    # Returned and not raised, so that no error keeps that of gRPC alive as its __context__.
    try:
        answer = await rpc.read()
    except grpc.aio.AioRpcError:
        return await end.failure()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Ended by `close` or by a fault of the source, which looks like a cancellation of the task and is none.
        return read_failure(grpc.StatusCode.CANCELLED, "", (), ())
    if answer is grpc.aio.EOF:  # type: ignore[attr-defined]
        return None if await rpc.code() is grpc.StatusCode.OK else await end.failure()
    assert isinstance(answer, bytes)
    return answer


async def _take_head(pieces: AsyncIterator[bytes], length: int) -> tuple[bytes, bytes]:
    """Return the first `length` bytes of pieces, fewer where there are no more, and what else was read for it."""
    read = b""
    while len(read) < length:
        try:
            read += await anext(pieces)
        except StopAsyncIteration:
            break
    return read[:length], read[length:]


class AsyncTransport(Protocol):
    """Makes calls in an event loop."""

    async def run(self, call: Call[T]) -> T:
        """Make a call."""

    def converse(self, call: StreamCall) -> AsyncGatewayStream:
        """Make a call that streams."""


class _Bridge:
    """Makes calls for a thread that works on a file, in the loop that waits for it."""

    def __init__(self, transport: AsyncTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop

    def run(self, call: Call[T]) -> T:
        """Make a call."""
        return asyncio.run_coroutine_threadsafe(self._transport.run(call), self._loop).result()

    def converse(self, call: StreamCall) -> "_BridgedTalk":
        """Make a call that streams."""
        return _BridgedTalk(self._transport.converse(call), self._loop)


class _BridgedTalk:
    """A stream of the loop, for a thread."""

    def __init__(self, stream: AsyncGatewayStream, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop

    def __iter__(self) -> Iterator[bytes]:
        while True:
            chunk = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            if chunk is None:
                return
            yield chunk

    @property
    def summary(self) -> StreamSummary:
        """What became of it."""
        return self._stream.summary

    async def _next(self) -> bytes | None:
        return await anext(self._stream.__aiter__(), None)


async def perform(task: FileTask[T], transport: AsyncTransport) -> T:
    """Do work on a file in a thread. Cancelling ends it at its next segment, and waits for that."""
    work = asyncio.ensure_future(asyncio.to_thread(task.perform, _Bridge(transport, asyncio.get_running_loop())))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        task.stop.set()
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # looked at, so that nobody is told that it never was
        raise
