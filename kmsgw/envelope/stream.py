"""Streams: data of any size, sealed in segments (docs/stream.md). No I/O, and no more memory than two segments.

Each segment is AES-256-GCM under the stream's key, with its number and a mark of the last in the nonce: a segment that
is moved, dropped, doubled or missing at the end leaves one that does not open (STREAM: Hoang, Reyhanitabar, Rogaway,
Vizár, 2015). Key, commitment and context are those of an envelope, with an HKDF label of their own.
"""

import os
import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kmsgw.envelope.aead import committed_key, derive_message_key
from kmsgw.envelope.format import (
    LEAST_SEGMENT_EXPONENT,
    MOST_SEGMENT_EXPONENT,
    SALT_BYTES,
    TAG_BYTES,
    Envelope,
    Suite,
    bound_header,
)
from kmsgw.errors import DecryptionFailed, InvalidRequest, Reason
from kmsgw.model.context import EncryptionContext

MAX_STREAM_BYTES: Final = 1 << 44
"""Longest plaintext of a stream, 16 TiB: 2^40 blocks of AES under one key, far below what GCM bears."""

LOCAL_SEGMENT_EXPONENT: Final = 20
"""Segments of 1 MiB, for who seals on its own machine: AES-GCM releases the GIL, and calls cost nothing."""

GATEWAY_SEGMENT_EXPONENT: Final = 18
"""Segments of 256 KiB, for the gateway, which sends each as one message."""

_NONCE = struct.Struct(">7xIB")

Buffer: TypeAlias = bytes | bytearray | memoryview


class SegmentCipher:
    """Seals and opens the segments of one stream, in any order and from any thread.

    Who seals must seal each number once, and one of them as the last: a nonce that is used twice gives both away.
    """

    __slots__ = ("_aad", "_aead", "_segments", "segment_bytes")

    def __init__(self, key: bytes, bound: bytes, context: EncryptionContext, segment_exponent: int) -> None:
        self._aead = AESGCM(key)
        self._aad = bound + context.canonical
        self._segments = MAX_STREAM_BYTES >> segment_exponent
        self.segment_bytes = 1 << segment_exponent

    def seal_into(self, number: int, plaintext: Buffer, sealed: Buffer, *, last: bool) -> int:
        """Seal a segment into a buffer of exactly its length and the tag's, and return that length.

        Every segment but the last is full. Raises `InvalidRequest` where the stream is longer than 16 TiB.
        """
        self._check_length(number, len(plaintext), last=last)
        if number >= self._segments:
            raise InvalidRequest(
                f"The stream is longer than {MAX_STREAM_BYTES >> 40} TiB.",
                reason=Reason.PLAINTEXT_TOO_LARGE,
                advice="Split it, and put the part's number into the context.",
            )
        return self._aead.encrypt_into(_NONCE.pack(number, last), plaintext, self._aad, sealed)

    def open_into(self, number: int, sealed: Buffer, plaintext: Buffer, *, last: bool) -> int:
        """Open a segment into a buffer of exactly its length without the tag, and return that length.

        Raises `DecryptionFailed` where it is not the segment of this number, or not what was sealed. What is in the
        buffer then is not to be used.
        """
        length = len(sealed) - TAG_BYTES
        if length < 0 or number >= self._segments or (last and number > 0 and length == 0):
            raise DecryptionFailed
        try:
            return self._aead.decrypt_into(_NONCE.pack(number, last), sealed, self._aad, plaintext)
        except InvalidTag:
            raise DecryptionFailed from None

    def _check_length(self, number: int, length: int, *, last: bool) -> None:
        # There is one encoding: an end that needs no empty segment has none.
        whole = length == self.segment_bytes if not last else 0 < length <= self.segment_bytes or number == length == 0
        assert whole, "a segment that is not the last must be full, and the last may be empty only where it is alone"


