"""A file of an index that was killed, mixed up or damaged: rebuilt or named, and never believed."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kmsgw.errors import AuditDamaged, ConfigurationError
from kmsgw.reading.index import SourceLog, update
from kmsgw.reading.index_file import IndexDamagedError, IndexFile
from kmsgw.reading.index_search import SignedEntries, places
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.search import EntryFilter
from tests.cli.sample_log import record
from tests.unit.tlog.memory_log import MemoryLog

ROOT = Path(__file__).parents[3]
ENTRIES = 600
ALL = EntryFilter()
FLIPS = 1500 if os.environ.get("KMSGW_FAULTS") == "long" else 15

KILLED = f"""
import os, signal, sys
from pathlib import Path
from kmsgw.reading import index
from tests.unit.reading.test_index_file import a_log, source
from kmsgw.reading.index_file import IndexFile

def killed(*_):
    os.kill(os.getpid(), signal.{signal.SIGKILL.name})

with IndexFile(Path(sys.argv[1])).opened() as database:
    index.update(database, [source(a_log(200))])
    database.execute("PRAGMA cache_size = 2")  # so that pages are in the file before their transaction ends
    add = index._Writer.add
    index._Writer.add = lambda *given: (add(*given), killed())
    index.update(database, [source(a_log({ENTRIES}))])
"""


def a_log(size: int = ENTRIES, name: str = "worker-0") -> MemoryLog:
    key = SigningKey.of_seed(f"kmsgw.example/log/{name}", name.encode().ljust(32))
    return MemoryLog(key, [record(number) for number in range(size)])


def source(log: MemoryLog) -> SourceLog:
    reader = LogReader(log.fetch)
    reader.checkpoint(log.key.verifier)
    return SourceLog(reader, log.key.verifier)


def found(path: Path, log: MemoryLog, wanted: EntryFilter = ALL) -> list[int]:
    """Return what a search finds after the index is brought up to date; made anew where it is damaged."""
    logs, file = [source(log)], IndexFile(path)
    for anew in (False, True):
        if anew:
            file.remove()
        try:
            with file.opened() as database:
                update(database, logs)
                readers = [each.reader for each in logs]
                return [each.index for each in SignedEntries(readers).found(places(database, wanted), wanted)]
        except IndexDamagedError:
            assert not anew
    raise AssertionError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def killed(path: Path) -> Path:
    """The index of a build that was killed in the middle of a transaction."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert journal(path).stat().st_size > 512
    return path


def journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-journal")


def test_an_index_whose_build_was_killed_goes_on_from_its_last_transaction(killed: Path) -> None:
    assert found(killed, a_log()) == list(range(ENTRIES))


def test_the_journal_of_an_index_that_is_gone_is_not_played_back_into_a_new_one(killed: Path) -> None:
    killed.unlink()

    with IndexFile(killed).opened() as database:
        assert update(database, [source(a_log())]) == ENTRIES
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("side", ["-journal", "-wal", "-shm"])
def test_a_journal_that_others_could_have_put_there_is_refused(path: Path, side: str) -> None:
    found(path, a_log())
    planted = path.with_name(path.name + side)
    planted.write_bytes(bytes(512))
    planted.chmod(0o666)

    with pytest.raises(ConfigurationError, match="others could have written"):
        found(path, a_log())


def test_the_index_of_another_log_is_told(path: Path) -> None:
    found(path, a_log(name="worker-1"))

    with pytest.raises(AuditDamaged, match=r"kmsgw\.example/log/worker-1 is in the index and is not there any more"):
        found(path, a_log())


def test_an_index_from_before_entries_were_lost_is_told(path: Path) -> None:
    found(path, a_log())

    with pytest.raises(AuditDamaged, match="had 600 entries when it was indexed, and now has 500"):
        found(path, a_log(500))


def test_an_index_that_was_put_back_to_an_earlier_time_catches_up(path: Path) -> None:
    found(path, a_log(300))
    earlier = path.read_bytes()
    found(path, a_log())
    path.write_bytes(earlier)

    assert found(path, a_log()) == list(range(ENTRIES))


def test_whatever_is_broken_in_the_file_nothing_false_is_shown(path: Path) -> None:
    log = a_log()
    wanted = EntryFilter(principal="billing")
    expected = found(path, log, wanted)
    sound = path.read_bytes()
    chance = random.Random(7)
    for _ in range(FLIPS):
        broken = bytearray(sound)
        for _ in range(chance.choice((1, 3, 50))):
            broken[chance.randrange(100, len(broken))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.2:
            del broken[chance.randrange(512, len(broken)) :]
        path.write_bytes(broken)
        try:
            assert set(found(path, log, wanted)) <= set(expected)
        except AuditDamaged as error:
            assert "index" in error.message
