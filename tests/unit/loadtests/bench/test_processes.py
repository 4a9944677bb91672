"""What processes use: read from /proc."""

import os
import subprocess
import sys
import time

import pytest

from loadtests.bench.processes import busy_seconds, cpu_seconds, family, parse_busy, parse_stat, resident_mb

_TICKS = os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("name", ["python", "a b", "a) R 1 (b", ""])
def test_a_stat_line_is_read_whatever_the_process_is_called(name: str) -> None:
    rest = "S 7 1 1 0 -1 4194304 1 2 3 4 " + f"{3 * _TICKS} {_TICKS} " + "5 6 20 0 1 0"

    found = parse_stat(f"42 ({name}) {rest}\n")

    assert (found.parent, found.cpu_s) == (7, 4.0)


def test_a_family_is_a_process_with_its_children_and_theirs() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while len(found := family([process.pid])) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.stdin is not None
        process.stdin.write(b"\n")

    assert found[0] == process.pid
    assert len(found) == 2
    assert os.getpid() not in found


def test_work_shows_as_cpu_and_memory() -> None:
    before = cpu_seconds([os.getpid()])
    deadline = time.process_time() + 0.1
    while time.process_time() < deadline:
        pass

    assert cpu_seconds([os.getpid()]) - before >= 0.07
    assert resident_mb([os.getpid()]) > 5


def test_a_process_that_is_gone_counts_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert (cpu_seconds([process.pid]), resident_mb([process.pid])) == (0, 0)


def test_waiting_is_not_being_busy_and_stolen_time_is() -> None:
    line = "cpu " + " ".join(str(each * _TICKS) for each in (1, 2, 3, 100, 200, 4, 5, 6, 1000, 1000))

    assert parse_busy(f"{line}\ncpu0 1 2 3 4\n") == 21.0
    assert busy_seconds() > 0
