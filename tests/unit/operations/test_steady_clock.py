"""A clock that was set is not believed for what can't be undone."""

from datetime import datetime, timedelta

import pytest

from kmsgw.operations.steady_clock import SteadyClock
from tests.fakes.clock import SetClock


@pytest.mark.parametrize(
    ("moved", "jumped"),
    [
        (timedelta(days=31), True),
        (timedelta(minutes=6), True),
        (-timedelta(minutes=6), True),
        (timedelta(minutes=4), False),
        (-timedelta(minutes=4), False),
    ],
)
def test_only_a_clock_that_was_set_by_much_has_jumped(moved: timedelta, jumped: bool) -> None:
    clock = SetClock()
    steady = SteadyClock(clock)
    clock.move(timedelta(days=10))

    clock.time += moved

    assert steady.has_jumped() is jumped


def test_a_guarded_chore_rests_while_the_clock_is_wrong_and_goes_on_when_it_is_right() -> None:
    clock, done = SetClock(), list[datetime]()
    chore = SteadyClock(clock).guarded(done.append)

    chore(clock.now())
    clock.time += timedelta(days=31)
    chore(clock.now())
    clock.time -= timedelta(days=31)
    chore(clock.now())

    assert done == [clock.now(), clock.now()]
