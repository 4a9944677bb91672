"""An index finds what a search of the logs finds, and nothing that it says is believed."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from kmsgw.errors import AuditDamaged, ConfigurationError
from kmsgw.reading import index as index_module
from kmsgw.reading.index import SourceLog, update
from kmsgw.reading.index_file import IndexDamagedError, IndexFile
from kmsgw.reading.index_search import SignedEntries, places
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.pruned import PRUNE_METHOD, PRUNED_PATH, Pruning, encode_kept, kept_path
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.search import EntryFilter, search
from tests.cli.sample_log import START, record
from tests.unit.tlog.memory_log import MemoryLog

KEYS = [SigningKey.of_seed(f"example.com/log/{n}", bytes([n] * 32)) for n in range(2)]


def sources(*logs: MemoryLog) -> list[SourceLog]:
    made = []
    for log in logs:
        reader = LogReader(log.fetch)
        reader.checkpoint(log.key.verifier)
        made.append(SourceLog(reader, log.key.verifier))
    return made


def readers(logs: list[SourceLog]) -> list[LogReader]:
    return [log.reader for log in logs]


def odd(number: int) -> bytes:
    """Return an entry that few readers expect."""
    return [b"no json", b'{"time": "2026-01-31T08:05:01Z", "key_id": 7}', b'{"key_id": "\\ud800", "outcome": "ok"}'][
        number
    ]


def made_logs() -> list[MemoryLog]:
    # Out of order by up to 30 seconds, as entries of calls that took so long are.
    numbers = [n - (n * 17) % 30 for n in range(700)]
    first = MemoryLog(KEYS[0], [record(n) for n in numbers])
    return [first, MemoryLog(KEYS[1], [*(record(n) for n in range(300)), *map(odd, range(3))])]


@pytest.fixture
def two_logs() -> list[MemoryLog]:
    return made_logs()


@pytest.fixture(scope="module")
def indexed() -> Iterator[tuple[list[MemoryLog], sqlite3.Connection]]:
    """Two logs and an index over them, for tests that change neither."""
    with TemporaryDirectory() as folder, IndexFile(Path(folder) / "index").opened() as opened:
        logs = made_logs()
        assert update(opened, sources(*logs)) == 1003
        yield logs, opened


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with IndexFile(tmp_path / "index").opened() as opened:
        yield opened


WANTED = [
    EntryFilter(),
    EntryFilter(principal="billing"),
    EntryFilter(principal="nobody"),
    EntryFilter(key_id="ehr", outcome="refused", method="Decrypt"),
    EntryFilter(method="/kmsgw.v1.CryptoService/Encrypt", reason=""),
    EntryFilter(reason="ACCESS_DENIED", since=START + timedelta(seconds=100), until=START + timedelta(seconds=200)),
    EntryFilter(until=START + timedelta(seconds=3)),
    EntryFilter(since=START + timedelta(seconds=650), outcome="ok"),
    EntryFilter(principal="billing", outcome="ok"),
    EntryFilter(key_id="\ud800"),
    EntryFilter(request_id="request-17"),
    EntryFilter(request_id="request-17", principal="ehr-writer"),
    EntryFilter(changes=True),
]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("wanted", WANTED)
def test_the_index_finds_what_the_logs_hold(
    indexed: tuple[list[MemoryLog], sqlite3.Connection], wanted: EntryFilter, newest_first: bool
) -> None:
    logs, database = sources(*indexed[0]), indexed[1]

    found = list(SignedEntries(readers(logs)).found(places(database, wanted, newest_first=newest_first), wanted))

    expected = list(search(readers(logs), wanted, newest_first=newest_first))
    assert {(each.origin, each.index) for each in found} == {(each.origin, each.index) for each in expected}
    assert len(found) == len(expected)
    if not wanted.request_id:
        times = [each.microseconds for each in found]
        assert times == sorted(times, reverse=newest_first)


def test_end_users_are_found(database: sqlite3.Connection) -> None:
    entry = b'{"time":"2026-01-31T08:00:0%dZ","end_user":"dr-%d","outcome":"ok","key_id":"k%d"}'
    logs = sources(MemoryLog(KEYS[0], [entry % (n, n % 2, n % 3) for n in range(9)]))
    update(database, logs)
    wanted = EntryFilter(end_user="dr-1", key_id="k0")

    assert [place.entry for place in places(database, wanted)] == [3]
    assert [place.entry for place in places(database, EntryFilter(end_user="dr-1"), newest_first=True)] == [7, 5, 3, 1]


def test_an_update_adds_what_is_new_alone(two_logs: list[MemoryLog], database: sqlite3.Connection) -> None:
    update(database, sources(*two_logs))
    two_logs[0].extend([record(n) for n in range(700, 1000)])

    assert update(database, sources(*two_logs)) == 300
    assert update(database, sources(*two_logs)) == 0
    assert sum(1 for _ in places(database, EntryFilter())) == 1303


def test_an_update_that_ended_in_the_middle_goes_on(
    two_logs: list[MemoryLog], database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "BATCH", 256)

    def stop(_log: str, done: int, _total: int) -> None:
        if done == 512:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update(database, sources(*two_logs), stop)

    assert update(database, sources(*two_logs)) == 1003 - 512
    assert sum(1 for _ in places(database, EntryFilter())) == 1003


def test_a_log_that_shrank_is_damaged(two_logs: list[MemoryLog], database: sqlite3.Connection) -> None:
    update(database, sources(*two_logs))
    cut = MemoryLog(KEYS[0], two_logs[0].entries[:-1])

    with pytest.raises(AuditDamaged, match="had 700 entries when it was indexed, and now has 699"):
        update(database, sources(cut, two_logs[1]))


@pytest.mark.parametrize("more", [0, 1, 400])
def test_a_log_that_forked_is_damaged(two_logs: list[MemoryLog], database: sqlite3.Connection, more: int) -> None:
    update(database, sources(*two_logs))
    other = [record(5), *two_logs[0].entries[1:], *(record(n) for n in range(more))]

    with pytest.raises(AuditDamaged):
        update(database, sources(MemoryLog(KEYS[0], other), two_logs[1]))


def test_a_log_that_is_gone_is_damaged(two_logs: list[MemoryLog], database: sqlite3.Connection) -> None:
    update(database, sources(*two_logs))

    with pytest.raises(AuditDamaged, match="is in the index and is not there any more"):
        update(database, sources(two_logs[0]))


def test_of_a_lost_log_the_index_keeps_what_can_be_found_once_it_is_back(
    two_logs: list[MemoryLog], database: sqlite3.Connection
) -> None:
    update(database, sources(*two_logs))
    there, lost, wanted = sources(two_logs[0]), [KEYS[1].name], EntryFilter(principal="billing")

    assert update(database, there, lost=lost) == 0

    assert {each.origin for each in SignedEntries(readers(there), lost).found(places(database, wanted), wanted)} == {
        KEYS[0].name
    }
    back = sources(*two_logs)
    update(database, back, lost=lost)
    assert {each.origin for each in SignedEntries(readers(back), lost).found(places(database, wanted), wanted)} == {
        key.name for key in KEYS
    }


def test_another_verifier_key_is_damage(two_logs: list[MemoryLog], database: sqlite3.Connection) -> None:
    update(database, sources(*two_logs))
    forged = MemoryLog(SigningKey.of_seed(KEYS[0].name, b"x" * 32), two_logs[0].entries)

    with pytest.raises(AuditDamaged, match="verifier key"):
        update(database, sources(forged, two_logs[1]))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entry SET place = place + 1",
        "UPDATE entry SET place = place + (1 << 41)",
        "UPDATE entry SET place = place + 5000",
    ],
)
def test_what_the_index_says_is_not_believed(
    two_logs: list[MemoryLog], database: sqlite3.Connection, change: str
) -> None:
    logs = sources(*two_logs)
    update(database, logs)
    database.execute(change)
    wanted = EntryFilter(principal="billing")

    with pytest.raises(IndexDamagedError):
        list(SignedEntries(readers(logs)).found(places(database, wanted), wanted))


def test_an_entry_that_was_changed_in_the_log_is_not_shown(
    two_logs: list[MemoryLog], database: sqlite3.Connection
) -> None:
    update(database, sources(*two_logs))
    files = two_logs[0].files
    files["tile/entries/000"] = files["tile/entries/000"].replace(b"billing", b"nursing")
    logs = sources(*two_logs)
    wanted = EntryFilter(principal="billing")

    with pytest.raises(AuditDamaged, match="is not the one that was logged"):
        list(SignedEntries(readers(logs)).found(places(database, wanted), wanted))


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE entry",
        "UPDATE log SET indexed = indexed + 1",
        "UPDATE log SET checkpoint = x'00'",
        "UPDATE kind SET entries = 99999",
        "PRAGMA user_version = 99",
    ],
)
def test_a_damaged_index_is_told_from_a_damaged_log(two_logs: list[MemoryLog], tmp_path: Path, change: str) -> None:
    file = IndexFile(tmp_path / "index")
    with file.opened() as database:
        update(database, sources(*two_logs))
        with database:
            database.execute(change)
    two_logs[0].extend([record(1)])

    def again() -> None:
        with file.opened() as opened:
            update(opened, sources(*two_logs))

    with pytest.raises(IndexDamagedError):
        again()


def test_the_file_is_its_readers_alone(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with IndexFile(path).opened():
        assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o620)

    with pytest.raises(ConfigurationError), IndexFile(path).opened():
        pass


def test_a_file_that_is_no_index_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE precious (value)")
    path.chmod(0o600)
    before = path.read_bytes()

    with pytest.raises(ConfigurationError), IndexFile(path).opened():
        pass

    assert path.read_bytes() == before


def test_backwards_a_search_of_the_logs_reads_from_the_end(two_logs: list[MemoryLog]) -> None:
    logs = sources(*two_logs)
    forwards = list(search(readers(logs), EntryFilter(principal="billing")))

    backwards = list(search(readers(logs), EntryFilter(principal="billing"), newest_first=True))

    def key(entry: LoggedEntry) -> tuple[int, str, int]:
        return entry.microseconds, entry.origin, entry.index

    assert sorted(map(key, backwards), reverse=True) == list(map(key, backwards))
    assert set(map(key, forwards)) == set(map(key, backwards))


def prune(log: MemoryLog) -> None:
    """Prune the first two bundles of a log, but for entries 3 and 4."""
    pruning = Pruning(512, (range(3, 5),), len(log.entries))
    change = pruning.change
    log.extend([json.dumps({"method": PRUNE_METHOD, "phase": "intent", "outcome": "ok", "principal": None,
                            "time": "2026-01-31T09:00:00Z", "change": change}).encode()])  # fmt: skip
    line = log.key.signature_line(pruning.signed_text).decode().removesuffix("\n")
    log.files[PRUNED_PATH] = pruning.signed([line]).encode()
    log.files[kept_path(0)] = encode_kept({place: log.entries[place] for place in (3, 4)})
    del log.files["tile/entries/000"], log.files["tile/entries/001"]


def test_what_was_pruned_goes_from_the_index_with_its_names(
    two_logs: list[MemoryLog], database: sqlite3.Connection
) -> None:
    two_logs[0] = MemoryLog(
        KEYS[0], [record(n).replace(b'"ehr"', b'"gone"' if n < 512 else b'"ehr"') for n in range(600)]
    )
    update(database, sources(*two_logs))
    prune(two_logs[0])
    before = EntryFilter(key_id="gone")

    logs = sources(*two_logs)
    assert [entry.index for entry in SignedEntries(readers(logs)).found(places(database, before), before)] == [3, 4]
    assert update(database, logs) == 1

    assert [place.entry for place in places(database, before)] == [3, 4]
    assert database.execute("SELECT count(*) FROM request").fetchone() == (2 + 600 - 512 + 300,)
    assert update(database, sources(*two_logs)) == 0
    assert update(database, sources(two_logs[0], two_logs[1])) == 0
    names = {text for (text,) in database.execute("SELECT text FROM name")}
    assert PRUNE_METHOD.encode() in names


def test_a_name_that_only_pruned_entries_had_is_forgotten(database: sqlite3.Connection) -> None:
    told = b'{"time":"2026-01-31T08:00:00Z","end_user":"dr-%d","alias":"alias/%d","outcome":"ok"}'
    log = MemoryLog(KEYS[0], [told % (n, n) for n in range(600)])
    update(database, sources(log))
    prune(log)

    update(database, sources(log))

    names = {text for (text,) in database.execute("SELECT text FROM name")}
    assert {b"dr-3", b"dr-4", b"dr-512", b"alias/599"} <= names
    assert not {b"dr-2", b"dr-5", b"dr-511", b"alias/511"} & names
