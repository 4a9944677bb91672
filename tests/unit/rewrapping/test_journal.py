"""The journal: what survives, what is refused, and that it does not grow."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from kmsgw.errors import ConfigurationError
from kmsgw.rewrapping import journal as journals
from kmsgw.rewrapping.journal import Journal, JournalState, read_journal
from kmsgw.rewrapping.rows import Json

JOB: Mapping[str, Json] = {"source": {"kind": "table"}, "aside": "a"}


def written(path: Path) -> bytes:
    journal = Journal.open(path)
    journal.begin(JOB)
    journal.intend({"n": 1})
    journal.settle({"n": 1})
    journal.intend({"n": 2})
    journal.close()
    return path.read_bytes()


def test_what_was_recorded_is_there_again(tmp_path: Path) -> None:
    written(tmp_path / "j")

    journal = Journal.open(tmp_path / "j")

    assert journal.state == JournalState(job=JOB, done={"n": 1}, intent={"n": 2})
    journal.close()


def test_a_journal_cut_anywhere_falls_back_to_the_entry_before(tmp_path: Path) -> None:
    path = tmp_path / "j"
    whole = written(path)
    lines = whole.splitlines(keepends=True)
    states = [
        JournalState(job=JOB),
        JournalState(job=JOB, intent={"n": 1}),
        JournalState(job=JOB, done={"n": 1}),
        JournalState(job=JOB, done={"n": 1}, intent={"n": 2}),
    ]

    for length in range(len(lines[0]), len(whole) + 1):
        path.write_bytes(whole[:length])
        complete = whole[:length].count(b"\n")
        journal = Journal.open(path)
        assert journal.state == states[complete - 1]
        journal.intend({"n": 3})
        journal.close()
        assert read_journal(path).intent == {"n": 3}
        assert path.read_bytes().startswith(b"".join(lines[:complete]))


def test_a_changed_byte_before_the_last_entry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    whole = bytearray(written(path))
    whole[len(whole.splitlines(keepends=True)[0]) + 20] ^= 1
    path.write_bytes(whole)

    with pytest.raises(ConfigurationError, match="damaged"):
        Journal.open(path)


def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_text("my notes\n")

    for refused in (Journal.open, read_journal):
        with pytest.raises(ConfigurationError, match="no journal"):
            refused(path)
    assert path.read_text() == "my notes\n"


def test_a_journal_has_one_job_at_a_time(tmp_path: Path) -> None:
    first = Journal.open(tmp_path / "j")
    first.begin(JOB)

    with pytest.raises(ConfigurationError, match="a job is running with this journal"):
        Journal.open(tmp_path / "j")
    assert read_journal(tmp_path / "j").running
    first.close()
    assert not read_journal(tmp_path / "j").running
    Journal.open(tmp_path / "j").close()


def test_a_long_journal_is_written_anew_and_stays_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "COMPACT_BYTES", 10_000)
    path = tmp_path / "j"
    journal = Journal.open(path)
    journal.begin(JOB)

    longest = 0
    for number in range(200):
        journal.intend({"n": number, "rows": "x" * 1000})
        journal.settle({"n": number})
        longest = max(longest, path.stat().st_size)

    assert longest < 12_000
    assert read_journal(path) == JournalState(job=JOB, done={"n": 199}, running=True)
    with pytest.raises(ConfigurationError):
        Journal.open(path)
    journal.close()


def test_a_journal_is_private_and_one_without_a_job_does_not_stay(tmp_path: Path) -> None:
    written(tmp_path / "j")
    Journal.open(tmp_path / "empty").close()

    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "empty").exists()


def test_a_finished_job_stays_readable(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j")
    journal.begin(JOB)
    journal.seal({"mark": ""})
    journal.finish({"n": 5})
    journal.close()

    found = read_journal(tmp_path / "j")

    assert found.finished
    assert found.done == {"n": 5}
    assert not found.intent
    assert not found.sealed


def test_a_journal_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        Journal.open(tmp_path / "none" / "j")
    with pytest.raises(ConfigurationError, match="No such file"):
        read_journal(tmp_path / "none")
