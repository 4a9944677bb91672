"""Opening and reading logs in tests."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from kmsgw.audit.log import WAL_LIMIT, DurableLog
from kmsgw.audit.repair_plan import RepairKey
from kmsgw.audit.wal import WriteAheadFile
from kmsgw.audit.wal_format import scan_wal
from kmsgw.audit.wal_key import WalKey
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.verification import verify_log

ORIGIN = "example.com/log/node1/w0"


def open_log(
    base: Path,
    *,
    origin: str = ORIGIN,
    on_fatal: Callable[[str], None] | None = None,
    interval: float | None = None,
    wal_limit: int = WAL_LIMIT,
    sync: Callable[[int], None] = os.fdatasync,
) -> DurableLog:
    """Open the log in ``base/log``; without an interval nothing is integrated but by `integrate` and `close`."""

    def unexpected(reason: str) -> None:
        raise AssertionError(reason)

    return DurableLog.open(
        base / "log",
        origin=origin,
        key_file=base / "keys" / "w0.seed",
        on_fatal=on_fatal or unexpected,
        interval=interval,
        wal_limit=wal_limit,
        sync=sync,
    )


def verifier(base: Path) -> VerifierKey:
    return VerifierKey.parse((base / "log" / "verifier.key").read_text())


def fetch(base: Path) -> Callable[[str], bytes]:
    return lambda path: (base / "log" / path).read_bytes()


def wal_key(base: Path) -> WalKey:
    """Return the key of the log's write-ahead files, as its own worker has it."""
    return WalKey((base / "keys" / "w0.seed").read_bytes(), ORIGIN)


def repair_key(base: Path) -> RepairKey:
    """Return what a repair has of the log's key file."""
    return RepairKey.of_seed(ORIGIN, (base / "keys" / "w0.seed").read_bytes())


def append_waiting(base: Path, entries: Sequence[bytes]) -> None:
    """Add entries to the write-ahead file in one group, as a worker does that dies before they are in tiles."""
    path = base / "log" / "wal"
    wal = WriteAheadFile(path, wal_key(base), scan_wal(path.read_bytes(), path, wal_key(base)))
    if entries:
        wal.append(entries)
    wal.close()


def without_notes(entries: Sequence[bytes]) -> list[bytes]:
    """Return entries but for those that tell what happened to the log itself at a start."""
    return [raw for raw in entries if "note" not in (told := json.loads(raw)) or told["method"]]


def notes(entries: Sequence[bytes]) -> list[str]:
    """Return what the log says of itself."""
    return [told["note"] for raw in entries if "note" in (told := json.loads(raw)) and not told["method"]]


def verified_entries(base: Path) -> list[bytes]:
    """Return all entries up to the checkpoint, after the whole log was verified."""
    assert verify_log(fetch(base), verifier(base)).origin == ORIGIN
    reader = LogReader(fetch(base))
    reader.checkpoint(verifier(base))
    return [raw for _, raw in reader.entries()]


def closed_log(base: Path, count: int) -> Path:
    """Return the folder of a log of so many entries that is closed; its key is in ``base/keys/log.key`` too."""
    log = open_log(base)
    append_all(log, numbered(0, count))
    log.close()
    shutil.copy(base / "keys" / "w0.seed", base / "keys" / "log.key")
    return base / "log"


def append_all(log: DurableLog, entries: list[bytes]) -> None:
    for entry in entries:
        log.append(entry)
    log.flush()


def numbered(start: int, end: int) -> list[bytes]:
    return [b'{"n":%d}' % n for n in range(start, end)]
