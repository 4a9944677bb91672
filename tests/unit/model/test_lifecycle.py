"""What may be done in which state, and what may not whatever the state."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kmsgw.errors import FailedPrecondition, Reason
from kmsgw.model.key import Key, KeyState, KeyVersion
from kmsgw.model.lifecycle import (
    KEY_RULES,
    VERSION_RULES,
    Act,
    opening_version,
    require,
    require_version,
    sealing_version,
)

NOW = datetime(2026, 11, 21, tzinfo=UTC)
USES = (Act.ENCRYPT, Act.DECRYPT, Act.REWRAP_FROM, Act.REWRAP_TO, Act.GENERATE_DATA_KEY, Act.COMPUTE_MAC)


def a_key(*states: KeyState, state: KeyState = KeyState.ENABLED, minimum_decrypt: int = 1, encrypt: int = 0) -> Key:
    versions = tuple(
        KeyVersion(number, b"material", NOW, each) for number, each in enumerate(states or (KeyState.ENABLED,) * 3, 1)
    )
    made = Key("ehr", "hospital", "software", versions, NOW, NOW, state)
    return replace(made, minimum_decrypt_version=minimum_decrypt, minimum_encrypt_version=encrypt)


def reason_of(key: Key, act: Act, number: int) -> Reason:
    with pytest.raises(FailedPrecondition) as refusal:
        require_version(key, act, number)
    assert refusal.value.advice
    return refusal.value.reason


def test_the_tables_rule_on_every_act_in_every_state() -> None:
    assert set(KEY_RULES) == set(Act)
    assert all(set(row) == set(KeyState) for table in (KEY_RULES, VERSION_RULES) for row in table.values())


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("state", KeyState)
def test_a_key_is_what_the_table_says_or_the_refusal_has_its_reason(act: Act, state: KeyState) -> None:
    rule = KEY_RULES[act][state]
    key = a_key(state=state)
    if isinstance(rule, KeyState):
        assert require(key, act) is rule
        return
    with pytest.raises(FailedPrecondition) as refusal:
        require(key, act)
    assert refusal.value.reason is rule
    assert refusal.value.advice


@pytest.mark.parametrize("act", USES)
def test_no_use_is_allowed_but_of_what_is_enabled(act: Act) -> None:
    for table in (KEY_RULES, VERSION_RULES):
        assert [state for state in KeyState if isinstance(table[act][state], KeyState)] == [KeyState.ENABLED]


def test_what_is_destroyed_stays_so() -> None:
    for table in (KEY_RULES, VERSION_RULES):
        after = {row[KeyState.DESTROYED] for row in table.values()}
        assert {each for each in after if isinstance(each, KeyState)} == {KeyState.DESTROYED}


def test_what_pends_ends_saved_or_destroyed_and_nothing_else_moves_it() -> None:
    for table in (KEY_RULES, VERSION_RULES):
        moves = {act: row[KeyState.PENDING_DESTRUCTION] for act, row in table.items()}
        moved = {
            act: after
            for act, after in moves.items()
            if isinstance(after, KeyState) and after is not KeyState.PENDING_DESTRUCTION
        }
        saved, destroyed = KeyState.DISABLED, KeyState.DESTROYED
        assert set(moved.values()) == {saved, destroyed}
        assert {act for act, after in moved.items() if after is saved} <= {
            Act.CANCEL_DESTRUCTION,
            Act.CANCEL_VERSION_DESTRUCTION,
        }


@pytest.mark.parametrize("act", [act for act in VERSION_RULES if act not in (Act.VIEW, Act.DESTROY)])
@pytest.mark.parametrize("state", KeyState)
def test_a_version_wants_both_tables_to_allow_it(act: Act, state: KeyState) -> None:
    key = a_key(state, KeyState.ENABLED)
    rule = VERSION_RULES[act][state]
    if isinstance(rule, Reason):
        assert reason_of(key, act, 1) is rule
    else:
        assert require_version(key, act, 1).version == 1
    for of_key in KeyState:
        key_rule = KEY_RULES[act][of_key]
        if isinstance(key_rule, Reason):
            assert reason_of(replace(key, state=of_key), act, 1) is key_rule


@pytest.mark.parametrize("act", [Act.DISABLE_VERSION, Act.SCHEDULE_VERSION_DESTRUCTION])
def test_the_newest_version_is_never_taken_out_of_use_by_itself(act: Act) -> None:
    assert reason_of(a_key(), act, 3) is Reason.KEY_VERSION_IS_PRIMARY


@pytest.mark.parametrize("number", [0, 4, 4_294_967_295])
def test_a_version_that_never_was_is_none_to_open_with_and_an_error_elsewhere(number: int) -> None:
    assert opening_version(a_key(), number) is None
    assert reason_of(a_key(), Act.DISABLE_VERSION, number) is Reason.KEY_VERSION_UNKNOWN


def test_a_disabled_key_does_not_tell_which_versions_it_has() -> None:
    for number in (1, 9):
        with pytest.raises(FailedPrecondition) as refusal:
            opening_version(a_key(state=KeyState.DISABLED), number)
        assert refusal.value.reason is Reason.KEY_DISABLED


@pytest.mark.parametrize("act", [Act.DECRYPT, Act.REWRAP_FROM])
def test_versions_below_the_minimum_open_nothing(act: Act) -> None:
    key = a_key(minimum_decrypt=2)
    assert reason_of(key, act, 1) is Reason.KEY_VERSION_BELOW_MINIMUM
    assert require_version(key, act, 2).version == 2


def test_without_a_minimum_for_encryption_only_the_newest_version_encrypts() -> None:
    key = a_key()
    assert sealing_version(key, 0).version == sealing_version(key, 3).version == 3
    with pytest.raises(FailedPrecondition) as refusal:
        sealing_version(key, 2)
    assert refusal.value.reason is Reason.KEY_VERSION_BELOW_MINIMUM


def test_a_minimum_for_encryption_lets_callers_ask_for_versions_from_there() -> None:
    key = a_key(encrypt=2)
    assert [sealing_version(key, number).version for number in (0, 2, 3)] == [3, 2, 3]
    with pytest.raises(FailedPrecondition):
        sealing_version(key, 1)


def test_nothing_is_encrypted_under_a_version_that_may_not_decrypt() -> None:
    with pytest.raises(FailedPrecondition) as refusal:
        sealing_version(a_key(minimum_decrypt=3, encrypt=1), 2)
    assert refusal.value.reason is Reason.KEY_VERSION_BELOW_MINIMUM


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (KeyState.DISABLED, Reason.KEY_VERSION_DISABLED),
        (KeyState.PENDING_DESTRUCTION, Reason.KEY_PENDING_DESTRUCTION),
        (KeyState.DESTROYED, Reason.KEY_DESTROYED),
    ],
)
def test_a_version_that_is_asked_for_must_be_enabled(state: KeyState, reason: Reason) -> None:
    with pytest.raises(FailedPrecondition) as refusal:
        sealing_version(a_key(state, KeyState.ENABLED, encrypt=1), 1)
    assert refusal.value.reason is reason
