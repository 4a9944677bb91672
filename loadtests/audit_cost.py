"""`make audit-cost`: what a durable audit log adds to a call, against the same gateway with its log in memory.

Two gateways of one worker, alike but for the folder of their audit logs: one on a disk, one in a file system in memory,
where a flush costs nothing. Slices on the one and on the other alternate, so that a machine that drifts hits both.
Each pair of slices is made twice: calls at a constant rate, for the latency that durability adds to a call, and as many
calls as there is room for, for entries a second and how many of them share a flush. Figures are medians over the pairs.
"""

import argparse
import os
import shutil
import ssl
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Final

from loadtests.bench.figures import Slice, middle
from loadtests.bench.gateway import Gateway, GatewaySettings
from loadtests.bench.h2load import Generator, Load, Timing
from loadtests.bench.works import work_named
from loadtests.free_port import free_port

_ROOT: Final = Path(__file__).resolve().parents[1]
_WORK: Final = work_named("encrypt-1KiB")
_MEMORY: Final = Path("/dev/shm")  # noqa: S108  it is made unique below
_GROUPS: Final = "kmsgw_audit_group_entries"
_FLUSHES: Final = "kmsgw_audit_flush_seconds"
_TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Flushes:
    """What the gateway counted of its log since its start: groups, the entries in them, and seconds of writing them."""

    groups: float
    entries: float
    seconds: float

    def since(self, earlier: "Flushes") -> "Flushes":
        """Return what was counted since then."""
        return Flushes(self.groups - earlier.groups, self.entries - earlier.entries, self.seconds - earlier.seconds)

    @property
    def group_size(self) -> float:
        """Entries that became durable together, on average."""
        return self.entries / self.groups if self.groups else 0.0

    @property
    def flush_ms(self) -> float:
        """Milliseconds that a group took to be written and flushed, on average."""
        return self.seconds / self.groups * 1e3 if self.groups else 0.0


def parse_flushes(text: str) -> Flushes:
    """Return what a page of metrics says of the audit log, summed over workers."""
    sums = dict.fromkeys((f"{_GROUPS}_count", f"{_GROUPS}_sum", f"{_FLUSHES}_sum"), 0.0)
    for line in text.splitlines():
        name, _, rest = line.partition("{")
        if name in sums:
            sums[name] += float(rest.rsplit(" ", 1)[1])
    groups, entries, seconds = sums.values()
    return Flushes(groups, entries, seconds)


@dataclass(frozen=True, slots=True)
class Measured:
    """A slice of load, and what the log did meanwhile."""

    load: Slice
    log: Flushes


class Side:
    """One of the two gateways."""

    def __init__(self, name: str, folder: Path, audit: Path, given: argparse.Namespace) -> None:
        """Start it with its audit logs in ``audit``, a new folder that ``folder`` links to."""
        self.name = name
        self._port = free_port()
        more = f'\n[metrics]\nlisten = "127.0.0.1:{self._port}"\n'
        settings = GatewaySettings(given.loop, 1, given.threads, more)
        self.gateway = Gateway.start(folder, settings, {"cost": "software"})
        try:
            self.gateway.stop()
            shutil.move(folder / "audit", audit)
            (folder / "audit").symlink_to(audit)
            self.gateway.restart(settings)
            self._generator = Generator(
                folder / "generator", *self.gateway.credentials_of(_WORK), cores=os.cpu_count() or 1
            )
            self._target = self.gateway.target(_WORK)
            self.gateway.check(_WORK)
        except BaseException:
            self.gateway.stop()
            raise

    def press(self, load: Load, timing: Timing) -> Measured:
        """Press for a while."""
        before = self._flushes()
        pressed = self._generator.slice(self.gateway, self._target, load, timing)
        return Measured(pressed, self._flushes().since(before))

    def _flushes(self) -> Flushes:
        tls = ssl.create_default_context(cafile=str(self.gateway.folder / "tls" / "ca.pem"))
        clients = self.gateway.folder / "clients"
        tls.load_cert_chain(clients / "auditor.pem", clients / "auditor.key")
        connection = HTTPSConnection("127.0.0.1", self._port, context=tls, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/metrics")
            return parse_flushes(connection.getresponse().read().decode())
        finally:
            connection.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    given = _parser().parse_args(arguments)
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=given.memory) as memory:
        disk = Side("disk", given.folder / "disk", given.folder / "disk-audit", given)
        try:
            other = Side("memory", given.folder / "memory", Path(memory) / "audit", given)
            try:
                _compare(given, disk, other)
            finally:
                other.gateway.stop()
        finally:
            disk.gateway.stop()
    shutil.rmtree(given.folder)
    return 0


def _compare(given: argparse.Namespace, disk: Side, memory: Side) -> None:
    timing = Timing(given.settle, given.seconds)
    loads = {
        f"{given.rate:g} calls/s": Load(given.connections, given.streams, rate=given.rate),
        f"as many as it can, {given.connections * given.streams} in flight": Load(given.connections, given.streams),
    }
    _say(f"audit logs on {given.folder} and on {given.memory}; 1 worker, loop {given.loop}; {os.cpu_count()} cores")
    for name, load in loads.items():
        pairs = [(disk.press(load, timing), memory.press(load, timing)) for _ in range(given.pairs)]
        _say(f"\n{name} ({given.pairs} pairs of {given.seconds:g} s)")
        for side, place in ((disk, 0), (memory, 1)):
            _tell(side.name, [pair[place] for pair in pairs])
        p50, p99 = (
            statistics.median(getattr(one.load, name) - getattr(two.load, name) for one, two in pairs)
            for name in ("p50_ms", "p99_ms")
        )
        _say(f"  durability adds {p50:+.2f} ms at p50, {p99:+.2f} ms at p99 (medians of the pairs' differences)")
    _say(f"\nload of the machine at the end: {os.getloadavg()[0]:.1f}; elsewhere spent CPU counts into every figure")


def _tell(name: str, measured: Sequence[Measured]) -> None:
    load = middle([each.load for each in measured])
    groups = statistics.median(each.log.group_size for each in measured)
    flush = statistics.median(each.log.flush_ms for each in measured)
    _say(
        f"  {name:<7} {load.calls_per_s:>8,.0f} calls/s   p50 {load.p50_ms:7.2f} ms   p99 {load.p99_ms:7.2f} ms   "
        f"{groups:5.1f} entries a flush   {flush:6.3f} ms a flush   {load.failed} failed"
    )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make audit-cost", description=__doc__)
    parser.add_argument("--folder", type=Path, default=_ROOT / "build" / "audit-cost", help="on the disk; made anew")
    parser.add_argument("--memory", type=Path, default=_MEMORY, help="a folder of a file system in memory")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of slices, on disk and in memory")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds of a slice")
    parser.add_argument("--settle", type=float, default=1.0, help="seconds before them")
    parser.add_argument("--rate", type=float, default=500.0, help="calls a second of the first comparison")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--streams", type=int, default=8, help="calls in flight on each connection")
    parser.add_argument("--loop", choices=("direct", "threads", "auto"), default="direct", help="kmsgw's [server] loop")
    parser.add_argument("--threads", type=int, default=16, help="kmsgw's threads of the worker")
    return parser


if __name__ == "__main__":
    sys.exit(main())
