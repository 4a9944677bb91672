"""`make flood`: what an honest caller notices while another floods the gateway.

The honest caller decrypts 1 KiB at a constant rate; a latency counts from the moment that the call was due, so that one
which had to wait is not forgotten. The flooder encrypts, by h2load, with as many calls in flight as it can, and waits
for nothing. Slices without and with it alternate, and are compared within their pair. Exits with 1 where the median of
the honest caller's p99 more than doubles, or where it was refused.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import grpc

from loadtests.bench.figures import parse_log
from loadtests.bench.gateway import Gateway, GatewaySettings
from loadtests.bench.h2load import Generator, Load
from loadtests.bench.works import work_named
from loadtests.histogram import LatencyHistogram

_ROOT: Final = Path(__file__).resolve().parents[1]
_HONEST: Final = work_named("decrypt-1KiB")
_FLOOD: Final = work_named("encrypt-1KiB")
_CONNECTIONS: Final = 4
"""Of the honest caller: enough to reach every worker."""

_SETTLE_SECONDS: Final = 1.0
_LATE_SECONDS: Final = 10.0
_MOST: Final = 2.0
"""How much the honest caller's p99 may grow: it at most doubles."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """What the honest caller noticed in a slice; times in milliseconds."""

    p50: float
    p99: float
    refused: int


class Honest:
    """The honest caller: calls that are due at a constant rate, over a few connections."""

    def __init__(self, gateway: Gateway, rate: float) -> None:
        target = gateway.target(_HONEST)
        url = urlsplit(target.url)
        certificate, key = gateway.credentials_of(_HONEST)
        ca = (gateway.folder / "tls" / "ca.pem").read_bytes()
        self._channels = [
            grpc.secure_channel(
                url.netloc,
                grpc.ssl_channel_credentials(ca, key.read_bytes(), certificate.read_bytes()),
                options=(("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)),
            )
            for _ in range(_CONNECTIONS)
        ]
        self._methods = [channel.unary_unary(url.path, None, None) for channel in self._channels]
        self._request = target.body[5:]
        self._pause = 1.0 / rate

    def call(self, seconds: float) -> Noticed:
        """Make calls for so long and say what became of them."""
        histogram = LatencyHistogram()
        codes: Counter[grpc.StatusCode] = Counter()
        pending: list[grpc.CallFuture[bytes]] = []
        due = time.monotonic()
        for number in range(int(seconds / self._pause)):
            time.sleep(max(0.0, due - time.monotonic()))
            method = self._methods[number % _CONNECTIONS]
            call = method.future(self._request, timeout=_LATE_SECONDS)
            # The callback runs as soon as the answer is there; a list would be looked at later.
            call.add_done_callback(lambda _, due=due: histogram.record(time.monotonic() - due))  # type: ignore[misc]
            pending.append(call)
            due += self._pause
        for call in pending:
            codes[call.code()] += 1  # waits for the end
        p50, p99 = histogram.percentiles((50.0, 99.0))
        return Noticed(p50 * 1e3, p99 * 1e3, len(pending) - codes[grpc.StatusCode.OK])

    def close(self) -> None:
        """Release the connections."""
        for channel in self._channels:
            channel.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    given = _parser().parse_args(arguments)
    folder: Path = given.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    gateway = Gateway.start(folder / "gateway", _settings(given), {"flood": "software"})
    try:
        pairs = _measure(given, folder, gateway)
    finally:
        gateway.stop()
    ratio = statistics.median(flooded.p99 / calm.p99 for calm, flooded in pairs)
    refused = sum(each.refused for pair in pairs for each in pair)
    good = ratio <= _MOST and not refused
    _say(f"honest p99 with the flood, times p99 without: {ratio:.2f} (median of {len(pairs)} pairs, at most {_MOST:g})")
    _say(f"honest calls refused: {refused}; machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    shutil.rmtree(folder)
    return 0 if good else 1


def _measure(given: argparse.Namespace, folder: Path, gateway: Gateway) -> list[tuple[Noticed, Noticed]]:
    generator = Generator(folder / "generator", *gateway.credentials_of(_FLOOD), cores=os.cpu_count() or 1)
    target = gateway.target(_FLOOD)
    honest = Honest(gateway, given.rate)
    load = Load(given.connections, given.streams)
    pairs: list[tuple[Noticed, Noticed]] = []
    try:
        honest.call(_SETTLE_SECONDS)
        for number in range(given.pairs):
            calm = honest.call(given.seconds)
            process = generator.begin(target, load, given.seconds + 2 * _SETTLE_SECONDS)
            try:
                honest.call(_SETTLE_SECONDS)
                flooded = honest.call(given.seconds)
            finally:
                answers = _end(process, folder, given.seconds + 2 * _SETTLE_SECONDS)
            pairs.append((calm, flooded))
            _say(
                f"pair {number + 1}: calm p50 {calm.p50:.2f} p99 {calm.p99:.2f} ms; "
                f"flooded p50 {flooded.p50:.2f} p99 {flooded.p99:.2f} ms, {flooded.p99 / calm.p99:.2f} times; "
                f"the flooder got {answers:,.0f} answers/s, of which its quota allows {given.quota:g}"
            )
    finally:
        honest.close()
    return pairs


def _end(process: subprocess.Popen[str], folder: Path, seconds: float) -> float:
    """Wait for h2load and return how many answers a second it got."""
    try:
        process.communicate(timeout=_LATE_SECONDS)
    finally:
        process.kill()
        process.wait()
    return len(parse_log((folder / "generator" / "requests.log").read_text())) / seconds


def _settings(given: argparse.Namespace) -> GatewaySettings:
    quota = (
        f'\n[[limits.overrides]]\nprincipals = ["{given.flooder}"]\n'
        f"calls_per_second = {given.quota}\nburst_seconds = 1\n"
    )
    return GatewaySettings(given.loop, given.workers, given.threads, "" if given.unlimited else quota)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make flood", description=__doc__)
    parser.add_argument("--folder", type=Path, default=_ROOT / "build" / "flood", help="made anew, removed at the end")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of slices, without and with the flood")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds of a slice")
    parser.add_argument("--rate", type=float, default=200.0, help="the honest caller's calls a second")
    parser.add_argument("--quota", type=float, default=200.0, help="the flooder's calls_per_second")
    parser.add_argument("--unlimited", action="store_true", help="give the flooder no quota: what a flood does then")
    parser.add_argument("--connections", type=int, default=8, help="the flooder's")
    parser.add_argument("--streams", type=int, default=8, help="the flooder's calls in flight on each connection")
    parser.add_argument("--flooder", default="ehr-writer", help="principal of kmsgw init that encrypts")
    parser.add_argument("--loop", choices=("direct", "threads"), default="direct", help="kmsgw's [server] loop")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="kmsgw's workers")
    parser.add_argument("--threads", type=int, default=16, help="kmsgw's threads of a worker")
    return parser


if __name__ == "__main__":
    sys.exit(main())
