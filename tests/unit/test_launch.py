"""What each process is given by kmsgwd, and what it is not."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kmsgw import forking
from kmsgw.config import Settings, parse_settings
from kmsgw.errors import ConfigurationError
from kmsgw.forking import end_process
from kmsgw.launch import HeldSettings, Launched, read_held_settings
from kmsgw.lent_memory import read_lent
from kmsgw.slot import Slot
from kmsgw.supervisor import Supervisor
from tests.unit.test_config import GOOD


class Started:
    """What would have been started, in place of `subprocess.Popen`."""

    def __init__(self, command: Sequence[str], *, pass_fds: Sequence[int], **_: object) -> None:
        self.command = list(command)
        given = (str(Path(f"/proc/self/fd/{each}").readlink()) for each in pass_fds)
        self.memory = {each.split()[0] for each in given if "memfd" in each}


class Hanging:
    """A process that nothing ends."""

    pid = 0
    returncode = None
    killed = False

    def poll(self) -> None:
        """Say that it has not ended."""

    def wait(self, timeout: float | None = None) -> int:
        raise subprocess.TimeoutExpired("hanging", timeout or 0.0)

    def send_signal(self, sig: int) -> None:
        """Do nothing."""

    def terminate(self) -> None:
        """Do nothing."""

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return parse_settings(GOOD, tmp_path)


@pytest.fixture
def supervisor(settings: Settings, tmp_path: Path) -> Iterator[Supervisor]:
    held = HeldSettings(settings, b"policies")
    with socket.create_server(("127.0.0.1", 0)) as reservation:
        yield Supervisor(held, tmp_path / "kmsgwd.toml", {}, reservation)
    held.close()


def test_workers_get_settings_and_policies_and_the_exporter_settings_alone(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", Started)
    exporter = supervisor._launch_exporter()
    worker = supervisor._launch_worker(Slot("worker-0"))
    for launched, memory in ((exporter, {"settings"}), (worker, {"settings", "policies"})):
        launched.close()
        assert isinstance(launched.process, Started)
        assert launched.process.memory == {f"/memfd:kmsgw-{name}" for name in memory}
        assert ("--policies-fd" in launched.process.command) == ("policies" in memory)


def test_what_is_held_is_read_through_the_descriptors_that_were_lent_before_it_was_replaced(settings: Settings) -> None:
    held = HeldSettings(settings, b"policies")
    lent, policies = os.dup(held.descriptor), os.dup(held.policies_descriptor)
    assert (read_held_settings(lent), read_lent(policies)) == (settings, b"policies")
    other = settings.model_copy(update={"node": "another"})
    held.replace(other, b"longer policies" * 10_000)
    assert (read_held_settings(lent), read_lent(policies)) == (other, b"longer policies" * 10_000)
    for descriptor in (lent, policies):
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        os.close(descriptor)
    held.close()


def test_policies_that_are_too_long_are_left_to_the_workers_to_check(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kmsgw.launch._LONGEST_POLICIES", 100)
    held = HeldSettings(settings, b"x" * 100)
    assert read_lent(held.policies_descriptor) == b"x" * 100
    held.replace(settings, b"x" * 101)
    assert read_lent(held.policies_descriptor) == b""
    held.close()


def test_settings_that_are_too_long_are_refused_and_the_ones_before_stay(settings: Settings) -> None:
    held = HeldSettings(settings, b"policies")
    too_long = settings.model_copy(update={"node": "n" * (1 << 24)})
    with pytest.raises(ConfigurationError, match="may take 16777216"):
        held.replace(too_long, b"")
    assert read_held_settings(held.descriptor) == held.settings == settings
    with pytest.raises(ConfigurationError):
        HeldSettings(too_long)
    held.close()


def test_a_process_that_told_of_faults_and_hangs_is_not_listened_to_again() -> None:
    read, write = os.pipe()
    os.write(write, b'{"faults": ["no token"], "advice": ""}\n')
    os.close(write)
    launched = Launched(Hanging(), read)
    with pytest.raises(ConfigurationError, match="no token"):
        launched.hear(1.0)
    assert not launched.hear(0.0)


def test_a_process_that_hangs_in_the_kernel_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "_KILLED_SECONDS", 0.0)
    hanging = Hanging()
    assert end_process(hanging, 0.0) == -signal.SIGKILL
    assert hanging.killed
