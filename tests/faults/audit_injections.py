"""Faults injected into the life of an audit log at each of its system calls, one a life.

``python -m tests.faults.audit_injections --every 1`` injects all of them and prints a summary in JSON; ``--every 50``
takes one of fifty. Needs strace, which makes the chosen call fail, or kills the process before it.

A life is a process that opens a log and appends more than a hundred entries, each flushed alone, with tiles, signed
checkpoints and new write-ahead files in between. What it is acknowledged it notes in memory that it shares with the
process that watches it, so that noting costs no system call. Afterwards another process opens the log as the next
start would, within a bound of time, and verifies all of it.
"""

import argparse
import ctypes
import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path

from typing_extensions import Buffer

from kmsgw.audit.log import DurableLog
from kmsgw.errors import AuditUnavailable, KmsgwError
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.tiles import CHECKPOINT_PATH
from kmsgw.tlog.verification import verify_log

ORIGIN = "example.com/log/node1/w0"
CALLS = (
    "openat", "close", "read", "pread64", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "renameat",
    "mkdir", "mkdirat", "unlink", "unlinkat", "rmdir", "newfstatat", "stat", "lstat", "fstat", "flock", "fcntl",
    "lseek", "ioctl", "getdents64",
)  # fmt: skip
"""What opens, reads, writes, flushes, renames, removes or looks at files."""

APPENDS = 110
START_SECONDS = 30
_FIRST = 200
_WAITING = 10
_WAL_LIMIT = 2000
_INTEGRATE_EVERY = 11
_ATTACH_SECONDS = 30.0
_LIFE_SECONDS = 60
_PR_SET_PTRACER = 0x59616D61
_LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)")


_NAMED = re.compile(r'(?:rename\("[^"]+", |mkdir\()"([^"]+)".* = 0$')
_FLUSHED = re.compile(r"fsync\(\d+<([^>]+)>\) += 0$")


class Fault(StrEnum):
    """What happens to one system call. ``SHORT`` writes half, ``TORN`` writes half and dies."""

    KILL = "SIGKILL"
    EIO = "EIO"
    ENOSPC = "ENOSPC"
    NOTHING_WRITTEN = "write of nothing"
    SHORT = "short write"
    TORN = "short write, then SIGKILL"
    SHORT_FULL = "short write, then ENOSPC"
    SHORT_EIO = "short write, then EIO"


class Fate(IntEnum):
    """What became of an entry."""

    NOT_TRIED = 0
    TRIED = 1
    ACKNOWLEDGED = 2
    REFUSED = 3


class End(IntEnum):
    """Exit status of a life."""

    COMPLETE = 0
    NO_START = 10
    ENDED = 11
    UNHANDLED = 12


@dataclass(frozen=True, slots=True)
class Point:
    """The ``nth`` call of ``name`` in a life; ``text`` is how strace showed it."""

    name: str
    nth: int
    text: str


def entry(number: int) -> bytes:
    """Return the entry of a number."""
    return b'{"n":%d,"pad":"%s"}' % (number, b"x" * (number * 37 % 200))


def _open(base: Path, on_fatal: Callable[[str], None]) -> DurableLog:
    return DurableLog.open(
        base / "log", origin=ORIGIN, key_file=base / "keys" / "w0.seed", interval=None, wal_limit=_WAL_LIMIT,
        on_fatal=on_fatal,
    )  # fmt: skip


def live(base: Path, start: int, fates: mmap.mmap) -> End:
    """Open the log, append, integrate, close: until all is done, or the log asks the worker to end."""
    fatal: list[str] = []
    try:
        log = _open(base, fatal.append)
    except KmsgwError:
        return End.NO_START
    for number in range(start, start + APPENDS):
        fates[number] = Fate.TRIED
        try:
            log.wait(log.append(entry(number)))
        except AuditUnavailable:
            fates[number] = Fate.REFUSED
        else:
            fates[number] = Fate.ACKNOWLEDGED
        if number % _INTEGRATE_EVERY == 0:
            with suppress(AuditUnavailable):
                log.probe()
            log.integrate()
        if fatal or log.ended:
            return End.ENDED
    with suppress(AuditUnavailable):
        log.close()
    return End.COMPLETE


