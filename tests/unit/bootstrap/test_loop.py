"""Which loop answers: the direct one only with a grpcio that it was tested with."""

from types import SimpleNamespace
from typing import Literal, cast

import pytest

from kmsgw.bootstrap import loop as choice
from kmsgw.config import Settings


def _uses_direct(loop: Literal["direct", "threads"]) -> bool:
    return choice.uses_direct_loop(cast("Settings", SimpleNamespace(server=SimpleNamespace(loop=loop))))


def test_the_configuration_chooses() -> None:
    assert _uses_direct("direct")
    assert not _uses_direct("threads")


def test_threads_answer_with_a_grpcio_that_is_not_known_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choice, "supported", lambda: False)

    assert not _uses_direct("direct")
    assert "threads answer all calls" in caplog.text

    caplog.clear()
    assert not _uses_direct("threads")
    assert caplog.text == ""
