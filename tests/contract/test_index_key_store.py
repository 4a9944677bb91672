"""The contract of `IndexKeyStore`, on SQLite and on PostgreSQL alike."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from kmsgw.errors import InternalError, StateUnavailable
from kmsgw.operations.index_key_ports import IndexKeyStore, StoredIndexKey
from kmsgw.storage.index_keys import open_index_keys
from tests.contract.key_store_backends import IMPATIENT, PATIENT, Backend, postgresql_backend, sqlite_backend
from tests.contract.key_store_examples import plain_key

AT_ONCE = 8
FIRST = StoredIndexKey("ehr", 1, b"\x00wrapped canary\xff")


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """A migrated database with the keys `ehr` and `lab`."""
    if request.param == "sqlite":
        made = sqlite_backend(tmp_path).migrated()
    else:
        server = request.getfixturevalue("postgres_server")
        made = postgresql_backend(server, request.getfixturevalue("postgres_database")).migrated()
    keys = made.open()
    with keys.unit_of_work() as unit:
        unit.add(plain_key("ehr"))
        unit.add(plain_key("lab"))
    keys.close()
    return made


@pytest.fixture
def store(backend: Backend) -> Iterator[IndexKeyStore]:
    opened = open_index_keys(backend.database, PATIENT)
    yield opened
    opened.close()


def test_a_key_has_no_index_key_until_its_first_is_stored(store: IndexKeyStore) -> None:
    assert store.find("ehr") is None
    assert store.add(FIRST) == FIRST
    assert store.find("ehr") == FIRST
    assert store.find("lab") is None
    assert store.find("unknown") is None


def test_the_versions_of_all_index_keys_are_listed(store: IndexKeyStore) -> None:
    assert store.versions() == {}
    store.add(FIRST)
    store.add(StoredIndexKey("lab", 3, b"x"))
    store.replace(FIRST, StoredIndexKey("ehr", 2, b"y"))
    assert store.versions() == {"ehr": 2, "lab": 3}


def test_the_first_index_key_stays_and_the_second_is_answered_the_first(store: IndexKeyStore) -> None:
    store.add(FIRST)
    assert store.add(StoredIndexKey("ehr", 2, b"another")) == FIRST
    assert store.find("ehr") == FIRST


def test_of_many_that_make_the_first_at_once_one_is_kept_and_all_are_answered_it(backend: Backend) -> None:
    stores = [open_index_keys(backend.database, PATIENT) for _ in range(AT_ONCE)]
    start = threading.Barrier(AT_ONCE)

    def make(number: int) -> StoredIndexKey:
        start.wait()
        return stores[number].add(StoredIndexKey("ehr", 1, bytes([number])))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answered = set(pool.map(make, range(AT_ONCE)))
    stored = stores[0].find("ehr")
    for each in stores:
        each.close()
    assert answered == {stored}


def test_a_wrapping_is_replaced_only_where_it_is_the_one_that_was_read(store: IndexKeyStore) -> None:
    store.add(FIRST)
    newer = StoredIndexKey("ehr", 2, b"under two")
    assert not store.replace(replace(FIRST, wrapped=b"not this"), newer)
    assert not store.replace(replace(FIRST, version=3), newer)
    assert not store.replace(replace(FIRST, key_id="lab"), replace(newer, key_id="lab"))
    assert store.find("ehr") == FIRST
    assert store.replace(FIRST, newer)
    assert store.find("ehr") == newer
    assert not store.replace(FIRST, newer), "once only"


def test_of_many_that_replace_one_wrapping_at_once_one_does(backend: Backend) -> None:
    stores = [open_index_keys(backend.database, PATIENT) for _ in range(AT_ONCE)]
    stores[0].add(FIRST)
    start = threading.Barrier(AT_ONCE)

    def move(number: int) -> bool:
        start.wait()
        return stores[number].replace(FIRST, StoredIndexKey("ehr", 2, bytes([number])))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        moved = list(pool.map(move, range(AT_ONCE)))
    stored = stores[0].find("ehr")
    for each in stores:
        each.close()
    assert moved.count(True) == 1
    assert stored == StoredIndexKey("ehr", 2, bytes([moved.index(True)]))


def test_there_is_no_index_key_of_a_key_that_is_not_stored(store: IndexKeyStore) -> None:
    with pytest.raises(InternalError):
        store.add(StoredIndexKey("unknown", 1, b"x"))
    assert store.find("unknown") is None


def test_a_database_that_is_away_is_told_without_the_wrapped_key(backend: Backend) -> None:
    store = open_index_keys(backend.database, IMPATIENT)
    store.find("ehr")
    with backend.outage(), pytest.raises(StateUnavailable) as caught:
        store.add(FIRST)
    store.close()
    assert "canary" not in f"{caught.value!r} {caught.value} {caught.value.__context__!r}"
    with pytest.raises(StateUnavailable):
        store.find("ehr")


def test_a_wrapped_index_key_is_not_printed() -> None:
    assert "canary" not in repr(FIRST)
