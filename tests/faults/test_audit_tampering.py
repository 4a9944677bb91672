"""A stranger's verifier and kmsgw's own agree on logs: sound ones verify, and no tampering gets past either."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from kmsgw.errors import AuditDamaged
from kmsgw.tlog.note import VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.verification import verify_log
from tests.support.go_verifier import GoVerifier, go_verifier
from tests.support.tampering import TamperedLog
from tests.unit.audit.logs import append_all, fetch, open_log, verifier

__all__ = ["go_verifier"]

LONG = os.environ.get("KMSGW_FAULTS") == "long"
TAMPERINGS = 1000 if LONG else 100
SIZES = (0, 1, 2, 3, 255, 256, 257, 511, 512, 700, *((65_535, 65_536, 66_100) if LONG else ()))


def _entries(start: int, end: int) -> list[bytes]:
    return [json.dumps({"n": n, "key_id": "ehr", "pad": "x" * (n * 37 % 90)}).encode() for n in range(start, end)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base folder of a log with three bundles, the last of them partial."""
    base = tmp_path_factory.mktemp("sound")
    log = open_log(base)
    append_all(log, _entries(0, 600))
    log.close()
    return base


def test_a_stranger_verifies_a_log_at_every_size_and_that_it_only_ever_grew(
    tmp_path: Path, go_verifier: GoVerifier
) -> None:
    log = open_log(tmp_path)
    kept: list[Path] = []
    for start, end in zip((0, *SIZES), SIZES, strict=False):
        append_all(log, _entries(start, end))
        log.integrate()
        answer = go_verifier.log(tmp_path / "log", verifier(tmp_path))
        assert answer.startswith(f"ok {end} entries"), answer
        for older in kept[-3:]:
            assert go_verifier.extends(tmp_path / "log", verifier(tmp_path), older).startswith(f"ok {end} ")
        kept.append(tmp_path / f"kept.{end}")
        shutil.copy(tmp_path / "log" / "checkpoint", kept[-1])
    log.close()


def test_a_stranger_verifies_proof_files_and_refuses_them_for_other_entries(
    sound: Path, tmp_path: Path, go_verifier: GoVerifier
) -> None:
    key = verifier(sound)
    reader = LogReader(fetch(sound))
    reader.checkpoint(key)
    proof, entry = tmp_path / "proof", tmp_path / "entry"
    for index, raw in enumerate(_entries(0, 600)):
        if index % 50 in (0, 7) or index in (255, 256, 511, 512, 599):
            proof.write_bytes(reader.proof_file(index).encode())
            entry.write_bytes(raw)
            assert go_verifier.proof(proof, entry, key) == f"ok entry {index} of 600"
            entry.write_bytes(raw + b" ")
            assert go_verifier.proof(proof, entry, key).startswith("fail ")


def _accepts(folder: Path, key: VerifierKey) -> bool:
    """Tell whether `kmsgw audit verify` finds a log sound."""
    try:
        verify_log(lambda path: (folder / path).read_bytes(), key)
    except AuditDamaged:
        return False
    return True


@pytest.mark.timeout(600)
def test_no_random_tampering_gets_past_a_stranger_or_past_kmsgw(
    sound: Path, tmp_path: Path, go_verifier: GoVerifier
) -> None:
    key = verifier(sound)
    log = TamperedLog(sound / "log", tmp_path / "log", random.Random(20261122))
    for number in range(TAMPERINGS):
        done = log.tamper()
        answer = go_verifier.log(log.folder, key)
        assert answer.startswith("fail "), f"{number}: {done}: {answer}"
        assert not _accepts(log.folder, key), f"{number}: {done}"
        log.restore()
    assert go_verifier.log(log.folder, key).startswith("ok 600 entries")
    assert _accepts(log.folder, key)
