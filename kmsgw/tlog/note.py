"""Signed notes and verifier keys (C2SP signed-note): Ed25519, and the two kinds of tlog-cosignature."""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from kmsgw.tlog.damage import damaged
from kmsgw.tlog.schemes import PrivateKey, SignatureKind, private_key

SEED_BYTES = 32
"""Length of the secret that a signing key is made of (RFC 8032, FIPS 204)."""

NOTE_LIMIT = 65_536
"""Longest note that is parsed, in bytes: room for 16 signatures of ML-DSA-44 and more."""

_KEY_ID_BYTES = 4
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


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key, the name of who signs with it, and how."""

    name: str
    public: bytes
    kind: SignatureKind = SignatureKind.ED25519

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of SHA-256(name ‖ 0x0A ‖ kind ‖ public key)."""
        return sha256(self.name.encode() + b"\n" + self.kind.byte + self.public).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(self.kind.byte + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Return the key of ``name+hex(key id)+base64(kind ‖ public key)``; one final newline is let pass.

        Raises `AuditDamaged` where it is anything else.
        """
        match = _VERIFIER_KEY.match(text.removesuffix("\n"))
        raw = decode_base64(match[3]) if match else None
        if match is None or raw is None or not is_key_name(match[1]):
            raise damaged("The verifier key is malformed: it must be name+hex+base64 on one line.")
        kind = SignatureKind.of_byte(raw[:1])
        if kind is None or len(raw) != 1 + kind.public_bytes:
            raise damaged("The verifier key is not one of Ed25519, of cosignature/v1, or of ML-DSA-44.")
        key = cls(match[1], raw[1:], kind)
        if key.key_id.hex() != match[2]:
            raise damaged("The verifier key's id does not belong to its name and public key.")
        return key

    def verifies(self, signature: bytes, body: bytes) -> bool:
        """Tell whether what stands after the key id in a signature line is of this key, over `body`.

        Raises `InvalidRequest` where this machine's library can't tell.
        """
        return self.kind.verifies(self.name, self.public, signature, body)

    def time_of(self, signature: bytes) -> int | None:
        """Return when a cosignature was made, in seconds since 1970; None for a plain signature."""
        return self.kind.time_of(signature)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A signing key of a log or cosigner. It never prints its secret."""

    name: str
    _private: PrivateKey = field(repr=False)
    verifier: VerifierKey = field(repr=False)
    """The public side."""

    @classmethod
    def of_seed(cls, name: str, seed: bytes, kind: SignatureKind = SignatureKind.ED25519) -> "SigningKey":
        """Make the key of a 32-byte seed. Raises `InvalidRequest` where this machine's library has not the kind."""
        assert is_key_name(name)
        assert len(seed) == SEED_BYTES
        private = private_key(kind, seed)
        return cls(name, private, VerifierKey(name, private.public_key().public_bytes_raw(), kind))

    def signature_line(self, body: bytes, time: int = 0) -> bytes:
        """Return ``— name base64(key id ‖ signature)`` and a newline, for a body with its final newline.

        `time`, in seconds since 1970, is what a cosignature says; a plain signature says none.
        """
        blob = self.verifier.key_id + self.verifier.kind.sign(self.name, self._private, time, body)
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
    def parse(cls, raw: bytes, where: str, limit: int = NOTE_LIMIT) -> "Note":
        """Split body and signature lines of at most `limit` bytes, strictly. Raises `AuditDamaged` naming `where`."""
        if len(raw) > limit:
            raise damaged(f"{where}: longer than {limit} bytes.")
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

    def is_signed_by(self, verifier: VerifierKey) -> bool:
        """Tell whether there is a signature that says to be of `verifier`, true or not."""
        return any((each.name, each.key_id) == (verifier.name, verifier.key_id) for each in self.signatures)

    def require_signature(self, verifier: VerifierKey, where: str) -> None:
        """Raise `AuditDamaged` unless the note is signed by `verifier`; signatures of others are ignored."""
        mine = [each for each in self.signatures if (each.name, each.key_id) == (verifier.name, verifier.key_id)]
        if not mine:
            raise damaged(f"{where}: not signed by {verifier.name} with key id {verifier.key_id.hex()}.")
        for each in mine:
            if not verifier.verifies(each.signature, self.body):
                raise damaged(f"{where}: the signature of {verifier.name} is wrong.")


def add_signatures(raw: bytes, lines: bytes) -> bytes:
    """Return a note with further signature lines, which take the places of older ones of the same keys.

    Raises `AuditDamaged` where note or lines are malformed.
    """
    body, _, present = raw.rpartition(b"\n\n")
    added = Note.parse(body + b"\n\n" + lines, "cosignatures").signatures
    ids = {(each.name, each.key_id) for each in added}
    kept = zip(present.splitlines(keepends=True), Note.parse(raw, "note").signatures, strict=True)
    return body + b"\n\n" + b"".join(line for line, each in kept if (each.name, each.key_id) not in ids) + lines


def _parse_signature(line: str, where: str) -> NoteSignature:
    match = _SIGNATURE_LINE.match(line)
    blob = decode_base64(match[2]) if match else None
    if match is None or blob is None or len(blob) <= _KEY_ID_BYTES:
        raise damaged(f"{where}: a signature line is malformed.")
    return NoteSignature(match[1], blob[:_KEY_ID_BYTES], blob[_KEY_ID_BYTES:])
