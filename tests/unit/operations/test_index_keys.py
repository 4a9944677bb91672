"""Index keys: one for each key, the same for good, always brought under the newest version, never handed out."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from kmsgw.envelope.binding import DataKeyHolder, wrap_aad
from kmsgw.envelope.format import Envelope, Suite, bound_header, wrapped_data_key
from kmsgw.errors import DecryptionFailed, FailedPrecondition, ProviderUnavailable, Reason, StateUnavailable
from kmsgw.model.context import EMPTY_CONTEXT
from kmsgw.model.key import Key, KeyState, KeyVersion
from kmsgw.operations.data_keys import CacheLimits, DataKeys
from kmsgw.operations.index_key_ports import StoredIndexKey
from kmsgw.operations.index_keys import IndexKeys
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import AllKeys, KeyCensus, KeyChanges, UnitOfWork
from kmsgw.operations.verb import Trail
from kmsgw.providers.base import MaterialRef
from kmsgw.providers.software import SoftwareProvider
from tests.fakes.clock import SetClock
from tests.fakes.unread_keys import MemoryKeys

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@dataclass
class FakeIndexKeyStore:
    """One table in memory. The real ones are in the contract tests."""

    rows: dict[str, StoredIndexKey] = field(default_factory=dict)
    finds: int = 0
    rival: StoredIndexKey | None = None
    """What another node stores in the moment before the next `add`."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, key_id: str) -> StoredIndexKey | None:
        self.finds += 1
        return self.rows.get(key_id)

    def add(self, made: StoredIndexKey) -> StoredIndexKey:
        with self.lock:
            if self.rival is not None:
                self.rows[made.key_id], self.rival = self.rival, None
            return self.rows.setdefault(made.key_id, made)

    def replace(self, before: StoredIndexKey, after: StoredIndexKey) -> bool:
        with self.lock:
            if self.rows.get(before.key_id) != before:
                return False
            self.rows[before.key_id] = after
            return True

    def versions(self) -> Mapping[str, int]:
        return {key_id: stored.version for key_id, stored in self.rows.items()}

    def close(self) -> None:
        """Do nothing."""


@dataclass
class FakeKeyStore:
    """The keys, as the database has them."""

    keys: dict[str, Key] = field(default_factory=dict)
    at: int = 1

    def epoch(self) -> int:
        return self.at

    def all_keys(self) -> AllKeys:
        return AllKeys(self.at, MemoryKeys(self.keys.values()))

    def census(self, oldest: int) -> KeyCensus:
        raise AssertionError("nobody asks for figures")

    def changes_since(self, epoch: int, known: Mapping[str, Key]) -> KeyChanges:
        return KeyChanges(self.at, [key for key in self.keys.values() if key.revision > epoch])

    def unit_of_work(self) -> AbstractContextManager[UnitOfWork]:
        raise AssertionError("index keys change no key")

    def close(self) -> None:
        """Do nothing."""


class CountingProvider(SoftwareProvider):
    """The software provider, which counts its unwraps and can fail to wrap."""

    def __init__(self) -> None:
        super().__init__("software", bytes(32))
        self.unwraps = 0
        self.wraps_fail = False

    def wrap(self, material: MaterialRef, data_key: bytes, aad: bytes) -> bytes:
        if self.wraps_fail:
            raise ProviderUnavailable("down")
        return super().wrap(material, data_key, aad)

    def unwrap(self, material: MaterialRef, wrapped: bytes, aad: bytes) -> bytes:
        self.unwraps += 1
        return super().unwrap(material, wrapped, aad)


class Bench:
    """A database with the keys `ehr` and `lab`, and any number of workers on it."""

    def __init__(self) -> None:
        self.provider, self.clock = CountingProvider(), SetClock()
        self.store, self.keys = FakeIndexKeyStore(), FakeKeyStore()
        for key_id in ("ehr", "lab"):
            version = KeyVersion(1, self.provider.create(key_id, 1), NOW)
            self.keys.keys[key_id] = Key(key_id, "hospital", "software", (version,), NOW, NOW, revision=1)

    def worker(self, **limits: float) -> IndexKeys:
        bounds = CacheLimits(10, 1000, limits.get("max_age_seconds", 60), int(limits.get("entries", 10)))
        keyring = Keyring(self.keys, clock=self.clock)
        keyring.refresh()
        data_keys = DataKeys({"software": self.provider}, bounds, clock=self.clock)
        return IndexKeys(self.store, data_keys, keyring, bounds, clock=self.clock)

    def key(self, key_id: str = "ehr") -> Key:
        return self.keys.keys[key_id]

    def change(self, key_id: str = "ehr", **changes: object) -> Key:
        self.keys.at += 1
        self.keys.keys[key_id] = replace(self.key(key_id), revision=self.keys.at, **changes)  # type: ignore[arg-type]
        return self.key(key_id)

    def rotate(self, key_id: str = "ehr") -> Key:
        number = len(self.key(key_id).versions) + 1
        made = KeyVersion(number, self.provider.create(key_id, number), NOW)
        return self.change(key_id, versions=(*self.key(key_id).versions, made))


