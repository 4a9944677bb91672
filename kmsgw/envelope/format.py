"""The bytes of an envelope, of a wrapped data key (docs/envelope.md) and of a stream's header (docs/stream.md).

Parsing is strict; nothing here decrypts.

An envelope has two parts before its payload. The *bound header* says what the payload is, and is authenticated with
it. The *wrapping* says how to get at the data key, and is authenticated by the wrap itself and by the commitment; so
rewrap can replace it without touching the payload (docs/adr/0001).
"""

import struct
from dataclasses import field
from enum import IntEnum

from kmsgw.envelope.binding import DataKeyHolder
from kmsgw.errors import EnvelopeMalformed, Reason
from kmsgw.model.names import NAME_LIMIT, is_name
from kmsgw.model.quick import quick

MAGIC = b"KMGW"
FORMAT_VERSION = 1
SALT_BYTES = 32
COMMITMENT_BYTES = 32
TAG_BYTES = 16
WRAPPED_MIN = 40
"""Shortest wrapped data key: 32 bytes under AES key wrap."""
WRAPPED_MAX = 256
MAX_OVERHEAD = 200
"""An envelope with a wrapped data key of at most 66 bytes is at most so much longer than its plaintext."""

LEAST_SEGMENT_EXPONENT = 12
MOST_SEGMENT_EXPONENT = 20
"""A stream's segments have 2^12 to 2^20 bytes: a reader needs no more memory than two of the longest."""
STREAM_HEAD_BYTES = 512
"""More than the header of any envelope or stream has: so many first bytes are enough to parse it."""

_FIXED = len(MAGIC) + 3
_WRAPPING = struct.Struct(">IH")
WRAPPING_BYTES = _WRAPPING.size
"""What stands in the wrapping before the wrapped data key: key version and length."""


class Suite(IntEnum):
    """What the bytes are. All sealed suites are AES-256-GCM with HKDF-SHA-256 and key commitment.

    They differ in who holds the data key, the gateway alone or the client that sealed, and in whether the payload is
    one piece or a stream of segments.
    """

    GATEWAY_SEALED = 0x01
    WRAPPED_DATA_KEY = 0x02
    CLIENT_SEALED = 0x03
    GATEWAY_STREAM = 0x04
    CLIENT_STREAM = 0x05

    @property
    def holder(self) -> DataKeyHolder:
        """Who may hold the data key in plaintext."""
        gateway = self is Suite.GATEWAY_SEALED or self is Suite.GATEWAY_STREAM
        return DataKeyHolder.GATEWAY if gateway else DataKeyHolder.CLIENT

    @property
    def is_stream(self) -> bool:
        """Whether the payload is a stream of segments."""
        return self is Suite.GATEWAY_STREAM or self is Suite.CLIENT_STREAM


@quick
class Envelope:
    """A parsed envelope, or a wrapped data key, which has neither salt nor commitment nor payload.

    ``bound`` is the bound header as it stood; ``payload`` the ciphertext with its 16-byte tag, empty where the
    caller left it out; of a stream it is what of the segments was there. ``segment_exponent`` is 0 but for streams,
    whose segments hold 2 to the power of it bytes.
    """

    suite: Suite
    key_id: str
    key_version: int
    wrapped: bytes = field(repr=False)
    bound: bytes = field(repr=False)
    salt: bytes = field(default=b"", repr=False)
    commitment: bytes = field(default=b"", repr=False)
    payload: bytes = field(default=b"", repr=False)
    segment_exponent: int = 0

    def encode(self) -> bytes:
        """Return the bytes that parse to this."""
        return b"".join((self.bound, wrapping_of(self.key_version, self.wrapped), self.payload))

    def with_wrapping(self, key_version: int, wrapped: bytes) -> "Envelope":
        """Return the same payload with its data key wrapped anew."""
        return Envelope(
            self.suite,
            self.key_id,
            key_version,
            wrapped,
            self.bound,
            self.salt,
            self.commitment,
            self.payload,
            self.segment_exponent,
        )

    def wrapped_data_key(self) -> "Envelope":
        """Return the data key alone, as `Decrypt` takes it to hand out a client's data key."""
        return wrapped_data_key(self.key_id, self.key_version, self.wrapped)


def bound_header(
    suite: Suite, key_id: str, salt: bytes = b"", commitment: bytes = b"", *, segment_exponent: int = 0
) -> bytes:
    """Return the bound header: ``"KMGW" ‖ u8 format ‖ u8 suite ‖ u8 length ‖ key id ‖ salt ‖ commitment``.

    That of a stream has ``u8 segment exponent`` between key id and salt.
    """
    raw = key_id.encode("ascii")
    segments = bytes((segment_exponent,)) if suite.is_stream else b""
    return b"".join((MAGIC, bytes((FORMAT_VERSION, suite, len(raw))), raw, segments, salt, commitment))


