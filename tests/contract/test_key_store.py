"""The contract of `KeyStore`, on SQLite and on PostgreSQL alike."""

import os
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from kmsgw.errors import AlreadyExists, ConfigurationError, Conflict, InternalError, Reason, StateUnavailable
from kmsgw.model.key import Key, KeyState, RotationPolicy
from kmsgw.model.lifecycle import Act
from kmsgw.model.transitions import with_version_act
from kmsgw.operations.ports import KeyStore
from kmsgw.storage import examine, key_reading, migrate, unread_keys
from kmsgw.storage.connections import single_use_engine
from kmsgw.storage.database import SERVING, SqliteFile
from kmsgw.storage.migrate import NEWEST
from kmsgw.storage.tables import metadata
from tests.contract.key_store_backends import IMPATIENT, PATIENT, Backend, postgresql_backend, sqlite_backend
from tests.contract.key_store_examples import NOW, full_key, plain_key, rotated
from tests.support.patience import eventually

WRITERS = 8


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    """A database before its first migration."""
    if request.param == "sqlite":
        return sqlite_backend(tmp_path)
    return postgresql_backend(request.getfixturevalue("postgres_server"), request.getfixturevalue("postgres_database"))


@pytest.fixture
def backend(empty: Backend) -> Backend:
    return empty.migrated()


@pytest.fixture
def store(backend: Backend) -> Iterator[KeyStore]:
    opened = backend.open()
    yield opened
    opened.close()


def add(store: KeyStore, key: Key) -> Key:
    with store.unit_of_work() as work:
        return work.add(key)


def save(store: KeyStore, key: Key) -> Key:
    with store.unit_of_work() as work:
        return work.save(key)


def get(store: KeyStore, key_id: str) -> Key:
    with store.unit_of_work() as work:
        key = work.get(key_id)
    assert key is not None
    return key


# Round trips


def test_a_key_comes_back_with_every_field(store: KeyStore) -> None:
    key = full_key()

    made = add(store, key)

    assert made == replace(key, revision=1, aliases=("alias/a-first", "alias/z-last"))
    assert get(store, key.key_id) == made
    assert list(store.changes_since(-1, {}).keys) == [made]


def test_times_come_back_aware_and_in_utc(store: KeyStore) -> None:
    add(store, full_key())

    key = get(store, "ehr-records")

    moments = [key.created, key.updated, *(version.created for version in key.versions)]
    assert all(moment.tzinfo is UTC for moment in moments)


def test_labels_come_back_frozen_and_in_order(store: KeyStore) -> None:
    add(store, full_key())

    labels = get(store, "ehr-records").labels

    assert list(labels) == ["zone", "Straße", "a"]
    assert not hasattr(labels, "__setitem__")


def test_every_part_of_a_key_can_change(store: KeyStore) -> None:
    key = add(store, full_key())
    changed = replace(
        with_version_act(key, Act.ENABLE_VERSION, 1, NOW).with_new_version(b"four", NOW, "yearly"),
        state=KeyState.ENABLED,
        description="other",
        labels={},
        aliases=("alias/m-middle", "alias/a-first"),
    )

    made = save(store, changed)

    assert made == replace(changed, revision=2, aliases=("alias/a-first", "alias/m-middle"))
    assert get(store, key.key_id) == made


def test_an_unknown_key_is_none(store: KeyStore) -> None:
    with store.unit_of_work() as work:
        assert work.get("nothing") is None


@pytest.mark.parametrize("named_at_most", [0, 500], ids=["chosen by the database", "named"])
def test_keys_beyond_one_chunk_are_neither_dropped_nor_repeated(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch, named_at_most: int
) -> None:
    monkeypatch.setattr(key_reading, "_KEYS_AT_ONCE", 3)
    monkeypatch.setattr(key_reading, "_VERSIONS_AT_ONCE", 2)
    monkeypatch.setattr(key_reading, "_NAMED_AT_MOST", named_at_most)
    with store.unit_of_work() as work:
        # One revision for seven keys: chunks end in the middle of a revision.
        together = [work.add(plain_key(f"key-{number}", f"alias/key-{number}")) for number in range(7)]
    versioned = save(store, rotated(rotated(rotated(rotated(together[3])))))
    last = add(store, plain_key("a-last"))

    everything = store.changes_since(-1, {})

    others = [key for key in together if key.key_id != "key-3"]
    assert list(everything.keys) == [*others, versioned, last]
    assert everything.epoch == 3


