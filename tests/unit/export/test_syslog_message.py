"""Entries as messages of RFC 5424: the form, the escapes, the bounds."""

import json
import re
from collections.abc import Mapping

import orjson
import pytest

from kmsgw.export.syslog_message import SyslogForm, fitting
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import leaf_hash
from tests.cli.sample_log import record

FORM = SyslogForm("node1")
MESSAGE = re.compile(
    rb"<(?P<pri>\d{1,3})>1 (?P<time>\S+) (?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) (?P<process>[!-~]{1,128}) "
    rb'(?P<id>[!-~]{1,32}) \[(?P<sd>[!-<>-\\^-~]{1,32}(?: [!-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*)\] '
    rb"(?P<text>.*)",
    re.DOTALL,
)
"""RFC 5424, section 6, as far as it is used here."""


def entry_of(raw: bytes) -> LoggedEntry:
    return LoggedEntry.parse("kmsgw.example/log/worker-0", 7, raw)


def entry_with(**fields: object) -> LoggedEntry:
    return entry_of(orjson.dumps({**json.loads(record(0)), **fields}, option=orjson.OPT_SORT_KEYS))


def parsed(message: bytes) -> Mapping[str, bytes]:
    match = MESSAGE.fullmatch(message)
    assert match is not None, message
    return match.groupdict()


def parameters(data: bytes) -> dict[str, str]:
    found = re.findall(r' ([!-~]+?)="((?:[^"\\\]]|\\["\\\]])*)"', data.decode())
    return {name: re.sub(r"\\(.)", r"\1", text) for name, text in found}


def test_a_message_says_who_did_what_and_holds_the_entry_byte_by_byte() -> None:
    raw = record(2)
    message = parsed(FORM.message(entry_of(raw), "worker-0"))
    assert message["pri"] == b"108"  # facility 13, severity 4: refused
    assert message["time"] == b"2026-01-31T08:00:02.000000Z"
    assert (message["host"], message["app"], message["process"]) == (b"node1", b"kmsgw", b"worker-0")
    assert message["id"] == b"Decrypt"
    assert message["text"] == raw
    assert message["sd"].startswith(b"kmsgw@32473 ")
    found = parameters(message["sd"])
    assert found["principal"] == "billing"
    assert found["key_id"] == "ehr"
    assert found["outcome"] == "refused"
    assert found["reason"] == "ACCESS_DENIED"
    assert (found["log"], found["index"]) == ("kmsgw.example/log/worker-0", "7")
    assert found["leaf"] == leaf_hash(raw).hex()


def test_octets_are_counted() -> None:
    entry = entry_with(purpose="Müller")
    frame = FORM.frame(entry, "worker-0")
    length, _, message = frame.partition(b" ")
    assert int(length) == len(message)
    assert message == FORM.message(entry, "worker-0")


@pytest.mark.parametrize(("outcome", "severity"), [("ok", 6), ("refused", 4), ("failed", 3), ("", 5)])
def test_the_outcome_is_the_severity(outcome: str, severity: int) -> None:
    message = parsed(SyslogForm("node1", facility=10).message(entry_with(outcome=outcome), "worker-0"))
    assert int(message["pri"]) == 80 + severity


def test_no_text_of_a_caller_can_break_out_of_its_place() -> None:
    forged = '"] <14>1 \n\x00\x1b\\ - evil="1'
    entry = entry_with(method=f"/x/{forged}", request_id=forged, key_id=forged)
    message = parsed(FORM.message(entry, "worker-0"))
    found = parameters(message["sd"])
    assert "evil" not in found
    assert found["key_id"] == forged.replace("\n", "\ufffd").replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert b"\n" not in FORM.message(entry, "worker-0")


@pytest.mark.parametrize("limit", [2048, 8192, 65_536])
def test_no_message_is_longer_than_the_receiver_takes(limit: int) -> None:
    form = SyslogForm("n" * 40, limit=limit)
    long = entry_with(
        method="/kmsgw/" + "ü" * 9000, request_id="]" * 900, key_id='"' * 4000, alias="x" * 9000, reason="y" * 500
    )
    message = form.message(long, "worker-0")
    assert len(message) <= limit
    text = json.loads(parsed(message)["text"])
    if len(long.raw) > limit:
        assert "method" in text["exported_without"]
        assert not text.keys() & set(text["exported_without"])
        assert text["time"] == "2026-01-31T08:00:00.000000Z"


def test_an_entry_that_fits_goes_unchanged_and_the_longest_fields_of_another_are_left_out() -> None:
    entry = entry_with(batch={"items": "0-400", "contexts": ["ab" * 32] * 400})
    assert fitting(entry, len(entry.raw)) == entry.raw
    shorter = json.loads(fitting(entry, 2000))
    assert shorter["exported_without"] == ["batch"]
    assert shorter["principal"]["id"] == "ehr-writer"


def test_what_is_no_json_is_cut_where_a_character_ends() -> None:
    entry = entry_of("ä".encode() * 100)
    assert fitting(entry, 33) == "ä".encode() * 16
    assert parsed(FORM.message(entry, "worker-0"))["time"] == b"-"
