"""CryptoService's streams: from their messages to commands and pieces, and from pieces to messages."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from kmsgw.envelope.format import parse_envelope
from kmsgw.errors import EnvelopeMalformed, InvalidRequest, Reason
from kmsgw.operations.data.decrypt_stream import DecryptStreamCommand
from kmsgw.operations.data.encrypt_stream import EncryptStreamCommand
from kmsgw.operations.data.stream_work import StreamWork
from kmsgw.server.wire_crypto import context_of, declaration_of
from kmsgw.v1 import crypto_service_pb2 as wire

MAX_CHUNK_BYTES: Final = 262_144
"""Longest chunk that a caller may send, and the longest of plaintext that it is sent."""

MAX_HEAD_BYTES: Final = 65_536
"""Longest beginning of a stream that a caller may send with its start."""

_STUBS = "Use stubs generated from kmsgw's proto files, and send one start, the chunks, and the end."


@dataclass(frozen=True, slots=True)
class End:
    """The caller has sent all its plaintext, so many bytes."""

    plaintext_bytes: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """How one method streams. ``ends_by_message``: closing the caller's side is not enough of an end."""

    request: type[Message]
    response: Callable[..., Message]
    longest: int
    ends_by_message: bool

    def piece(self, message: bytes) -> bytes | End:
        """Read a message behind the start. Raises `InvalidRequest` where it is not what the contract says."""
        try:
            request: Any = self.request.FromString(message)
        except DecodeError:
            raise _malformed("A message of the stream can't be read.") from None
        part = request.WhichOneof("part")
        if part == "end":
            return End(request.end.plaintext_bytes)
        if part != "chunk":
            raise _malformed("A message of the stream has neither a chunk nor an end.")
        if not 0 < len(request.chunk) <= MAX_CHUNK_BYTES:
            raise InvalidRequest(
                f"A chunk has {len(request.chunk)} bytes.",
                reason=Reason.PLAINTEXT_TOO_LARGE if request.chunk else Reason.REQUEST_MALFORMED,
                advice=f"Send chunks of 1 to {MAX_CHUNK_BYTES} bytes.",
            )
        return bytes(request.chunk)

    def started(self, work: StreamWork) -> Message:
        """Return the first answer."""
        return self.response(started=wire.StreamStarted(key_id=work.key_id, key_version=work.key_version))

    def chunks(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield pieces as messages, long ones as several."""
        for piece in pieces:
            for start in range(0, len(piece), self.longest):
                yield self.response(chunk=piece[start : start + self.longest]).SerializeToString()

    def finished(self, work: StreamWork) -> bytes:
        """Return the last answer."""
        end = wire.StreamFinished(plaintext_bytes=work.plaintext_bytes, stream_bytes=work.stream_bytes)
        return self.response(finished=end).SerializeToString()


ENCRYPT_STREAM: Final = Conversation(
    wire.EncryptStreamRequest, wire.EncryptStreamResponse, MAX_CHUNK_BYTES + 256, ends_by_message=True
)
DECRYPT_STREAM: Final = Conversation(
    wire.DecryptStreamRequest, wire.DecryptStreamResponse, MAX_CHUNK_BYTES, ends_by_message=False
)


def encrypt_stream_command(request: wire.EncryptStreamRequest) -> EncryptStreamCommand:
    """Read the start of an EncryptStream. Raises `InvalidRequest` where the first message is another."""
    _require_start(request)
    start = request.start
    return EncryptStreamCommand(
        start.key, context_of(start.encryption_context), declaration_of(start.declaration), start.key_version
    )


def decrypt_stream_command(request: wire.DecryptStreamRequest) -> DecryptStreamCommand:
    """Read the start of a DecryptStream. Raises `EnvelopeMalformed` where its head is not that of a stream."""
    _require_start(request)
    start = request.start
    if len(start.head) > MAX_HEAD_BYTES:
        raise EnvelopeMalformed(
            f"The head has {len(start.head)} bytes.", advice=f"Send at most {MAX_HEAD_BYTES}, and chunks behind them."
        )
    head = parse_envelope(start.head, payload_optional=True)
    if not head.suite.is_stream:
        raise EnvelopeMalformed("This is an envelope of one piece, not a stream.", advice="Use Decrypt.")
    return DecryptStreamCommand(
        head, context_of(start.encryption_context), declaration_of(start.declaration), start.expected_key
    )


def _require_start(request: wire.EncryptStreamRequest | wire.DecryptStreamRequest) -> None:
    if request.WhichOneof("part") != "start":
        raise _malformed("The first message of the stream is not its start.")


def _malformed(message: str) -> InvalidRequest:
    return InvalidRequest(message, reason=Reason.REQUEST_MALFORMED, advice=_STUBS)
