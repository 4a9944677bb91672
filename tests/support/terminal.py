"""A person at a terminal: a program in a pseudo-terminal that is its controlling one, what it shows, what is typed."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

SECONDS = 120.0
"""So long a person waits for what is to come."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Runs a program with a terminal of its own. ``screen`` is all that it showed so far, typed text included."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], *, columns: int = 100, cwd: Path | None = None
    ) -> None:
        self._leader, follower = os.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        # The first terminal that the leader of a session opens becomes its controlling one: what getpass asks on.
        script = 'exec <>"$0" >&0 2>&1; exec "$@"'
        self.process = subprocess.Popen(
            ["sh", "-c", script, os.ttyname(follower), *command], env=dict(env), cwd=cwd, start_new_session=True
        )
        os.close(follower)
        self._shown = b""
        self._seen = 0

    @property
    def screen(self) -> str:
        """Everything so far, with plain line ends."""
        return self._shown.decode(errors="replace").replace("\r\n", "\n")

    def expect(self, pattern: str, seconds: float = SECONDS) -> str:
        """Wait until what came since the last `expect` matches, and return it up to the end of the match."""
        deadline = time.monotonic() + seconds
        while True:
            fresh = self.screen[self._seen :]
            found = re.search(pattern, fresh)
            if found is not None:
                self._seen += found.end()
                return fresh[: found.end()]
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} did not come:\n{self.screen}"
            assert self._read(left), f"it ended before {pattern!r}:\n{self.screen}"

    def enter(self, line: str) -> None:
        """Type a line."""
        os.write(self._leader, line.encode() + b"\n")

    def press(self, key: bytes) -> None:
        """Press a key, such as Ctrl-C (3)."""
        os.write(self._leader, key)

    def attend(self, asks: str, answer: Callable[[re.Match[str]], str], seconds: float = 2 * SECONDS) -> int:
        """Answer all that is asked until the program ends, and return its exit status."""
        deadline = time.monotonic() + seconds
        while True:
            asked = re.compile(asks).search(self.screen, self._seen)
            if asked is not None:
                self._seen = asked.end()
                self.enter(answer(asked))
            elif not self._read(max(0.0, deadline - time.monotonic())):
                return self.wait(60)

    def wait(self, seconds: float = SECONDS) -> int:
        """Return the exit status, once all that the program showed is read."""
        deadline = time.monotonic() + seconds
        while self._read(max(0.0, deadline - time.monotonic())):
            pass
        return self.process.wait(seconds)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._leader], [], [], seconds)
        if not ready:
            return False
        try:
            chunk = os.read(self._leader, 65_536)
        except OSError:  # EIO: nobody holds the other end, any more or yet
            time.sleep(0.005)
            return self.process.poll() is None
        self._shown += chunk
        return bool(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._leader)


def plain(text: str) -> str:
    """Return a text without what sets colours and moves the cursor."""
    return _CONTROL.sub("", text)
