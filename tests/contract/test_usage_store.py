"""Usage and duties on both databases: sums add up, nothing counts twice, one holder at a time."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kmsgw.errors import Conflict
from kmsgw.model.key import Key, KeyVersion
from kmsgw.model.usage import Place, Usage, UsageTally, VersionUsage
from kmsgw.operations.keeper import LEASE
from kmsgw.operations.usage import NewestUsage
from kmsgw.storage.usage import UsageState, open_usage
from tests.contract.key_store_backends import PATIENT, Backend, postgresql_backend, sqlite_backend
from tests.support.postgres import PostgresServer

NOW = datetime(2026, 11, 22, 1, 0, 0, 7, tzinfo=UTC)
LATER = NOW + timedelta(seconds=9)


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    if request.param == "sqlite":
        yield sqlite_backend(tmp_path).migrated()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    database = server.create_database()
    yield postgresql_backend(server, database).migrated()
    server.drop_database(database)


@pytest.fixture
def state(backend: Backend) -> Iterator[UsageState]:
    store = backend.open()
    for name, versions in (("ehr", 3), ("labs", 1)):
        made = tuple(KeyVersion(number, b"m", NOW) for number in range(1, versions + 1))
        with store.unit_of_work() as unit:
            unit.add(Key(name, "hospital", "software", made, NOW, NOW))
    store.close()
    opened = open_usage(backend.database)
    yield opened
    opened.close()


def tally(*counts: tuple[Place, Usage]) -> UsageTally:
    made = UsageTally()
    for place, usage in counts:
        assert usage.last_used is not None
        sums = made.at(place, usage.last_used)
        values = (
            usage.envelopes, usage.data_keys, usage.decrypts, usage.rewraps_away, usage.rewraps_here, usage.wraps,
            usage.sealed_bytes,
        )  # fmt: skip
        for index, value in enumerate(values):
            sums[index] += value
    return made


ALL = Usage(1, 2, 3, 4, 5, 6, 7, NOW)


def test_counts_add_up_by_version_and_tenant_and_the_last_use_is_the_latest(state: UsageState) -> None:
    store = state.usage
    first = tally((("ehr", 3, "hospital"), ALL), (("ehr", 1, "clinic"), ALL))
    second = tally((("ehr", 3, "hospital"), Usage(wraps=2**40, last_used=LATER)), (("ehr", 3, "clinic"), ALL))
    assert store.add("log", 0, 10, first) == {("ehr", 3): 6, ("ehr", 1): 6}
    assert store.add("other", 0, 3, second) == {("ehr", 3): 12 + 2**40}
    third = tally((("ehr", 3, "clinic"), Usage(envelopes=1, last_used=NOW - timedelta(days=1))))
    assert store.add("log", 10, 11, third) == {}
    assert store.of_key("ehr") == [
        VersionUsage(3, "clinic", Usage(2, 2, 3, 4, 5, 6, 7, NOW)),
        VersionUsage(3, "hospital", Usage(1, 2, 3, 4, 5, 6 + 2**40, 7, LATER)),
        VersionUsage(1, "clinic", ALL),
    ]
    assert store.wraps("ehr", 3) == 12 + 2**40
    assert (store.wraps("ehr", 2), store.of_key("labs")) == (0, [])
    assert [store.counted(each) for each in ("log", "other", "none")] == [11, 3, 0]


def test_the_newest_version_is_summed_over_tenants(state: UsageState) -> None:
    counts = [(("ehr", 2, "hospital"), ALL), (("ehr", 3, "hospital"), ALL), (("ehr", 3, "clinic"), ALL)]
    state.usage.add("log", 0, 1, tally(*counts, (("labs", 1, "hospital"), ALL)))
    found = sorted(state.usage.newest(), key=lambda each: each.key_id)
    assert found == [NewestUsage("ehr", 3, ALL + ALL), NewestUsage("labs", 1, ALL)]


def test_what_is_counted_from_elsewhere_than_where_the_sums_end_is_refused_whole(state: UsageState) -> None:
    some = tally((("ehr", 3, "hospital"), ALL))
    state.usage.add("log", 0, 5, some)
    for start in (0, 4, 6):
        with pytest.raises(Conflict):
            state.usage.add("log", start, 9, some)
    with pytest.raises(Conflict):
        state.usage.add("never", 1, 2, some)
    assert state.usage.wraps("ehr", 3) == 6
    assert (state.usage.counted("log"), state.usage.counted("never")) == (5, 0)


def test_keys_that_a_restore_took_away_are_left_out(state: UsageState) -> None:
    assert state.usage.add("log", 0, 1, tally((("gone", 1, "hospital"), ALL), (("ehr", 3, "hospital"), ALL))) == {
        ("ehr", 3): 6
    }
    assert state.usage.of_key("gone") == []


def test_many_rows_at_once_and_many_writers_at_once_lose_nothing(backend: Backend, state: UsageState) -> None:
    places: list[Place] = [("ehr", 3, f"t{number}") for number in range(700)]

    def write(log: int) -> None:
        other = open_usage(backend.database, PATIENT)
        for each in range(3):
            ordered = places if log % 2 else list(reversed(places))
            other.usage.add(f"log{log}", each, each + 1, tally(*((place, ALL) for place in ordered)))
        other.close()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, number) for number in range(4)]:
            done.result()
    assert state.usage.wraps("ehr", 3) == 700 * 6 * 12


def test_of_two_who_count_the_same_entries_one_is_refused(backend: Backend, state: UsageState) -> None:
    start = threading.Barrier(4)
    outcomes: list[bool] = []

    def count() -> None:
        other = open_usage(backend.database, PATIENT)
        start.wait()
        try:
            other.usage.add("log", 0, 5, tally((("ehr", 3, "hospital"), ALL)))
        except Conflict:
            outcomes.append(False)
        else:
            outcomes.append(True)
        other.close()

    _all_at_once(count)
    assert sorted(outcomes) == [False, False, False, True]
    assert state.usage.wraps("ehr", 3) == 6


def _all_at_once(work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_duty_has_one_holder_until_its_lease_ends(state: UsageState) -> None:
    hold = state.duties.hold
    assert hold("keeper", "a", NOW, LEASE)
    assert not hold("keeper", "b", NOW + LEASE / 2, LEASE)
    assert hold("keeper", "a", NOW + LEASE * 0.6, LEASE), "it is kept"
    assert not hold("keeper", "b", NOW + LEASE, LEASE)
    assert hold("keeper", "b", NOW + LEASE * 2, LEASE), "it is over"
    assert not hold("keeper", "a", NOW + LEASE * 2, LEASE)
    assert hold("another", "a", NOW, LEASE)


def test_a_lease_that_a_wrong_clock_wrote_far_into_the_future_holds_nobody_up(state: UsageState) -> None:
    assert state.duties.hold("keeper", "a", NOW + timedelta(days=365), LEASE)
    assert state.duties.hold("keeper", "b", NOW, LEASE)
    assert not state.duties.hold("keeper", "c", NOW, LEASE)


def test_of_many_who_take_a_duty_at_once_one_gets_it(backend: Backend, state: UsageState) -> None:
    for now in (NOW, NOW + 3 * LEASE):
        start = threading.Barrier(4)
        got: list[bool] = []

        def take(now: datetime = now, start: threading.Barrier = start, got: list[bool] = got) -> None:
            other = open_usage(backend.database, PATIENT)
            start.wait()
            got.append(other.duties.hold("keeper", f"{threading.get_ident()}{now}", now, LEASE))
            other.close()

        _all_at_once(take)
        assert sorted(got) == [False, False, False, True]
