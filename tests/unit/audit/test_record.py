"""A record is one bounded line of JSON with sorted keys, and holds no context value."""

import json
from datetime import UTC, datetime

import pytest

from kmsgw.audit.record import RECORD_FIELDS, RECORD_LIMIT, AuditRecord, ContextDigest, Outcome, Phase
from kmsgw.model.access import Action, Principal, PrincipalKind
from kmsgw.model.context import EncryptionContext
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.tiles import ENTRY_LIMIT

TIME = datetime(2026, 3, 1, 12, 0, 0, 42, tzinfo=UTC)
PRINCIPAL = Principal("ehr", PrincipalKind.SERVICE, "clinic", frozenset({"writer", "reader"}), "ab" * 32)
RECORD = AuditRecord(
    time=TIME,
    request_id="01939c2e-0000-7000-8000-000000000000",
    principal=PRINCIPAL,
    method="/kmsgw.v1.CryptoService/Encrypt",
    outcome=Outcome.OK,
    status="OK",
    action=Action.ENCRYPT,
    key_id="patients",
    key_version=3,
    policies=("p1",),
    bytes_in=10,
    bytes_out=190,
    peer="ipv4:127.0.0.1:5000",
    duration_us=77,
)


def test_a_record_is_exact_to_the_byte() -> None:
    assert RECORD.encode().decode() == (
        '{"action":"encrypt","bytes_in":10,"bytes_out":190,"duration_us":77,"key_id":"patients","key_version":3,'
        '"method":"/kmsgw.v1.CryptoService/Encrypt","outcome":"ok","peer":"ipv4:127.0.0.1:5000","policies":["p1"],'
        '"principal":{"fingerprint":"' + "ab" * 32 + '","id":"ehr","kind":"service","roles":["reader","writer"],'
        '"tenant":"clinic"},"request_id":"01939c2e-0000-7000-8000-000000000000","status":"OK",'
        '"time":"2026-03-01T12:00:00.000042Z"}'
    )


def test_every_field_is_written_when_it_is_set() -> None:
    record = RECORD._replace(
        phase=Phase.INTENT, alias="alias/a", reason="ACCESS_DENIED", context_hmac="aa", purpose="care", end_user="u",
        note="n", source_key_id="old", source_key_version=2, change={"reason": "r"}, source_context_hmac="bb",
        sealed_bytes=12, wraps=1, refusals=3, batch={"count": 2},
    )  # fmt: skip
    assert set(json.loads(record.encode())) == RECORD_FIELDS - {"truncated"}


def test_nobody_authenticated_is_null() -> None:
    assert json.loads(RECORD._replace(principal=None).encode())["principal"] is None


def test_the_time_always_has_six_digits() -> None:
    record = json.loads(RECORD._replace(time=TIME.replace(microsecond=0)).encode())
    assert record["time"] == "2026-03-01T12:00:00.000000Z"


def test_no_caller_can_break_the_line_or_add_a_field() -> None:
    raw = RECORD._replace(end_user='x"\n,"outcome":"ok', outcome=Outcome.REFUSED).encode()
    assert b"\n" not in raw
    assert json.loads(raw)["outcome"] == "refused"
    assert raw.count(b'"outcome":') == 1


@pytest.mark.parametrize("char", ["\x00", "é", "\U0001f600", '"', "a", "\ud800"])
def test_an_entry_stays_far_below_the_limit_whatever_the_caller_sends(char: str) -> None:
    text = char * 100_000
    raw = RECORD._replace(
        request_id=text, method=text, status=text, key_id=text, alias=text, reason=text, policies=(text,) * 1000,
        context_hmac=text, purpose=text, end_user=text, peer=text, note=text, bytes_in=1 << 70,
        principal=Principal(text, PrincipalKind.OFFICER, text, frozenset(f"{n}{text}" for n in range(1000)), text),
    ).encode()  # fmt: skip
    assert len(raw) < ENTRY_LIMIT - 1000
    record = json.loads(raw)
    assert record["truncated"] is True
    assert record["time"] == "2026-03-01T12:00:00.000042Z"
    assert record["outcome"] == "ok"


def test_a_record_below_its_limit_is_not_cut() -> None:
    raw = RECORD._replace(note="x" * (RECORD_LIMIT - 1000)).encode()
    assert "truncated" not in json.loads(raw)


def test_a_lone_surrogate_is_escaped_and_the_record_written() -> None:
    assert json.loads(RECORD._replace(end_user="a\udc80b").encode())["end_user"] == "a\\udc80b"


def test_readers_understand_what_is_written() -> None:
    entry = LoggedEntry.parse("o", 0, RECORD.encode())
    assert (entry.time, entry.principal(), entry.number("key_version")) == (TIME, "ehr", 3)
    assert entry.texts("policies") == ("p1",)


def test_a_context_appears_as_an_hmac_under_the_log_key() -> None:
    digest = ContextDigest(bytes(32))
    context = EncryptionContext.of({"patient": "1234"})
    assert digest.of(context) == digest.of(EncryptionContext.of({"patient": "1234"}))
    # RFC 2104 over the canonical form, computed apart.
    assert digest.of(context) == "a78d103a4d5b4746fb612741fec8115de8a6768ef07efc8521eac74a4dc0b44f"
    assert digest.of(context) != ContextDigest(b"\x01" * 32).of(context)
    assert digest.of(EncryptionContext()) == ""
    assert repr(digest) == "ContextDigest(<redacted>)"
