"""Starting a worker process: its settings, the secrets that came by descriptor, and how its start went.

A worker says one line of JSON on its status descriptor: ``{"faults": []}`` once it serves, or everything that is
wrong.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kmsgw.config import Settings, SoftwareSettings, VaultSettings
from kmsgw.errors import ConfigurationError
from kmsgw.forking import Process, fork
from kmsgw.lent_memory import LentMemory, read_lent
from kmsgw.server.tls_files import TLS13_ENVIRONMENT

START_SECONDS = 60.0
"""Longest start of a worker; a slow HSM takes a while to log in."""

_MAX_SECRET = 4096
_LONGEST_SETTINGS = 1 << 24
_LONGEST_POLICIES = 1 << 26
_ADVICE = "Open the descriptor when starting kmsgwd, for example with 3<FILE."


def slow_start(seconds: float) -> ConfigurationError:
    """Return the error for a worker that takes too long to start."""
    return ConfigurationError(
        [f"a worker did not start within {seconds:.0f} s; its log says how far"],
        advice="Look whether a token or a server hangs, run fewer workers (server.workers), or try again.",
    )


@dataclass(slots=True)
class Launched:
    """A worker process that was started, and the descriptor on which it says how its start went."""

    process: Process
    status: int
    said: bytes = b""

    def hear(self, seconds: float) -> bool:
        """Wait at most so long for the process to say how its start went; tell whether it said that all is well.

        Raises `ConfigurationError` with what it says otherwise, or where it ended without a word.
        """
        if self.status < 0:  # it has said how, and that was no good
            return False
        if not select.select([self.status], [], [], max(0.0, seconds))[0]:
            return False
        more = os.read(self.status, 65536)
        self.said += more
        if more and not self.said.endswith(b"\n"):
            return False
        self.close()
        if not more:
            raise ConfigurationError(["a worker ended while it started; its log says where"])
        told = json.loads(self.said)
        if told["faults"]:
            raise ConfigurationError(told["faults"], advice=told["advice"])
        return True

    def close(self) -> None:
        """Listen no more."""
        if self.status >= 0:
            os.close(self.status)
            self.status = -1


def read_secrets(settings: Settings) -> dict[int, bytes]:
    """Read every secret that the configuration takes from a descriptor.

    The descriptor's number stays taken, so that the secret can be lent to a worker under the same number.
    """
    found: dict[int, bytes] = {}
    faults: list[str] = []
    for name, provider in settings.providers.items():
        if isinstance(provider, VaultSettings):
            continue
        if isinstance(provider, SoftwareSettings):
            numbers = {"root_key_fd": provider.root_key_fd, "passphrase_fd": provider.passphrase_fd}
        else:
            numbers = {"pin_fd": provider.pin_fd}
        for field, number in numbers.items():
            if number is None or number in found:
                continue
            try:
                with os.fdopen(number, "rb", closefd=False) as stream:
                    found[number] = stream.read(_MAX_SECRET)
            except OSError as error:
                faults.append(f"providers.{name}.{field}: descriptor {number}: {error.strerror}")
            else:
                _put_nothing_at(number)
    if faults:
        raise ConfigurationError(faults, advice=_ADVICE)
    return found


class HeldSettings:
    """Settings in memory that worker processes read, whenever they start, and the policies as they were checked.

    Not the file: it may be edited long before the edit is accepted, and a worker that dies meanwhile must come back as
    the others are. Only this process writes it: who takes over another could have the next worker permit what he likes.
    """

    def __init__(self, settings: Settings, policies: bytes = b"") -> None:
        self._memory = LentMemory("kmsgw-settings", _LONGEST_SETTINGS)
        self._policies = LentMemory("kmsgw-policies", _LONGEST_POLICIES)
        try:
            self.replace(settings, policies)
        except ConfigurationError:
            self.close()
            raise

    @property
    def descriptor(self) -> int:
        """Where `read_held_settings` reads the settings."""
        return self._memory.descriptor

    @property
    def policies_descriptor(self) -> int:
        """Where `read_lent` reads the policies: for workers alone."""
        return self._policies.descriptor

    def replace(self, settings: Settings, policies: bytes) -> None:
        """Hold others from now on. Raises `ConfigurationError` where the settings are too long.

        Policies that are too long are not held: each worker checks them itself then.
        """
        content = settings.model_dump_json().encode()
        if len(content) > _LONGEST_SETTINGS:
            raise ConfigurationError(
                [f"the configuration takes {len(content)} bytes, and may take {_LONGEST_SETTINGS}"],
                advice="Name fewer principals.",
            )
        self.settings = settings
        self._memory.replace(content)
        self._policies.replace(policies if len(policies) <= _LONGEST_POLICIES else b"")

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        self._policies.close()


def read_held_settings(descriptor: int) -> Settings:
    """Return the settings that `HeldSettings` holds now. Raises `ConfigurationError`."""
    return Settings.model_validate_json(read_lent(descriptor))


def answer_memory() -> int:
    """Return a descriptor of memory for the `answer` of a process that tries a configuration."""
    return os.memfd_create("kmsgw-answer", os.MFD_CLOEXEC)


def answer(descriptor: int, content: bytes) -> None:
    """Leave bytes for who started this process."""
    os.pwrite(descriptor, content, 0)
    os.ftruncate(descriptor, len(content))


def read_answer(descriptor: int) -> bytes:
    """Return what was left with `answer`; nothing where nobody has."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def launch(
    held: HeldSettings,
    secrets: Mapping[int, bytes],
    *arguments: str,
    lend: Sequence[int] = (),
    program: str = "kmsgw.worker",
    copy: Callable[[Sequence[str]], int] | None = None,
) -> Launched:
    """Start a worker or another program with these arguments, and with the descriptors of `lend` open.

    With `copy`, which is the program's `main`, it begins as a copy of this process. Signals are held (`hold_signals`),
    and the process inherits that: Ctrl-C goes to everything in a terminal, and one that has only begun to import would
    end with a traceback.
    """
    for number, secret in secrets.items():
        read, write = os.pipe()
        os.write(write, secret)  # less than a pipe holds, so it does not wait
        os.close(write)
        os.dup2(read, number, inheritable=True)
        os.close(read)
    status_read, status_write = os.pipe()
    everything = [*arguments, "--settings-fd", str(held.descriptor)]
    everything += ["--status-fd", str(status_write), "--parent", str(os.getpid())]
    lent = (status_write, held.descriptor, *lend, *secrets)
    # gRPC's C core would write plain lines between the JSON of the log, one for each failed handshake. Its errors
    # stay. Whoever looks for a fault in it sets GRPC_VERBOSITY.
    environment = {"GRPC_VERBOSITY": os.environ.get("GRPC_VERBOSITY", "ERROR"), **TLS13_ENVIRONMENT}
    try:
        process = (
            fork(copy, everything, title=" ".join([program, *everything]), keep=lent, environment=environment)
            if copy is not None
            # -P: a module in the working folder that has the name of one of ours is not imported.
            else subprocess.Popen(
                [sys.executable, "-P", "-m", program, *everything],
                pass_fds=lent,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **environment},
            )
        )
    finally:
        os.close(status_write)
        for number in secrets:
            _put_nothing_at(number)
    return Launched(process, status_read)


def _put_nothing_at(number: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, number, inheritable=False)
    os.close(nothing)
