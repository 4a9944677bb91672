"""`make soak`: a gateway under a steady load for long, watched for what it does not give back.

Rounds of calls at a set rate, each over new connections, with a look at all of the gateway's processes between them:
resident memory, open descriptors, threads. Every answer is accounted for in the audit log. Prints a table, writes
build/soak.json, and exits with 1 where memory grows, descriptors or threads leak, or answers are wrong or too few.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from kmsgw.clock import SYSTEM_CLOCK
from loadtests.bench.contender import WrongAnswerError
from loadtests.bench.duel import Side, measured, paced
from loadtests.bench.figures import UnreadableLogError
from loadtests.bench.gateway import Gateway, GatewaySettings
from loadtests.bench.h2load import Generator, GeneratorError, Timing
from loadtests.bench.processes import descriptors, family, resident_mb, threads
from loadtests.bench.table import aligned
from loadtests.bench.works import Work, work_named

GROWTH: Final = 0.05
"""Part by which resident memory may grow after the warm-up."""

SPARE: Final = 2
"""Descriptors and threads that may be more at the end: a look at the database may be under way."""

_ROOT: Final = Path(__file__).resolve().parents[1]
_WORKS: Final = ("decrypt-1KiB", "encrypt-1KiB", "decrypt-1KiB", "data-key")
_ENOUGH: Final = 0.98
"""Part of the calls asked for that must have been answered: rounds end in the middle of some."""

_WIDTH: Final = 12
_HEAD: Final = ("second", "work", "calls", "calls/s", "p99 ms", "RSS MB", "descriptors", "threads")


@dataclass(frozen=True, slots=True)
class Sample:
    """A round, and the gateway at its end. ``at_s`` counts from the begin of the run."""

    at_s: float
    work: str
    calls: int
    calls_per_s: float
    p99_ms: float
    rss_mb: float
    descriptors: int
    threads: int


def faults(samples: Sequence[Sample], warm_up_s: float, calls: int) -> list[str]:
    """Return what is wrong with a run: what grew after the warm-up, and calls that are missing.

    Memory is compared as it was on average in the first rounds of all works after the warm-up and in the last, since
    each work takes another amount; of descriptors and threads the least of the last rounds with the most of the first,
    since a leak only ever adds.
    """
    found: list[str] = []
    done = sum(each.calls for each in samples)
    if done < calls * _ENOUGH:
        found.append(f"{done:,} calls were answered of {calls:,}")
    warm = [each for each in samples if each.at_s >= warm_up_s]
    if len(warm) < 2 * len(_WORKS):
        return [*found, "the run is too short to tell what grows"]
    early, late = warm[: len(_WORKS)], warm[-len(_WORKS) :]
    began, ended = (statistics.fmean(each.rss_mb for each in rounds) for rounds in (early, late))
    grown = ended / began - 1
    if grown > GROWTH:
        found.append(f"resident memory grew by {grown:.1%}, from {began:,.0f} to {ended:,.0f} MB")
    for name in ("descriptors", "threads"):
        before = max(getattr(each, name) for each in early)
        after = min(getattr(each, name) for each in late)
        if after > before + SPARE:
            found.append(f"{name} leak: {before} became {after}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak and return the exit status."""
    given = _parser().parse_args(arguments)
    seconds = given.minutes * 60
    given.folder = given.folder.resolve()
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)
    cores = len(os.sched_getaffinity(0))
    gateway = Gateway.start(
        given.folder / "gateway", GatewaySettings(given.loop, given.workers or cores, 16), {"soak": "software"}
    )
    samples: list[Sample] = []
    try:
        _run(gateway, given, seconds, cores, samples)
    except (WrongAnswerError, GeneratorError, UnreadableLogError) as error:
        sys.stderr.write(f"soak: {error}\n")
        return 1
    finally:
        gateway.stop()
    wrong = faults(samples, given.warm_up, given.calls)
    given.output.mkdir(parents=True, exist_ok=True)
    document = {"samples": [asdict(each) for each in samples], "faults": wrong}
    (given.output / "soak.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    total = sum(each.calls for each in samples)
    sys.stdout.write(f"\n{total:,} calls in {samples[-1].at_s:,.0f} s\n")
    for each in wrong:
        sys.stdout.write(f"FAILED: {each}\n")
    if not wrong:
        sys.stdout.write("nothing grows and nothing leaks\n")
    shutil.rmtree(given.folder)
    return 1 if wrong else 0


def _run(gateway: Gateway, given: argparse.Namespace, seconds: float, cores: int, samples: list[Sample]) -> None:
    """Press in rounds until the time is over. The time that reading the audit log takes is not pressed in."""
    rate = given.calls / seconds
    began = SYSTEM_CLOCK.monotonic()
    pressed = 0.0
    gateway.begin_count()
    for name in itertools.cycle(_WORKS):
        if pressed >= seconds:
            return
        work = work_named(name)
        side = Side(gateway, Generator(given.folder / "generator", *gateway.credentials_of(work), cores=cores))
        round_s = min(given.round, seconds - pressed)
        sample = _round(gateway, side, work, rate, round_s, began)
        pressed += round_s
        samples.append(sample)
        rows = [_HEAD, _row(sample)] if len(samples) == 1 else [_row(sample)]
        sys.stdout.write(_columns(rows))
        sys.stdout.flush()


def _round(gateway: Gateway, side: Side, work: Work, rate: float, seconds: float, began: float) -> Sample:
    found = measured(side, work, paced(rate, "h2"), Timing(0.0, seconds))
    if found.shed:
        raise WrongAnswerError(f"{work.name}: {found.shed} calls were refused for want of room")
    processes = family(gateway.processes)
    return Sample(
        SYSTEM_CLOCK.monotonic() - began,
        work.name,
        found.acknowledged,
        found.calls_per_s,
        found.p99_ms,
        resident_mb(processes),
        descriptors(processes),
        threads(processes),
    )


def _row(sample: Sample) -> tuple[str, ...]:
    return (
        f"{sample.at_s:,.0f}",
        sample.work,
        f"{sample.calls:,}",
        f"{sample.calls_per_s:,.0f}",
        f"{sample.p99_ms:.1f}",
        f"{sample.rss_mb:,.1f}",
        f"{sample.descriptors}",
        f"{sample.threads}",
    )


def _columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows with columns of a fixed width, since they are printed one by one."""
    return aligned([tuple(cell.rjust(_WIDTH) for cell in row) for row in rows])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--folder", type=Path, default=_ROOT / "build" / "soak", help="made anew, removed at the end")
    parser.add_argument("--output", type=Path, default=_ROOT / "build", help="where soak.json goes")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long calls are sent")
    parser.add_argument("--calls", type=int, default=1_000_000, help="how many calls in all; this makes the rate")
    parser.add_argument("--round", type=float, default=10.0, help="seconds of a round; each has new connections")
    parser.add_argument("--warm-up", type=float, default=60.0, help="seconds after which nothing may grow any more")
    parser.add_argument("--loop", choices=("direct", "threads"), default="direct", help="kmsgw's [server] loop")
    parser.add_argument("--workers", type=int, default=0, help="kmsgw's workers; default: one a core")
    return parser


if __name__ == "__main__":
    sys.exit(main())
