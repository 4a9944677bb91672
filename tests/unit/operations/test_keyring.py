"""The keyring: all keys in memory, never staler than a second, closed where that can't be known."""

import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from kmsgw.errors import StateUnavailable
from kmsgw.model.key import Key, KeyState, KeyVersion
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import AllKeys, KeyCensus, KeyChanges, UnitOfWork
from tests.fakes.clock import SetClock
from tests.fakes.unread_keys import MemoryKeys

NOW = datetime(2026, 11, 21, tzinfo=UTC)


@dataclass
class FakeStore:
    """Keys in a list: stands for a database that can be told to fail. The real ones are in the contract tests."""

    keys: dict[str, Key] = field(default_factory=dict)
    at: int = 0
    down: bool = False
    looks: int = 0

    def put(self, key_id: str, **changes: object) -> None:
        self.at += 1
        before = self.keys.get(key_id) or Key(key_id, "hospital", "p", (KeyVersion(1, b"", NOW),), NOW, NOW)
        self.keys[key_id] = replace(before, revision=self.at, **changes)  # type: ignore[arg-type]

    def epoch(self) -> int:
        self.looks += 1
        if self.down:
            raise StateUnavailable("down")
        return self.at

    def all_keys(self) -> AllKeys:
        if self.down:
            raise StateUnavailable("down")
        return AllKeys(self.at, MemoryKeys(self.keys.values()))

    def census(self, oldest: int) -> KeyCensus:
        raise AssertionError("nobody asks for figures")

    def changes_since(self, epoch: int, known: Mapping[str, Key]) -> KeyChanges:
        if self.down:
            raise StateUnavailable("down")
        return KeyChanges(self.at, [key for key in self.keys.values() if key.revision > epoch])

    def unit_of_work(self) -> AbstractContextManager[UnitOfWork]:
        raise AssertionError("the keyring never writes")

    def close(self) -> None:
        """Do nothing."""


def a_keyring() -> tuple[Keyring, FakeStore, SetClock]:
    store, clock = FakeStore(), SetClock()
    store.put("ehr", aliases=("alias/records",))
    keyring = Keyring(store, clock=clock)
    keyring.refresh()
    return keyring, store, clock


def test_a_key_is_found_by_id_and_by_alias_without_a_look_at_the_database() -> None:
    keyring, store, _ = a_keyring()
    looks = store.looks
    assert keyring.resolve("ehr") is keyring.resolve("alias/records") is not None
    assert store.looks == looks


def test_a_change_is_seen_within_a_second_even_where_nothing_polls() -> None:
    keyring, store, clock = a_keyring()
    store.put("ehr", state=KeyState.DISABLED)
    clock.move(timedelta(seconds=1.01))
    found = keyring.resolve("ehr")
    assert found is not None
    assert found.state is KeyState.DISABLED


def test_an_unknown_name_is_looked_up_at_once_but_not_by_every_caller() -> None:
    keyring, store, clock = a_keyring()
    clock.move(timedelta(seconds=0.05))
    store.put("new")
    assert keyring.resolve("new") is not None
    looks = store.looks
    for number in range(1000):
        assert keyring.resolve(f"unknown-{number}") is None
    assert store.looks == looks


def test_a_key_that_was_made_a_moment_after_the_last_look_is_found_at_once() -> None:
    keyring, store, clock = a_keyring()
    for number in range(5):
        store.put(f"new-{number}")
        clock.move(timedelta(milliseconds=1))
        assert keyring.resolve(f"new-{number}") is not None


def test_a_state_that_can_not_be_read_is_refused_after_a_second_and_not_before() -> None:
    keyring, store, clock = a_keyring()
    store.down = True
    assert keyring.resolve("ehr") is not None
    clock.move(timedelta(seconds=1.01))
    with pytest.raises(StateUnavailable):
        keyring.resolve("ehr")
    store.down = False
    clock.move(timedelta(seconds=0.3))
    assert keyring.resolve("ehr") is not None


def test_while_the_database_is_down_not_every_caller_waits_for_it() -> None:
    keyring, store, clock = a_keyring()
    store.down = True
    clock.move(timedelta(seconds=2))
    looks = store.looks
    for _ in range(100):
        with pytest.raises(StateUnavailable):
            keyring.resolve("ehr")
    assert store.looks == looks + 1


def test_rows_that_can_not_be_read_are_an_outage_and_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    keyring, store, clock = a_keyring()

    def unreadable() -> int:
        raise TypeError("material 0xCANARY")

    store.epoch = unreadable  # type: ignore[method-assign]
    clock.move(timedelta(seconds=1.1))
    with pytest.raises(StateUnavailable) as caught:
        keyring.resolve("ehr")
    assert "CANARY" not in str(caught.value)
    assert [each.message for each in caplog.records] == ["the state can't be read"]


def test_an_alias_that_was_taken_away_leads_nowhere_and_one_that_moved_leads_to_its_new_key() -> None:
    keyring, store, _ = a_keyring()
    store.put("ehr", aliases=())
    store.put("billing", aliases=("alias/records",))
    keyring.refresh()
    found = keyring.resolve("alias/records")
    assert found is not None
    assert found.key_id == "billing"
    store.put("billing", aliases=())
    keyring.refresh()
    assert keyring.resolve("alias/records") is None


def test_a_database_that_went_back_in_time_is_refused() -> None:
    keyring, store, _ = a_keyring()
    store.put("ehr", state=KeyState.DISABLED)
    keyring.refresh()
    store.at -= 1
    with pytest.raises(StateUnavailable, match="older"):
        keyring.refresh()


def test_listeners_hear_which_keys_changed() -> None:
    keyring, store, _ = a_keyring()
    heard: list[frozenset[str]] = []
    keyring.on_change(heard.append)
    keyring.refresh()
    store.put("one")
    store.put("two")
    keyring.refresh()
    assert heard == [frozenset({"one", "two"})]


def test_the_name_of_another_key_costs_the_same_look_as_one_that_nobody_has() -> None:
    keyring, store, clock = a_keyring()
    store.put("images", aliases=("alias/pictures",))
    keyring.refresh()
    ehr = keyring.resolve("ehr")
    assert ehr is not None
    looks = []
    for name in ("images", "alias/pictures", "nobody", "alias/nobody"):
        clock.move(timedelta(seconds=0.1))
        before = store.looks
        assert not keyring.is_named(ehr, name)
        looks.append(store.looks - before)
    assert looks == [1, 1, 1, 1]
    assert keyring.is_named(ehr, "ehr")
    assert keyring.is_named(ehr, "alias/records")


def test_pages_hold_the_keys_of_one_tenant_by_id() -> None:
    keyring, store, _ = a_keyring()
    store.put("a", tenant="clinic")
    store.put("b")
    keyring.refresh()

    def ids(keys: Iterable[Key]) -> list[str]:
        return [key.key_id for key in keys]

    assert ids(keyring.page("", "hospital")) == ["b", "ehr"]
    assert ids(keyring.page("b", "hospital")) == ["ehr"]
    assert ids(keyring.page("", "clinic")) == ["a"]


def test_the_polling_thread_brings_changes_and_ends() -> None:
    store = FakeStore()
    keyring = Keyring(store, poll_seconds=0.01)
    keyring.start()
    seen = threading.Event()
    keyring.on_change(lambda _: seen.set())
    store.put("ehr")
    assert seen.wait(60)
    keyring.stop()
    assert not any(thread.name == "keyring" for thread in threading.enumerate())
