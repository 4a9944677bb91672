"""The audit record: one line of JSON with sorted keys for each operation, refusal and event of the log itself.

No plaintext, no data key and no context value is ever in it: the context appears as an HMAC under a log key.
"""

import hmac
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

import orjson

from kmsgw.model.access import Action, Principal
from kmsgw.model.context import EncryptionContext
from kmsgw.model.generation_cache import GenerationCache

DIGEST_KEY_BYTES = 32
"""Length of the key that contexts are digested under."""

RECORD_LIMIT = 16_384
"""Longest encoded record that is written as it is, in bytes. A longer one is written with its texts cut."""

BATCH_RECORD_LIMIT = RECORD_LIMIT + 29_696
"""The same for the record of a batch: so much more do the places and digests of its items take."""

_TEXT_LIMIT = 128
_LIST_LIMIT = 16
_DEPTH_LIMIT = 8
_INTEGER_LIMIT = (1 << 53) - 1
_KNOWN_CONTEXTS = 4096
_KNOWN_BYTES = 256
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z


class Phase(StrEnum):
    """Whether a record stands for a whole operation, or is one of a pair around a change of state."""

    WHOLE = ""
    INTENT = "intent"
    OUTCOME = "outcome"


class Outcome(StrEnum):
    """How an operation ended: done, refused by a rule, or failed for a fault."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"


class AuditRecord(NamedTuple):
    """What is recorded of one request. A named tuple, for a frozen dataclass of so many fields takes 3 µs more to make.

    `time` is in UTC. `principal` is None where nobody is authenticated. `method` is the full RPC name. `alias` is the
    one that the caller used, if it did. `status` and `reason` are those of the error tree; `policies` the ids that
    decided. `source_key_id`, `source_key_version` and `source_context_hmac` are of what a rewrap or
    re-encryption opened. `context_hmac` comes
    from `ContextDigest`. `change` says what a change of state changed, and why. `peer` is the caller's address. `note`
    says what happened to the log itself, in records that no request made, or why a name was refused. `sealed_bytes` is
    plaintext that the gateway sealed; `wraps` are data keys that were wrapped under `key_version`, whatever became of
    the request: usage is counted from them. `refusals` is how many refusals one record stands for
    (`kmsgw.server.counted_refusals`). `batch` says of which items of a batch everything else is told
    (`kmsgw.server.batch_records`).
    """

    time: datetime
    request_id: str
    principal: Principal | None
    method: str
    outcome: Outcome
    status: str
    action: Action | None = None
    phase: Phase = Phase.WHOLE
    key_id: str = ""
    key_version: int = 0
    alias: str = ""
    reason: str = ""
    policies: tuple[str, ...] = ()
    context_hmac: str = ""
    purpose: str = ""
    end_user: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    peer: str = ""
    duration_us: int = 0
    note: str = ""
    source_key_id: str = ""
    source_key_version: int = 0
    change: Mapping[str, object] | None = None
    source_context_hmac: str = ""
    sealed_bytes: int = 0
    wraps: int = 0
    refusals: int = 0
    batch: Mapping[str, object] | None = None

    @property
    def items(self) -> int:
        """How many single calls it stands for."""
        count = 1 if self.batch is None else self.batch.get("count")
        return count if isinstance(count, int) else 0

    def encode(self) -> bytes:
        """Return the entry: one line without a newline, under 32 KiB whatever the record holds, 64 KiB with a batch.

        Empty optional fields are left out. Where a text is so long that the record passes `RECORD_LIMIT`, or is not
        Unicode, texts and lists are cut and ``"truncated": true`` says so.
        """
        return encode_fields(self._document())

    def _document(self) -> dict[str, object]:  # noqa: C901  a line a field
        # Written out, for it runs in every request: a loop over the names takes twice as long (2.3 against 1.2 µs).
        record: dict[str, object] = {
            # orjson leaves out a fraction of zero; readers may rely on six digits.
            "time": self.time if self.time.microsecond else f"{self.time:%Y-%m-%dT%H:%M:%S}.000000Z",
            "request_id": self.request_id,
            "principal": None if self.principal is None else _principal(self.principal),
            "method": self.method,
            "outcome": self.outcome,
            "status": self.status,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "peer": self.peer,
            "duration_us": self.duration_us,
        }
        if self.action:
            record["action"] = self.action
        if self.key_id:
            record["key_id"] = self.key_id
        if self.key_version:
            record["key_version"] = self.key_version
        if self.policies:
            record["policies"] = self.policies
        if self.context_hmac:
            record["context_hmac"] = self.context_hmac
        if self.purpose:
            record["purpose"] = self.purpose
        if self.sealed_bytes:
            record["sealed_bytes"] = self.sealed_bytes
        if self.wraps:
            record["wraps"] = self.wraps
        if self.batch:
            record["batch"] = self.batch
        if self.phase or self.alias or self.reason or self.end_user or self.note or self.source_key_id or self.change:
            for name in _RARE:
                record[name] = getattr(self, name)
                if not record[name]:
                    del record[name]
        return record


_RARE = (
    "phase",
    "alias",
    "reason",
    "end_user",
    "note",
    "source_key_id",
    "source_key_version",
    "source_context_hmac",
    "change",
    "refusals",
)

RECORD_FIELDS = frozenset(AuditRecord._fields) | {"truncated"}
"""Every name that an entry can have at its top level."""


def encode_fields(record: Mapping[str, object]) -> bytes:
    """Return the entry of a record's fields, as `AuditRecord.encode` does.

    Never fails, whatever they are; but ``batch`` is the gateway's own, and is not cut.
    """
    try:
        raw = orjson.dumps(record, option=_OPTIONS)
    except orjson.JSONEncodeError:
        raw = b""
    batch = record.get("batch")
    if not raw or len(raw) > (BATCH_RECORD_LIMIT if batch else RECORD_LIMIT):
        kept = {"batch": batch} if batch else {}
        cut = _cut_fields({name: value for name, value in record.items() if name != "batch"}, 0)
        raw = orjson.dumps({**cut, **kept, "truncated": True}, option=_OPTIONS)
    return raw


def _principal(who: Principal) -> dict[str, object]:
    return {
        "id": who.principal_id,
        "kind": who.kind,
        "tenant": who.tenant,
        "roles": sorted(who.roles),
        "fingerprint": who.fingerprint,
    }


def _cut_fields(record: Mapping[str, object], depth: int) -> dict[str, object]:
    return {_cut_text(name): _cut(value, depth + 1) for name, value in record.items()}


def _cut_text(text: str) -> str:
    return text[:_TEXT_LIMIT].encode("utf-8", "backslashreplace").decode()


def _cut(value: object, depth: int) -> object:
    """Return a value of bounded size that always encodes: lone surrogates become escapes."""
    if isinstance(value, str):
        return _cut_text(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return max(-_INTEGER_LIMIT, min(value, _INTEGER_LIMIT))
    if isinstance(value, (list, tuple, dict)) and depth > _DEPTH_LIMIT:
        return "…"
    if isinstance(value, (list, tuple)):
        return [_cut(each, depth + 1) for each in value[:_LIST_LIMIT]]
    if isinstance(value, dict):
        return _cut_fields(value, depth)
    return value


class Persons(Protocol):
    """Puts pseudonyms in the place of names (`kmsgw.audit.pseudonyms`). Both raise `AuditUnavailable`."""

    def end_user(self, name: str, time: datetime) -> str:
        """Return what an entry of a time says of a declared end user."""

    def principal(self, who: Principal | None, time: datetime) -> Principal | None:
        """Return a principal as an entry of a time tells it."""


class ContextDigest:
    """HMAC-SHA-256 over canonical contexts under a log key, so that equal contexts can be found and none read."""

    __slots__ = ("_key", "_known", "_persons")

    def __init__(self, key: bytes, persons: Persons | None = None) -> None:
        """Take the 32-byte key; it stays out of logs and reprs. `persons` puts pseudonyms in the place of names."""
        assert len(key) == DIGEST_KEY_BYTES
        self._key = key
        self._persons = persons
        self._known: GenerationCache[bytes, str] = GenerationCache(_KNOWN_CONTEXTS)

    def __repr__(self) -> str:
        return "ContextDigest(<redacted>)"

    def end_user(self, name: str, time: datetime) -> str:
        """Return what an entry of a time says of a declared end user: the name, or its pseudonym."""
        return name if self._persons is None else self._persons.end_user(name, time)

    def principal(self, who: Principal | None, time: datetime) -> Principal | None:
        """Return a principal as an entry of a time tells it."""
        return who if self._persons is None else self._persons.principal(who, time)

    def of(self, context: EncryptionContext) -> str:
        """Return the digest in hexadecimal; empty for the empty context."""
        canonical = context.canonical
        if not canonical:
            return ""
        digest = self._known.get(canonical)
        if digest is None:
            digest = hmac.digest(self._key, canonical, "sha256").hex()
            if len(canonical) <= _KNOWN_BYTES:
                self._known.put(canonical, digest)
        return digest
