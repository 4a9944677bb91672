"""Debian's rsyslog as a receiver of RFC 5425: TLS with client certificates, every message a line of a file."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kmsgw.cli.development import DevelopmentCa
from loadtests.free_port import free_port
from tests.support.gateway import eventually

_CONFIGURATION = """
global(workDirectory="{folder}" maxMessageSize="{limit}" defaultNetstreamDriver="{driver}"
  defaultNetstreamDriverCAFile="{folder}/ca.pem" defaultNetstreamDriverCertFile="{folder}/server.pem"
  defaultNetstreamDriverKeyFile="{folder}/server.key")
module(load="imtcp" streamDriver.name="{driver}" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
template(name="all" type="string"
  string="%pri%\\t%timereported:::date-rfc3339%\\t%hostname%\\t%app-name%\\t%procid%\\t%msgid%\\t%structured-data%\\t%msg%\\n")
input(type="imtcp" port="{port}" address="127.0.0.1")
action(type="omfile" file="{folder}/received" template="all")
"""


@dataclass
class Rsyslog:
    """A receiver in `folder`, at `port` of this machine. What it receives is kept while it is stopped and started."""

    folder: Path
    port: int
    authority: DevelopmentCa
    driver: str = "gtls"
    limit: int = 65_536
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @classmethod
    def make(cls, folder: Path, driver: str = "gtls", limit: int = 65_536) -> "Rsyslog":
        """Make the folder of a receiver with a CA of its own and a client certificate, not started."""
        folder.mkdir()
        authority = DevelopmentCa.create()
        server, client = authority.issue_server(["localhost", "127.0.0.1"]), authority.issue_client("gateway")
        for name, content in (
            ("ca.pem", authority.certificate),
            ("server.pem", server.certificate),
            ("server.key", server.private_key),
            ("client.pem", client.certificate),
            ("client.key", client.private_key),
        ):
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)
        return cls(folder, free_port(), authority, driver, limit)

    def start(self) -> None:
        """Start it and wait until it listens."""
        configuration = self.folder / "rsyslog.conf"
        configuration.write_text(
            _CONFIGURATION.format(folder=self.folder, driver=self.driver, port=self.port, limit=self.limit)
        )
        command = ["/usr/sbin/rsyslogd", "-n", "-f", str(configuration), "-i", str(self.folder / "pid")]
        with (self.folder / "rsyslogd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        assert eventually(self._listens, 20), (self.folder / "rsyslogd.log").read_text()

    def stop(self) -> None:
        """End it: what it has received is written."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(120)
            self._process = None

    def received(self) -> list[list[str]]:
        """Return the messages so far: priority, time, host, app, process, message id, structured data, text."""
        path = self.folder / "received"
        text = path.read_text() if path.exists() else ""
        return [line.split("\t") for line in text.splitlines()]

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=20).close()
        except OSError:
            return False
        return True


@contextmanager
def serving(rsyslog: Rsyslog) -> Iterator[Rsyslog]:
    """Run a receiver for a block."""
    if not Path("/usr/sbin/rsyslogd").exists():
        pytest.fail("rsyslog is missing: run `make services`")
    rsyslog.start()
    try:
        yield rsyslog
    finally:
        rsyslog.stop()