def test_an_index_key_is_made_once_and_is_the_same_on_every_worker_and_after_a_restart() -> None:
    bench = Bench()
    made = bench.worker().index_key(bench.key(), Trail())
    assert len(made) == 32
    assert bench.worker().index_key(bench.key(), Trail()) == made
    assert bench.worker().index_key(bench.key("lab"), Trail()) != made
    assert set(bench.store.rows) == {"ehr", "lab"}
    assert made not in bench.store.rows["ehr"].wrapped


def test_a_kept_index_key_needs_neither_database_nor_provider() -> None:
    bench = Bench()
    worker = bench.worker()
    made = worker.index_key(bench.key(), Trail())
    finds, unwraps = bench.store.finds, bench.provider.unwraps
    trail = Trail()
    assert {worker.index_key(bench.key(), trail) for _ in range(5)} == {made}
    assert (bench.store.finds, bench.provider.unwraps, trail) == (finds, unwraps, Trail())


def test_a_kept_index_key_is_dropped_by_age_by_number_and_by_any_change_of_its_key() -> None:
    bench = Bench()
    worker = bench.worker(entries=1)

    def fetched() -> bool:
        before = bench.store.finds
        worker.index_key(bench.key(), Trail())
        return bench.store.finds > before

    assert [fetched(), fetched()] == [True, False]
    bench.clock.move(timedelta(seconds=60))
    assert [fetched(), fetched()] == [True, False]
    worker.index_key(bench.key("lab"), Trail())
    assert [fetched(), fetched()] == [True, False]
    bench.change(description="another")
    assert [fetched(), fetched()] == [True, False]
    worker.forget(frozenset({"ehr"}))
    assert [fetched(), fetched()] == [True, False]
    worker.forget(frozenset({"lab"}))
    assert not fetched()


def test_nothing_is_kept_where_the_configuration_keeps_nothing() -> None:
    bench = Bench()
    worker = bench.worker(max_age_seconds=0)
    made = worker.index_key(bench.key(), Trail())
    assert worker.index_key(bench.key(), Trail()) == made
    assert bench.store.finds == 2


def test_many_callers_on_many_workers_make_one_index_key() -> None:
    bench = Bench()
    workers = [bench.worker() for _ in range(4)]
    start = threading.Barrier(16)

    def ask(number: int) -> bytes:
        start.wait()
        return workers[number % 4].index_key(bench.key(), Trail())

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(ask, range(16)))) == 1
    assert bench.provider.unwraps <= 4, "of the callers on one worker, one fetched it"


def test_who_comes_second_takes_the_index_key_that_another_node_made() -> None:
    bench = Bench()
    theirs = bench.worker().index_key(bench.key(), Trail())
    bench.store.rival, bench.store.rows = bench.store.rows["ehr"], {}
    assert bench.worker().index_key(bench.key(), Trail()) == theirs


def test_a_rotation_changes_the_wrapping_and_not_the_index_key() -> None:
    bench = Bench()
    worker = bench.worker()
    made = worker.index_key(bench.key(), Trail())
    for number in range(2, 5):
        rotated = bench.rotate()
        assert worker.version_in_use("ehr") == number - 1
        trail = Trail()
        assert worker.index_key(rotated, trail) == made
        assert (worker.version_in_use("ehr"), trail.key_version, trail.wraps) == (number, number, 1)
    assert bench.worker().index_key(bench.key(), Trail()) == made


def test_rewrapping_empties_the_old_version_and_is_harmless_to_repeat() -> None:
    bench = Bench()
    worker = bench.worker()
    assert not worker.rewrap(bench.key(), Trail()), "there is none yet"
    made = worker.index_key(bench.key(), Trail())
    assert not worker.rewrap(bench.key(), Trail()), "it is under the newest"
    rotated = bench.rotate()
    trail = Trail()
    assert worker.rewrap(rotated, trail)
    assert (trail.key_version, trail.wraps) == (2, 1)
    assert not worker.rewrap(rotated, Trail())
    assert worker.version_in_use("ehr") == 2
    assert bench.worker().index_key(rotated, Trail()) == made


