"""Envelopes as text, for mail, tickets and configuration files: base64 between two marks, as in RFC 7468.

Strict: one form for each envelope, so that text which was edited or cut is refused before anything is sent.
"""

import base64
import binascii

from kmsgw.cli.failure import CommandError, ExitCode

BEGIN = b"-----BEGIN KMSGW ENVELOPE-----"
END = b"-----END KMSGW ENVELOPE-----"
_LINE = 64


def armored(envelope: bytes) -> bytes:
    """Return an envelope as text, in lines of 64 characters."""
    text = base64.b64encode(envelope)
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return b"\n".join((BEGIN, *lines, END, b""))


def dearmored(data: bytes) -> bytes:
    """Return the envelope that armoured text holds; bytes without the mark are returned as they are.

    Raises `CommandError` where the text begins as armour and is not whole.
    """
    if not data.lstrip().startswith(BEGIN):
        return data
    lines = data.strip().replace(b"\r\n", b"\n").split(b"\n")
    try:
        if lines[0] != BEGIN or lines[-1] != END:
            raise binascii.Error
        envelope = base64.b64decode(b"".join(lines[1:-1]), validate=True)
        if armored(envelope).strip().split(b"\n") != lines:
            raise binascii.Error
    except binascii.Error:
        raise CommandError(
            "The armoured envelope is damaged.",
            "Give the whole text from BEGIN to END, with its lines unchanged.",
            ExitCode.UNVERIFIED,
        ) from None
    return envelope
