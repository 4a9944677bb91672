"""Cuts what a source gives into the chunks of the contract. Shared by both flavours of the client."""

from collections.abc import AsyncIterator, Iterable, Iterator

from kmsgw.client.calls.call import require_bytes
from kmsgw.client.calls.streams import CHUNK_BYTES, StreamSource
from kmsgw.errors import InvalidRequest


def pieces_of(source: StreamSource) -> Iterator[bytes]:
    """Yield the pieces of a source. Raises `InvalidRequest` where it gives something else than bytes."""
    read = getattr(source, "read", None)
    if read is not None:
        while piece := read(CHUNK_BYTES):
            yield _checked(piece)
    elif isinstance(source, Iterable):
        for piece in source:
            yield _checked(piece)
    else:
        raise InvalidRequest(
            "The source is neither a file nor pieces.", advice="Give a binary file or pieces; `AsyncClient` takes more."
        )


async def pieces_of_any(source: StreamSource) -> AsyncIterator[bytes]:
    """Yield the pieces of a source of either kind. What is not made for asyncio is asked in the loop's own thread."""
    if hasattr(source, "__aiter__"):
        async for piece in source:
            yield _checked(piece)
    else:
        for piece in pieces_of(source):
            yield piece


def chunks_of(piece: bytes) -> Iterator[bytes]:
    """Yield a piece in parts that the contract takes; an empty one gives none."""
    for start in range(0, len(piece), CHUNK_BYTES):
        yield piece[start : start + CHUNK_BYTES]


def _checked(piece: object) -> bytes:
    if isinstance(piece, bytearray | memoryview):
        return bytes(piece)
    return require_bytes(piece, "a piece", 1 << 62, "")  # type: ignore[arg-type]