def test_a_version_that_the_index_key_is_under_is_in_use() -> None:
    bench = Bench()
    worker = bench.worker()
    assert worker.version_in_use("ehr") is None
    assert worker.in_use(bench.key(), [1]) is None
    worker.index_key(bench.key(), Trail())
    rotated = bench.rotate()
    words = worker.in_use(rotated, [1])
    assert words is not None
    assert "version 1" in words
    assert worker.in_use(rotated, [2]) is None
    worker.rewrap(rotated, Trail())
    assert worker.in_use(rotated, [1]) is None
    assert worker.in_use(rotated, [1, 2]) is not None


def test_no_call_fails_because_the_newest_version_can_not_wrap_yet() -> None:
    bench = Bench()
    worker = bench.worker()
    made = worker.index_key(bench.key(), Trail())
    rotated = bench.rotate()
    bench.provider.wraps_fail = True
    assert worker.index_key(rotated, Trail()) == made
    assert worker.version_in_use("ehr") == 1
    with pytest.raises(ProviderUnavailable):
        worker.rewrap(rotated, Trail())
    bench.provider.wraps_fail = False
    assert bench.worker().index_key(rotated, Trail()) == made
    assert worker.version_in_use("ehr") == 2


def test_a_worker_that_has_not_seen_the_rotation_yet_reads_the_key_anew() -> None:
    bench = Bench()
    before, behind = bench.key(), bench.worker()
    made = bench.worker().index_key(before, Trail())
    bench.worker().rewrap(bench.rotate(), Trail())
    bench.clock.move(timedelta(milliseconds=1))
    assert behind.index_key(before, Trail()) == made
    assert behind.version_in_use("ehr") == 2, "and does not put it back"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (KeyState.DISABLED, Reason.KEY_DISABLED),
        (KeyState.PENDING_DESTRUCTION, Reason.KEY_PENDING_DESTRUCTION),
        (KeyState.DESTROYED, Reason.KEY_DESTROYED),
    ],
)
def test_a_key_that_may_not_be_used_gives_no_index_key_kept_or_not(state: KeyState, reason: Reason) -> None:
    bench = Bench()
    worker = bench.worker()
    worker.index_key(bench.key(), Trail())
    changed = bench.change(state=state)
    for refused in (worker.index_key, bench.worker().index_key, worker.rewrap):
        with pytest.raises(FailedPrecondition) as caught:
            refused(changed, Trail())
        assert caught.value.reason is reason


def test_an_index_key_under_a_disabled_version_is_refused() -> None:
    bench = Bench()
    worker = bench.worker()
    worker.index_key(bench.key(), Trail())
    rotated = bench.rotate()
    disabled = replace(rotated.versions[0], state=KeyState.DISABLED)
    changed = bench.change(versions=(disabled, *rotated.versions[1:]))
    with pytest.raises(FailedPrecondition) as caught:
        bench.worker().index_key(changed, Trail())
    assert caught.value.reason is Reason.KEY_VERSION_DISABLED


def test_an_index_key_opens_as_no_data_key_and_a_data_key_is_no_index_key() -> None:
    bench = Bench()
    worker = bench.worker()
    key = bench.key()
    worker.index_key(key, Trail())
    stored = bench.store.rows["ehr"].wrapped
    data_keys = DataKeys({"software": bench.provider}, CacheLimits(1, 1, 1, 1))
    header = bound_header(Suite.GATEWAY_SEALED, "ehr", bytes(32), bytes(32))
    for envelope in (wrapped_data_key("ehr", 1, stored), Envelope(Suite.GATEWAY_SEALED, "ehr", 1, stored, header)):
        with pytest.raises(DecryptionFailed):
            data_keys.unwrap(key, key.primary, envelope, EMPTY_CONTEXT)
    for holder in (DataKeyHolder.GATEWAY, DataKeyHolder.CLIENT):
        material = MaterialRef("ehr", 1, key.primary.material)
        wrapped = bench.provider.wrap(material, bytes(32), wrap_aad(holder, "hospital", "ehr", 1, EMPTY_CONTEXT))
        bench.store.rows["ehr"] = StoredIndexKey("ehr", 1, wrapped)
        with pytest.raises(StateUnavailable):
            bench.worker().index_key(key, Trail())


@pytest.mark.parametrize("changes", [{"key_id": "lab"}, {"tenant": "clinic"}])
def test_an_index_key_that_was_moved_to_another_key_or_tenant_does_not_open(changes: dict[str, str]) -> None:
    bench = Bench()
    bench.worker().index_key(bench.key(), Trail())
    stored = bench.store.rows["ehr"]
    moved = replace(bench.key(changes.get("key_id", "ehr")), tenant=changes.get("tenant", "hospital"))
    bench.store.rows = {moved.key_id: replace(stored, key_id=moved.key_id)}
    with pytest.raises(StateUnavailable) as caught:
        bench.worker().index_key(moved, Trail())
    assert stored.wrapped.hex() not in f"{caught.value!r}"
    assert caught.value.__cause__ is None
