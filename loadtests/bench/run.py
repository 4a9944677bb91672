"""`make bench`: kmsgw beside OpenBao on this machine, measured so that anyone can repeat it.

Prints tables, and writes `build/bench.json` and `build/bench.html`. Exits with 1 where an answer was wrong or was not
accounted for, with what was measured until then, and says of what is not built that it was not measured. Whether the
project's demands are reached stands at the end; it changes the exit status (to 3) only with --require. Whatever it
starts, it ends.
"""

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import Final

from kmsgw.clock import SYSTEM_CLOCK
from loadtests.bench import document, outcome, page, table, verdict
from loadtests.bench.course import SHORT_PAIRS, Course
from loadtests.bench.duel import Plan
from loadtests.bench.h2load import Load, Timing
from loadtests.bench.outcome import Conditions
from loadtests.bench.works import WORKS, Work, work_named

_ROOT: Final = Path(__file__).resolve().parents[2]
_SETTLE_SECONDS: Final = 0.4
_SEARCH: Final = Timing(0.2, 0.8)
_SHORT: Final = Timing(0.3, 0.8)
_NOT_REACHED: Final = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    given = _parser().parse_args(arguments)
    cores = len(os.sched_getaffinity(0))
    plan = _plan(given)
    folder: Path = given.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    conditions = _conditions(given, plan, cores)
    found = Course(given, folder, plan, conditions, _say).run()
    given.output.mkdir(parents=True, exist_ok=True)
    judged = verdict.verdicts(found)
    (given.output / "bench.json").write_text(document.to_json(found, judged), encoding="utf-8")
    (given.output / "bench.html").write_bytes(page.page(found, judged))
    sys.stdout.write(f"\n{table.text(found, judged)}\n")
    sys.stdout.write(f"figures: {given.output / 'bench.json'}, page: {given.output / 'bench.html'}\n")
    if found.stopped:
        # The folder stays: what it holds may tell why.
        sys.stderr.write(f"bench: {found.stopped}\n")
        return 1
    shutil.rmtree(folder)
    return _NOT_REACHED if given.require and not verdict.all_reached(found) else 0


def _plan(given: argparse.Namespace) -> Plan:
    if given.short:
        return Plan(SHORT_PAIRS, _SHORT, None, Load(16))
    return Plan(given.pairs, Timing(_SETTLE_SECONDS, given.seconds), _SEARCH, Load(32))


def _conditions(given: argparse.Namespace, plan: Plan, cores: int) -> Conditions:
    return Conditions(
        machine=outcome.machine_name(),
        cores=cores,
        kernel=platform.release(),
        began=SYSTEM_CLOCK.now().astimezone(UTC).isoformat(timespec="seconds"),
        load_average=outcome.load_average(),
        loop=given.loop,
        workers=given.workers or cores,
        threads=given.threads,
        pairs=plan.pairs,
        slice_seconds=plan.slice.measured,
        loads="the best that were found for each server" if plan.search else f"{plan.load} for both",
        generator="h2load, one thread",
        versions=outcome.installed_versions(),
    )


def _works(names: str) -> Sequence[Work]:
    try:
        return [work_named(name) for name in names.split(",")]
    except KeyError as error:
        known = ", ".join(work.name for work in WORKS)
        raise argparse.ArgumentTypeError(f"{error} is none of {known}") from None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--folder", type=Path, default=_ROOT / "build" / "bench", help="made anew, removed at the end")
    parser.add_argument("--output", type=Path, default=_ROOT / "build", help="where bench.json and bench.html go")
    parser.add_argument("--works", type=_works, default=WORKS, help="names with commas between; default: all")
    parser.add_argument("--pairs", type=int, default=5, help="alternating pairs of slices of each work")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured seconds of a slice")
    parser.add_argument("--loop", choices=("direct", "threads"), default="direct", help="kmsgw's [server] loop")
    parser.add_argument("--workers", type=int, default=0, help="kmsgw's workers; default: one a core")
    parser.add_argument("--threads", type=int, default=16, help="kmsgw's threads of a worker, with loop threads")
    parser.add_argument("--short", action="store_true", help="one short pair each, no search: does it run? No figures")
    parser.add_argument("--no-half", action="store_true", help="leave out the latency at half load")
    parser.add_argument("--no-anew", action="store_true", help="leave out the calls that are worked out anew")
    parser.add_argument("--no-providers", action="store_true", help="leave out the key providers")
    parser.add_argument("--no-scale", action="store_true", help="leave out the many keys and policies")
    parser.add_argument("--require", action="store_true", help="exit with 3 unless all that is asked is reached")
    parser.add_argument("--no-local", action="store_true", help="leave out the libraries in one process")
    return parser


if __name__ == "__main__":
    sys.exit(main())