def test_a_start_reads_the_same_keys_each_when_it_is_wanted(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread_keys, "_KEYS_AT_ONCE", 2)
    policy = RotationPolicy(timedelta(days=90), 10, None, 3)
    disabled = replace(plain_key("asleep"), state=KeyState.DISABLED, rotation=policy)
    made = [
        add(store, full_key()),
        add(store, replace(plain_key("yearly", "alias/yearly"), rotation=policy)),
        add(store, replace(plain_key("elsewhere"), tenant="other", deletion_protection=True)),
        save(store, replace(rotated(add(store, plain_key("often"))), rotation=policy)),
        add(store, disabled),
        add(store, replace(plain_key("going"), state=KeyState.PENDING_DESTRUCTION, destroy_at=NOW)),
    ]

    found = store.all_keys()

    assert found.epoch == store.epoch()
    assert {key.key_id: found.unread.read(key.key_id) for key in made} == {key.key_id: key for key in made}
    assert found.unread.read("nobody") is None
    assert dict(found.unread.tenants) == {
        "clinic": ["asleep", "going", "often", "yearly"],
        "clinic-north": ["ehr-records"],
        "other": ["elsewhere"],
    }
    assert dict(found.unread.aliases) == {
        "ehr-records": ("alias/a-first", "alias/z-last"),
        "yearly": ("alias/yearly",),
    }
    assert found.unread.rotates == {"yearly": NOW + timedelta(days=90), "often": NOW + timedelta(days=90)}
    assert found.unread.ending == {"going"}


@pytest.mark.parametrize("total", range(5))
def test_a_start_finds_all_keys_however_they_fill_its_statements(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch, total: int
) -> None:
    monkeypatch.setattr(unread_keys, "_KEYS_AT_ONCE", 2)
    made = [add(store, plain_key(f"key-{number}")) for number in range(total)]

    unread = store.all_keys().unread

    assert [unread.read(each.key_id) for each in made] == made
    assert unread.tenants == ({"clinic": [each.key_id for each in made]} if made else {})


def test_a_key_of_which_a_version_is_to_be_destroyed_is_told_at_a_start(store: KeyStore) -> None:
    key = rotated(plain_key("one"))
    pending = replace(key.versions[0], state=KeyState.PENDING_DESTRUCTION, destroy_at=NOW)
    add(store, replace(key, versions=(pending, key.versions[1])))

    assert store.all_keys().unread.ending == {"one"}


def test_keys_are_counted_by_state_and_the_oldest_of_those_in_use_are_named(store: KeyStore) -> None:
    for number in (3, 1, 2):
        key = plain_key(f"key-{number}")
        version = replace(key.versions[0], created=NOW + timedelta(days=number))
        add(store, replace(key, versions=(version,)))
    add(store, replace(plain_key("oldest"), state=KeyState.DISABLED))
    add(store, rotated(plain_key("rotated")))

    census = store.census(3)

    assert census.states == {KeyState.ENABLED: 4, KeyState.DISABLED: 1}
    assert census.oldest == [
        ("rotated", NOW),
        ("key-1", NOW + timedelta(days=1)),
        ("key-2", NOW + timedelta(days=2)),
    ]


# Epochs


def test_the_epoch_begins_at_zero_and_counts_changes(store: KeyStore) -> None:
    assert store.epoch() == 0
    assert store.changes_since(-1, {}).keys == ()

    add(store, plain_key("one"))
    add(store, plain_key("two"))

    assert store.epoch() == 2


