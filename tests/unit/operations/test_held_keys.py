"""Keys that are read when they are used: never an older one than was put, and found by what is looked for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kmsgw.model.key import Key, KeyState, KeyVersion, RotationPolicy
from kmsgw.operations.held_keys import HeldKeys
from tests.fakes.unread_keys import MemoryKeys

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DAILY = RotationPolicy(period=timedelta(days=1))


def key(name: str, *, tenant: str = "hospital", revision: int = 1, rotation: RotationPolicy | None = None) -> Key:
    made = Key(name, tenant, "p", (KeyVersion(1, b"", NOW),), NOW, NOW, revision=revision)
    return made if rotation is None else replace(made, rotation=rotation)


def test_a_key_is_read_once_and_only_when_it_is_wanted() -> None:
    unread = MemoryKeys([key("a"), key("b")])
    held = HeldKeys(unread)
    assert "a" in held
    assert unread.reads == []
    assert held["a"] is held.find("a") is held["a"]
    assert unread.reads == ["a"]
    assert "a" in held


def test_an_unknown_key_is_none() -> None:
    held = HeldKeys(MemoryKeys([key("a")]))
    assert held.find("nobody") is None
    assert "nobody" not in held
    with pytest.raises(KeyError):
        held["nobody"]


def test_a_change_is_found_in_place_of_what_was_stored() -> None:
    unread = MemoryKeys([key("a")])
    held = HeldKeys(unread)
    held.put(key("a", revision=2))
    assert held["a"].revision == 2
    assert unread.reads == []


def test_a_change_that_comes_while_the_key_is_read_stays() -> None:
    class Slow(MemoryKeys):
        def read(self, key_id: str) -> Key | None:
            found = super().read(key_id)
            held.put(key("a", revision=2))
            return found

    held = HeldKeys(Slow([key("a")]))
    assert held.find("a") == held["a"] == key("a", revision=2)


def test_a_key_that_another_thread_has_just_read_is_found() -> None:
    class Raced(MemoryKeys):
        def read(self, key_id: str) -> Key | None:
            held.read[key_id] = key(key_id)
            return None

    held = HeldKeys(Raced([key("a")]))
    assert held.find("a") == key("a")


def test_each_tenant_has_its_keys_by_id_and_nothing_else_is_read() -> None:
    unread = MemoryKeys([key("c"), key("a"), key("other", tenant="clinic")])
    held = HeldKeys(unread)
    held.put(key("b"))
    assert [each.key_id for each in held.of_tenant("hospital", "")] == ["a", "b", "c"]
    assert [each.key_id for each in held.of_tenant("hospital", "a")] == ["b", "c"]
    assert list(held.of_tenant("nobody", "")) == []
    assert unread.reads == ["a", "c"]
    assert sorted(held) == ["a", "b", "c", "other"]
    assert len(held) == 4


def test_what_is_to_be_rotated_is_found_without_reading_the_rest() -> None:
    unread = MemoryKeys([key("never"), key("daily", rotation=DAILY), key("asleep", rotation=DAILY)])
    held = HeldKeys(unread)
    held.put(replace(key("asleep", rotation=DAILY), state=KeyState.DISABLED))
    held.put(key("new", rotation=DAILY))
    assert held.rotating(NOW) == []
    assert sorted(held.rotating(NOW + timedelta(days=1))) == ["daily", "new"]
    later = NOW + timedelta(hours=1)
    held.put(replace(key("daily", rotation=DAILY), versions=(KeyVersion(1, b"", NOW), KeyVersion(2, b"", later))))
    assert held.rotating(NOW + timedelta(days=1)) == ["new"]
    assert unread.reads == []


def test_what_is_to_be_destroyed_is_found_without_reading_the_rest() -> None:
    going = replace(key("going"), state=KeyState.PENDING_DESTRUCTION)
    held = HeldKeys(MemoryKeys([key("stays"), going, key("part")]))
    held.put(replace(key("part"), versions=(KeyVersion(1, b"", NOW, KeyState.PENDING_DESTRUCTION),)))
    assert sorted(held.ending()) == ["going", "part"]
    held.put(replace(going, state=KeyState.DESTROYED))
    held.put(key("part"))
    assert held.ending() == []
