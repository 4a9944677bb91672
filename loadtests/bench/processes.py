"""What processes use, as Linux' /proc tells. A server is its first process with all that descend from it."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Stat:
    """A line of /proc/PID/stat: the parent's id, and seconds of CPU in user and kernel mode."""

    parent: int
    cpu_s: float


def parse_stat(text: str) -> Stat:
    """Read a line of /proc/PID/stat (proc_pid_stat(5)). The name in it may hold spaces and parentheses."""
    fields = text.rpartition(")")[2].split()
    return Stat(int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS)


def parse_busy(text: str) -> float:
    """Read the first line of /proc/stat: seconds that all cores were busy, for this machine or, stolen, for another."""
    ticks = [int(each) for each in text.splitlines()[0].split()[1:9]]
    idle, waiting = ticks[3:5]
    return (sum(ticks) - idle - waiting) / _TICKS


def busy_seconds() -> float:
    """Return the CPU that all processes together and the kernel have used so far, in seconds."""
    return parse_busy((_PROC / "stat").read_text())


def family(roots: Iterable[int]) -> list[int]:
    """Return the ids of processes and of all their descendants that are alive."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (stat := _stat(int(entry.name))) is not None:
            children.setdefault(stat.parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        each = waiting.pop()
        found.append(each)
        waiting += children.get(each, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU that processes have used so far, in seconds. One that is gone counts nothing."""
    return sum(stat.cpu_s for pid in pids if (stat := _stat(pid)) is not None)


def resident_mb(pids: Iterable[int]) -> float:
    """Return the resident memory of processes, in 10^6 bytes. Pages that several share count for each."""
    return sum(_kib(str(pid), "VmRSS") for pid in pids) * _KIB / 1e6


def peak_mb() -> float:
    """Return the most memory that this process has held since its program began or `forget_peak`, in 10^6 bytes.

    Not getrusage's ru_maxrss: that of a program begins with what the process held that started it (getrusage(2)).
    """
    return _kib("self", "VmHWM") * _KIB / 1e6


def forget_peak() -> None:
    """Have `peak_mb` begin again at what is held now (proc_pid_clear_refs(5)). Does nothing where the kernel can't."""
    with suppress(OSError):
        (_PROC / "self" / "clear_refs").write_text("5")


def descriptors(pids: Iterable[int]) -> int:
    """Return how many descriptors processes have open."""
    return sum(_entries(pid, "fd") for pid in pids)


def threads(pids: Iterable[int]) -> int:
    """Return how many threads processes have."""
    return sum(_entries(pid, "task") for pid in pids)


def _entries(pid: int, folder: str) -> int:
    try:
        return sum(1 for _ in (_PROC / str(pid) / folder).iterdir())
    except OSError:
        return 0


def _stat(pid: int) -> Stat | None:
    try:
        return parse_stat((_PROC / str(pid) / "stat").read_text())
    except OSError:  # gone meanwhile
        return None


def _kib(process: str, figure: str) -> int:
    try:
        lines = (_PROC / process / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{figure}:")), 0)
