"""The encryption context, and what a caller declares of its purpose.

Canonical form (docs/envelope.md): pairs sorted by the bytes of their key; each string as UTF-8 with its length as a
big-endian u32 before it. With lengths, no two contexts share a form (threat 7).
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from kmsgw.errors import InvalidRequest, Reason

MAX_PAIRS = 16
MAX_BYTES = 8192
MAX_KEY_BYTES = 128
MAX_VALUE_BYTES = 4096

_PURPOSE = re.compile(r"[a-z0-9_-]{0,64}\Z")
_END_USER_LIMIT = 128


def _refuse(what: str, advice: str) -> InvalidRequest:
    return InvalidRequest(what, reason=Reason.CONTEXT_INVALID, advice=advice)


def _encode(text: str, part: str, limit: int) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise _refuse(f"A context {part} is not Unicode text.", "Send valid UTF-8.") from None
    if len(raw) > limit:
        raise _refuse(f"A context {part} is longer than {limit} bytes.", "Shorten it.")
    if not raw.isascii():
        if not unicodedata.is_normalized("NFC", text):
            raise _refuse(f"A context {part} is not in Unicode form NFC.", "Normalise it to NFC.")
        if any(unicodedata.category(char) == "Cc" for char in text):
            raise _refuse(f"A context {part} has a control character.", "Remove it.")
    elif not text.isprintable():
        raise _refuse(f"A context {part} has a control character.", "Remove it.")
    return raw


@dataclass(frozen=True, slots=True)
class EncryptionContext:
    """String pairs, authenticated and not secret, that say what the data is. Order-free and case-sensitive.

    Build it with `of` or `of_pairs`, which refuse what is ambiguous.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    canonical: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, mapping: Mapping[str, str]) -> "EncryptionContext":
        """Make a context of a mapping; raise `InvalidRequest` where a limit or a rule is broken."""
        return cls.of_pairs(mapping.items())

    @classmethod
    def of_pairs(cls, pairs: Iterable[tuple[str, str]]) -> "EncryptionContext":
        """Make a context of pairs in any order; raise `InvalidRequest` where a limit or a rule is broken."""
        encoded: list[tuple[bytes, bytes, str, str]] = []
        for key, value in pairs:
            if len(encoded) == MAX_PAIRS:
                raise _refuse(f"The context has more than {MAX_PAIRS} pairs.", "Use fewer.")
            if not key:
                raise _refuse("A context key is empty.", "Name it.")
            raw_key = _encode(key, "key", MAX_KEY_BYTES)
            encoded.append((raw_key, _encode(value, "value", MAX_VALUE_BYTES), key, value))
        if not encoded:
            return EMPTY_CONTEXT
        encoded.sort()
        for before, after in pairwise(encoded):
            if before[0] == after[0]:
                raise _refuse("The context has a key twice.", "Give each key once.")
        parts: list[bytes] = []
        for raw_key, raw_value, _, _ in encoded:
            parts += (len(raw_key).to_bytes(4, "big"), raw_key, len(raw_value).to_bytes(4, "big"), raw_value)
        canonical = b"".join(parts)
        if len(canonical) > MAX_BYTES:
            raise _refuse(f"The context is longer than {MAX_BYTES} bytes.", "Use fewer or shorter pairs.")
        return cls(tuple([each[2:] for each in encoded]), canonical)


EMPTY_CONTEXT = EncryptionContext()


@dataclass(frozen=True, slots=True)
class AccessDeclaration:
    """What a caller declares of why it asks. Policies decide on it and the audit log records it; nothing binds it."""

    purpose: str = ""
    end_user: str = ""

    def __post_init__(self) -> None:
        if not _PURPOSE.match(self.purpose):
            raise InvalidRequest(
                "The declared purpose is malformed.", advice="Use at most 64 of a-z, 0-9, hyphen and underscore."
            )
        if len(self.end_user) > _END_USER_LIMIT or not self.end_user.isprintable():
            raise InvalidRequest(
                "The declared end user is malformed.",
                advice=f"Use at most {_END_USER_LIMIT} characters and no control characters.",
            )


NO_DECLARATION = AccessDeclaration()
