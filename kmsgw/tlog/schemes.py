"""The signature schemes of notes, by the byte that C2SP signed-note gives them.

ML-DSA-44 is there where the cryptography library has it (`has_ml_dsa`). It withstands quantum computers, and its
signature is 2,420 bytes long and takes milliseconds, so it stands beside Ed25519 and not in its place.
"""

from enum import Enum
from functools import lru_cache
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kmsgw.errors import InvalidRequest
from kmsgw.tlog.cosignature import TimedSignature, cosigned_subtree, cosigned_text

_ED25519_SIGNATURE: Final = 64
_ML_DSA_SIGNATURE: Final = 2420


class SignatureKind(Enum):
    """How a line is signed; the value is the byte in key ids and verifier keys."""

    ED25519 = 0x01
    """Ed25519 over the text (C2SP signed-note): what logs sign with."""

    COSIGNATURE_ED25519 = 0x04
    """Ed25519 over a time and the text (C2SP tlog-cosignature, cosignature/v1)."""

    ML_DSA_44 = 0x06
    """ML-DSA-44 over a time and the tree (C2SP tlog-cosignature, subtree/v1): logs and cosigners."""

    @classmethod
    def of_byte(cls, byte: bytes) -> "SignatureKind | None":
        """Return the kind that a byte stands for, or None."""
        return next((kind for kind in cls if kind.byte == byte), None)

    @property
    def byte(self) -> bytes:
        """The byte."""
        return bytes([self.value])

    @property
    def public_bytes(self) -> int:
        """Length of a public key."""
        return 1312 if self is SignatureKind.ML_DSA_44 else 32

    def sign(self, name: str, private: "PrivateKey", time: int, body: bytes) -> bytes:
        """Return what stands after the key id: for a cosignature its time and signature."""
        if self is SignatureKind.ED25519:
            return private.sign(body)
        message = self._message(name, time, body)
        return TimedSignature(time, private.sign(message)).encode()

    def verifies(self, name: str, public: bytes, signature: bytes, body: bytes) -> bool:
        """Tell whether a signature is of a key. Raises `InvalidRequest` where the library has not the kind."""
        if self is SignatureKind.ED25519:
            return len(signature) == _ED25519_SIGNATURE and _verify_ed25519(public, signature, body)
        timed = self._parse(signature)
        if timed is None:
            return False
        message = self._message(name, timed.time, body)
        verify = _verify_ml_dsa if self is SignatureKind.ML_DSA_44 else _verify_ed25519
        return verify(public, timed.signature, message)

    def time_of(self, signature: bytes) -> int | None:
        """Return the time of a cosignature in seconds since 1970, None of anything else."""
        timed = None if self is SignatureKind.ED25519 else self._parse(signature)
        return None if timed is None else timed.time

    def _parse(self, signature: bytes) -> TimedSignature | None:
        length = _ML_DSA_SIGNATURE if self is SignatureKind.ML_DSA_44 else _ED25519_SIGNATURE
        return TimedSignature.parse(signature, length)

    def _message(self, name: str, time: int, body: bytes) -> bytes:
        if self is SignatureKind.ML_DSA_44:
            return cosigned_subtree(name, time, body)
        return cosigned_text(time, body)


@lru_cache(maxsize=1)
def has_ml_dsa() -> bool:
    """Tell whether this machine's cryptography library makes and verifies ML-DSA-44 (FIPS 204)."""
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey  # noqa: PLC0415

        MLDSA44PrivateKey.from_seed_bytes(bytes(32))
    except (ImportError, UnsupportedAlgorithm):
        return False
    return True


def private_key(kind: SignatureKind, seed: bytes) -> "PrivateKey":
    """Return the private key of a 32-byte seed. Raises `InvalidRequest` where the library has not the kind."""
    if kind is not SignatureKind.ML_DSA_44:
        return Ed25519PrivateKey.from_private_bytes(seed)
    _require_ml_dsa()
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey  # noqa: PLC0415

    return MLDSA44PrivateKey.from_seed_bytes(seed)


class PublicKey(Protocol):
    """What is asked of a public key, whatever its kind."""

    def public_bytes_raw(self) -> bytes:
        """Return its bytes."""


class PrivateKey(Protocol):
    """What is asked of a private key, whatever its kind."""

    def sign(self, data: bytes) -> bytes:
        """Return a signature."""

    def public_key(self) -> PublicKey:
        """Return the public side."""


def _require_ml_dsa() -> None:
    if not has_ml_dsa():
        raise InvalidRequest(
            "The cryptography library of this machine has no ML-DSA-44.",
            advice="Use one that has it, or leave the ML-DSA-44 key out: its signatures are then ignored.",
        )


def _verify_ed25519(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _verify_ml_dsa(public: bytes, signature: bytes, message: bytes) -> bool:
    _require_ml_dsa()
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey  # noqa: PLC0415

    try:
        MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True
