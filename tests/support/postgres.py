"""A real, throwaway PostgreSQL server for the tests, and a fresh database in it for each test that asks.

Fixtures: `postgres_server` (one for the session; a test may stop it within `stopped()`), `postgres_url` (its
maintenance database) and `postgres_database` (a fresh one for the test).
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pg8000.native
import pytest

from loadtests.free_port import free_port

_BINARIES = Path("/usr/lib/postgresql")
_START_SECONDS = 120.0
_STOP_SECONDS = 60.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    # What a test wrote need not survive a power cut.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}


@dataclass(frozen=True)
class PostgresDatabase:
    """One database: the URL as the configuration wants it, and the password that is kept apart from it."""

    url: str
    password: str = field(repr=False)
    password_file: Path


class PostgresServer:
    """A cluster in a folder of its own on a free port of 127.0.0.1, with passwords by SCRAM.

    Root may not run PostgreSQL: then it runs as the user `postgres`, which Debian's package makes.
    """

    user = "kmsgw"

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        """Make a cluster. `tls` names certificate and private key; then connections without TLS are refused."""
        self.password = secrets.token_hex(16)
        self._binaries = _find_binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="kmsgw-postgres-"))
        self._folder.chmod(0o755)
        self.password_file = self._folder / "password"
        self._log = self._folder / "log"
        self._data = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self._own(self._folder)
        self._write(self.password_file, self.password.encode() + b"\n")
        try:
            self._initialise(tls)
            self.port = self._start_on_free_port()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """URL of the maintenance database."""
        return self._url("postgres")

    def create_database(self) -> PostgresDatabase:
        """Make an empty database."""
        self._made += 1
        name = f"test_{self._made}"
        self.execute(f"CREATE DATABASE {name}")
        return PostgresDatabase(self._url(name), self.password, self.password_file)

    def drop_database(self, database: PostgresDatabase) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(f"DROP DATABASE {database.url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[list[object]]:
        """Run one statement as the superuser and return its rows."""
        connection = pg8000.native.Connection(
            self.user, host="127.0.0.1", port=self.port, database=database, password=self.password, timeout=60
        )
        try:
            return [list(row) for row in connection.run(statement) or []]
        finally:
            connection.close()

    def start(self) -> None:
        """Start the stopped server on the port that it had."""
        self._start(self.port)

    def stop(self) -> None:
        """Stop the server and end its connections."""
        process, self._process = self._process, None
        if process is not None:
            # SIGINT is the fast shutdown: it does not wait for clients to leave.
            process.send_signal(signal.SIGINT)
            process.wait(timeout=_STOP_SECONDS)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Keep the server down for a block."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _url(self, name: str) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{name}"

    def _initialise(self, tls: tuple[Path, Path] | None) -> None:
        options = ["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"]
        options += [f"--username={self.user}", f"--pwfile={self.password_file}", f"--pgdata={self._data}"]
        done = subprocess.run(self._command("initdb", options), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed: {done.stderr.strip()}")
        if tls is not None:
            for source, name in zip(tls, ("server.crt", "server.key"), strict=True):
                self._write(self._data / name, source.read_bytes())
            self._write(self._data / "pg_hba.conf", b"hostssl all all all scram-sha-256\n")
            with (self._data / "postgresql.conf").open("a") as settings:
                settings.write("ssl = on\n")

    def _start_on_free_port(self) -> int:
        for attempt in range(5):
            port = free_port()
            try:
                self._start(port)
            except RuntimeError:
                # Another process may have taken the port in between.
                if attempt == 4:
                    raise
            else:
                return port
        raise AssertionError

    def _start(self, port: int) -> None:
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = self._command("postgres", ["-D", str(self._data), "-p", str(port), *settings])
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        ready = self._command("pg_isready", ["-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"])
        deadline = time.monotonic() + _START_SECONDS
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"PostgreSQL does not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.02)

    def _command(self, binary: str, options: list[str]) -> list[str]:
        # The server ends with the tests, even where they are killed.
        prefix = ["setpriv", "--pdeathsig", "INT"]
        if os.geteuid() == 0:
            prefix += ["--reuid", "postgres", "--regid", "postgres", "--init-groups"]
        return [*prefix, str(self._binaries / binary), *options]

    def _write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        path.chmod(0o600)
        self._own(path)

    def _own(self, path: Path) -> None:
        if os.geteuid() == 0:
            entry = pwd.getpwnam("postgres")
            os.chown(path, entry.pw_uid, entry.pw_gid)


def _find_binaries() -> Path:
    found = sorted(_BINARIES.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.fail(f"PostgreSQL is not installed: no {_BINARIES}/*/bin/initdb. Run `make services`.", pytrace=False)
    return found[-1].parent


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server of the session."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> str:
    """URL of the maintenance database; the password is `postgres_server.password`."""
    return postgres_server.url


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> Iterator[PostgresDatabase]:
    """A fresh, empty database for one test."""
    database = postgres_server.create_database()
    yield database
    postgres_server.drop_database(database)