def test_the_keys_of_one_unit_of_work_share_an_epoch(store: KeyStore) -> None:
    with store.unit_of_work() as work:
        one = work.add(plain_key("one"))
        two = work.add(plain_key("two"))
        again = work.save(rotated(one))

    assert (one.revision, two.revision, again.revision) == (1, 1, 1)
    assert store.epoch() == 1


def test_changes_since_gives_what_changed_later_and_whole(store: KeyStore) -> None:
    one = add(store, plain_key("one", "alias/one"))
    add(store, plain_key("two"))
    before = store.epoch()
    made = save(store, rotated(one))

    changes = store.changes_since(before, {"one": one})

    assert (changes.epoch, list(changes.keys)) == (3, [made])
    assert store.changes_since(changes.epoch, {"one": made}).keys == ()


def test_of_a_known_key_only_what_changed_is_read(store: KeyStore) -> None:
    first = add(store, rotated(rotated(plain_key("one"))))
    second = save(store, rotated(with_version_act(first, Act.DISABLE_VERSION, 1, NOW)))
    third = save(store, with_version_act(second, Act.DISABLE_VERSION, 2, NOW))

    for known in (first, second, third):
        with store.unit_of_work() as work:
            read = work.get("one", known)
        assert read == third
        assert list(store.changes_since(known.revision, {"one": known}).keys) == [third] * (known is not third)
        # The very objects: a version that did not change is not read again, however many there are.
        assert read is not None
        assert read.versions[2] is known.versions[2]


def test_what_is_known_of_a_later_state_than_the_stored_one_is_not_believed(store: KeyStore) -> None:
    made = add(store, rotated(plain_key("one")))
    imagined = replace(rotated(made), revision=made.revision + 7)

    with store.unit_of_work() as work:
        assert work.get("one", imagined) == made


def test_a_version_that_is_missing_beside_known_ones_is_damage(store: KeyStore) -> None:
    made = add(store, rotated(plain_key("one")))
    save(store, rotated(rotated(made)))

    with pytest.raises(StateUnavailable, match="lacks a version"):
        store.changes_since(made.revision, {"one": replace(made, versions=made.versions[:1])})


def test_a_key_saved_twice_in_one_unit_of_work_keeps_both_changes(store: KeyStore) -> None:
    add(store, plain_key("one"))

    with store.unit_of_work() as work:
        first = work.save(rotated(work.get("one") or plain_key("none")))
        second = work.save(with_version_act(rotated(first), Act.DISABLE_VERSION, 1, NOW))

    assert get(store, "one") == second


def test_a_unit_of_work_that_only_reads_leaves_the_epoch(store: KeyStore) -> None:
    add(store, plain_key("one"))

    get(store, "one")

    assert store.epoch() == 1


def test_a_rollback_leaves_nothing(store: KeyStore) -> None:
    one = add(store, plain_key("one", "alias/one"))

    def fail_late() -> None:
        with store.unit_of_work() as work:
            work.add(plain_key("two", "alias/two"))
            work.save(replace(rotated(one), aliases=()))
            raise LookupError

    with pytest.raises(LookupError):
        fail_late()

    assert store.epoch() == 1
    assert list(store.changes_since(-1, {}).keys) == [one]
    assert add(store, plain_key("two", "alias/two")).revision == 2


def test_two_stores_see_each_others_changes(backend: Backend, store: KeyStore) -> None:
    other = backend.open()
    add(store, plain_key("one"))

    seen = get(other, "one")
    made = save(other, rotated(seen))

    assert store.changes_since(1, {"one": seen}).keys == (made,)
    other.close()


# Refusals


def test_an_id_is_used_once(store: KeyStore) -> None:
    add(store, plain_key("one"))

    with pytest.raises(AlreadyExists) as refused:
        add(store, plain_key("one", "alias/one"))

    assert refused.value.reason is Reason.KEY_EXISTS
    assert get(store, "one").aliases == ()


def test_a_stale_key_is_not_saved(store: KeyStore) -> None:
    stale = add(store, plain_key("one"))
    newer = save(store, rotated(stale))

    with pytest.raises(Conflict) as refused:
        save(store, replace(stale, state=KeyState.DISABLED))

    assert refused.value.reason is Reason.KEY_CHANGED
    assert get(store, "one") == newer


