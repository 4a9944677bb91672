"""The load generator: h2load of nghttp2, with a client certificate, and TLS 1.3 alone.

h2load sees HTTP, and gRPC says whether a call failed only in its trailers: its 200 says nothing. `contender` counts by
other means. It takes headers as arguments, so that OpenBao's token is visible on this machine while it runs: it opens
a server that lives as long as the benchmark.
"""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtests.bench.contender import Contender, Target
from loadtests.bench.figures import Slice, Window, parse_log, slice_of
from loadtests.bench.processes import busy_seconds, cpu_seconds, family, resident_mb

CIPHER: Final = "TLS_AES_128_GCM_SHA256"
"""The one cipher suite that is offered, so that both servers encrypt alike."""

_SOURCE: Final = Path(__file__).with_name("client_certificate.c")
_LATE_SECONDS: Final = 30.0
_TAIL_SECONDS: Final = 0.1


class GeneratorError(Exception):
    """h2load can't be used, or did not do as it was told; the text has what it said."""


@dataclass(frozen=True, slots=True)
class Load:
    """How hard is pressed.

    Closed loop, where ``rate`` is 0: each of ``clients`` connections keeps ``streams`` calls in flight. Else calls are
    sent at ``rate`` a second in all, whatever the server does.
    """

    clients: int
    streams: int = 1
    protocol: str = "h2"
    threads: int = 1
    rate: float = 0.0

    @property
    def in_flight(self) -> int:
        """Calls that may be without an answer when a closed loop ends."""
        return self.clients * self.streams

    def __str__(self) -> str:
        pressed = f"{self.rate:,.0f} calls/s over " if self.rate else ""
        streams = f" of {self.streams} streams" if self.streams > 1 and not self.rate else ""
        return f"{pressed}{self.clients} connections{streams}, {self.protocol}"


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of a slice: what is not measured at its begin, and what is."""

    settle: float
    measured: float


class Generator:
    """Runs h2load. `folder` is for what it needs and writes."""

    def __init__(self, folder: Path, certificate: Path, key: Path, *, cores: int) -> None:
        """Build the shim. Raises `GeneratorError` where h2load or a compiler is missing."""
        for program in ("h2load", "gcc"):
            if shutil.which(program) is None:
                raise GeneratorError(f"{program} is missing: `make bench` installs it, as root.")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._cores = cores
        shim = folder / "client_certificate.so"
        _run(["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(shim), str(_SOURCE), "-ldl"])
        self._environment = {
            **os.environ,
            "LD_PRELOAD": str(shim),
            "BENCH_CLIENT_CERTIFICATE": str(certificate),
            "BENCH_CLIENT_KEY": str(key),
        }

    def version(self) -> str:
        """Return what h2load says of itself."""
        return _run(["h2load", "--version"]).strip()

    def slice(self, contender: Contender, target: Target, load: Load, timing: Timing) -> Slice:
        """Press for a while and return the figures. Raises `GeneratorError`."""
        log = self._folder / "requests.log"
        log.unlink(missing_ok=True)
        servers = family(contender.processes)
        process = subprocess.Popen(
            [*self._command(target, load), "-D", f"{(timing.settle + timing.measured + _TAIL_SECONDS) * 1e3:.0f}ms"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        try:
            time.sleep(timing.settle)
            begin = _Used.now(servers, process.pid)
            time.sleep(timing.measured)
            window = begin.until(_Used.now(servers, process.pid))
            resident = resident_mb(servers)
            said, _ = process.communicate(timeout=_LATE_SECONDS)
        except subprocess.TimeoutExpired:
            # Not its text: the arguments have OpenBao's token.
            raise GeneratorError(f"h2load did not end {_LATE_SECONDS:.0f} s after its time: {load}") from None
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if process.returncode != 0:
            raise GeneratorError(f"h2load ended with status {process.returncode}: {said[-2000:]}")
        require_connection(said, load.protocol)
        return slice_of(parse_log(log.read_text()), window, resident, self._cores)

    def begin(self, target: Target, load: Load, seconds: float) -> "subprocess.Popen[str]":
        """Begin to press for so long, and return at once. What was answered is then in the log."""
        (self._folder / "requests.log").unlink(missing_ok=True)
        return subprocess.Popen(
            [*self._command(target, load), "-D", f"{seconds * 1e3:.0f}ms"],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def burst(self, target: Target, calls: int, load: Load) -> int:
        """Send so many calls, as many at once as the load has in flight; return how many were answered with 200."""
        log = self._folder / "requests.log"
        log.unlink(missing_ok=True)
        _run([*self._command(target, load), "-n", str(calls)], self._environment)
        return sum(each.status == 200 for each in parse_log(log.read_text()))

    def _command(self, target: Target, load: Load) -> list[str]:
        body = self._folder / "body"
        body.write_bytes(target.body)
        headers = [each for name, value in target.headers.items() for each in ("-H", f"{name}: {value}")]
        rate = ["--rps", f"{load.rate / load.clients:.4f}"] if load.rate else []
        return [
            *("h2load", "-c", str(load.clients), "-m", str(load.streams), "-t", str(load.threads), *rate),
            *("--npn-list", load.protocol, "--tls13-ciphers", CIPHER),
            *("--log-file", str(self._folder / "requests.log"), "-d", str(body), *headers, target.url),
        ]


@dataclass(frozen=True, slots=True)
class _Used:
    """CPU seconds used so far, and when that was."""

    at: float
    servers_s: float
    generator_s: float
    busy_s: float

    @classmethod
    def now(cls, servers: list[int], generator: int) -> "_Used":
        return cls(time.time(), cpu_seconds(servers), cpu_seconds([generator]), busy_seconds())

    def until(self, later: "_Used") -> Window:
        return Window(
            self.at,
            later.at,
            later.servers_s - self.servers_s,
            later.generator_s - self.generator_s,
            later.busy_s - self.busy_s,
        )


def require_connection(said: str, protocol: str) -> None:
    """Raise `GeneratorError` unless h2load says that its connections were what was asked of them."""
    for wanted in ("TLS Protocol: TLSv1.3", f"Cipher: {CIPHER}", f"Application protocol: {protocol}"):
        if wanted not in said.splitlines():
            raise GeneratorError(f"h2load's connections are not of {wanted!r}: {said[-2000:]}")


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise GeneratorError(f"{command[0]} ended with status {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout
