"""A clock that a test moves on for all processes of a gateway, and a telephone that shows codes by it.

A one-time code works once and a new one comes every 30 seconds: an officer who does ten things waits for five minutes,
and a test need not.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyotp

STEP_SECONDS = 30
_FOLDER = Path(__file__).parent / "path"


@dataclass
class MovedClock:
    """So many seconds ahead of the machine's. Processes with `environment` tell its time; it is kept in `file`."""

    file: Path
    ahead: int = 0

    def __post_init__(self) -> None:
        self.file.write_text("0")

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make a process of Python tell this time, and import from where this one does."""
        paths = [str(_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"PYTHONPATH": os.pathsep.join(paths), "KMSGW_TEST_CLOCK": str(self.file)}

    def now(self) -> float:
        """Return the seconds since 1970."""
        return time.time() + self.ahead

    def forward(self, seconds: int) -> None:
        """Move it on, for everybody at once."""
        self.ahead += seconds
        replacement = self.file.with_suffix(".new")
        replacement.write_text(str(self.ahead))
        replacement.replace(self.file)


@dataclass
class Telephone:
    """An authenticator app. It shows each code once, and moves the clock on where the next one is yet to come."""

    clock: MovedClock
    secret: str = field(default="", repr=False)
    _shown: int = 0

    def code(self) -> str:
        """Return a code that was not shown yet and that the gateway takes now."""
        current = int(self.clock.now()) // STEP_SECONDS
        step = max(current, self._shown + 1)
        if step > current + 1:
            self.clock.forward((step - current - 1) * STEP_SECONDS)
        self._shown = step
        return pyotp.TOTP(self.secret).at(step * STEP_SECONDS)
