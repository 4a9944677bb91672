"""Entries as somebody may have left them to blind, to crash or to mislead who reads the log."""

import json
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

LONG = os.environ.get("KMSGW_FAULTS") == "long"
"""Whether to try many."""

examples = settings(
    max_examples=2000 if LONG else 15,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""How many are tried."""

NASTY = (
    "\x00", "\x1b[2J\x1b]0;title\x07", "\r\n", "\u202eevil\u202c", "\u2066\u2069", "\ud800", "\udfff\ud800", "\u200b",
    "\x85\x9b31m",
    "<script>alert(1)</script>", "\"'&<>", "]]>", "x" * 9000, "a  b  worker-0/7", " ", "'; DROP TABLE entry; --", "NaN",
    "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+23:59", "2026-01-31T08:00:00.000000Z", "2026-01-31", "intent",
    "outcome", "ok", "refused", "failed", "emergency", "officer", "/kmsgw.v1.CryptoService/Decrypt",
    "/kmsgw/DestroyKey",
    "/kmsgw.v1.KeyService/RotateKey", "/kmsgw.v1.ApprovalService/Approve", "updateKey", "createKey", "decideApproval",
    "resetOfficer", "enrolOfficer", "encrypt", "ehr",
)  # fmt: skip
"""Texts that something may act on, and such as entries have."""

_texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=20), st.text(alphabet=st.characters(), max_size=5))
_numbers = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([2**31, 2**53, 2**63, 2**64, 10**19, 10**25, -(10**40), 10**400]),
    st.sampled_from([float("nan"), float("inf"), -0.0, 1e308, 1.5]),
)
_scalars = st.one_of(_texts, _numbers, st.booleans(), st.none())
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3), max_leaves=6
)
_NAMES = (
    "time", "request_id", "principal", "method", "outcome", "status", "reason", "key_id", "key_version", "alias",
    "source_key_id", "source_key_version", "phase", "action", "purpose", "end_user", "change", "batch", "refusals",
    "note", "policies", "wraps", "sealed_bytes", "peer",
)  # fmt: skip
_objects = {
    "principal": st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "kind", "tenant", "roles"), _values)),
    "change": st.dictionaries(
        st.sampled_from(["reason", "dry_run", "force", "approval", "decision", "key_id", "officer_id", "versions"])
        | _texts,
        _values,
        max_size=4,
    ),
    "batch": st.fixed_dictionaries({}, optional={"count": _values, "items": _values}),
}
_fields = {name: _objects.get(name, _scalars) | _values for name in _NAMES}
_records = st.fixed_dictionaries({}, optional=_fields)


def _raw(record: object) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode()[:60_000]


_broken = st.one_of(
    st.binary(max_size=40),
    st.integers(1, 30_000).map(lambda depth: b'{"phase":"intent","a":' + b"[" * depth),
    st.integers(1, 20_000).map(lambda depth: b'{"method":"m","a":' + b"[" * depth + b"]" * depth + b"}"),
    st.integers(1, 9_000).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth),
    st.integers(1, 60_000).map(lambda digits: b'{"method":"m","refusals":' + b"9" * digits + b"}"),
    st.sampled_from(
        [
            b'{"method":"\xed\xa0\x80"}', b"\xef\xbb\xbf{}", '{"method":"m"}'.encode("utf-16"), b"{\x00}",
            b'{"a":1}{"b":2}',
            b'{"method":"m","key_version":NaN,"change":{"a":-Infinity,"b":1e999}}', b'{"method":"a","method":"b"}',
        ]
    ),
)  # fmt: skip

entries = st.one_of(_records.map(_raw), _records.map(_raw), _broken)
"""The bytes of an entry."""

intents = st.fixed_dictionaries(
    {"request_id": _texts}, optional={name: each for name, each in _fields.items() if name != "request_id"}
).map(lambda record: _raw({**record, "phase": "intent"}))
"""The same of one that says of itself that it is an intent."""
