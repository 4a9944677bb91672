"""Search finds by what was recorded, reads no more than the time range needs, and merges logs by time."""

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest

from kmsgw.errors import AuditDamaged
from kmsgw.tlog.entry import LoggedEntry
from kmsgw.tlog.follow import LogFollower
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.search import EntryFilter, find_request, newest, request_time, search
from kmsgw.tlog.tiles import encode_bundle
from tests.unit.tlog.memory_log import MemoryLog

START = datetime(2026, 3, 1, tzinfo=UTC)
KEYS = [SigningKey.of_seed(f"example.com/log/{n}", bytes([n] * 32)) for n in range(2)]


def _request_id(time: datetime, number: int) -> str:
    raw = (int(time.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | number
    return str(uuid.UUID(int=raw))


def _entry(number: int, time: datetime) -> bytes:
    record = {
        "time": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "request_id": _request_id(time, number),
        "principal": {"id": f"service-{number % 3}", "roles": ["reader"]} if number % 7 else None,
        "method": "/kmsgw.v1.CryptoService/" + ("Encrypt" if number % 2 else "Decrypt"),
        "key_id": f"key-{number % 5}",
        "outcome": "refused" if number % 10 == 0 else "ok",
    }
    return json.dumps(record).encode()


class CountingLog(MemoryLog):
    """A log that counts the bundles read."""

    reads = 0

    def fetch(self, path: str) -> bytes:
        self.reads += path.startswith("tile/entries/")
        return super().fetch(path)


@cache
def _entries(which: int, count: int) -> tuple[bytes, ...]:
    """Return entries a second apart and out of order by up to 40 seconds; `which` tells logs apart."""
    return tuple(_entry(n, START + timedelta(seconds=n - (n * 7919) % 40, microseconds=which)) for n in range(count))


def _logs(count: int, each: int) -> list[CountingLog]:
    return [CountingLog(KEYS[which], _entries(which, each)) for which in range(count)]


def _readers(logs: Sequence[CountingLog]) -> list[LogReader]:
    readers = []
    for log in logs:
        reader = LogReader(log.fetch)
        reader.checkpoint(log.key.verifier)
        log.reads = 0
        readers.append(reader)
    return readers


def _all(logs: Sequence[CountingLog]) -> list[LoggedEntry]:
    return [LoggedEntry.parse(log.key.name, n, raw) for log in logs for n, raw in enumerate(log.entries)]


@pytest.mark.parametrize(
    "wanted",
    [
        EntryFilter(),
        EntryFilter(principal="service-1"),
        EntryFilter(key_id="key-3", outcome="ok"),
        EntryFilter(outcome="refused", method="Decrypt"),
        EntryFilter(method="/kmsgw.v1.CryptoService/Encrypt"),
        EntryFilter(since=START + timedelta(seconds=500), until=START + timedelta(seconds=700), principal="service-2"),
        EntryFilter(since=START + timedelta(seconds=2950)),
        EntryFilter(until=START - timedelta(seconds=20)),
        EntryFilter(since=START + timedelta(days=1)),
        EntryFilter(request_id="no such request"),
    ],
)
def test_search_agrees_with_looking_at_every_entry(wanted: EntryFilter) -> None:
    logs = _logs(2, 3000)
    found = list(search(_readers(logs), wanted))
    expected = sorted((e for e in _all(logs) if wanted.matches(e)), key=lambda e: (str(e.time), e.origin, e.index))
    assert [(e.origin, e.index, e.raw) for e in found] == [(e.origin, e.index, e.raw) for e in expected]


def test_a_search_by_time_reads_few_bundles() -> None:
    logs = _logs(1, 10_000)
    readers = _readers(logs)
    wanted = EntryFilter(since=START + timedelta(seconds=7000), until=START + timedelta(seconds=7100))
    assert len(list(search(readers, wanted))) == 100
    assert logs[0].reads <= 11


def test_a_request_is_found_by_the_time_in_its_id() -> None:
    logs = _logs(2, 10_000)
    readers = _readers(logs)
    wanted = LoggedEntry.parse("", 0, logs[1].entries[7777]).text("request_id")
    found = find_request(readers, wanted)
    assert [(entry.origin, entry.index) for entry in found if entry.origin.endswith("1")] == [(KEYS[1].name, 7777)]
    assert logs[1].reads <= 10


def _phase(number: int, made: datetime, time: datetime, phase: str) -> bytes:
    entry = json.loads(_entry(number, time))
    return json.dumps({**entry, "request_id": _request_id(made, number), "phase": phase}).encode()


@pytest.mark.parametrize("later", [30, 3000])
def test_an_outcome_is_found_however_long_after_its_intent(later: int) -> None:
    log, other = _logs(2, 1000)
    made = START + timedelta(seconds=1000)
    log.extend([_phase(1, made, made, "intent")])
    log.extend([_entry(n, made + timedelta(seconds=n)) for n in range(1, later)])
    log.extend([_phase(1, made, made + timedelta(seconds=later), "outcome")])
    log.extend([_entry(n, made + timedelta(seconds=n)) for n in range(later, later + 500)])

    found = find_request(_readers([log, other]), _request_id(made, 1))

    assert [(entry.index, entry.text("phase")) for entry in found] == [(1000, "intent"), (1000 + later, "outcome")]


def test_an_intent_without_an_outcome_is_found_alone() -> None:
    log = _logs(1, 1000)[0]
    log.extend([_phase(1, START, START + timedelta(seconds=1000), "intent")])
    log.extend([_entry(n, START + timedelta(seconds=n)) for n in range(1001, 3000)])
    assert find_request(_readers([log]), _request_id(START, 1)) == []  # not where its id says

    log.extend([_phase(2, START + timedelta(seconds=3000), START + timedelta(seconds=3000), "intent")])
    found = find_request(_readers([log]), _request_id(START + timedelta(seconds=3000), 2))
    assert [entry.text("phase") for entry in found] == ["intent"]


def test_a_request_far_from_its_place_is_found_by_reading_all() -> None:
    log = _logs(1, 3000)[0]
    log.extend([_entry(5, START - timedelta(days=3))])
    request_id = _request_id(START - timedelta(days=3), 5)
    assert find_request(_readers([log]), request_id) == []
    assert [entry.index for entry in find_request(_readers([log]), request_id, slack=None)] == [3000]


def test_a_request_id_without_a_time_is_looked_for_everywhere() -> None:
    log = _logs(1, 600)[0]
    log.extend([b'{"request_id":"my-own-id","time":"2026-03-01T00:00:00Z"}'])
    assert [entry.index for entry in find_request(_readers([log]), "my-own-id")] == [600]


@pytest.mark.parametrize(
    "text", ["", "x", "01939c2e-0000-4000-8000-000000000000", "01939C2E-0000-7000-8000-000000000000"]
)
def test_only_version_7_ids_have_a_time(text: str) -> None:
    assert request_time(text) is None


def test_the_time_of_a_request_id_is_its_milliseconds() -> None:
    assert request_time("00000000-03e8-7000-8000-000000000000") == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert request_time("ffffffff-ffff-7fff-bfff-ffffffffffff") is None


def test_newest_are_the_last_of_all_logs() -> None:
    logs = _logs(2, 300)
    found = newest(_readers(logs), 5)
    assert len(found) == 5
    assert [entry.time for entry in found] == sorted(entry.time for entry in found if entry.time)
    assert len(newest(_readers(logs), 5000)) == 600
    assert newest(_readers(logs), 0) == []


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[1]", b"3", b'{"time":5,"principal":[],"policies":3}', b"[" * 5000])
def test_any_entry_can_be_read(raw: bytes) -> None:
    entry = LoggedEntry.parse("o", 1, raw)
    assert (entry.time, entry.principal(), entry.text("method"), entry.number("bytes_in")) == (None, "", "", 0)
    assert entry.texts("policies") == ()
    assert not EntryFilter(since=START).matches(entry)


def test_entries_without_a_time_do_not_hide_those_with_one() -> None:
    log = CountingLog(KEYS[0], [b"x"] * 700 + [_entry(n, START + timedelta(seconds=n)) for n in range(700)])
    wanted = EntryFilter(since=START + timedelta(seconds=650))
    assert [entry.index for entry in search(_readers([log]), wanted)] == list(range(1350, 1400))


def test_search_refuses_a_changed_entry() -> None:
    log = _logs(1, 300)[0]
    log.files["tile/entries/000"] = encode_bundle([b"{}", *log.entries[1:256]])
    with pytest.raises(AuditDamaged, match=r"tile/entries/000: entry 0 is not the one that was logged"):
        list(search(_readers([log]), EntryFilter()))


def test_a_follower_gets_each_new_entry_once() -> None:
    log = MemoryLog(KEYS[0], [b"%d" % n for n in range(300)])
    follower = LogFollower(log.fetch, KEYS[0].verifier)
    assert follower.poll() == []
    log.extend([b"%d" % n for n in range(300, 900)])
    assert [(entry.index, entry.raw) for entry in follower.poll()] == [(n, b"%d" % n) for n in range(300, 900)]
    assert follower.poll() == []


def test_a_follower_can_begin_earlier() -> None:
    log = MemoryLog(KEYS[0], [b"%d" % n for n in range(300)])
    follower = LogFollower(log.fetch, KEYS[0].verifier, 290)
    assert [entry.index for entry in follower.poll()] == list(range(290, 300))


def test_a_follower_refuses_a_log_that_shrank_or_was_rewritten() -> None:
    log = MemoryLog(KEYS[0], [b"%d" % n for n in range(300)])
    follower = LogFollower(log.fetch, KEYS[0].verifier)
    for other, message in (
        (MemoryLog(KEYS[0], log.entries[:299]), "now has 299"),
        (MemoryLog(KEYS[0], [b"other", *log.entries[1:], b"new"]), "does not continue"),
        (MemoryLog(KEYS[0], [b"other", *log.entries[1:]]), "does not continue"),
    ):
        log.files = other.files
        for _ in range(2):
            with pytest.raises(AuditDamaged, match=message):
                follower.poll()
    assert follower.reader.size == 300


def test_a_key_is_found_where_its_envelope_was_opened_for_another_key() -> None:
    record = {"key_id": "destination", "source_key_id": "opened", "time": "2026-03-01T00:00:00.000000Z"}
    entry = LoggedEntry.parse("log", 0, json.dumps(record).encode())
    assert EntryFilter(key_id="opened").matches(entry)
    assert EntryFilter(key_id="destination").matches(entry)
    assert not EntryFilter(key_id="other").matches(entry)
