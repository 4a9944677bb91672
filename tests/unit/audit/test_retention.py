"""Which entries are officers' acts, and how old each kind may get."""

import json
from datetime import UTC, datetime

import pytest

from kmsgw.audit.retention import EntryClass, Retention, class_of, months_before
from kmsgw.tlog.entry import LoggedEntry

SERVICE = {"principal": {"kind": "service", "id": "ehr-writer"}}
OFFICER = {"principal": {"kind": "officer", "id": "key-officer"}}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"method": "/kmsgw.v1.CryptoService/Encrypt", **SERVICE}, EntryClass.OPERATIONS),
        ({"method": "/kmsgw.v1.CryptoService/EncryptStream", "phase": "intent", **SERVICE}, EntryClass.OPERATIONS),
        ({"method": "/kmsgw.v1.KeyService/GetKey", **SERVICE}, EntryClass.OPERATIONS),
        ({"method": "/any.Thing/Else", "principal": None}, EntryClass.OPERATIONS),
        ({"method": "/kmsgw.v1.KeyService/GetKey", **OFFICER}, EntryClass.ACTS),
        ({"method": "/kmsgw.v1.KeyService/RotateKey", "phase": "outcome", **SERVICE}, EntryClass.ACTS),
        ({"method": "/kmsgw/DestroyKey", "phase": "outcome", "principal": None}, EntryClass.ACTS),
        ({"method": "", "note": "the disk was full", "principal": None}, EntryClass.ACTS),
    ],
)
def test_what_an_entry_records_decides_its_class(told: dict[str, object], expected: EntryClass) -> None:
    assert class_of(LoggedEntry.parse("", 0, json.dumps(told).encode())) is expected


@pytest.mark.parametrize("raw", [b"no JSON", b"[]", b"\xff"])
def test_what_can_not_be_read_is_kept_like_an_act(raw: bytes) -> None:
    assert class_of(LoggedEntry.parse("", 0, raw)) is EntryClass.ACTS


@pytest.mark.parametrize(
    ("now", "months", "expected"),
    [
        ((2026, 11, 22), 12, (2025, 11, 22)),
        ((2026, 1, 31), 2, (2025, 11, 30)),
        ((2025, 3, 30), 1, (2025, 2, 28)),
        ((2024, 3, 30), 1, (2024, 2, 29)),
        ((2100, 3, 31), 1, (2100, 2, 28)),
        ((2026, 12, 1), 36, (2023, 12, 1)),
    ],
)
def test_months_are_those_of_the_calendar(
    now: tuple[int, int, int], months: int, expected: tuple[int, int, int]
) -> None:
    assert months_before(datetime(*now, tzinfo=UTC), months) == datetime(*expected, tzinfo=UTC)


def test_nothing_is_past_its_age_where_all_is_kept_for_ever() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert Retention(0, 0).cutoffs(now).latest is None
    assert Retention(0, 12).cutoffs(now).latest == datetime(2025, 11, 22, tzinfo=UTC)
