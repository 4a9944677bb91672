"""Trying a configuration in a process of its own: a PKCS#11 library that crashes must not take the daemon with it."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kmsgw.config import Settings, load_settings
from kmsgw.forking import kill_process
from kmsgw.launch import (
    START_SECONDS,
    HeldSettings,
    Launched,
    answer_memory,
    launch,
    read_answer,
    slow_start,
)
from kmsgw.taken_signals import ENDING, STARTING, Stopped, take_signal

_LOOK_SECONDS = 0.01
_END_SECONDS = 2.0


def check_start(
    settings: Settings,
    secrets: Mapping[int, bytes],
    *arguments: str,
    copy: Callable[[Sequence[str]], int] | None = None,
) -> bytes:
    """Try everything that a worker needs, wait for the result, and return the policies as they were checked.

    `copy` is as for `launch`. Signals must be held (`hold_signals`). Raises `ConfigurationError` with all faults, and
    `Stopped` where a signal asks for the end meanwhile.
    """
    return checked(Reload.of(settings, secrets, *arguments, copy=copy))


def checked(trial: "Reload") -> bytes:
    """Wait for a trial that has begun, end it, and return the policies. Otherwise as `check_start`."""
    try:
        # The end of the process that tries it is a signal too, so this step is one of a trial that hangs.
        while not trial.look():
            if take_signal(STARTING, _LOOK_SECONDS) in ENDING:
                raise Stopped
        with suppress(subprocess.TimeoutExpired):
            trial.launched.process.wait(_END_SECONDS)  # it lets go of tokens and connections
        return trial.policies
    finally:
        trial.close()


@dataclass(slots=True)
class Reload:
    """A configuration that is being tried, while everything else goes on."""

    held: HeldSettings
    launched: Launched
    answer: int
    began: float

    @classmethod
    def begin(cls, config: Path, secrets: Mapping[int, bytes]) -> "Reload":
        """Begin to try what the file says now. Raises `ConfigurationError` where it can't even be read."""
        return cls.of(load_settings(config), secrets)

    @classmethod
    def of(
        cls,
        settings: Settings,
        secrets: Mapping[int, bytes],
        *arguments: str,
        copy: Callable[[Sequence[str]], int] | None = None,
    ) -> "Reload":
        """Begin to try these settings. `copy` is as for `launch`."""
        held = HeldSettings(settings)
        answer = answer_memory()
        what = ("--name", "preflight", "--check", "--answer-fd", str(answer), *arguments)
        launched = launch(held, secrets, *what, lend=[answer], copy=copy)
        return cls(held, launched, answer, time.monotonic())

    @property
    def settings(self) -> Settings:
        """What is being tried."""
        return self.held.settings

    @property
    def policies(self) -> bytes:
        """The policies as they were checked, once that was found right."""
        return read_answer(self.answer)

    def look(self) -> bool:
        """Tell whether it was found right; False while that isn't known. Raises `ConfigurationError` otherwise."""
        if self.launched.hear(0.0):
            return True
        if time.monotonic() - self.began > START_SECONDS:
            raise slow_start(START_SECONDS)
        return False

    def close(self) -> None:
        """End the trial, whatever it has come to."""
        self.launched.close()
        if self.launched.process.poll() is None:
            kill_process(self.launched.process)
        os.close(self.answer)
        self.held.close()