def _shorten(nth: int) -> None:
    """Make one `os.pwrite` of this process write half of what it is given: no tracer can ask the kernel for that."""
    real = os.pwrite
    seen = 0

    def pwrite(descriptor: int, data: Buffer, offset: int, /) -> int:
        nonlocal seen
        seen += 1
        whole = memoryview(data)
        return real(descriptor, whole[: len(whole) // 2] if seen == nth else whole, offset)

    os.pwrite = pwrite


def make_template(base: Path) -> None:
    """Make a log that was killed: entries under a checkpoint, durable ones without tiles, and a torn frame."""
    log = _open(base, _unexpected)
    for number in range(_FIRST):
        log.append(entry(number))
    log.flush()
    log.integrate()
    for number in range(_FIRST, _FIRST + _WAITING):
        log.append(entry(number))
    log.flush()
    os.close(log._lock)
    with (base / "log" / "wal").open("ab") as file:
        file.write(b"\x00\x00\x00\x50torn")


def _unexpected(reason: str) -> None:
    raise AssertionError(reason)


class Injector:
    """Runs lives below a folder, best in memory: what is injected does not depend on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template"
        make_template(self._template)
        self.lives: dict[str, int] = {"new log": 0, "after a crash": _FIRST + _WAITING}
        self.ends: Counter[str] = Counter()
        self.acknowledged = 0
        # Once outside of any tracer, so that every module is imported and every life does the same from then on.
        for life in self.lives:
            fates = self._fates()
            base = self._base(life)
            live(base, self.lives[life], fates)
            self._examine(base, self.lives[life], fates)

    def _fates(self) -> mmap.mmap:
        return mmap.mmap(-1, 4096)

    def _base(self, life: str) -> Path:
        base = self._folder / "life"
        shutil.rmtree(base, ignore_errors=True)
        if self.lives[life]:
            shutil.copytree(self._template, base)
        else:
            base.mkdir()
        return base

    def points(self, life: str) -> list[Point]:
        """Return every call of a life that reaches its files."""
        trace = self._folder / "trace"
        assert self._live(life, ["-e", f"trace={','.join(CALLS)}", "-o", str(trace)])[1] == End.COMPLETE
        seen: Counter[str] = Counter()
        found: list[Point] = []
        for line in trace.read_text().splitlines():
            match = _LINE.match(line)
            if match and match[1] in CALLS:
                seen[match[1]] += 1
                found.append(Point(match[1], seen[match[1]], line[:160]))
        return found

    def unsynced(self, life: str) -> list[str]:
        """Return the folders that got a name and were not flushed in time: before a checkpoint, and at the end."""
        trace = self._folder / "trace"
        options = ["-y", "-e", "trace=rename,mkdir,fsync", "-o", str(trace)]
        assert self._live(life, options)[1] == End.COMPLETE
        late: list[str] = []
        named: set[str] = set()
        for line in trace.read_text().splitlines():
            if made := _NAMED.search(line):
                target = Path(made[1])
                if target.name == CHECKPOINT_PATH:
                    late += named
                named.add(str(target.parent))
            elif flushed := _FLUSHED.search(line):
                named.discard(flushed[1])
        return late + sorted(named)

    def plan(self, life: str) -> Iterator[tuple[Point, Fault]]:
        """Yield every fault at every point of a life."""
        for point in self.points(life):
            yield from ((point, fault) for fault in (Fault.KILL, Fault.EIO, Fault.ENOSPC))
            if point.name == "pwrite64":
                for fault in (Fault.NOTHING_WRITTEN, Fault.SHORT, Fault.TORN, Fault.SHORT_FULL, Fault.SHORT_EIO):
                    yield point, fault

    def inject(self, life: str, point: Point, fault: Fault) -> str:
        """Live once with a fault and return what is wrong afterwards: nothing, if all is well."""
        shorten = 0
        at = point.nth
        if fault in (Fault.SHORT, Fault.TORN, Fault.SHORT_FULL, Fault.SHORT_EIO):
            shorten, at = point.nth, point.nth + 1
        how = {
            Fault.KILL: "signal=KILL",
            Fault.TORN: "signal=KILL",
            Fault.EIO: "error=EIO",
            Fault.SHORT_EIO: "error=EIO",
            Fault.ENOSPC: "error=ENOSPC",
            Fault.SHORT_FULL: "error=ENOSPC",
            Fault.NOTHING_WRITTEN: "retval=0",
        }.get(fault)
        options = ["-e", f"trace={point.name}", "-o", "/dev/null"]
        if how is not None:
            options += ["-e", f"inject={point.name}:{how}:when={at}"]
        base, status, fates = self._live(life, options, shorten)
        if fault in (Fault.KILL, Fault.TORN):
            if status != -signal.SIGKILL:
                return f"it was not killed: {status}"
        elif status == End.UNHANDLED:
            return f"an exception nobody handled: {(self._folder / 'exception').read_text()}"
        elif status < 0:
            return f"it died of {signal.Signals(-status).name}"
        self.ends[f"{fault}: {'killed' if status < 0 else End(status).name}"] += 1
        self.acknowledged += sum(fates[n] == Fate.ACKNOWLEDGED for n in range(len(fates)))
        return self._next_start(base, self.lives[life], fates)

    def _live(self, life: str, options: list[str], shorten: int = 0) -> tuple[Path, int, mmap.mmap]:
        base = self._base(life)
        fates = self._fates()
        gate = self._fates()

        def run() -> int:
            # The tracer is no parent of this process; where the kernel minds that (Yama), anybody may trace this one.
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
            while not gate[0]:
                time.sleep(0.0005)
            if shorten:
                _shorten(shorten)
            return live(base, self.lives[life], fates)

        child = self._fork(run)
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-p", str(child), *options], stderr=subprocess.DEVNULL)
        _await_tracer(child, tracer)
        gate[0] = 1
        status = _reap(child, _LIFE_SECONDS)
        tracer.wait(_LIFE_SECONDS)
        return base, status, fates

    def _fork(self, run: Callable[[], int]) -> int:
        child = os.fork()
        if child:
            return child
        status: int = End.UNHANDLED
        try:
            status = run()
        except BaseException:  # noqa: BLE001  what nobody handled is what is looked for
            (self._folder / "exception").write_text(traceback.format_exc())
        finally:
            os._exit(status)

    def _next_start(self, base: Path, start: int, fates: mmap.mmap) -> str:
        """Start as the next worker would, in a process that must end in time; return what is wrong."""
        said = self._folder / "said"

        def run() -> int:
            said.write_text(self._examine(base, start, fates))
            return 0

        status = _reap(self._fork(run), START_SECONDS)
        if status == -signal.SIGKILL:
            return f"the next start did not end within {START_SECONDS} s"
        if status:
            return f"the next start failed: {(self._folder / 'exception').read_text()}"
        return said.read_text()

    def _examine(self, base: Path, start: int, fates: mmap.mmap) -> str:
        log = _open(base, _unexpected)
        log.wait(log.append(b'{"n":-1}'))
        log.close()
        key = VerifierKey.parse((base / "log" / "verifier.key").read_text())

        def fetch(path: str) -> bytes:
            return (base / "log" / path).read_bytes()

        verify_log(fetch, key)
        reader = LogReader(fetch)
        reader.checkpoint(key)
        raws = [raw for _, raw in reader.entries()]
        numbers = [number for raw in raws if (number := json.loads(raw).get("n", -1)) >= 0]
        if any(raw != entry(json.loads(raw)["n"]) for raw in raws if json.loads(raw).get("n", -1) >= 0):
            return "an entry was changed"
        if numbers != sorted(set(numbers)):
            return "entries are there twice, or not in order"
        wanted = {*range(start), *(n for n in range(start, start + APPENDS) if fates[n] == Fate.ACKNOWLEDGED)}
        missing = sorted(wanted - set(numbers))
        if missing:
            return f"acknowledged and missing: {missing}"
        untried = [n for n in numbers if n >= start and fates[n] == Fate.NOT_TRIED]
        return f"recorded and never tried: {untried}" if untried else ""


def _await_tracer(child: int, tracer: "subprocess.Popen[bytes]") -> None:
    status = Path(f"/proc/{child}/status")
    give_up = time.monotonic() + _ATTACH_SECONDS
    while f"TracerPid:\t{tracer.pid}" not in status.read_text():
        if time.monotonic() > give_up or tracer.poll() is not None:
            os.kill(child, signal.SIGKILL)
            raise RuntimeError("strace does not attach; it needs the right to trace (ptrace)")
        time.sleep(0.001)


def _reap(child: int, seconds: float) -> int:
    """Return the exit status of a process as subprocess has it; kill it where it takes longer than it may."""
    give_up = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > give_up:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)


def main() -> int:
    """Inject, and print what was found; return 1 where anything is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1, metavar="N", help="inject one fault of N")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where the logs lie")
    parser.add_argument("--progress", action="store_true")
    options = parser.parse_args()
    wrong: list[str] = []
    faults: Counter[str] = Counter()
    points: dict[str, int] = {}
    calls: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=options.folder if options.folder.is_dir() else None) as folder:
        injector = Injector(Path(folder))
        for life in injector.lives:
            wrong += [f"{life}: {each} got a name that was not flushed in time" for each in injector.unsynced(life)]
            plan = list(injector.plan(life))
            points[life] = len({point for point, _ in plan})
            calls.update(point.name for point, fault in plan if fault is Fault.KILL)
            for number, (point, fault) in enumerate(plan[:: options.every]):
                found = injector.inject(life, point, fault)
                faults[fault] += 1
                if found:
                    wrong.append(f"{life}, {fault} at {point.name} {point.nth} ({point.text}): {found}")
                if options.progress and number % 200 == 0:
                    print(f"{life}: {number} of {len(plan) // options.every}", wrong[-3:], file=sys.stderr, flush=True)
        ends = dict(sorted(injector.ends.items()))
        acknowledged = injector.acknowledged
    print(json.dumps({
        "points": points, "calls": dict(calls), "injected": faults.total(), "faults": dict(faults), "ends": ends,
        "acknowledged": acknowledged, "wrong": wrong,
    }))  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
