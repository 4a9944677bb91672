"""Whatever somebody brings into an entry, it leaves in a form that receivers take, and holds up nothing behind it."""

import json
import re
from pathlib import Path

import pytest

from kmsgw.export import otlp, syslog_message
from kmsgw.export.credentials import TargetFiles
from kmsgw.export.otlp import OtlpSink
from kmsgw.export.syslog_message import SyslogForm
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.hashing import leaf_hash

LONG = "x" * 9000
POISON = {
    "half a surrogate pair": b'{"key_id":"\\ud800","method":"/a/\\udfff","principal":{"id":"\\udc00"}}',
    "half a surrogate pair, too long": b'{"key_id":"\\ud800","note":"%s"}' % LONG.encode(),
    "a name that is half a surrogate pair": b'{"\\ud800":1,"note":"%s"}' % LONG.encode(),
    "an integer of 4,000 digits": b'{"key_version":%s}' % (b"9" * 4000),
    "an integer of 70 bits, too long": b'{"key_version":1180591620717411303424,"note":"%s"}' % LONG.encode(),
    "a number of 9,000 digits": b'{"key_version":%s}' % (b"9" * 9000),
    "not a number": b'{"a":NaN,"b":-Infinity,"note":"%s"}' % LONG.encode(),
    "a deep list": b'{"a":%s%s,"note":"%s"}' % (b"[" * 700, b"]" * 700, LONG.encode()),
    "a list too deep to be read": b"[" * 40_000,
    "before 1970": b'{"time":"1969-12-31T23:59:59Z"}',
    "the year 1": b'{"time":"0001-01-01T00:00:00Z"}',
    "the year 9999": b'{"time":"9999-12-31T23:59:59.999999Z"}',
    "no time that there is in UTC": b'{"time":"0001-01-01T00:00:00+14:00"}',
    "no UTF-8": b'{"note":"\xff\xfe"}',
    "zero bytes": b'{"note":"\x00","key_id":"\\u0000"}',
    "nothing": b"",
    "no object": b"[1,2]",
    "of other types": b'{"method":1,"outcome":[],"principal":3,"time":5,"key_id":{"a":1},"key_version":true}',
}
_MESSAGE = re.compile(
    rb"<[0-9]{1,3}>1 (?:-|[0-9]{4}-[0-9T:.-]+Z) node1 kmsgw worker-0 [!-~]{1,32} \[kmsgw@32473 [^\n]*?\] ?"
)


@pytest.mark.parametrize("raw", POISON.values(), ids=POISON.keys())
def test_poison_leaves_as_syslog_and_as_otlp(raw: bytes, tmp_path: Path) -> None:
    entry = LoggedEntry.parse("kmsgw.example/log/worker-0", 7, raw)
    message = SyslogForm("node1", limit=8192).message(entry, "worker-0")
    assert len(message) <= 8192
    assert _MESSAGE.match(message)
    assert f'leaf="{leaf_hash(raw).hex()}"'.encode() in message
    if len(raw) < 2000:
        assert message.endswith(raw), "what fits is there byte by byte"

    sink = OtlpSink("https://localhost:4317", TargetFiles("x", tmp_path / "ca"), {"service.instance.id": "node1"}, 1.0)
    encoded = sink._request("worker-0", [entry]).SerializeToString()
    assert leaf_hash(raw).hex().encode() in encoded


def test_what_was_left_out_for_its_length_is_named_also_beside_poison() -> None:
    entry = LoggedEntry.parse("kmsgw.example/log/worker-0", 7, POISON["half a surrogate pair, too long"])
    text = SyslogForm("node1", limit=2048).message(entry, "worker-0").rpartition(b"] ")[2]
    assert json.loads(text) == {"exported_without": ["note"], "key_id": "\ud800"}


def test_an_entry_that_breaks_the_export_for_any_reason_leaves_with_its_place_and_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: LoggedEntry) -> object:
        raise ValueError("of a kind that nobody thought of")

    monkeypatch.setattr(syslog_message, "fields_of", broken)
    monkeypatch.setattr(otlp, "fields_of", broken)
    entry = LoggedEntry.parse("kmsgw.example/log/worker-0", 7, b'{"key_id":"ehr"}')
    message = SyslogForm("node1").message(entry, "worker-0")
    assert b'index="7"' in message
    assert message.endswith(b'{"key_id":"ehr"}')
    sink = OtlpSink("https://localhost:4317", TargetFiles("x", tmp_path / "ca"), {}, 1.0)
    (record,) = sink._request("worker-0", [entry]).resource_logs[0].scope_logs[0].log_records
    assert record.body.string_value == '{"key_id":"ehr"}'
    assert {each.key for each in record.attributes} == {"kmsgw.log", "kmsgw.index", "kmsgw.leaf"}