def test_a_key_that_was_never_added_is_not_saved(store: KeyStore) -> None:
    with pytest.raises(Conflict):
        save(store, plain_key("one"))

    assert store.changes_since(-1, {}).keys == ()


@pytest.mark.parametrize("verb", ["add", "save"])
def test_an_alias_leads_to_one_key(store: KeyStore, verb: str) -> None:
    add(store, plain_key("one", "alias/taken"))
    two = plain_key("two") if verb == "add" else add(store, plain_key("two"))

    with pytest.raises(AlreadyExists) as refused:
        (add if verb == "add" else save)(store, replace(two, aliases=("alias/free", "alias/taken")))

    assert refused.value.reason is Reason.ALIAS_EXISTS
    assert get(store, "one").aliases == ("alias/taken",)
    assert "alias/free" not in {alias for key in store.changes_since(-1, {}).keys for alias in key.aliases}


def test_an_alias_can_move_in_one_unit_of_work(store: KeyStore) -> None:
    one = add(store, plain_key("one", "alias/moving"))
    two = add(store, plain_key("two"))

    with store.unit_of_work() as work:
        work.save(replace(one, aliases=()))
        work.save(replace(two, aliases=("alias/moving",)))

    assert get(store, "one").aliases == ()
    assert get(store, "two").aliases == ("alias/moving",)


def test_a_unit_of_work_goes_on_after_a_refusal_that_left_nothing(store: KeyStore) -> None:
    one = add(store, plain_key("one", "alias/one"))
    two = add(store, plain_key("two"))

    with store.unit_of_work() as work:
        with pytest.raises(AlreadyExists):
            work.add(plain_key("one"))
        with pytest.raises(AlreadyExists):
            work.save(replace(rotated(two), aliases=("alias/one",)))
        with pytest.raises(Conflict):
            work.save(replace(rotated(one), revision=77))
        work.add(plain_key("three"))

    assert get(store, "one") == one
    assert get(store, "two") == two
    assert get(store, "three").revision == store.epoch()


@pytest.mark.parametrize("kept", [(1,), (1, 2, 2), (2, 3), ()], ids=str)
def test_versions_are_neither_lost_nor_renumbered(store: KeyStore, kept: tuple[int, ...]) -> None:
    key = add(store, rotated(rotated(plain_key("one"))))
    broken = tuple(key.versions[number - 1] for number in kept)

    with pytest.raises(InternalError):
        save(store, replace(key, versions=broken))

    assert get(store, "one") == key


def test_a_row_that_was_deleted_by_hand_is_noticed(backend: Backend, store: KeyStore) -> None:
    add(store, rotated(rotated(plain_key("one"))))
    backend.execute("DELETE FROM key_versions WHERE version = 2")

    with pytest.raises(StateUnavailable, match="damaged: key one lacks a version"):
        store.changes_since(-1, {})
    with pytest.raises(StateUnavailable, match="damaged: key one lacks a version"):
        store.all_keys()


def test_a_key_without_any_version_is_noticed(backend: Backend, store: KeyStore) -> None:
    add(store, plain_key("one"))
    add(store, plain_key("two"))
    backend.execute("DELETE FROM key_versions WHERE key_id = 'one'")

    with pytest.raises(StateUnavailable, match="damaged: key one lacks a version"):
        store.all_keys()


@pytest.mark.parametrize(("column", "fault"), [("state", "state or origin"), ("origin", "state or origin")])
def test_a_version_that_no_version_writes_is_noticed_at_a_start(
    backend: Backend, store: KeyStore, column: str, fault: str
) -> None:
    add(store, plain_key("one"))
    backend.execute(f"UPDATE key_versions SET {column} = 'strange'")

    with pytest.raises(StateUnavailable, match=f"damaged: key one has a version with an unknown {fault}"):
        store.all_keys()


