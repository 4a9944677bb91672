"""Signed notes with Ed25519, and verifier keys (C2SP signed-note)."""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kmsgw.tlog.damage import damaged

SEED_BYTES = 32
"""Length of the secret that a signing key is made of (RFC 8032)."""

NOTE_LIMIT = 65_536
"""Longest note that is parsed, in bytes."""

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_SIGNATURE_BYTES = 64
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,255}\Z")
_SIGNATURE_LINE = re.compile(r"— ([^\s+]{1,255}) ([A-Za-z0-9+/]+={0,2})\Z")
_VERIFIER_KEY = re.compile(r"([^\s+]{1,255})\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})\Z")
_SIGNATURES_LIMIT = 64


def decode_base64(text: str) -> bytes | None:
    """Return the bytes of standard base64, or None where it is not the one canonical encoding of them."""
    try:
        raw = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if b64encode(raw).decode() == text else None


def is_key_name(name: str) -> bool:
    """Tell whether `name` can name a key or a log: 1 to 255 characters, no space, no plus, no control character."""
    return _NAME.match(name) is not None


def _key_id(name: str, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_KEY_ID_BYTES]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and the name of who signs with it."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)."""
        return _key_id(self.name, self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Return the key of ``name+hex(key id)+base64(0x01 ‖ public key)``; one final newline is let pass.

        Raises `AuditDamaged` where it is anything else.
        """
        match = _VERIFIER_KEY.match(text.removesuffix("\n"))
        raw = decode_base64(match[3]) if match else None
        if match is None or raw is None or not is_key_name(match[1]):
            raise damaged("The verifier key is malformed: it must be name+hex+base64 on one line.")
        if raw[:1] != _ED25519 or len(raw) != 33:
            raise damaged("The verifier key is not one of Ed25519.")
        key = cls(match[1], raw[1:])
        if key.key_id.hex() != match[2]:
            raise damaged("The verifier key's id does not belong to its name and public key.")
        return key

    def verifies(self, signature: bytes, body: bytes) -> bool:
        """Tell whether a 64-byte signature over `body` is of this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, body)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A log's signing key. It never prints its secret."""

    name: str
    _private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def of_seed(cls, name: str, seed: bytes) -> "SigningKey":
        """Make the key of a 32-byte seed."""
        assert is_key_name(name)
        assert len(seed) == SEED_BYTES
        return cls(name, Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def verifier(self) -> VerifierKey:
        """The public side."""
        return VerifierKey(self.name, self._private.public_key().public_bytes_raw())

    def signature_line(self, body: bytes) -> bytes:
        """Return ``— name base64(key id ‖ signature)`` and a newline, for a body with its final newline."""
        blob = self.verifier.key_id + self._private.sign(body)
        return f"— {self.name} {b64encode(blob).decode()}\n".encode()


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line, whoever signed."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A signed text. ``body`` ends with a newline; nothing is verified yet."""

    body: bytes
    signatures: Sequence[NoteSignature]

    @classmethod
    def parse(cls, raw: bytes, where: str) -> "Note":
        """Split body and signature lines, strictly. Raises `AuditDamaged` naming `where`."""
        if len(raw) > NOTE_LIMIT:
            raise damaged(f"{where}: longer than {NOTE_LIMIT} bytes.")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise damaged(f"{where}: not UTF-8 text.") from None
        if any(char < " " and char != "\n" for char in text):
            raise damaged(f"{where}: it has a control character.")
        body, separator, tail = text.rpartition("\n\n")
        if not separator or not tail.endswith("\n"):
            raise damaged(f"{where}: it has no signature lines after an empty line, or the last one is cut.")
        lines = tail.removesuffix("\n").split("\n")
        if len(lines) > _SIGNATURES_LIMIT:
            raise damaged(f"{where}: more than {_SIGNATURES_LIMIT} signatures.")
        return cls((body + "\n").encode(), tuple(_parse_signature(line, where) for line in lines))

    def require_signature(self, verifier: VerifierKey, where: str) -> None:
        """Raise `AuditDamaged` unless the note is signed by `verifier`; signatures of others are ignored."""
        mine = [each for each in self.signatures if (each.name, each.key_id) == (verifier.name, verifier.key_id)]
        if not mine:
            raise damaged(f"{where}: not signed by {verifier.name} with key id {verifier.key_id.hex()}.")
        for each in mine:
            if len(each.signature) != _SIGNATURE_BYTES or not verifier.verifies(each.signature, self.body):
                raise damaged(f"{where}: the signature of {verifier.name} is wrong.")


def _parse_signature(line: str, where: str) -> NoteSignature:
    match = _SIGNATURE_LINE.match(line)
    blob = decode_base64(match[2]) if match else None
    if match is None or blob is None or len(blob) <= _KEY_ID_BYTES:
        raise damaged(f"{where}: a signature line is malformed.")
    return NoteSignature(match[1], blob[:_KEY_ID_BYTES], blob[_KEY_ID_BYTES:])
