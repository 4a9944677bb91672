"""What follows from usage: when a key is due, and whether a version is in use."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kmsgw.model.key import DEFAULT_BUDGET, WRAP_LIMIT, Key, KeyState, KeyVersion, RotationPolicy
from kmsgw.model.usage import LATEST_BUDGET, UNUSED, Usage, due_rotation, is_in_use, next_rotation
from kmsgw.operations.wrap_allowance import WRAP_MARGIN

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = Key("ehr", "hospital", "software", (KeyVersion(1, b"m", NOW), KeyVersion(2, b"m", NOW + DAY)), NOW, NOW)


def with_policy(**limits: object) -> Key:
    return replace(KEY, rotation=RotationPolicy(**limits))  # type: ignore[arg-type]


def test_a_version_is_rotated_long_before_a_worker_refuses_to_wrap_under_it() -> None:
    assert DEFAULT_BUDGET < LATEST_BUDGET < WRAP_LIMIT - WRAP_MARGIN < WRAP_LIMIT < 2**31


@pytest.mark.parametrize(
    ("policy", "usage", "due"),
    [
        ({}, UNUSED, ""),
        ({}, Usage(envelopes=2**29, data_keys=2**29), "budget: messages"),
        ({}, Usage(envelopes=2**29, data_keys=2**29 - 1), ""),
        ({}, Usage(wraps=2**30), "budget: wraps"),
        ({}, Usage(wraps=2**30 - 1, sealed_bytes=2**60), ""),
        ({"max_wraps": WRAP_LIMIT}, Usage(wraps=2**30), ""),
        ({"max_wraps": WRAP_LIMIT}, Usage(wraps=LATEST_BUDGET), "budget: wraps"),
        ({"max_messages": 10}, Usage(envelopes=9, data_keys=1), "budget: messages"),
        ({"max_bytes": 100}, Usage(sealed_bytes=100), "budget: bytes"),
        ({"max_bytes": 100}, Usage(sealed_bytes=99), ""),
        ({"period": DAY}, UNUSED, ""),
        ({"period": DAY * 0.5}, UNUSED, "schedule"),
        ({"period": DAY * 0.5, "max_messages": 1}, Usage(envelopes=5), "schedule"),
    ],
)
def test_a_key_is_due_at_its_limits_and_not_before(policy: dict[str, object], usage: Usage, due: str) -> None:
    assert due_rotation(with_policy(**policy), usage, NOW + DAY * 1.6) == due


@pytest.mark.parametrize("state", [each for each in KeyState if each is not KeyState.ENABLED])
def test_a_key_that_is_not_in_use_is_never_due(state: KeyState) -> None:
    key = replace(with_policy(period=DAY, max_messages=1), state=state)
    assert due_rotation(key, Usage(envelopes=9), NOW + 9 * DAY) == ""
    assert next_rotation(key) is None


def test_the_next_rotation_is_a_period_after_the_newest_version() -> None:
    assert next_rotation(with_policy(period=7 * DAY)) == NOW + 8 * DAY
    assert next_rotation(KEY) is None


@pytest.mark.parametrize(
    ("usage", "used"),
    [
        (UNUSED, False),
        (Usage(decrypts=9, last_used=NOW - 30 * DAY), False),
        (Usage(decrypts=9, last_used=NOW - 29 * DAY), True),
        (Usage(envelopes=3, rewraps_away=3, last_used=NOW - 31 * DAY), False),
        (Usage(envelopes=2, data_keys=1, rewraps_here=1, rewraps_away=3, last_used=NOW - 31 * DAY), True),
        (Usage(envelopes=1, rewraps_away=3, last_used=NOW - 31 * DAY), False),
    ],
)
def test_a_version_is_in_use_that_was_used_lately_or_is_not_emptied(usage: Usage, used: bool) -> None:
    assert is_in_use(usage, NOW, 30 * DAY) is used
