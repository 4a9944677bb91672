"""How the first Ctrl-C or SIGTERM asks `kmsgw rewrap run` for a stop."""

import signal

import pytest

from kmsgw.cli.rewrap_run import _stopping
from tests.support.patience import eventually


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_for_a_stop_whatever_lock_is_held_where_it_comes(number: signal.Signals) -> None:
    before = signal.getsignal(number)

    with _stopping() as stop:
        with stop._cond:  # type: ignore[attr-defined]  # as in the middle of `stop.wait`
            signal.raise_signal(number)
        assert eventually(stop.is_set)

        assert signal.getsignal(number) is before  # the second one ends the process
    assert signal.getsignal(number) is before


def test_without_a_signal_nobody_is_asked_to_stop() -> None:
    with _stopping() as stop:
        pass

    assert not stop.is_set()


def test_a_signal_just_before_the_end_is_known_after_it() -> None:
    with _stopping() as stop:
        signal.raise_signal(signal.SIGTERM)

    assert stop.is_set()
