"""`make audit-bench`: what reading an audit log takes, on a log made for it. Sub-commands; each prints what it found.

`build` makes logs below a folder; what they hold is always the same (`loadtests.made_log`). `verify` checks each as
`kmsgw audit verify` does and prints entries a second of processor time, which other load on the machine does not
count into, and of the clock, and how much memory it took. `index` makes an index as `kmsgw audit index` does, `search`
asks it what auditors ask, `report` writes a report of all of it.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from sqlite3 import Connection
from typing import Final, TypeVar

from kmsgw.cli.audit_index import source_logs
from kmsgw.cli.log_folder import find_logs
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import KmsgwError
from kmsgw.reading.index import update
from kmsgw.reading.index_file import IndexFile
from kmsgw.reading.index_search import SignedEntries, places
from kmsgw.reading.report import ReportedLog, make_report
from kmsgw.reading.report_page import page
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.search import EntryFilter
from kmsgw.tlog.tiles import CHECKPOINT_PATH
from kmsgw.tlog.verification import verify_log
from loadtests.bench.processes import peak_mb
from loadtests.made_log import BEGIN, MadeLog

_ENTRIES: Final = 2_000_000
_FOLDER: Final = Path("build/audit-bench")
_INDEX: Final = Path("build/audit-bench.sqlite")
_COUNT_WIDTH: Final = 12
_REPEATS: Final = 5
_SHOWN: Final = 100

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


def _index(options: argparse.Namespace) -> None:
    sources = source_logs(find_logs(options.folder, {}))
    file = IndexFile(options.index)
    with file.locked():
        file.remove()
        with file.opened() as database:
            added, took = timed(lambda: update(database, sources))
    size = file.size()
    print(took.line("index", added, "entries"), f" peak {peak_mb():.0f} MB")
    print(f"{size / 1e6:,.0f} MB, {size / max(1, added):.1f} bytes an entry ({machine()})")


def _search(options: argparse.Namespace) -> None:
    logs = find_logs(options.folder, {})
    sources, opened = timed(lambda: source_logs(logs))
    readers = [source.reader for source in sources]
    with IndexFile(options.index).opened() as database:
        _, checked = timed(lambda: update(database, sources))
        total = sum(reader.size for reader in readers)
        print(f"{total:,} entries; opened in {opened.wall_s:.3f} s, index checked in {checked.wall_s:.3f} s")
        for name, wanted in _questions(readers):
            times: list[Timing] = []
            for _ in range(_REPEATS):
                entries = SignedEntries(readers)
                found, took = timed(lambda w=wanted, e=entries: _newest(database, e, w))  # type: ignore[misc]
                times.append(took)
            walls = sorted(each.wall_s for each in times)
            processor = sorted(each.processor_s for each in times)[len(times) // 2]
            walled = f"first {times[0].wall_s:6.3f} s  median {walls[len(walls) // 2]:6.3f} s"
            print(f"{name:<36} {len(found):>4} found  {walled}  {processor:6.3f} CPU-s")


def _newest(database: Connection, entries: SignedEntries, wanted: EntryFilter) -> list[LoggedEntry]:
    return list(islice(entries.found(places(database, wanted, newest_first=True), wanted), _SHOWN))


def _questions(readers: Sequence[LogReader]) -> list[tuple[str, EntryFilter]]:
    """Return what auditors ask, with answers that are many, few, and none."""
    middle = readers[-1].size // 2
    (raw,) = (raw for _, raw in readers[-1].entries(middle, middle + 1))
    entry = LoggedEntry.parse("", 0, raw)
    time = entry.time or BEGIN
    day = EntryFilter(since=time, until=time + timedelta(days=1))
    return [
        ("a request id", EntryFilter(request_id=entry.text("request_id"))),
        ("a principal", EntryFilter(principal=entry.principal())),
        ("a key", EntryFilter(key_id=entry.text("key_id"))),
        ("an outcome", EntryFilter(outcome="refused")),
        ("changes that were done", EntryFilter(changes=True)),
        ("a principal on a day", replace(day, principal=entry.principal())),
        ("a key's refusals on a day", replace(day, key_id=entry.text("key_id"), outcome="refused")),
        ("principal, key and outcome", EntryFilter(principal=entry.principal(), key_id="ehr-00", outcome="failed")),
        ("principal, key, method and reason", EntryFilter(principal=entry.principal(), key_id="ehr-00", method="Rewrap",
                                                          reason="ACCESS_DENIED")),
        ("what never was", EntryFilter(principal="key-officer", outcome="refused", key_id="ehr-00")),
    ]  # fmt: skip


def _report(options: argparse.Namespace) -> None:
    logs = [ReportedLog(log.name, log.fetch, log.verifier, log.key_given) for log in find_logs(options.folder, {})]
    made, took = timed(lambda: make_report(logs, None, None, SYSTEM_CLOCK.now()))
    text, written = timed(lambda: page(made))
    print(took.line("report", made.figures.entries, "entries"), f" peak {peak_mb():.0f} MB")
    print(f"page of {len(text) / 1e3:,.0f} kB in {written.wall_s:.2f} s; sound: {made.sound} ({machine()})")


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
    for name, run, text in (
        ("index", _index, "make an index anew, and print how fast and how large"),
        ("search", _search, "search in the index, and print how long each question takes"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("--index", type=Path, default=_INDEX, help="file of the index (default: %(default)s)")
        verb.set_defaults(run=run)
    report = verbs.add_parser("report", help="write a report of all of it, and print how fast")
    report.set_defaults(run=_report)
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
