"""DecryptStream: open a stream of any size, a segment at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from kmsgw.envelope.format import Envelope
from kmsgw.envelope.stream import StreamOpener
from kmsgw.errors import DecryptionFailed
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.operations.data.decrypt import EnvelopeOpener
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Access, Grant


@dataclass(frozen=True, slots=True)
class DecryptStreamCommand:
    """Open a stream with the context that was bound. ``head`` is its header, with what came of its segments."""

    head: Envelope
    context: EncryptionContext = field(repr=False)
    declaration: AccessDeclaration
    expected_key: str = ""


class OpeningStream:
    """A stream that is being opened (`StreamWork`). What it yields is authentic, and a part until `finish`."""

    def __init__(self, opener: StreamOpener, head: Envelope) -> None:
        self.key_id = head.key_id
        self.key_version = head.key_version
        self.plaintext_bytes = 0
        self.stream_bytes = len(head.encode()) - len(head.payload)
        self._opener = opener
        self._rest = head.payload

    @property
    def bytes_in(self) -> int:
        """Bytes of the stream."""
        return self.stream_bytes

    @property
    def bytes_out(self) -> int:
        """Bytes of plaintext."""
        return self.plaintext_bytes

    def begin(self) -> Iterator[bytes]:
        """Yield the plaintext of what came with the header."""
        yield from self.update(self._rest)

    def update(self, piece: bytes) -> Iterator[bytes]:
        """Take sealed bytes and yield the plaintext of the segments that they complete. Raises `DecryptionFailed`."""
        self.stream_bytes += len(piece)
        for segment in self._opener.update(piece):
            yield self._passed(segment)

    def finish(self) -> Iterator[bytes]:
        """Yield the plaintext of the last segment. Raises `DecryptionFailed` where the stream was cut."""
        yield self._passed(self._opener.finish())

    def _passed(self, plaintext: bytes) -> bytes:
        self.plaintext_bytes += len(plaintext)
        return plaintext


class DecryptStream:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, opener: EnvelopeOpener, keyring: Keyring) -> None:
        self._opener = opener
        self._keyring = keyring

    def accesses(self, command: DecryptStreamCommand) -> Sequence[Access]:
        """Wants to decrypt under the stream's key."""
        return (Access(Action.DECRYPT, command.head.key_id, None, command.context, command.declaration),)

    def run(self, command: DecryptStreamCommand, grant: Grant) -> OpeningStream:
        """Unwrap the data key. Raises `DecryptionFailed` for another context, key or header."""
        key, head = grant.key(), command.head
        grant.trail.key_version = head.key_version
        if command.expected_key and not self._keyring.is_named(key, command.expected_key):
            raise DecryptionFailed
        data_key = self._opener.data_key(head, key, command.context)
        return OpeningStream(StreamOpener(data_key, head, command.context), head)
