"""The next value of a key: destruction that waits, is cancelled, begins and ends; minimums; rotation policies."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kmsgw.errors import FailedPrecondition, InvalidRequest, Reason
from kmsgw.model.key import WRAP_LIMIT, Key, KeyState, KeyVersion, RotationPolicy
from kmsgw.model.lifecycle import Act
from kmsgw.model.transitions import (
    check_minimum_encrypt,
    check_rotation,
    due_destruction,
    with_act,
    with_destroyed,
    with_destruction_at,
    with_destruction_begun,
    with_minimum_decrypt,
    with_version_act,
    without_destruction,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)
THEN = NOW + timedelta(days=7)
BEFORE = THEN - timedelta(microseconds=1)


def a_key(versions: int = 3) -> Key:
    made = tuple(KeyVersion(number, b"material", NOW) for number in range(1, versions + 1))
    return Key("ehr", "hospital", "software", made, NOW, NOW)


def states(key: Key) -> list[KeyState]:
    return [each.state for each in key.versions]


def ended(key: Key, now: datetime) -> Key:
    """Return the key after what is due was destroyed, as the gateway does it."""
    due = due_destruction(key, now)
    assert due is not None
    return with_destroyed(with_destruction_begun(key, due, now), due, now)


def test_a_key_is_disabled_and_enabled_again() -> None:
    disabled = with_act(a_key(), Act.DISABLE, THEN)
    assert (disabled.state, disabled.updated) == (KeyState.DISABLED, THEN)
    assert with_act(disabled, Act.ENABLE, THEN).state is KeyState.ENABLED


def test_one_version_is_disabled_and_enabled_again() -> None:
    disabled = with_version_act(a_key(), Act.DISABLE_VERSION, 2, THEN)
    assert states(disabled) == [KeyState.ENABLED, KeyState.DISABLED, KeyState.ENABLED]
    assert states(with_version_act(disabled, Act.ENABLE_VERSION, 2, THEN)) == states(a_key())


def test_a_scheduled_key_is_due_at_its_time_and_not_before() -> None:
    key = with_destruction_at(a_key(), 0, THEN, NOW)
    assert (key.state, key.destroy_at) == (KeyState.PENDING_DESTRUCTION, THEN)
    assert due_destruction(key, BEFORE) is None
    due = due_destruction(key, THEN)
    assert due is not None
    assert (due.whole, [each.version for each in due.versions]) == (True, [1, 2, 3])


def test_a_cancelled_destruction_leaves_the_key_disabled() -> None:
    saved = without_destruction(with_destruction_at(a_key(), 0, THEN, NOW), 0, BEFORE)
    assert (saved.state, saved.destroy_at) == (KeyState.DISABLED, None)
    assert states(saved) == states(a_key())


def test_a_cancelled_destruction_leaves_the_version_disabled_and_the_key_in_use() -> None:
    saved = without_destruction(with_destruction_at(a_key(), 1, THEN, NOW), 1, BEFORE)
    assert saved.state is KeyState.ENABLED
    assert states(saved) == [KeyState.DISABLED, KeyState.ENABLED, KeyState.ENABLED]
    assert saved.versions[0].destroy_at is None


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_due_or_has_begun_can_not_be_cancelled(number: int) -> None:
    key = with_destruction_at(a_key(), number, THEN, NOW)
    due = due_destruction(key, THEN)
    assert due is not None
    # A gateway whose clock is a day late sees the time still to come, but not that it has begun.
    for stored, now in ((key, THEN), (with_destruction_begun(key, due, THEN), NOW)):
        with pytest.raises(FailedPrecondition) as refusal:
            without_destruction(stored, number, now)
        assert refusal.value.reason is Reason.KEY_PENDING_DESTRUCTION


@pytest.mark.parametrize("number", [0, 1])
def test_what_has_begun_stays_due_until_it_is_done(number: int) -> None:
    key = with_destruction_at(a_key(), number, THEN, NOW)
    due = due_destruction(key, THEN)
    assert due is not None
    begun = with_destruction_begun(key, due, THEN)
    again = due_destruction(begun, NOW)
    assert again is not None
    assert [each.version for each in again.versions] == [each.version for each in due.versions]
    assert due_destruction(with_destroyed(begun, again, THEN), THEN) is None


def test_a_destroyed_key_keeps_its_numbers_and_no_material() -> None:
    tombstone = ended(with_destruction_at(a_key(), 0, THEN, NOW), THEN)
    assert (tombstone.state, tombstone.destroy_at) == (KeyState.DESTROYED, THEN)
    assert [(each.version, each.material, each.state) for each in tombstone.versions] == [
        (number, b"", KeyState.DESTROYED) for number in (1, 2, 3)
    ]


def test_a_destroyed_version_leaves_the_others_as_they_are() -> None:
    made = ended(with_destruction_at(a_key(), 2, THEN, NOW), THEN)
    assert made.state is KeyState.ENABLED
    assert [each.material for each in made.versions] == [b"material", b"", b"material"]
    assert states(made) == [KeyState.ENABLED, KeyState.DESTROYED, KeyState.ENABLED]


def test_a_version_is_destroyed_on_its_day_also_while_its_key_waits() -> None:
    key = with_destruction_at(with_destruction_at(a_key(), 1, THEN, NOW), 0, THEN + timedelta(days=9), NOW)
    made = ended(key, THEN)
    assert made.state is KeyState.PENDING_DESTRUCTION
    assert states(made)[0] is KeyState.DESTROYED
    assert ended(made, THEN + timedelta(days=9)).state is KeyState.DESTROYED


@pytest.mark.parametrize("number", [0, 1])
def test_deletion_protection_refuses_both(number: int) -> None:
    with pytest.raises(FailedPrecondition) as refusal:
        with_destruction_at(replace(a_key(), deletion_protection=True), number, THEN, NOW)
    assert refusal.value.reason is Reason.KEY_PROTECTED


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (1, Reason.KEY_VERSION_BELOW_MINIMUM),
        (2, Reason.KEY_VERSION_BELOW_MINIMUM),
        (4, Reason.KEY_VERSION_UNKNOWN),
    ],
)
def test_the_minimum_for_decryption_only_rises_and_only_to_a_version_that_is(number: int, reason: Reason) -> None:
    key = with_minimum_decrypt(a_key(), 2, NOW)
    assert with_minimum_decrypt(key, 3, NOW).minimum_decrypt_version == 3
    with pytest.raises(FailedPrecondition) as refusal:
        with_minimum_decrypt(key, number, NOW)
    assert refusal.value.reason is reason


def test_the_minimum_for_encryption_is_a_version_or_0() -> None:
    assert [check_minimum_encrypt(a_key(), number) for number in (0, 3)] == [0, 3]
    with pytest.raises(FailedPrecondition):
        check_minimum_encrypt(a_key(), 4)


@pytest.mark.parametrize(
    "policy",
    [
        RotationPolicy(period=timedelta(minutes=59)),
        RotationPolicy(period=timedelta(days=36_501)),
        RotationPolicy(period=timedelta(hours=1, microseconds=1)),
        RotationPolicy(max_messages=WRAP_LIMIT + 1),
        RotationPolicy(max_wraps=WRAP_LIMIT + 1),
        RotationPolicy(max_wraps=0),
        RotationPolicy(max_bytes=2**63),
    ],
)
def test_a_rotation_policy_out_of_its_limits_is_refused(policy: RotationPolicy) -> None:
    with pytest.raises(InvalidRequest):
        check_rotation(policy)


def test_a_rotation_policy_within_its_limits_is_taken_as_it_is() -> None:
    widest = RotationPolicy(timedelta(hours=1), WRAP_LIMIT, 2**63 - 1, WRAP_LIMIT)
    assert check_rotation(widest) is widest
    assert check_rotation(RotationPolicy()) == RotationPolicy()
