"""`make audit-bench`: what reading an audit log takes, on a log made for it. Sub-commands; each prints what it found.

`build` makes logs below a folder; what they hold is always the same (`loadtests.made_log`). `verify` checks each as
`kmsgw audit verify` does and prints entries a second of processor time, which other load on the machine does not
count into, and of the clock, and how much memory it took.
"""

import argparse
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from kmsgw.cli.log_folder import find_logs
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import KmsgwError
from kmsgw.tlog.tiles import CHECKPOINT_PATH
from kmsgw.tlog.verification import verify_log
from loadtests.made_log import MadeLog

_ENTRIES: Final = 2_000_000
_FOLDER: Final = Path("build/audit-bench")
_COUNT_WIDTH: Final = 12

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Timing:
    """How long something took: ``processor_s`` of this process, user and system together, and ``wall_s``."""

    processor_s: float
    wall_s: float

    def line(self, what: str, count: int, unit: str) -> str:
        """Return one line: how many, how long, how many a second."""
        return (
            f"{what:<20} {count:>{_COUNT_WIDTH},} {unit}  {self.processor_s:8.2f} CPU-s  {self.wall_s:8.2f} s"
            f"  {count / self.processor_s:>{_COUNT_WIDTH},.0f} {unit} a CPU-second"
        )


def timed(work: Callable[[], ResultT]) -> tuple[ResultT, Timing]:
    """Run `work` once and return its result and how long it took."""
    processor, wall = time.process_time(), SYSTEM_CLOCK.monotonic()
    result = work()
    return result, Timing(time.process_time() - processor, SYSTEM_CLOCK.monotonic() - wall)


def peak_mb() -> float:
    """Return the most memory that this process has held so far, resident, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> str:
    """Return what the figures were taken on: processor, Python."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass  # not Linux: the short name will do
    return f"{model}, Python {platform.python_version()}"


def _build(options: argparse.Namespace) -> None:
    for worker in range(options.logs):
        count = options.entries // options.logs
        folder = options.folder / f"worker-{worker}"
        if (folder / CHECKPOINT_PATH).exists():
            print(f"{folder} is there already; remove it to make it anew.")
            continue
        log = MadeLog(count, worker, options.days)
        size, took = timed(partial(log.write, folder))
        print(took.line(f"build {folder.name}", count, "entries"), f" {size / max(1, count):.0f} bytes an entry")


def _verify(options: argparse.Namespace) -> None:
    total, processor = 0, 0.0
    for log in find_logs(options.folder, {}):
        verified, took = timed(partial(verify_log, log.fetch, log.verifier))
        print(took.line(f"verify {log.name}", verified.size, "entries"), f" peak {peak_mb():.0f} MB")
        total += verified.size
        processor += took.processor_s
    print(f"{total:,} entries at {total / processor:,.0f} a CPU-second on one core ({machine()})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.audit_bench", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="folder of the logs (default: %(default)s)")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    build = verbs.add_parser("build", help="make logs; those that are there are left as they are")
    build.add_argument("--entries", type=int, default=_ENTRIES, help="of all logs together (default: %(default)s)")
    build.add_argument("--logs", type=int, default=1, help="workers that wrote them (default: %(default)s)")
    build.add_argument("--days", type=float, default=30.0, help="that they stretch over (default: %(default)s)")
    build.set_defaults(run=_build)
    verify = verbs.add_parser("verify", help="verify every log whole, and print how fast")
    verify.set_defaults(run=_verify)
    return parser


def main(arguments: Sequence[str]) -> int:
    """Run one sub-command and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except KmsgwError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
