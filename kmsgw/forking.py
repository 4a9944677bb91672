"""Processes that begin as a copy of this one: what it has imported, they need not import again. Linux.

Only for a process of one thread that has loaded neither grpc nor a PKCS#11 library: neither survives a fork. A copy has
the memory layout of its original, which helps who guesses addresses, so a process that died is started as a program of
its own, with a layout of its own.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

_LOG = logging.getLogger(__name__)

_SELF: Final = Path("/proc/self")
_ARGUMENTS: Final = slice(45, 47)
"""Where proc_pid_stat(5) tells begin and end of the command line, counted from the field after the name."""

_LONGEST_NAME: Final = 15
"""Of a process in the kernel: proc_pid_comm(5)."""

_FIRST_LOOK_SECONDS: Final = 0.001
_LONGEST_LOOK_SECONDS: Final = 0.05
_KILLED_SECONDS: Final = 2.0
_UNFORKABLE: Final = frozenset({"grpc", "pkcs11"})


class Process(Protocol):
    """A process below this one: as much of `subprocess.Popen` as is used of it."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus the signal that ended it; None while that isn't known."""

    def poll(self) -> int | None:
        """Return the status where it has ended, else None."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the status. Raises `subprocess.TimeoutExpired`."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it."""


class ForkedProcess:
    """A copy of this process. See `Process`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the status where it has ended, else None."""
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the status. Raises `subprocess.TimeoutExpired`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_LOOK_SECONDS
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("a copy of this process", timeout or 0.0)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK_SECONDS)
        return status

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def end_process(process: Process, seconds: float) -> int:
    """Wait so long for a process to end, end it by force where it does not, and return its status."""
    try:
        return process.wait(max(0.1, seconds))
    except subprocess.TimeoutExpired:
        _LOG.error("a process did not end in time and is killed")
    return kill_process(process)


def kill_process(process: Process) -> int:
    """End a process by force and return its status; that of a killed one also where it hangs in the kernel.

    At a network mount that is away nothing ends it. It goes whenever that comes back, and is waited for by nobody.
    """
    process.kill()
    try:
        return process.wait(_KILLED_SECONDS)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL


def may_fork() -> bool:
    """Tell whether a copy of this process can work: it has one thread, and nothing that does not survive a fork."""
    return len(list((_SELF / "task").iterdir())) == 1 and _UNFORKABLE.isdisjoint(sys.modules)


def fork(
    run: Callable[[Sequence[str]], int],
    arguments: Sequence[str],
    *,
    title: str,
    keep: Collection[int],
    environment: Mapping[str, str],
) -> ForkedProcess:
    """Start a copy of this process that calls `run` with `arguments` and ends with the status that it returns.

    It has the descriptors of `keep` and standard output and error, and nothing on standard input; `environment` is
    added to its environment. `title` is what ps shows.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else the copy would write it too
    pid = os.fork()
    if pid:
        return ForkedProcess(pid)
    status = 1
    try:
        _close_all_but({1, 2, *keep})
        _put_nothing_on_standard_input()
        os.environ.update(environment)
        _show_as(title)
        status = run(arguments)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001  nothing may go on in the copy with what its original was about to do
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        # Not through the frames and exit handlers of the original, which are none of the copy's.
        os._exit(status)


def _close_all_but(kept: Collection[int]) -> None:
    for number in sorted(int(each.name) for each in (_SELF / "fd").iterdir()):
        if number not in kept:
            with suppress(OSError):  # that of the listing itself is closed already
                os.close(number)


def _put_nothing_on_standard_input() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    if nothing != 0:
        os.dup2(nothing, 0)
        os.close(nothing)


def _show_as(title: str) -> None:
    """Have ps show a title in place of the original's command line, as far as there is room, and pkill find it."""
    # Else a signal that is sent by name to the original would come to its copies too.
    (_SELF / "comm").write_text(title.split(maxsplit=1)[0][:_LONGEST_NAME])
    begin, end = (int(each) for each in (_SELF / "stat").read_text().rpartition(")")[2].split()[_ARGUMENTS])
    room = end - begin
    if begin > 0 and room > 0:
        ctypes.memmove(begin, title.encode()[: room - 1].ljust(room, b"\0"), room)
