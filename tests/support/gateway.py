"""A real gateway for tests: a folder of `kmsgw init`, and `kmsgwd` on a free port in front of it."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kmsgw.client import Client, Credentials
from tests.support.patience import eventually

__all__ = ["Gateway", "eventually", "make_folder"]

START_SECONDS = 300.0
LOOP = os.environ.get("KMSGW_TEST_LOOP", "direct")
"""Which loop answers calls in these gateways: the tests of the wire run with `threads` as well."""

_STARTED: list["Gateway"] = []
_SERVING = re.compile(r"kmsgwd: serving on (\S+) with \d+ workers\n")


@dataclass
class Gateway:
    """A gateway in `folder`. Everything that it and its commands print is kept, for canaries."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    program: str = "kmsgw.daemon"
    process: subprocess.Popen[bytes] | None = None
    address: str = ""
    _clients: list[Client] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """Standard error of the daemon and of all workers."""
        return self.folder / "kmsgwd.log"

    @property
    def config(self) -> Path:
        """The daemon's configuration."""
        return self.folder / "kmsgwd.toml"

    def edit(self, *changes: tuple[str, str]) -> None:
        """Replace texts in the configuration; each must be there."""
        text = self.config.read_text()
        for before, after in changes:
            assert before in text, f"{before!r} is not in the configuration"
            text = text.replace(before, after)
        self.config.write_text(text)

    def append(self, text: str) -> None:
        """Add sections to the configuration."""
        self.config.write_text(self.config.read_text() + "\n" + text)

    def start(self) -> "Gateway":
        """Start `kmsgwd` and wait until it serves; fail with its log where it does not."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.program, "--config", str(self.config)],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline().decode() if ready else ""
        match = _SERVING.fullmatch(line)
        if match is None:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            pytest.fail(f"kmsgwd does not start:\n{self.log.read_text()[-4000:]}")
        self.address = match[1]
        _STARTED.append(self)
        profiles = self.folder / "config.toml"
        profiles.write_text(re.sub(r'address = "[^"]*"', f'address = "{self.address}"', profiles.read_text()))
        return self

    def said_since(self, moment: float, lines: int = 40) -> str:
        """Return the last lines of the log, where something was written to it since a time (seconds since 1970)."""
        try:
            if self.log.stat().st_mtime < moment:
                return ""
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def client(self, principal: str, **options: object) -> Client:
        """Return a client with the certificate of a principal; it is closed with the gateway."""
        made = Client(self.address, self.credentials(principal), **options)  # type: ignore[arg-type]
        self._clients.append(made)
        return made

    def credentials(self, principal: str) -> Credentials:
        """Return the credentials of a principal of `kmsgw init`."""
        clients = self.folder / "clients"
        return Credentials.from_files(
            self.folder / "tls" / "ca.pem", clients / f"{principal}.pem", clients / f"{principal}.key"
        )

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        return self._children(b"kmsgw.worker")

    def exporters(self) -> list[int]:
        """Return the process ids of the exporter: one, or none while it is started again."""
        return self._children(b"kmsgw.exporter")

    def _children(self, program: bytes) -> list[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        # Those that have ended and wait for their parent have no command line any more, and count until they are gone.
        return [child for child in map(int, children) if program in _command(child) or not _command(child)]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the daemon."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """Stop with SIGTERM and return the exit status."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(120)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return status

    def run(self, *arguments: str, profile: str = "", stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run `kmsgw` with the profiles of this folder."""
        command = [sys.executable, "-m", "kmsgw.cli.main", "--config", str(self.folder / "config.toml")]
        if profile:
            command += ["--profile", profile]
        return subprocess.run([*command, *arguments], input=stdin, capture_output=True, timeout=180, check=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a test that failed what the gateways said meanwhile. No secret is in their logs: other tests search."""
    report = yield
    if report.failed:
        said = ((gateway.folder, gateway.said_since(call.start - 30)) for gateway in _STARTED)
        report.sections += [(f"log of the gateway in {folder}", text) for folder, text in said if text]
    return report


def make_folder(folder: Path, *, workers: int = 2, second_factor: bool = False) -> Gateway:
    """Make the folder of a gateway, not started, on a free port and the software provider.

    Its officers need no second factor unless told otherwise: most tests are about something else.
    """
    made = subprocess.run(
        [sys.executable, "-m", "kmsgw.cli.main", "init", str(folder), "--workers", str(workers)],
        capture_output=True,
        timeout=180,
        check=False,
    )
    assert made.returncode == 0, made.stderr.decode()
    gateway = Gateway(folder)
    gateway.edit(('listen = "127.0.0.1:8443"', f'listen = "127.0.0.1:0"\nloop = "{LOOP}"'))
    if not second_factor:
        gateway.append('[officers]\nsecond_factor = "off"\n')
    return gateway


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


EXPORTS = """
[[audit.export]]
kind = "mirror"
name = "mirror"
folder = "{mirror}"

[[audit.export]]
kind = "syslog"
name = "hung"
address = "127.0.0.1:{port}"
ca = "tls/ca.pem"
timeout_seconds = 0.5

[metrics]
listen = "127.0.0.1:0"
"""


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A running gateway with the software provider and the key `ehr`, shared by the session: add, never break.

    It exports to a mirror beside its folder, and to a receiver that takes connections and never says a word.
    """
    made = make_folder(tmp_path_factory.mktemp("gateway") / "kms")
    mirror = made.folder.with_name("mirror")
    mirror.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as hung:
        made.append(EXPORTS.format(mirror=mirror, port=hung.getsockname()[1]))
        made.start()
        made.client("key-officer").keys.create("ehr")
        yield made
        assert made.stop() == 0


@pytest.fixture
def new_gateway(tmp_path: Path) -> Iterator[Gateway]:
    """The folder of a gateway for one test, to be edited and started by it."""
    made = make_folder(tmp_path / "kms")
    yield made
    made.stop()
