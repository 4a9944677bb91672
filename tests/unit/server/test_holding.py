"""Which refusals are held back, and that they are sent when their time has come."""

import threading

import pytest

from kmsgw.errors import KmsgwError, Overloaded, Reason
from kmsgw.server.holding import Holding
from kmsgw.server.passage import Reply
from tests.support.gateway import eventually


def refusal(wait: float) -> Reply:
    return Reply("request", b"", Overloaded("quota", reason=Reason.QUOTA_EXCEEDED, retry_after=wait), 0)


def test_the_shortest_wait_is_sent_first_and_every_refusal_is_sent_once() -> None:
    sent: list[str] = []
    holding = Holding(lambda call, _: sent.append(call))

    assert all(holding.take(name, refusal(wait)) for name, wait in (("late", 0.3), ("soon", 0.05), ("middle", 0.2)))
    holding.start()

    assert eventually(lambda: len(sent) == 3)
    assert sent == ["soon", "middle", "late"]


def test_one_that_can_not_be_sent_keeps_no_other(caplog: pytest.LogCaptureFixture) -> None:
    sent = threading.Event()

    def send(call: str, _: Reply) -> None:
        if call == "broken":
            raise RuntimeError
        sent.set()

    holding = Holding(send)
    holding.start()
    holding.take("broken", refusal(0.05))
    holding.take("whole", refusal(0.06))

    assert sent.wait(60)
    assert "could not be sent" in caplog.text


@pytest.mark.parametrize("error", [None, Overloaded("room"), KmsgwError("x")])
def test_only_refusals_by_quota_are_held(error: KmsgwError | None) -> None:
    assert not Holding(lambda *_: None).take("call", Reply("request", b"", error, 0))
