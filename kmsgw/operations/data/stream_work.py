"""What a stream does once it is allowed: it takes pieces and gives pieces."""

from collections.abc import Iterator
from typing import Protocol


class StreamWork(Protocol):
    """One stream on its way. For one thread at a time.

    ``plaintext_bytes`` and ``stream_bytes`` count what passed, the latter with the header; ``bytes_in`` is the one of
    them that the caller sends, ``bytes_out`` the one that it is sent.
    """

    key_id: str
    key_version: int
    plaintext_bytes: int
    stream_bytes: int

    @property
    def bytes_in(self) -> int:
        """Bytes that came."""

    @property
    def bytes_out(self) -> int:
        """Bytes that were given out, each of them authentic."""

    def begin(self) -> Iterator[bytes]:
        """Yield what goes first."""

    def update(self, piece: bytes) -> Iterator[bytes]:
        """Take the next piece and yield what it completes."""

    def finish(self) -> Iterator[bytes]:
        """Yield what goes last. What came before is whole only once this has ended without an error."""
