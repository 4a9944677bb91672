"""Ctrl-C ends a command at whatever moment it comes, also where Python loses the exception of it."""

import signal
import subprocess
import sys

import pytest

from kmsgw.cli import interruption
from kmsgw.cli.failure import ExitCode
from kmsgw.cli.main import cli, run


def run_program(text: str) -> subprocess.CompletedProcess[str]:
    """Run a program with Ctrl-C remembered."""
    head = "import os, signal\nfrom kmsgw.cli.interruption import *\nfrom kmsgw.cli.interruption import pause\n"
    text = f"{head}signal.signal(signal.SIGINT, signal.default_int_handler)\nremember_interruption()\n{text}"
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=240, check=False)


LOST = """
class Lossy:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(100):
            pass

Lossy()
print("goes on", was_interrupted())
"""


def test_ctrl_c_in_a_destructor_ends_a_command_at_its_next_pause_without_a_word() -> None:
    done = run_program(LOST + "try:\n    pause(600)\nexcept KeyboardInterrupt:\n    print('ended')\n")

    assert (done.stdout, done.stderr, done.returncode) == ("goes on True\nended\n", "", 0)


def test_other_exceptions_of_destructors_are_still_told() -> None:
    done = run_program("class Faulty:\n    def __del__(self):\n        raise ValueError('of its own')\n\nFaulty()\n")

    assert "ValueError: of its own" in done.stderr


def test_ctrl_c_that_is_ignored_stays_ignored() -> None:
    text = (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nremember_interruption()\nos.kill(os.getpid(), signal.SIGINT)\n"
    )

    done = run_program(text + "pause(0)\nprint(was_interrupted())\n")

    assert (done.stdout, done.stderr) == ("False\n", "")


def test_an_error_that_a_library_made_of_ctrl_c_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise SystemError("<built-in function> returned a result with an exception set")

    monkeypatch.setattr(cli, "main", broken)
    with pytest.raises(SystemError):
        run(["version"])
    monkeypatch.setattr(interruption, "_asked", [True])
    assert run(["version"]) == ExitCode.INTERRUPTED


def test_a_ctrl_c_that_ended_what_it_was_meant_for_ends_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "_asked", [True])

    interruption.interruption_taken()

    assert not interruption.was_interrupted()
    interruption.pause(0.0)


def test_ctrl_c_is_raised_where_the_command_is() -> None:
    assert (
        run_program(
            "try:\n    signal.raise_signal(signal.SIGINT)\nexcept KeyboardInterrupt:\n    print('here')\n"
        ).stdout
        == "here\n"
    )
    assert run_program("signal.raise_signal(signal.SIGINT)\n").returncode == -signal.SIGINT
