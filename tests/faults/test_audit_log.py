"""What the audit log acknowledged survives kills; a full or read-only disk stops answers and harms nothing."""

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from kmsgw.audit.log import DurableLog
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.verification import verify_log
from tests.faults.audit_log_writer import ORIGIN

KILLS = 30
ROOT = Path(__file__).parents[2]


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.faults.audit_log_writer", *arguments]


def _verified(base: Path) -> list[bytes]:
    """Open the log as a restarted worker would, close it, verify it whole, and return its entries."""
    DurableLog.open(base / "log", origin=ORIGIN, key_file=base / "w0.seed", interval=None).close()
    key = VerifierKey.parse((base / "log" / "verifier.key").read_text())

    def fetch(path: str) -> bytes:
        return (base / "log" / path).read_bytes()

    verify_log(fetch, key)
    reader = LogReader(fetch)
    reader.checkpoint(key)
    return [raw for _, raw in reader.entries()]


def _run_and_kill(base: Path, seconds: float) -> dict[int, bytes]:
    """Let a writer write for some time from its first acknowledgement on, kill it, return what it acknowledged."""
    lines: list[bytes] = []
    started = threading.Event()
    with subprocess.Popen(_command("acknowledge", str(base)), stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        output = process.stdout

        def read() -> None:
            for line in output:
                lines.append(line)
                started.set()

        thread = threading.Thread(target=read)
        thread.start()
        assert started.wait(120), "the writer acknowledged nothing"
        time.sleep(seconds)
        process.kill()
        thread.join(120)
    # A line without its end was not received: nobody was answered.
    whole = (line.removesuffix(b"\n").split(b" ", 1) for line in lines if line.endswith(b"\n"))
    return {int(index): entry for index, entry in whole}


@pytest.mark.timeout(280)
def test_every_acknowledged_entry_survives_kills_at_any_moment(tmp_path: Path) -> None:
    chance = random.Random(20260301)
    acknowledged: dict[int, bytes] = {}
    for _ in range(KILLS):
        some = _run_and_kill(tmp_path, chance.random() * 0.08)
        assert not some.keys() & acknowledged.keys()
        acknowledged |= some
        entries = _verified(tmp_path)
        assert {index: entries[index] for index in acknowledged} == acknowledged
    assert len(acknowledged) > KILLS


def test_a_full_disk_refuses_what_does_not_fit_and_recovers_by_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        _command("full", str(tmp_path), "20000"), capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    report = json.loads(done.stdout)
    assert len(report["acknowledged"]) > 100
    assert report["refused"] == ["The disk of the audit log is full."] * 4
    assert report["probe_full"] == "The disk of the audit log is full."
    assert report["probe_after"] == "ok"
    assert report["fatal"] == []
    entries = [LoggedEntry.parse(ORIGIN, index, raw) for index, raw in enumerate(_verified(tmp_path))]
    assert [entry.number("n") for entry in entries if "n" in entry.record] == report["acknowledged"]
    notes = [entry.text("note") for entry in entries if "note" in entry.record]
    assert notes == ["the disk was full: 5 entries were refused, and so were the calls they stood for."]


def test_a_log_that_may_not_be_written_is_refused_with_its_path() -> None:
    # Not below tmp_path, which only its owner may enter: as root, the writer becomes another user.
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        base.chmod(0o755)
        DurableLog.open(base / "log", origin=ORIGIN, key_file=base / "w0.seed", interval=None).close()
        (base / "log" / "lock").chmod(0o444)
        (base / "log").chmod(0o555)
        done = subprocess.run(
            _command("read_only", str(base)), capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
        )
        (base / "log").chmod(0o755)
    assert done.stdout.startswith(f"{base / 'log' / 'lock'}: the audit log can't be opened: Permission denied.")
