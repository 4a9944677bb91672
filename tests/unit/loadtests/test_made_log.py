"""Logs that are made for measurements."""

from collections import Counter
from pathlib import Path

from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.search import EntryFilter, search
from kmsgw.tlog.verification import verify_log
from loadtests.made_log import MadeLog


def test_a_made_log_verifies_and_holds_refusals_faults_and_officers_acts(tmp_path: Path) -> None:
    made = MadeLog(2100)
    size = made.write(tmp_path)

    assert verify_log(lambda path: (tmp_path / path).read_bytes(), made.key.verifier).size == 2100
    assert 500 < size / 2100 < 700
    reader = LogReader(lambda path: (tmp_path / path).read_bytes())
    reader.checkpoint(made.key.verifier)
    outcomes = Counter(entry.text("outcome") for entry in search([reader], EntryFilter()))
    assert outcomes == {"ok": 2057, "refused": 41, "failed": 2}
    assert len(list(search([reader], EntryFilter(principal="key-officer")))) == 1


def test_the_same_numbers_make_the_same_log(tmp_path: Path) -> None:
    for name in ("one", "other"):
        MadeLog(300, worker=1).write(tmp_path / name)

    one, other = ((tmp_path / name / "checkpoint").read_bytes() for name in ("one", "other"))
    assert one == other
