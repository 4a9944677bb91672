"""The verbs that stream: what is sent, and how what is answered is read. No I/O."""

from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, Final, TypeAlias

from google.protobuf.message import DecodeError, Message

from kmsgw.client.calls.call import GivenContext, context_pairs, declaration_message, method_path
from kmsgw.client.transport import check_timeout
from kmsgw.envelope.format import STREAM_HEAD_BYTES, parse_envelope
from kmsgw.errors import EnvelopeMalformed, InternalError, InvalidRequest
from kmsgw.model.context import AccessDeclaration
from kmsgw.v1 import crypto_service_pb2 as wire

CHUNK_BYTES: Final = 262_144
"""Longest chunk of the contract, and what is sent at once."""

StreamSource: TypeAlias = BinaryIO | Iterable[bytes] | AsyncIterable[bytes]
"""Where bytes come from: a binary file, or pieces of any length; `AsyncClient` takes pieces from ``async for`` too."""

_SERVICE = wire.DESCRIPTOR.services_by_name["CryptoService"]
_ENCRYPT_STREAM = method_path(_SERVICE, "EncryptStream")
_DECRYPT_STREAM = method_path(_SERVICE, "DecryptStream")


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """A stream or file that was sealed or opened whole. ``request_id`` finds its audit entries.

    ``stream_bytes`` is the length of what is encrypted, with its header.
    """

    key_id: str
    key_version: int
    plaintext_bytes: int
    stream_bytes: int
    request_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class StreamCall:
    """A call that streams both ways.

    ``start`` makes the first message of the first ``head_bytes`` of the source, and `chunk` the others; ``end`` makes
    the last of how many bytes were sent, and is None where closing is the end.
    """

    method: str
    source: StreamSource = field(repr=False)
    head_bytes: int
    start: Callable[[bytes], bytes] = field(repr=False)
    chunk: Callable[[bytes], bytes] = field(repr=False)
    end: Callable[[int], bytes] | None = field(repr=False)
    response: type[Message] = field(repr=False)
    timeout: float | None = None


class StreamAnswers:
    """Reads what is answered, in its order. ``started`` and ``finished`` are set when they have come."""

    def __init__(self, call: StreamCall) -> None:
        self._response = call.response
        self.started: wire.StreamStarted | None = None
        self.finished: wire.StreamFinished | None = None

    def read(self, payload: bytes) -> bytes:
        """Return the bytes of a chunk, and none of another part. Raises `InternalError` where the order is wrong."""
        try:
            response = self._response.FromString(payload)
        except DecodeError:
            raise _unusable() from None
        assert isinstance(response, wire.EncryptStreamResponse | wire.DecryptStreamResponse)
        part = response.WhichOneof("part")
        if part == "chunk" and self.started is not None and self.finished is None:
            return response.chunk
        if part == "started" and self.started is None:
            self.started = response.started
        elif part == "finished" and self.started is not None and self.finished is None:
            self.finished = response.finished
        else:
            raise _unusable()
        return b""

    def summary(self, request_id: str) -> StreamSummary:
        """Return what the gateway says of the whole. Raises `InternalError` where it has not said that it is whole."""
        if self.started is None or self.finished is None:
            raise _unusable()
        return StreamSummary(
            self.started.key_id,
            self.started.key_version,
            self.finished.plaintext_bytes,
            self.finished.stream_bytes,
            request_id,
        )


def encrypt_stream(
    defaults: AccessDeclaration,
    key: str,
    source: StreamSource,
    context: GivenContext = None,
    *,
    key_version: int = 0,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> StreamCall:
    """Encrypt data of any size by the gateway, and iterate over the stream's bytes: store them one behind the other.

    The stream is whole once the iteration has ended without an exception; ``summary`` then tells of it. Nothing is
    repeated after a failure. `timeout` is in seconds for all of it; default none. `encrypt_file` is faster, and the
    plaintext does not travel.
    """
    first = wire.EncryptStreamStart(
        key=key,
        encryption_context=context_pairs(context),
        declaration=declaration_message(defaults, purpose, end_user),
        key_version=key_version,
    )
    return StreamCall(
        _ENCRYPT_STREAM,
        _checked(source),
        0,
        lambda _: wire.EncryptStreamRequest(start=first).SerializeToString(),
        lambda chunk: wire.EncryptStreamRequest(chunk=chunk).SerializeToString(),
        lambda sent: wire.EncryptStreamRequest(end=wire.EncryptStreamEnd(plaintext_bytes=sent)).SerializeToString(),
        wire.EncryptStreamResponse,
        None if timeout is None else check_timeout(timeout),
    )


def decrypt_stream(
    defaults: AccessDeclaration,
    source: StreamSource,
    context: GivenContext = None,
    *,
    expected_key: str = "",
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> StreamCall:
    """Open a stream by the gateway, and iterate over the plaintext's bytes.

    Each is authentic when it comes, and yet the plaintext is whole only once the iteration has ended without an
    exception: a stream that was cut fails at its end. Whoever can't wait must be able to undo. Raises
    `DecryptionFailed` where context, key or bytes are not those of the encryption, whichever it is. Nothing is
    repeated after a failure. `timeout` is in seconds for all of it; default none.
    """
    pairs = context_pairs(context)
    declaration = declaration_message(defaults, purpose, end_user)

    def start(head: bytes) -> bytes:
        if not parse_envelope(head, payload_optional=True).suite.is_stream:
            raise EnvelopeMalformed("This is an envelope of one piece, not a stream.", advice="Use open().")
        first = wire.DecryptStreamStart(
            head=head, encryption_context=pairs, declaration=declaration, expected_key=expected_key
        )
        return wire.DecryptStreamRequest(start=first).SerializeToString()

    return StreamCall(
        _DECRYPT_STREAM,
        _checked(source),
        STREAM_HEAD_BYTES,
        start,
        lambda chunk: wire.DecryptStreamRequest(chunk=chunk).SerializeToString(),
        None,
        wire.DecryptStreamResponse,
        None if timeout is None else check_timeout(timeout),
    )


def _checked(source: StreamSource) -> StreamSource:
    """Return a source. Raises `InvalidRequest` where it is bytes, of which an iteration gives numbers, or text."""
    if isinstance(source, bytes | bytearray | memoryview | str):
        raise InvalidRequest(
            f"The source is {type(source).__name__}.", advice="Give a binary file or pieces; for one value use seal()."
        )
    return source


def _unusable() -> InternalError:
    return InternalError(
        "The gateway's stream can't be read.", advice="Check that what listens there is kmsgwd, and as new as this SDK."
    )