def test_a_state_that_no_version_writes_is_noticed(backend: Backend, store: KeyStore) -> None:
    add(store, plain_key("one"))
    backend.execute("UPDATE keys SET state = 'Enabled'")

    with pytest.raises(StateUnavailable, match="damaged: key one has an unknown state"):
        store.changes_since(-1, {})
    with pytest.raises(StateUnavailable, match="damaged: key one has an unknown state"):
        store.all_keys()


# Many at once


def test_concurrent_writers_get_epochs_of_their_own_in_the_order_of_commits(backend: Backend) -> None:
    store = backend.open(PATIENT)
    each = 10
    seen: list[tuple[int, int]] = []

    def write(writer: int) -> None:
        key = add(store, plain_key(f"key-{writer}"))
        for _ in range(each - 1):
            key = save(store, rotated(key))
            # What is committed is visible at once, to everybody.
            seen.append((key.revision, store.epoch()))

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))

    assert store.epoch() == WRITERS * each
    revisions = [revision for revision, _ in seen]
    assert len(set(revisions)) == WRITERS * (each - 1)
    assert all(revision <= epoch for revision, epoch in seen)
    store.close()


def test_a_poller_misses_no_change(backend: Backend) -> None:
    store, poller = backend.open(PATIENT), backend.open(PATIENT)
    each = 10
    done = threading.Event()
    known: dict[str, Key] = {}
    steps: list[int] = []

    def poll() -> None:
        epoch = -1
        while True:
            finished = done.is_set()
            changes = poller.changes_since(epoch, known)
            assert all(epoch < key.revision <= changes.epoch for key in changes.keys)
            known.update({key.key_id: key for key in changes.keys})
            epoch = changes.epoch
            steps.append(epoch)
            if finished:
                return

    def write(writer: int) -> Key:
        key = add(store, plain_key(f"key-{writer}"))
        for _ in range(each - 1):
            key = save(store, rotated(key))
        return key

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        polling = pool.submit(poll)
        try:
            written = list(pool.map(write, range(WRITERS)))
        finally:
            done.set()
        polling.result()

    assert steps == sorted(steps)
    assert len(set(steps)) > 2, "the poller must have looked while the writers wrote"
    assert known == {key.key_id: key for key in written}
    poller.close()
    store.close()


def test_writers_of_one_key_lose_no_change_and_readers_see_it_whole(backend: Backend) -> None:
    store = backend.open(PATIENT)
    add(store, replace(plain_key("one"), description="1"))
    each = 5

    def rotate(_: int) -> int:
        conflicts = done = 0
        while done < each:
            try:
                with store.unit_of_work() as work:
                    key = work.get("one")
                    assert key is not None
                    assert key.description == str(len(key.versions)), "parts of different revisions"
                    work.save(rotated(key))
                done += 1
            except Conflict:
                conflicts += 1
        return conflicts

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(rotate, range(4)))

    assert len(get(store, "one").versions) == 1 + 4 * each
    store.close()


# The schema


def test_migrating_twice_changes_nothing(backend: Backend, store: KeyStore) -> None:
    made = add(store, full_key())

    migrate(backend.database)

    assert list(store.changes_since(-1, {}).keys) == [made]


def test_the_newest_revision_is_the_last_of_the_migrations() -> None:
    config = Config()
    config.set_main_option("script_location", "kmsgw.storage:migrations")

    assert ScriptDirectory.from_config(config).get_current_head() == NEWEST


def test_keys_of_the_first_schema_are_kept(empty: Backend) -> None:
    migrate(empty.database, revision="0001")
    empty.execute("INSERT INTO keys VALUES ('one', 'hospital', 'soft', 'enabled', 'words', '{}', 1, 2, 5)")
    material = "x'0102'" if empty.name == "sqlite" else r"'\x0102'"
    empty.execute(f"INSERT INTO key_versions VALUES ('one', 1, {material}, 'enabled', 'created', 1)")
    empty.execute("INSERT INTO key_aliases VALUES ('alias/one', 'one')")
    empty.execute("UPDATE state_epoch SET value = 5")

    migrate(empty.database)

    store = empty.open()
    (key,) = store.changes_since(4, {}).keys
    assert (key.key_id, key.tenant, key.description, key.revision, key.aliases) == (
        "one", "hospital", "words", 5, ("alias/one",)
    )  # fmt: skip
    assert (key.minimum_decrypt_version, key.minimum_encrypt_version, key.deletion_protection) == (1, 0, False)
    assert [(each.version, each.material) for each in key.versions] == [(1, b"\x01\x02")]
    store.close()


