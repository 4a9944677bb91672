"""`kmsgw audit prune` shows what is past its age, and removes it where no worker writes the log."""

import json
import shutil
from pathlib import Path

import pytest

from kmsgw.clock import SYSTEM_CLOCK
from tests.cli.command_line import kmsgw
from tests.unit.audit.aged_logs import NOW, aged
from tests.unit.audit.logs import append_all, open_log

AGE = (SYSTEM_CLOCK.now() - NOW).days
"""So old are entries of age 0 today."""


def _made(base: Path) -> Path:
    """Make the log of a worker of which two bundles are past their age, and its key."""
    log = open_log(base)
    append_all(log, aged(600, 800 - AGE, 500 - AGE, officer_each=100))
    log.close()
    (base / "keys" / "w0.seed").rename(base / "keys" / "log.key")
    return base / "log"


def test_a_dry_run_shows_what_would_go(tmp_path: Path) -> None:
    folder = _made(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shown = kmsgw("audit", "prune", str(folder), "--dry-run", "-o", "json")
    assert shown.code == 0
    (record,) = json.loads(shown.text)
    assert (record["log"], record["entries"], record["before"], record["kept"]) == ("log", 506, 512, 6)
    assert record["from"] < record["to"]
    assert "nothing was changed" in shown.stderr
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_log_that_no_worker_writes_is_pruned_and_verifies(tmp_path: Path) -> None:
    folder = _made(tmp_path)
    keys = str(tmp_path / "keys")
    done = kmsgw("audit", "prune", str(folder), "--keys", keys, "--yes", "--reason", "retired", "--no-input")
    assert done.code == 0, done.stderr
    assert not (folder / "tile" / "entries" / "000").exists()
    verified = kmsgw("audit", "verify", str(folder), "-o", "json")
    assert verified.code == 0
    (record,) = json.loads(verified.text)
    assert record["finding"].startswith("The entries before 512, but 6 that are kept, are pruned, as entry 600 records")
    found = kmsgw("audit", "search", str(folder), "--method", "PruneAudit", "-o", "json")
    assert '"reason": "retired"' in found.text.replace('":"', '": "')
    shutil.rmtree(folder / "kept")
    assert kmsgw("audit", "verify", str(folder)).code == 5


def test_a_log_that_a_worker_writes_is_left_to_it(tmp_path: Path) -> None:
    folder = _made(tmp_path)
    (tmp_path / "keys" / "log.key").rename(tmp_path / "keys" / "w0.seed")
    log = open_log(tmp_path)
    try:
        done = kmsgw("audit", "prune", str(folder), "--keys", str(tmp_path / "keys"), "--yes", "--reason", "now")
    finally:
        log.close()
    assert done.code != 0
    assert "another process writes this audit log" in done.stderr
    assert (folder / "tile" / "entries" / "000").exists()


def test_to_prune_wants_the_signing_key_and_a_reason(tmp_path: Path) -> None:
    folder = _made(tmp_path)
    assert "--reason" in kmsgw("audit", "prune", str(folder), "--yes").stderr
    assert "--keys" in kmsgw("audit", "prune", str(folder), "--yes", "--reason", "x").stderr
    assert kmsgw("audit", "prune", str(folder), "--operations-months", "0", "--yes", "--reason", "x").code == 0


def test_only_its_owner_prunes_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _made(tmp_path)
    monkeypatch.setattr("kmsgw.cli.log_owner.os.geteuid", lambda: folder.stat().st_uid + 1)
    refused = kmsgw("audit", "prune", str(folder), "--keys", str(tmp_path / "keys"), "--yes", "--reason", "retired")
    assert refused.code == 1
    assert "sudo -u" in refused.stderr
    assert (folder / "tile" / "entries" / "000").exists()
