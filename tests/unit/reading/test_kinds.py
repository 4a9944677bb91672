"""What the index keeps of an entry is what a reader of the log sees, whatever was written to the log."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsgw.reading.kinds import Describer, request_key
from kmsgw.tlog.entry import BEFORE_ALL, LoggedEntry

_VALUES = st.one_of(
    st.text(max_size=8),
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(["2026-01-31T08:00:00.000001Z", "2026-01-31T08:00:00Z", "2026-01-31T08:00:00.5+02:00", "2026"]),
    st.dictionaries(st.sampled_from(["id", "dry_run"]), st.one_of(st.text(max_size=4), st.booleans())),
)
_NAMES = st.sampled_from(["time", "principal", "change", "method", "outcome", "key_id", "request_id", "phase", "alias"])


@given(st.dictionaries(_NAMES, _VALUES).map(json.dumps).map(str.encode) | st.binary(max_size=20))
def test_an_entry_is_described_as_a_reader_sees_it(raw: bytes) -> None:
    entry = LoggedEntry.parse("", 0, raw)

    found = Describer().describe(raw)

    texts = found.kind._asdict()
    assert texts.pop("principal") == entry.principal()
    assert texts.pop("dry_run") == entry.is_dry_run()
    assert texts == {name: entry.text(name) for name in texts}
    assert found.time == entry.microseconds
    assert found.end_user == entry.text("end_user")
    assert (found.request is None) == (not entry.text("request_id"))


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"7", b'"x"', b'{"time":', b'{"key_id": "\\ud800"}', b'{"key_id": NaN}', b"[" * 70_000]
)
def test_what_is_odd_is_described_as_a_reader_sees_it(raw: bytes) -> None:
    assert Describer().describe(raw).kind.key_id == LoggedEntry.parse("", 0, raw).text("key_id")
    assert Describer().describe(raw).time == BEFORE_ALL


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-31T08:00:00.٠٠٠٠٠٠Z",
        "2026-01-31T08:00:00.00000²Z",
        "2026-13-31T08:00:00.000000Z",
        "2026-W05-6T08:00:00.00000Z",
    ],
)
def test_a_time_that_is_none_or_odd_is_what_a_reader_takes_it_for(time: str) -> None:
    raw = json.dumps({"time": time}).encode()

    assert Describer().describe(raw).time == LoggedEntry.parse("", 0, raw).microseconds


def test_keys_of_requests_come_in_order_of_their_time_and_fit_in_63_bits() -> None:
    early, late = "01a20108-50f6-7486-af26-557e80f353af", "01a20109-0000-7486-a000-000000000000"

    assert request_key(early) < request_key(late)
    assert all(
        0 <= request_key(text) < 1 << 63 for text in (early, late, "f" * 36, "-" * 36, "", "\ud800", "request-1")
    )
