"""What is done to files: seal, open, rewrap. Blocking; the flavours of the client run it, each in its way."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Generic, Protocol, TypeAlias, TypeVar

from kmsgw.client.calls import crypto, sealing, streams
from kmsgw.client.calls.call import Call, GivenContext, bound_context
from kmsgw.client.calls.streams import StreamCall, StreamSummary
from kmsgw.client.files.segments import Passage, Progress, Stop, move, write_all
from kmsgw.client.files.target import open_source, open_target
from kmsgw.client.results import Rewrapped
from kmsgw.envelope.format import STREAM_HEAD_BYTES, Envelope, Suite, parse_envelope
from kmsgw.envelope.stream import LOCAL_SEGMENT_EXPONENT, StreamSealer, opening_cipher
from kmsgw.errors import DecryptionFailed, EnvelopeMalformed, InternalError, InvalidRequest
from kmsgw.model.context import AccessDeclaration, EncryptionContext

T = TypeVar("T")

Place: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A file: by its path, or open in binary mode, from where it stands."""

_COPY_BYTES: Final = 1 << 20


class Talk(Protocol):
    """What the gateway answers to a stream."""

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the bytes."""

    @property
    def summary(self) -> StreamSummary:
        """What became of it, at its end."""


class Runner(Protocol):
    """Makes calls and waits for them."""

    def run(self, call: Call[T]) -> T:
        """Make a call."""

    def converse(self, call: StreamCall) -> Talk:
        """Make a call that streams."""


@dataclass(frozen=True, slots=True)
class FileTask(Generic[T]):
    """Work on a file. It raises what the calls raise, and `OSError`; ``stop`` ends it from another thread."""

    perform: Callable[[Runner], T]
    stop: Stop


def ignore_progress(_count: int) -> None:
    """Tell nobody of progress."""


def encrypt_file(
    defaults: AccessDeclaration,
    key: str,
    source: Place,
    target: Place,
    context: GivenContext = None,
    *,
    purpose: str | None = None,
    end_user: str | None = None,
    durable: bool = False,
    progress: Progress = ignore_progress,
    timeout: float | None = None,
) -> FileTask[StreamSummary]:
    """Encrypt a file of any size here, under a data key that the gateway makes for it, into a stream.

    Policy decides on ``generateDataKey``. Only the data key travels; memory stays constant. `source` and `target` are
    paths, or files that are open in binary mode. A path gets the result when it is whole; `durable` flushes it to the
    disk before. `progress` is told how many bytes more were read, perhaps from several threads. `timeout` is for the
    call to the gateway. Raises `Conflict` where the file changes meanwhile, and `OSError`.
    """
    bound, stop = bound_context(context), Stop()
    call = crypto.generate_data_key(defaults, key, bound, purpose=purpose, end_user=end_user, timeout=timeout)

    def perform(runner: Runner) -> StreamSummary:
        with open_source(source) as plain:
            made = runner.run(call)
            wrapping = _wrapping(made.wrapped, made.request_id)
            sealer = StreamSealer(
                made.plaintext,
                bound,
                key_id=wrapping.key_id,
                key_version=wrapping.key_version,
                wrapped=wrapping.wrapped,
                suite=Suite.CLIENT_STREAM,
                segment_exponent=LOCAL_SEGMENT_EXPONENT,
            )
            with open_target(target, private=False, durable=durable) as sealed:
                write_all(sealed, sealer.header)
                taken, given = move(Passage.sealing(sealer.cipher), plain, sealed, progress=progress, stop=stop)
        whole = len(sealer.header) + given
        return StreamSummary(wrapping.key_id, wrapping.key_version, taken, whole, made.request_id)

    return FileTask(perform, stop)


def decrypt_file(
    defaults: AccessDeclaration,
    source: Place,
    target: Place,
    context: GivenContext = None,
    *,
    expected_key: str = "",
    purpose: str | None = None,
    end_user: str | None = None,
    durable: bool = False,
    progress: Progress = ignore_progress,
    timeout: float | None = None,
) -> FileTask[StreamSummary]:
    """Open a stream, or an envelope, of any size. A stream that a client sealed is opened here.

    One that the gateway sealed is streamed through the gateway, which hands its own data keys to nobody. A path gets
    the plaintext, with mode 0600, once the last segment is authentic, and nothing before. A target that is an open
    file has got every segment up to a failure: each authentic, together not the whole. Raises `DecryptionFailed` where
    context, key or bytes are not those of the encryption, whichever it is, `EnvelopeMalformed` where the file is none,
    and `OSError`. The other arguments are those of `encrypt_file`.
    """
    bound, stop = bound_context(context), Stop()

    def perform(runner: Runner) -> StreamSummary:
        with open_source(source) as sealed:
            head = _read(sealed, STREAM_HEAD_BYTES)
            parsed = parse_envelope(head, payload_optional=True)
            if parsed.suite is Suite.WRAPPED_DATA_KEY:
                raise EnvelopeMalformed("This is a wrapped data key; it has no payload.", advice="Use decrypt().")
            job = _Opening(parsed, head, sealed, bound, progress, stop)
            if parsed.suite is Suite.CLIENT_STREAM:
                wrapped = parsed.wrapped_data_key().encode()
                call = crypto.decrypt(
                    defaults,
                    wrapped,
                    bound,
                    expected_key=expected_key,
                    purpose=purpose,
                    end_user=end_user,
                    timeout=timeout,
                )
                opened = runner.run(call)
                with open_target(target, private=True, durable=durable) as plain:
                    return job.here(opened.plaintext, plain, opened.request_id)
            if parsed.suite is Suite.GATEWAY_STREAM:
                stream = streams.decrypt_stream(
                    defaults, job.pieces(), bound, expected_key=expected_key, purpose=purpose, end_user=end_user
                )
                with open_target(target, private=True, durable=durable) as plain:
                    return job.through(runner.converse(stream), plain)
            envelope = head + _read(sealed, sealing.MAX_SEALED_ENVELOPE)
            whole = sealing.open_sealed(
                defaults,
                envelope,
                bound,
                expected_key=expected_key,
                purpose=purpose,
                end_user=end_user,
                timeout=timeout,
            )
            value = runner.run(whole)
            with open_target(target, private=True, durable=durable) as plain:
                write_all(plain, value.plaintext)
            progress(len(envelope))
            return StreamSummary(value.key_id, value.key_version, len(value.plaintext), len(envelope), value.request_id)

    return FileTask(perform, stop)


def rewrap_file(
    defaults: AccessDeclaration,
    source: Place,
    context: GivenContext = None,
    *,
    target: Place | None = None,
    purpose: str | None = None,
    end_user: str | None = None,
    durable: bool = False,
    timeout: float | None = None,
) -> FileTask[Rewrapped]:
    """Put the data key of a file, a stream or an envelope, under the newest version of its key.

    Only the header travels, and what follows it is copied as it is, in constant memory. Without a `target` the source,
    then a path, is replaced when the new file is whole, and left as it is where it is under the newest version already.
    The result's ``envelope`` is the header. Raises `EnvelopeMalformed` where the file is none, and `OSError`.
    """
    bound, stop = bound_context(context), Stop()
    if target is None and not isinstance(source, str | os.PathLike):
        raise InvalidRequest("The source is no path.", advice="Name a target.")

    def perform(runner: Runner) -> Rewrapped:
        with open_source(source) as old:
            head = _read(old, STREAM_HEAD_BYTES)
            header = _header(parse_envelope(head, payload_optional=True))
            call = sealing.rewrap(defaults, header, bound, purpose=purpose, end_user=end_user, timeout=timeout)
            made = runner.run(call)
            if target is not None or made.changed:
                with open_target(source if target is None else target, private=False, durable=durable) as new:
                    write_all(new, made.envelope + head[len(header) :])
                    shutil.copyfileobj(old, new, _COPY_BYTES)
        return made

    return FileTask(perform, stop)


class _Opening:
    """A stream that is opened: here, or by the gateway, for which it is a file to read from."""

    def __init__(
        self,
        parsed: Envelope,
        head: bytes,
        sealed: BinaryIO,
        context: EncryptionContext,
        progress: Progress,
        stop: Stop,
    ) -> None:
        self._parsed = parsed
        self._head = head
        self._sealed = sealed
        self._context = context
        self._progress = progress
        self._stop = stop

    def here(self, data_key: bytes, plain: BinaryIO, request_id: str) -> StreamSummary:
        """Open it under its data key."""
        parsed, header = self._parsed, len(_header(self._parsed))
        try:
            cipher = opening_cipher(data_key, parsed, self._context)
            start = parsed.payload
            if start and _goes_back(self._sealed, len(start)):
                start = b""
            taken, given = move(
                Passage.opening(cipher), self._sealed, plain, start=start, progress=self._progress, stop=self._stop
            )
        except DecryptionFailed as error:
            error.request_id = request_id
            raise
        return StreamSummary(parsed.key_id, parsed.key_version, given, header + taken, request_id)

    def through(self, talk: Talk, plain: BinaryIO) -> StreamSummary:
        """Write what the gateway opens."""
        for chunk in talk:
            self._stop.check()
            write_all(plain, chunk)
        return talk.summary

    def pieces(self) -> Iterator[bytes]:
        """Yield the sealed stream: what was read of it already, then the rest."""
        piece = self._head
        while piece:
            self._progress(len(piece))
            yield piece
            piece = self._sealed.read(streams.CHUNK_BYTES)


def _goes_back(file: BinaryIO, count: int) -> bool:
    """Put a file back by so many bytes, where it can be: then its segments can be read from several threads."""
    try:
        file.seek(-count, os.SEEK_CUR)
    except (OSError, AttributeError):
        return False
    return True


def _read(file: BinaryIO, size: int) -> bytes:
    """Read `size` bytes, fewer at the end of a file: a pipe gives what it has."""
    parts = []
    while size > 0 and (part := file.read(min(size, _COPY_BYTES))):
        if not isinstance(part, bytes):
            raise InvalidRequest("The source gives no bytes.", advice="Open it in binary mode.")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _header(envelope: Envelope) -> bytes:
    encoded = envelope.encode()
    return encoded[: len(encoded) - len(envelope.payload)]


def _wrapping(wrapped: bytes, request_id: str) -> Envelope:
    try:
        return parse_envelope(wrapped)
    except EnvelopeMalformed:
        raise InternalError(
            "The gateway answered a data key that can't be read.",
            advice="Use an SDK as new as the gateway.",
            request_id=request_id,
        ) from None
