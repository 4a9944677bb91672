"""How an envelope is stored in a row: bytes, or a text form. One form for each envelope, so nothing is guessed."""

import base64
import binascii
from enum import StrEnum
from typing import Protocol

from kmsgw.envelope.format import MAGIC, Envelope, parse_envelope
from kmsgw.errors import EnvelopeMalformed
from kmsgw.rewrapping.rows import Wrapping

_ADVICE = "Give the envelope as it was stored."


class TextEncoding(StrEnum):
    """How text stands for bytes: base64 of RFC 4648, section 4 or 5, with padding."""

    BASE64 = "base64"
    BASE64URL = "base64url"

    def to_text(self, data: bytes) -> str:
        """Return the text of bytes."""
        return (base64.b64encode if self is TextEncoding.BASE64 else base64.urlsafe_b64encode)(data).decode("ascii")

    def to_bytes(self, text: str) -> bytes:
        """Return the bytes of a text. Raises `EnvelopeMalformed` where it is not the one encoding of any."""
        try:
            alphabet = None if self is TextEncoding.BASE64 else b"-_"
            data = base64.b64decode(text.encode("ascii"), alphabet, validate=True)
        except (UnicodeEncodeError, binascii.Error, ValueError):
            raise EnvelopeMalformed(f"The text is not {self}.", advice=_ADVICE) from None
        if self.to_text(data) != text:
            raise EnvelopeMalformed(f"The text is not {self} as it is made.", advice=_ADVICE)
        return data


class TextForm(Protocol):
    """A text file that holds an envelope, for example between two marks."""

    def recognises(self, data: bytes) -> bool:
        """Tell whether bytes begin like this form."""

    def decode(self, data: bytes) -> bytes:
        """Return the envelope. Raises `EnvelopeMalformed` where the text is damaged."""

    def encode(self, envelope: bytes) -> bytes:
        """Return the text of an envelope."""


def envelope_of(stored: str | bytes, encoding: TextEncoding) -> Envelope:
    """Parse a stored value: bytes as they are or as encoded text, or text. Raises `EnvelopeMalformed`."""
    if isinstance(stored, str):
        return parse_envelope(encoding.to_bytes(stored), stream=True)
    if stored.startswith(MAGIC):
        return parse_envelope(stored, stream=True)
    return parse_envelope(encoding.to_bytes(stored.decode("latin-1")), stream=True)


def stored_with(stored: str | bytes, envelope: Envelope, wrapping: Wrapping, encoding: TextEncoding) -> str | bytes:
    """Return the value to store in the place of `stored`, which holds `envelope`: the same form, a new wrapping."""
    renewed = envelope.with_wrapping(wrapping.key_version, wrapping.wrapped).encode()
    if isinstance(stored, str):
        return encoding.to_text(renewed)
    return renewed if stored.startswith(MAGIC) else encoding.to_text(renewed).encode("ascii")


def header_of(envelope: Envelope) -> bytes:
    """Return an envelope's bytes without its payload, which is all that rewrapping needs."""
    encoded = envelope.encode()
    return encoded[: len(encoded) - len(envelope.payload)]
