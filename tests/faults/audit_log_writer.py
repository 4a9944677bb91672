"""A process of its own that writes an audit log, for tests that kill it or take its room.

``python -m tests.faults.audit_log_writer acknowledge BASE`` writes to standard output each index and entry that was
acknowledged, from four threads, until it is killed. ``... full BASE BYTES`` limits the size of files, and reports what
happens. ``... read_only BASE`` tries to open a log that it may not write.
"""

import json
import os
import resource
import sys
import threading
import time
from pathlib import Path

from kmsgw.audit.log import DurableLog
from kmsgw.errors import AuditUnavailable

ORIGIN = "example.com/log/node1/w0"


def _open(base: Path, interval: float | None, wal_limit: int) -> DurableLog:
    return DurableLog.open(
        base / "log", origin=ORIGIN, key_file=base / "w0.seed", interval=interval, wal_limit=wal_limit
    )


def acknowledge(base: Path) -> None:
    """Append for ever; integrate and begin the file anew as often as can be, so that every moment can be hit."""
    log = _open(base, interval=0.002, wal_limit=4096)

    def run(which: int) -> None:
        number = 0
        while True:
            entry = json.dumps({"pid": os.getpid(), "thread": which, "n": number, "pad": "x" * (number * 37 % 400)})
            index = log.append(entry.encode())
            log.wait(index)
            os.write(1, f"{index} {entry}\n".encode())
            number += 1

    for which in range(4):
        threading.Thread(target=run, args=(which,), daemon=True).start()
    time.sleep(60)


def _try(log: DurableLog, number: int) -> str:
    try:
        log.wait(log.append(b'{"n":%d,"pad":"%s"}' % (number, b"x" * 100)))
    except AuditUnavailable as error:
        return error.message
    return "ok"


def _probe(log: DurableLog) -> str:
    try:
        log.probe()
    except AuditUnavailable as error:
        return error.message
    return "ok"


def full(base: Path, limit: int) -> None:
    """Fill the room that there is, find that nothing is acknowledged, make room, and go on."""
    fatal: list[str] = []
    log = DurableLog.open(base / "log", origin=ORIGIN, key_file=base / "w0.seed", interval=None, on_fatal=fatal.append)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    number = 0
    acknowledged: list[int] = []
    while _try(log, number) == "ok":
        acknowledged.append(number)
        number += 1
    refused = [_try(log, number + each) for each in range(1, 5)]
    probe_full = _probe(log)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    probe_after = _probe(log)
    number += 100
    for each in range(number, number + 5):
        assert _try(log, each) == "ok"
        acknowledged.append(each)
    log.integrate()
    log.close()
    print(json.dumps({
        "acknowledged": acknowledged, "refused": refused, "probe_full": probe_full, "probe_after": probe_after,
        "fatal": fatal,
    }))  # fmt: skip


def read_only(base: Path) -> None:
    """Try to open the log without the right to write it, also when started by root."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    try:
        DurableLog.open(base / "log", origin=ORIGIN, key_file=base / "w0.seed", interval=None)
    except AuditUnavailable as error:
        print(error)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["acknowledge", folder]:
            acknowledge(Path(folder))
        case ["full", folder, size]:
            full(Path(folder), int(size))
        case ["read_only", folder]:
            read_only(Path(folder))
