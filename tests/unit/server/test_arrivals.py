"""How many messages are asked for, which calls wait for their turn, and which lose it (threat 19)."""

import pytest

from kmsgw.errors import Overloaded
from kmsgw.server.arrivals import CROWDED_SECONDS, MESSAGE_SECONDS, MOST_ASKED, MOST_UNASKED, MOST_WAITING, Arrivals

WAITING = [f"asked {number}" for number in range(MOST_ASKED)]


@pytest.fixture
def full() -> Arrivals[str]:
    """Arrivals where one principal has as many messages asked for as it may."""
    arrivals: Arrivals[str] = Arrivals()
    assert all(arrivals.enter("half", call, 0.0) for call in WAITING)
    return arrivals


def test_only_so_many_messages_of_a_principal_are_asked_for_at_once(full: Arrivals[str]) -> None:
    assert not full.enter("half", "next", 0.0)
    assert full.enter("other", "of another", 0.0)


def test_who_waits_is_asked_in_its_turn_when_a_message_has_come(full: Arrivals[str]) -> None:
    full.enter("half", "next", 0.0)
    full.enter("half", "last", 0.0)

    for call, following in ((WAITING[3], "next"), ("next", "last"), ("last", None)):
        assert full.arrived("half", call)
        assert full.leave("half", call, 1.0) == following
    assert len(full) == MOST_ASKED - 1


def test_a_call_arrives_once(full: Arrivals[str]) -> None:
    assert full.arrived("half", WAITING[0])

    assert not full.arrived("half", WAITING[0])
    assert not full.arrived("nobody", "call")


def test_a_call_that_has_arrived_keeps_its_place_until_it_leaves(full: Arrivals[str]) -> None:
    for call in WAITING:
        full.arrived("half", call)

    assert not full.enter("half", "next", 0.0)
    assert full.sweep(MESSAGE_SECONDS - 0.1) == ([], [])
    assert full.sweep(MESSAGE_SECONDS) == (["next"], []), "those that have their message are not late"
    assert len(full) == MOST_ASKED
    assert [full.leave("half", call, 0.0) for call in WAITING] == [None] * MOST_ASKED
    assert len(full) == 0


def test_a_message_may_take_its_time_where_nobody_waits_behind_it(full: Arrivals[str]) -> None:
    assert full.sweep(MESSAGE_SECONDS - 0.1) == ([], [])
    assert full.sweep(MESSAGE_SECONDS) == (WAITING, [])
    assert len(full) == 0


def test_a_message_must_come_soon_where_others_of_its_principal_wait_behind_it(full: Arrivals[str]) -> None:
    full.enter("other", "alone", 0.0)
    full.enter("half", "next", 0.0)

    assert full.sweep(CROWDED_SECONDS - 0.1) == ([], [])
    assert full.sweep(CROWDED_SECONDS) == (WAITING, ["next"])
    # Its time begins when it is asked, and nobody waits behind it.
    assert full.sweep(MESSAGE_SECONDS + 0.1) == (["alone"], [])
    assert full.sweep(CROWDED_SECONDS + MESSAGE_SECONDS) == (["next"], [])


def test_every_message_must_come_soon_where_very_many_calls_wait() -> None:
    arrivals: Arrivals[int] = Arrivals()
    for number in range(MOST_WAITING + 1):
        arrivals.enter(f"principal {number}", number, 0.0)

    assert len(arrivals.sweep(CROWDED_SECONDS)[0]) == MOST_WAITING + 1


def test_of_a_principal_only_so_many_calls_wait_for_their_turn(full: Arrivals[str]) -> None:
    for number in range(MOST_UNASKED):
        full.enter("half", str(number), 0.0)

    with pytest.raises(Overloaded, match="Too many calls"):
        full.enter("half", "one more", 0.0)
    assert len(full) == MOST_ASKED + MOST_UNASKED


def test_at_a_stop_who_was_not_asked_is_let_out(full: Arrivals[str]) -> None:
    full.enter("half", "next", 0.0)

    assert full.clear_unasked() == ["next"]
    assert len(full) == MOST_ASKED
    assert full.arrived("half", WAITING[0])
    assert full.leave("half", WAITING[0], 0.0) is None