class StreamSealer:
    """Seals a plaintext that comes in pieces. ``header`` goes first; then what `update` gives, then `finish`.

    `wrapped` is `data_key` as the provider wrapped it, for the holder that `suite` names. `salt` is for test vectors
    alone: a salt that is used twice with one data key gives both streams away.
    """

    def __init__(
        self,
        data_key: bytes,
        context: EncryptionContext,
        *,
        key_id: str,
        key_version: int,
        wrapped: bytes,
        suite: Suite,
        segment_exponent: int,
        salt: bytes | None = None,
    ) -> None:
        assert suite.is_stream
        assert LEAST_SEGMENT_EXPONENT <= segment_exponent <= MOST_SEGMENT_EXPONENT
        if salt is None:
            salt = os.urandom(SALT_BYTES)
        key, commitment = derive_message_key(data_key, salt, stream=True)
        bound = bound_header(suite, key_id, salt, commitment, segment_exponent=segment_exponent)
        self.header = Envelope(suite, key_id, key_version, wrapped, bound, salt, commitment).encode()
        self.cipher = SegmentCipher(key, bound, context, segment_exponent)
        self._held = bytearray(self.cipher.segment_bytes)
        self._filled = 0
        self._number = 0

    def update(self, plaintext: Buffer) -> Iterator[bytes]:
        """Take the next bytes and yield the segments that they complete. Run it to its end."""
        rest = memoryview(plaintext)
        while rest:
            if self._filled == len(self._held):
                # Only now is it known that it is not the last.
                yield self._seal(last=False)
            taken = rest[: len(self._held) - self._filled]
            self._held[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rest = rest[len(taken) :]

    def finish(self) -> bytes:
        """Return the last segment. The plaintext must be complete: this is what proves it to who opens."""
        return self._seal(last=True)

    def _seal(self, *, last: bool) -> bytes:
        sealed = bytearray(self._filled + TAG_BYTES)
        with memoryview(self._held) as held:
            self.cipher.seal_into(self._number, held[: self._filled], sealed, last=last)
        self._number += 1
        self._filled = 0
        return bytes(sealed)


class StreamOpener:
    """Opens a stream that comes in pieces, behind its header. What it gives is authentic, and yet only a part.

    The plaintext is whole once `finish` has returned. Raises `DecryptionFailed` where the data key is not that of the
    header, before anything is opened.
    """

    def __init__(self, data_key: bytes, header: Envelope, context: EncryptionContext) -> None:
        assert header.suite.is_stream
        self.cipher = opening_cipher(data_key, header, context)
        self._held = bytearray(self.cipher.segment_bytes + TAG_BYTES)
        self._filled = 0
        self._number = 0

    def update(self, sealed: Buffer) -> Iterator[bytes]:
        """Take the next bytes and yield the plaintext of the segments that they complete. Run it to its end.

        Raises `DecryptionFailed` where a segment is not authentic.
        """
        rest = memoryview(sealed)
        while rest:
            if self._filled == len(self._held):
                yield self._open(last=False)
            taken = rest[: len(self._held) - self._filled]
            self._held[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rest = rest[len(taken) :]

    def finish(self) -> bytes:
        """Return the plaintext of the last segment. Raises `DecryptionFailed` where the stream was cut."""
        return self._open(last=True)

    def _open(self, *, last: bool) -> bytes:
        plaintext = bytearray(max(0, self._filled - TAG_BYTES))
        with memoryview(self._held) as held:
            self.cipher.open_into(self._number, held[: self._filled], plaintext, last=last)
        self._number += 1
        self._filled = 0
        return bytes(plaintext)


def opening_cipher(data_key: bytes, header: Envelope, context: EncryptionContext) -> SegmentCipher:
    """Return what opens the segments of a stream. Raises `DecryptionFailed` where the data key is another's."""
    return SegmentCipher(committed_key(data_key, header), header.bound, context, header.segment_exponent)


def sealed_bytes_of(plaintext_bytes: int, segment_exponent: int) -> int:
    """Return how many bytes the segments of a plaintext take, without the header."""
    return plaintext_bytes + TAG_BYTES * segments_of(plaintext_bytes, 1 << segment_exponent)


def segments_of(length: int, segment_bytes: int) -> int:
    """Return into how many segments `length` bytes go: at least one."""
    return max(1, -(-length // segment_bytes))
