"""What all providers that import material share: what a token binds, how long it holds, and the refusals."""

import hmac
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from kmsgw.envelope.material import KWP_BYTES
from kmsgw.errors import FailedPrecondition, Reason

IMPORT_LIFETIME: Final = timedelta(hours=24)
"""How long a token holds."""

TOKEN_LIMIT: Final = 8_192
"""Longest token, in bytes."""

_TAIL = struct.Struct(">IQ")
_NEW_PARAMETERS = "Ask for new import parameters for this key and provider, and wrap the material anew."


@dataclass(frozen=True, slots=True)
class ImportBinding:
    """What a token holds for. ``expires`` is in seconds since 1970, UTC.

    The version is the one that the import makes. Once it is there the next import makes another: so a token can't be
    used twice.
    """

    provider: str
    key_id: str
    version: int
    expires: int

    @classmethod
    def starting(cls, provider: str, key_id: str, version: int, now: datetime) -> "ImportBinding":
        """Return the binding of a token that is made now."""
        return cls(provider, key_id, version, int((now + IMPORT_LIFETIME).timestamp()))

    @property
    def expiry(self) -> datetime:
        """When the token ends."""
        return datetime.fromtimestamp(self.expires, UTC)

    def encode(self) -> bytes:
        """Return the bytes that a token is authenticated over: each text behind its length (threat 7)."""
        texts = (self.provider.encode("ascii"), self.key_id.encode("ascii"))
        parts = b"".join(struct.pack(">B", len(text)) + text for text in texts)
        return b"kmsgw/import/v1" + parts + _TAIL.pack(self.version, self.expires)

    def require_current(self, now: datetime) -> None:
        """Raise `FailedPrecondition` where the token has ended. Call it only once the token is known to be genuine."""
        if now.timestamp() >= self.expires:
            raise FailedPrecondition(
                f"The import parameters ended at {self.expiry:%Y-%m-%dT%H:%M:%SZ}.",
                reason=Reason.IMPORT_REFUSED,
                advice=_NEW_PARAMETERS,
            )


def token_refused() -> FailedPrecondition:
    """Return the one error for a token that is not genuine, or holds for another key, version or provider."""
    return FailedPrecondition(
        "The token does not hold for an import into this key now.",
        reason=Reason.IMPORT_REFUSED,
        advice=f"A token holds for one import into one key and provider. {_NEW_PARAMETERS}",
    )


def material_refused() -> FailedPrecondition:
    """Return the one error for material that does not unwrap.

    One message whichever part failed: told apart, the answers would help to open a wrap by asking often.
    """
    return FailedPrecondition(
        "The wrapped material does not open.",
        reason=Reason.IMPORT_REFUSED,
        advice="Wrap exactly 32 bytes under the public key that came with the token: "
        "RSA-OAEP with SHA-256 of a fresh AES-256 key, then AES-KWP under that (docs/import.md).",
    )


def unsupported(message: str, advice: str) -> FailedPrecondition:
    """Return the error for an import that this back end can't do."""
    return FailedPrecondition(message, reason=Reason.IMPORT_UNSUPPORTED, advice=advice)


def require_length(wrapped: bytes, modulus_bytes: int) -> None:
    """Raise `material_refused` where wrapped material can't be 32 bytes under an RSA key of so many bytes."""
    if len(wrapped) != modulus_bytes + KWP_BYTES:
        raise material_refused()


def require_check_value(expected: str, found: str) -> None:
    """Raise `FailedPrecondition` where the check value is not the expected one, if any is."""
    if expected and not hmac.compare_digest(expected.upper().encode(), found.encode()):
        raise FailedPrecondition(
            f"The material has the key check value {found}, and not {expected.upper()}.",
            reason=Reason.IMPORT_REFUSED,
            advice="Find out which of the two keys is meant before anything is encrypted under it.",
        )
