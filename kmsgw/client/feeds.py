"""Feeds: what the gateway sends as it comes. Where it ends one in order, the next begins where that has ended."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError

from kmsgw.client.failures import Failure, read_failure
from kmsgw.errors import InternalError, KmsgwError

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

Explain = Callable[[Failure], KmsgwError]


class Feed(Protocol[T_co]):
    """What is asked for, and how it is read."""

    method: str

    def request(self) -> bytes:
        """Return what to begin with, behind what has been read."""

    def read(self, message: bytes) -> tuple[T_co, ...]:
        """Return what a message holds. Raises `DecodeError`, and what forbids to believe it."""


def iterate(feed: Feed[T], begin: Callable[[Feed[T]], Any], explain: Explain) -> Iterator[T]:
    """Yield what a feed holds, until the iterator is closed. Raises what ends it otherwise."""
    while True:
        rpc = begin(feed)
        try:
            while (outcome := _next(rpc)) is not None:
                if isinstance(outcome, Failure):
                    raise explain(outcome)
                yield from _read(feed, outcome)
        finally:
            rpc.cancel()


async def aiterate(feed: Feed[T], begin: Callable[[Feed[T]], Any], explain: Explain) -> AsyncIterator[T]:
    """Do the same for asyncio."""
    while True:
        rpc = begin(feed)
        try:
            while (outcome := await _anext(rpc)) is not None:
                if isinstance(outcome, Failure):
                    raise explain(outcome)
                for each in _read(feed, outcome):
                    yield each
        finally:
            rpc.cancel()


def _read(feed: Feed[T], message: bytes) -> tuple[T, ...]:
    try:
        return feed.read(message)
    except DecodeError:
        raise InternalError(
            "The gateway's answer can't be read.",
            advice="Check that what listens there is kmsgwd, and as new as this SDK.",
        ) from None


def _next(rpc: Any) -> bytes | Failure | None:
    # Returned and not raised, so that no error keeps that of gRPC alive as its __context__.
    try:
        return cast("bytes", next(rpc))
    except StopIteration:
        return None
    except grpc.RpcError as error:
        failed = cast("grpc.Call", error)
        return read_failure(
            failed.code(), failed.details() or "", failed.initial_metadata() or (), failed.trailing_metadata() or ()
        )


async def _anext(rpc: Any) -> bytes | Failure | None:
    try:
        answer = await rpc.read()
    except grpc.aio.AioRpcError as error:
        initial, trailing = cast("Any", error.initial_metadata()), cast("Any", error.trailing_metadata())
        return read_failure(error.code(), error.details() or "", initial or (), trailing or ())
    if answer is grpc.aio.EOF:  # type: ignore[attr-defined]
        code = await rpc.code()
        if code is grpc.StatusCode.OK:
            return None
        return read_failure(
            code, await rpc.details() or "", await rpc.initial_metadata() or (), await rpc.trailing_metadata() or ()
        )
    return cast("bytes", answer)
