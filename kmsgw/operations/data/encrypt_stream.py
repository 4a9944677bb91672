"""EncryptStream: seal data of any size into a stream, a segment at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from kmsgw.envelope.binding import DataKeyHolder
from kmsgw.envelope.format import Suite
from kmsgw.envelope.stream import GATEWAY_SEGMENT_EXPONENT, StreamSealer
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.lifecycle import Act
from kmsgw.operations.data_keys import DataKeys, sealing_key
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Access, Grant, Trail


@dataclass(frozen=True, slots=True)
class EncryptStreamCommand:
    """Seal what comes under `key`, bound to `context`. `key_version` is 0 for the newest."""

    key: str
    context: EncryptionContext
    declaration: AccessDeclaration
    key_version: int = 0


class SealingStream:
    """A stream that is being sealed (`StreamWork`)."""

    def __init__(self, sealer: StreamSealer, key_id: str, key_version: int, trail: Trail) -> None:
        self.key_id = key_id
        self.key_version = key_version
        self.plaintext_bytes = 0
        self.stream_bytes = 0
        self._sealer = sealer
        self._trail = trail

    @property
    def bytes_in(self) -> int:
        """Bytes of plaintext."""
        return self.plaintext_bytes

    @property
    def bytes_out(self) -> int:
        """Bytes of the stream."""
        return self.stream_bytes

    def begin(self) -> Iterator[bytes]:
        """Yield the header."""
        yield self._passed(self._sealer.header)

    def update(self, piece: bytes) -> Iterator[bytes]:
        """Take plaintext and yield the segments that it completes. Raises `InvalidRequest` above 16 TiB."""
        self.plaintext_bytes += len(piece)
        for segment in self._sealer.update(piece):
            yield self._passed(segment)

    def finish(self) -> Iterator[bytes]:
        """Yield the last segment."""
        yield self._passed(self._sealer.finish())
        self._trail.sealed_bytes = self.plaintext_bytes

    def _passed(self, segment: bytes) -> bytes:
        self.stream_bytes += len(segment)
        return segment


class EncryptStream:
    """The verb. Each stream has a data key of its own, which nothing else is ever sealed with."""

    changes_state: ClassVar[bool] = False

    def __init__(self, data_keys: DataKeys, keyring: Keyring) -> None:
        self._data_keys = data_keys
        self._keyring = keyring

    def accesses(self, command: EncryptStreamCommand) -> Sequence[Access]:
        """Wants to encrypt under the key."""
        return (Access(Action.ENCRYPT, command.key, None, command.context, command.declaration),)

    def run(self, command: EncryptStreamCommand, grant: Grant) -> SealingStream:
        """Make the data key. Raises `FailedPrecondition` for a disabled key, `ProviderUnavailable` without provider."""
        key = sealing_key(self._keyring, grant.key(), command.key_version, Act.ENCRYPT)
        made = self._data_keys.generate(key, command.context, DataKeyHolder.GATEWAY, grant.trail)
        grant.trail.key_version = made.key_version
        sealer = StreamSealer(
            made.plaintext,
            command.context,
            key_id=key.key_id,
            key_version=made.key_version,
            wrapped=made.wrapped,
            suite=Suite.GATEWAY_STREAM,
            segment_exponent=GATEWAY_SEGMENT_EXPONENT,
        )
        return SealingStream(sealer, key.key_id, made.key_version, grant.trail)