def wrapping_of(key_version: int, wrapped: bytes) -> bytes:
    """Return the wrapping: ``u32 key version ‖ u16 length ‖ wrapped data key``."""
    return _WRAPPING.pack(key_version, len(wrapped)) + wrapped


def wrapped_data_key(key_id: str, key_version: int, wrapped: bytes) -> Envelope:
    """Return a wrapped data key: a bound header and a wrapping, nothing else."""
    header = bound_header(Suite.WRAPPED_DATA_KEY, key_id)
    return Envelope(Suite.WRAPPED_DATA_KEY, key_id, key_version, wrapped, header)


def parse_envelope(data: bytes, *, payload_optional: bool = False, stream: bool = False) -> Envelope:
    """Parse an envelope or a wrapped data key. With `payload_optional`, a header alone will do.

    A stream is parsed only where the header is meant: with `payload_optional`, or with `stream`, where the first bytes
    of its first segment must be there. Who would open an envelope can so never take a stream for one.

    Raises `EnvelopeMalformed` where a byte is missing, extra, or not the one encoding there is.
    """
    suite = _suite_of(data)
    if suite.is_stream and not (stream or payload_optional):
        raise EnvelopeMalformed(
            "This is a stream, not an envelope of one piece.",
            advice="Use `kmsgw decrypt`, `Client.decrypt_file` or DecryptStream.",
        )
    name_end = _FIXED + data[6]
    salt_start = name_end + suite.is_stream
    secrets = 0 if suite is Suite.WRAPPED_DATA_KEY else SALT_BYTES + COMMITMENT_BYTES
    bound_end = salt_start + secrets
    wrapped_start = bound_end + _WRAPPING.size
    if data[6] > NAME_LIMIT or len(data) < wrapped_start:
        raise _truncated()
    key_id = data[_FIXED:name_end].decode("latin-1")
    if not is_name(key_id):
        raise EnvelopeMalformed("The envelope names no key.", advice="Give the envelope unchanged.")
    exponent = data[name_end] if suite.is_stream else 0
    if suite.is_stream and not LEAST_SEGMENT_EXPONENT <= exponent <= MOST_SEGMENT_EXPONENT:
        raise EnvelopeMalformed(
            f"The stream has segments of 2^{exponent} bytes; 2^{LEAST_SEGMENT_EXPONENT} to 2^{MOST_SEGMENT_EXPONENT}"
            " are known.",
            advice="Give the stream unchanged.",
        )
    version, wrapped_length = _WRAPPING.unpack_from(data, bound_end)
    payload_start = wrapped_start + wrapped_length
    if version == 0 or not WRAPPED_MIN <= wrapped_length <= WRAPPED_MAX or len(data) < payload_start:
        raise _truncated()
    payload = data[payload_start:]
    if suite is Suite.WRAPPED_DATA_KEY:
        if payload:
            raise EnvelopeMalformed("Bytes follow the wrapped data key.", advice="Give it as it was answered.")
    elif len(payload) < TAG_BYTES and not (payload_optional and not payload):
        raise _truncated()
    return Envelope(
        suite,
        key_id,
        version,
        data[wrapped_start:payload_start],
        data[:bound_end],
        data[salt_start : salt_start + SALT_BYTES] if secrets else b"",
        data[salt_start + SALT_BYTES : bound_end] if secrets else b"",
        payload,
        exponent,
    )


def key_part(data: bytes | memoryview) -> bytes:
    """Return the first bytes of an envelope, which say suite and key id. Of other bytes it says nothing."""
    return bytes(data[: _FIXED + data[6]]) if len(data) > _FIXED else b""


def _suite_of(data: bytes) -> Suite:
    if len(data) < _FIXED or not data.startswith(MAGIC):
        raise EnvelopeMalformed("These bytes are not a kmsgw envelope.", advice="Give the envelope as it was answered.")
    if data[4] != FORMAT_VERSION:
        raise EnvelopeMalformed(
            f"The envelope has format version {data[4]}; this kmsgw reads {FORMAT_VERSION}.",
            reason=Reason.ENVELOPE_VERSION_UNKNOWN,
            advice="Use a kmsgw that knows this format.",
        )
    try:
        return Suite(data[5])
    except ValueError:
        raise EnvelopeMalformed(
            f"The envelope has the unknown suite {data[5]}.",
            reason=Reason.ENVELOPE_VERSION_UNKNOWN,
            advice="Use a kmsgw that knows this suite.",
        ) from None


def _truncated() -> EnvelopeMalformed:
    return EnvelopeMalformed(
        "The envelope is cut short, or a length in it is wrong.", advice="Give the envelope as it was answered."
    )
