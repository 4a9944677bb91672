"""docs/audit-log.md: its commands and its program verify a real log, and its tables are those of the code."""

import json
import os
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.exceptions import InvalidSignature

from kmsgw.audit.record import RECORD_FIELDS
from kmsgw.tlog.tiles import bundle_path
from tests.docs.blocks import DOCS, one_block, read_blocks, tables
from tests.support.gateway import eventually, make_folder
from tests.support.running_copies import copy_while_written

DOCUMENT = DOCS / "audit-log.md"
TEXT = DOCUMENT.read_text("utf-8")
CALLS = 600

Verify = Callable[[Path, str], list[bytes]]


class StoppedLog(NamedTuple):
    """The folder above a gateway that has stopped, and its one log. ``early`` is a copy that began while it ran."""

    above: Path
    log: Path
    early: Path


def signed(log: Path) -> int:
    """Return how many entries the newest checkpoint is of."""
    return int((log / "checkpoint").read_text("utf-8").splitlines()[1])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> StoppedLog:
    """A log that has full tiles and partial ones; copied as docs/operations.md says while it was written."""
    above = tmp_path_factory.mktemp("audit-log")
    gateway = make_folder(above / "kms", workers=1).start()
    log, early = gateway.folder / "audit" / "worker-0", above / "early"
    try:
        gateway.client("key-officer").keys.create("ehr")
        writer = gateway.client("ehr-writer")
        for call in range(CALLS):
            if call == CALLS // 3:
                assert eventually(lambda: signed(log) == 2 + CALLS // 3)
                early.mkdir()
                for first in ("checkpoint", "verifier.key"):
                    shutil.copy(log / first, early / first)
            writer.encrypt("ehr", b"x", {"call": str(call % 7)})
        assert eventually(lambda: signed(log) == 2 + CALLS)
        copy_while_written(log / "tile", early / "tile")
    finally:
        status = gateway.stop()
    assert status == 0
    return StoppedLog(above, log, early)


@pytest.fixture(scope="module")
def verify() -> Verify:
    names: dict[str, Verify] = {}
    exec(compile(one_block(DOCUMENT, "python"), str(DOCUMENT), "exec"), names)
    return names["verified_entries"]


def test_the_program_verifies_a_real_log(verify: Verify, stopped: StoppedLog) -> None:
    entries = verify(stopped.log, (stopped.log / "verifier.key").read_text())
    assert len(entries) == CALLS + 2
    assert {frozenset(json.loads(entry)) <= RECORD_FIELDS for entry in entries} == {True}


def test_the_program_refuses_what_changed(verify: Verify, stopped: StoppedLog, tmp_path: Path) -> None:
    key = (stopped.log / "verifier.key").read_text()
    for path, place in ((bundle_path(0), 100), (bundle_path(2, (CALLS + 2) % 256), 2), ("checkpoint", 40)):
        log = tmp_path / path.replace("/", "-")
        shutil.copytree(stopped.log, log)
        changed = bytearray((log / path).read_bytes())
        changed[place] ^= 1
        (log / path).write_bytes(changed)
        with pytest.raises((AssertionError, InvalidSignature, ValueError)):
            verify(log, key)


def test_a_copy_that_begins_with_the_checkpoint_verifies_while_the_log_goes_on(
    verify: Verify, stopped: StoppedLog
) -> None:
    entries = verify(stopped.early, (stopped.early / "verifier.key").read_text())
    assert len(entries) == 2 + CALLS // 3
    command = [sys.executable, "-m", "kmsgw.cli.main", "audit", "verify", str(stopped.early)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_commands_work(stopped: StoppedLog) -> None:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    for block in read_blocks(DOCUMENT):
        if block.language == "sh":
            done = subprocess.run(
                ["bash", "-euc", block.text],
                cwd=stopped.above,
                env={**os.environ, "PATH": path, "HOME": str(stopped.above)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr


def test_every_field_of_an_entry_is_explained_and_no_other(stopped: StoppedLog) -> None:
    (rows,) = (table for table in tables(TEXT) if table[0][0] == "`time`")
    explained = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert len(explained) == len(set(explained))
    assert set(explained) == RECORD_FIELDS


def test_the_first_ten_fields_are_in_every_entry(verify: Verify, stopped: StoppedLog) -> None:
    (rows,) = (table for table in tables(TEXT) if table[0][0] == "`time`")
    first = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])][:10]
    for entry in verify(stopped.log, (stopped.log / "verifier.key").read_text()):
        assert set(first) <= json.loads(entry).keys()
    assert "but for the first ten" in TEXT


def test_the_files_of_a_log_are_those_of_the_layout(stopped: StoppedLog) -> None:
    files = {"checkpoint", "cosigned", "intents", "lock", "tile", "verifier.key", "wal"}
    assert {path.name for path in stopped.log.iterdir()} == files
    for name in (*files - {"cosigned", "tile"}, "cosigned/<KEY_ID>", "tile/entries/<N>", "tile/<L>/<N>"):
        assert f"| `{name}` |" in TEXT


def test_the_checkpoint_that_is_shown_is_of_this_form(stopped: StoppedLog) -> None:
    (shown,) = (block.text for block in read_blocks(DOCUMENT) if block.language == "text")
    mine = (stopped.log / "checkpoint").read_text("utf-8")
    for checkpoint in (shown, mine):
        origin, size, root, empty, signature, *_ = checkpoint.splitlines()
        assert (origin, empty) == ("kmsgw.local/log/node1/worker-0", "")
        assert size.isdecimal()
        assert len(b64decode(root)) == 32
        assert len(b64decode(signature.removeprefix(f"— {origin} "))) == 68
