"""Who leaves its answers unread gets no more of them, and loses the calls that they belong to (threat 19)."""

from datetime import timedelta

import pytest

from kmsgw.errors import Overloaded
from kmsgw.server.unread_answers import MOST_BYTES, UNREAD_SECONDS, UnreadAnswers
from tests.fakes.clock import SetClock


class Line:
    """A call that counts how often it is cancelled."""

    def __init__(self) -> None:
        self.cancels = 0

    def cancel(self) -> None:
        self.cancels += 1


def test_who_has_too_many_bytes_unread_is_refused_until_they_have_left() -> None:
    unread = UnreadAnswers(SetClock())
    half = unread.sent("slow", MOST_BYTES // 2, Line().cancel)
    unread.admit("slow")
    rest = unread.sent("slow", MOST_BYTES // 2, Line().cancel)

    with pytest.raises(Overloaded, match="wait to be read"):
        unread.admit("slow")
    unread.admit("other")

    unread.left(half)
    unread.admit("slow")
    unread.left(rest)


def test_an_answer_is_counted_off_once() -> None:
    unread = UnreadAnswers(SetClock())
    whole = unread.sent("slow", MOST_BYTES, Line().cancel)
    gone = unread.sent("slow", MOST_BYTES, Line().cancel)
    for _ in range(2):
        unread.left(gone)

    with pytest.raises(Overloaded):
        unread.admit("slow")
    unread.left(whole)
    unread.admit("slow")


def test_a_call_whose_answer_does_not_leave_is_cancelled_once_and_counts_until_it_has_ended() -> None:
    clock = SetClock()
    unread, line, later = UnreadAnswers(clock), Line(), Line()
    answer = unread.sent("slow", MOST_BYTES, line.cancel)
    clock.move(timedelta(seconds=1))
    unread.sent("slow", 1, later.cancel)

    unread.tick()
    assert (line.cancels, later.cancels) == (0, 0)
    clock.move(timedelta(seconds=UNREAD_SECONDS - 1))
    unread.tick()
    unread.tick()

    assert (line.cancels, later.cancels) == (1, 0)
    with pytest.raises(Overloaded):
        unread.admit("slow")
    unread.left(answer)
    unread.admit("slow")


def test_one_that_can_not_be_cancelled_keeps_no_other(caplog: pytest.LogCaptureFixture) -> None:
    clock = SetClock()
    unread, line = UnreadAnswers(clock), Line()

    def broken() -> None:
        raise RuntimeError

    unread.sent("slow", 1, broken)
    unread.sent("slow", 1, line.cancel)
    clock.move(timedelta(seconds=UNREAD_SECONDS))
    unread.tick()

    assert line.cancels == 1
    assert "could not be cancelled" in caplog.text
