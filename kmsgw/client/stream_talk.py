"""Streams of the synchronous client: an iterator over what is answered, while what a source gives is sent."""

from collections.abc import Callable, Iterator
from itertools import chain
from types import TracebackType
from typing import Any, Protocol, Self, cast

import grpc

from kmsgw.client.calls.streams import StreamAnswers, StreamCall, StreamSummary
from kmsgw.client.failures import Failure, find_request_id, read_failure
from kmsgw.client.stream_pieces import chunks_of, pieces_of
from kmsgw.errors import InternalError, KmsgwError


class StreamRpc(Protocol):
    """What grpc makes of a call that streams."""

    def __next__(self) -> bytes:
        """Return the next answer."""

    def cancel(self) -> bool:
        """End the call."""

    def initial_metadata(self) -> Any:
        """Return the metadata of the beginning."""

    def trailing_metadata(self) -> Any:
        """Return the metadata of the end."""


Begin = Callable[[StreamCall, Iterator[bytes]], StreamRpc]
Explain = Callable[[Failure], KmsgwError]


class GatewayStream:
    """What the gateway answers to a stream, to iterate over. Close it, or leave its ``with`` block, to end it early."""

    def __init__(self, call: StreamCall, begin: Begin, explain: Explain) -> None:
        self._call = call
        self._begin = begin
        self._explain = explain
        self._fault: BaseException | None = None
        self._rpc: StreamRpc | None = None
        self._summary: StreamSummary | None = None
        self._answers = self._talk()

    @property
    def summary(self) -> StreamSummary:
        """What became of it. Raises `InternalError` before the iteration has ended without an exception."""
        if self._summary is None:
            raise InternalError("The stream is not whole.", advice="Iterate to its end first.")
        return self._summary

    def __iter__(self) -> Iterator[bytes]:
        return self._answers

    def __next__(self) -> bytes:
        return next(self._answers)

    def close(self) -> None:
        """End the call, if it has not ended."""
        if self._rpc is not None:
            self._rpc.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _talk(self) -> Iterator[bytes]:
        call = self._call
        pieces = pieces_of(call.source)
        head, rest = take_head(pieces, call.head_bytes)
        rpc = self._rpc = self._begin(call, self._messages(call.start(head), rest, pieces))
        answers = StreamAnswers(call)
        try:
            while True:
                outcome = self._next(rpc)
                if isinstance(outcome, Failure):
                    raise self._fault or self._explain(outcome)
                if outcome is None:
                    break
                if chunk := answers.read(outcome):
                    yield chunk
            self._summary = answers.summary(
                find_request_id(rpc.trailing_metadata() or (), rpc.initial_metadata() or ())
            )
        finally:
            rpc.cancel()

    def _next(self, rpc: StreamRpc) -> bytes | Failure | None:
        # Returned and not raised, so that no error keeps that of gRPC alive as its __context__.
        try:
            return next(rpc)
        except StopIteration:
            return None
        except grpc.RpcError as error:
            failed = cast("grpc.Call", error)
            return read_failure(
                failed.code(), failed.details() or "", failed.initial_metadata() or (), failed.trailing_metadata() or ()
            )

    def _messages(self, start: bytes, rest: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield what is sent; in a thread of grpc, which asks for the next only when the last has left."""
        call, sent = self._call, 0
        yield start
        try:
            for piece in chain((rest,), pieces):
                for chunk in chunks_of(piece):
                    sent += len(chunk)
                    yield call.chunk(chunk)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001  the caller's own, raised where it waits for the answers
            self._fault = error
            if self._rpc is not None:
                self._rpc.cancel()
            return
        if call.end is not None:
            yield call.end(sent)


def take_head(pieces: Iterator[bytes], length: int) -> tuple[bytes, bytes]:
    """Return the first `length` bytes of pieces, fewer where there are no more, and what else was read for it."""
    read = b""
    while len(read) < length:
        piece = next(pieces, None)
        if piece is None:
            break
        read += piece
    return read[:length], read[length:]
