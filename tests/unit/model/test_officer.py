"""Locks that grow and end, sessions that end, and what a clock that jumps does to both."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kmsgw.model.officer import CLOCK_TOLERANCE, LONGEST_LOCK, Lockout, Officer, OfficerState, Session

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
RULE = Lockout(5, timedelta(seconds=30))
ACTIVE = Officer("amira", OfficerState.ACTIVE)
IDLE = timedelta(minutes=15)
SESSION = Session(b"hash", "amira", "fingerprint", NOW, NOW, NOW + timedelta(hours=8))


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@pytest.mark.parametrize(
    ("failures", "expected"), [(0, 0), (4, 0), (5, 30), (6, 60), (7, 120), (11, 1920), (12, 3600), (10**12, 3600)]
)
def test_the_delay_doubles_from_the_fifth_wrong_code_on_to_an_hour(failures: int, expected: int) -> None:
    assert RULE.delay(failures) == seconds(expected)


def test_wrong_codes_lock_and_a_right_one_forgets_them() -> None:
    officer = ACTIVE
    for _ in range(4):
        officer = officer.after_failure(NOW, RULE)
    assert officer.state_at(NOW) is OfficerState.ACTIVE
    officer = officer.after_failure(NOW, RULE)
    assert officer.state_at(NOW) is OfficerState.LOCKED
    assert officer.state_at(NOW + seconds(29.9)) is OfficerState.LOCKED
    assert officer.state_at(NOW + seconds(30)) is OfficerState.ACTIVE
    assert officer.after_failure(NOW + seconds(30), RULE).locked_until == NOW + seconds(90)
    assert officer.after_success() == ACTIVE


def test_a_lock_that_was_set_by_a_clock_ahead_ends_after_its_own_delay() -> None:
    ahead = NOW + timedelta(hours=10)
    officer = replace(ACTIVE, failures=4).after_failure(ahead, RULE)
    settled = officer.settled(NOW, RULE)
    assert settled.locked_until == NOW + seconds(30)
    # Moving the clock back again and again never ends it.
    assert settled.settled(NOW - timedelta(hours=1), RULE).is_locked(NOW - timedelta(hours=1))


def test_a_lock_that_is_right_stays_as_it_is() -> None:
    officer = replace(ACTIVE, failures=4).after_failure(NOW, RULE)
    for later in (0.0, 10, 29, 31, 4000):
        assert officer.settled(NOW + seconds(later), RULE) is officer
    assert max(RULE.delay(failures) for failures in range(100)) == LONGEST_LOCK


def test_a_session_ends_by_idleness_and_by_age() -> None:
    assert SESSION.is_valid(NOW + IDLE - seconds(1), IDLE)
    assert not SESSION.is_valid(NOW + IDLE, IDLE)
    used = replace(SESSION, last_used=NOW + timedelta(hours=8) - seconds(10))
    assert used.is_valid(NOW + timedelta(hours=8) - seconds(1), IDLE)
    assert not used.is_valid(NOW + timedelta(hours=8), IDLE)


def test_a_session_from_the_future_is_refused_beyond_what_clocks_of_nodes_differ() -> None:
    assert SESSION.is_valid(NOW - CLOCK_TOLERANCE, IDLE)
    assert not SESSION.is_valid(NOW - CLOCK_TOLERANCE - seconds(1), IDLE)


def test_the_use_of_a_session_is_written_every_half_minute_and_where_the_clock_was_put_back() -> None:
    assert not SESSION.is_due_for_touch(NOW + seconds(29))
    assert SESSION.is_due_for_touch(NOW + seconds(30))
    assert not SESSION.is_due_for_touch(NOW - CLOCK_TOLERANCE)
    assert SESSION.is_due_for_touch(NOW - CLOCK_TOLERANCE - seconds(1))


def test_what_is_secret_is_not_printed() -> None:
    officer = replace(ACTIVE, sealed_secret=b"sealed-bytes", invitation_hash=b"hash-bytes")
    assert "sealed-bytes" not in repr(officer)
    assert "hash-bytes" not in repr(officer)
    assert "hash" not in repr(SESSION).replace("session_hash", "")
