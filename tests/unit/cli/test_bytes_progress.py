"""The bar for files that take a while: on a terminal alone, and not for what is done at once."""

import io
import threading
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from kmsgw.cli.bytes_progress import SHOWN_AFTER, bytes_progress
from kmsgw.cli.invocation import Invocation
from kmsgw.cli.profile import Flags
from tests.fakes.clock import SetClock

ENVIRON = {"TERM": "xterm", "COLUMNS": "120"}


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "plain").write_bytes(bytes(3000))
    return str(tmp_path / "plain")


def shown(source: str | None, *, seconds: float, stderr: io.StringIO | None = None, quiet: bool = False) -> str:
    """Return what standard error, a terminal unless told otherwise, shows of work that takes so many seconds."""
    clock, screen, invocation = SetClock(), stderr if stderr is not None else Terminal(), Invocation(ENVIRON)
    invocation.flags = Flags(quiet=quiet)
    with redirect_stderr(screen), bytes_progress(invocation, "encrypting", source, clock=clock) as progress:
        progress(1000)
        clock.seconds += seconds
        threads = [threading.Thread(target=progress, args=(500,)) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    return screen.getvalue()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("known", "of"), [(True, "3.0/3.0 kB"), (False, "3.0/? kB")])
def test_what_takes_longer_is_shown_with_its_bytes(source: str, known: bool, of: str) -> None:
    text = shown(source if known else None, seconds=2 * SHOWN_AFTER)
    assert "encrypting" in text
    assert of in text


def test_what_is_done_at_once_shows_nothing(source: str) -> None:
    assert shown(source, seconds=SHOWN_AFTER / 2) == ""


def test_quiet_and_without_a_terminal_nothing_is_shown(source: str) -> None:
    assert shown(source, seconds=2 * SHOWN_AFTER, quiet=True) == ""
    assert shown(source, seconds=2 * SHOWN_AFTER, stderr=io.StringIO()) == ""