def test_nodes_that_start_at_once_migrate_once(empty: Backend) -> None:
    together = threading.Barrier(6)

    def start(_: int) -> int:
        together.wait()
        migrate(empty.database)
        store = empty.open()
        epoch = store.epoch()
        store.close()
        return epoch

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(start, range(6))) == [0] * 6
    assert empty.execute("SELECT version_num FROM alembic_version") == [(NEWEST,)]
    assert empty.execute("SELECT id, value FROM state_epoch") == [(1, 0)]


def test_a_newer_schema_is_refused_and_left_alone(backend: Backend) -> None:
    backend.execute("UPDATE alembic_version SET version_num = '0999'")

    with pytest.raises(ConfigurationError, match=f"schema '0999', newer than '{NEWEST}'") as refused:
        migrate(backend.database)

    assert "Run the version of kmsgw" in refused.value.advice
    assert backend.execute("SELECT version_num FROM alembic_version") == [("0999",)]


def test_examining_makes_nothing_and_refuses_what_migrating_would(empty: Backend) -> None:
    examine(empty.database)
    if isinstance(empty.database.place, SqliteFile):
        assert not empty.database.place.path.exists()

    backend = empty.migrated()
    examine(backend.database)
    backend.execute("UPDATE alembic_version SET version_num = '0999'")

    with pytest.raises(ConfigurationError, match=f"schema '0999', newer than '{NEWEST}'"):
        examine(backend.database)


def test_the_migrations_make_what_the_tables_say(backend: Backend) -> None:
    with single_use_engine(backend.database, SERVING).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_a_database_without_tables_says_so(empty: Backend) -> None:
    if isinstance(empty.database.place, SqliteFile):
        empty.database.place.path.touch()
    store = empty.open()

    with pytest.raises(StateUnavailable, match="has no tables of kmsgw"):
        store.epoch()
    store.close()


# Outages


def test_an_outage_is_told_quickly_and_ends_by_itself(backend: Backend) -> None:
    with closing(backend.open(PATIENT)) as waiting:
        made = add(waiting, plain_key("one"))
    store = backend.open(IMPATIENT)

    with backend.outage(), pytest.raises(StateUnavailable) as told:  # the outage ends after the call
        save(store, rotated(made))

    def saved() -> bool:
        try:
            return save(store, rotated(made)).revision == 2
        except StateUnavailable:  # a machine that stalls is slower than this store's patience
            return False

    assert told.value.retry_after is not None
    assert eventually(saved)
    store.close()


def test_a_fault_tells_neither_material_nor_parameters_nor_sql(backend: Backend, store: KeyStore) -> None:
    canary = "canary-5f1c"
    key = replace(plain_key("one"), description=canary)
    key = replace(key, versions=(replace(key.versions[0], material=canary.encode()),))
    backend.execute("ALTER TABLE key_versions RENAME TO gone")

    with pytest.raises(StateUnavailable) as told:
        add(store, key)

    error = told.value
    assert error.__cause__ is None
    assert error.__context__ is None
    text = "".join(traceback.format_exception(error)) + str(error.advice) + repr(error)
    assert canary not in text
    assert canary.encode().hex() not in text
    assert "INSERT" not in text


def test_a_closed_store_refuses(store: KeyStore) -> None:
    store.close()

    with pytest.raises(StateUnavailable) as refused:
        store.epoch()

    assert refused.value.reason is Reason.SHUTTING_DOWN


def test_a_forked_process_has_connections_of_its_own(store: KeyStore) -> None:
    add(store, plain_key("one"))

    child = os.fork()
    if child == 0:
        status = 1
        try:
            add(store, plain_key("two"))
            store.close()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert save(store, rotated(get(store, "two"))).revision == 3
