"""The SQLite file: who may read it, what is refused, how it is written."""

import os
import pwd
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmsgw.errors import ConfigurationError, KmsgwError, StateUnavailable
from kmsgw.storage import Database, migrate, open_store
from kmsgw.storage.access import Access
from kmsgw.storage.connections import Connections
from kmsgw.storage.database import SERVING, Timeouts
from kmsgw.storage.unit import SqlUnitOfWork
from tests.contract.key_store_examples import plain_key


@dataclass(frozen=True)
class Place:
    """A folder, a file in it that may be there, and its URL."""

    folder: Path
    file: Path
    database: Database


def place_in(folder: Path) -> Place:
    file = folder / "state.db"
    return Place(folder, file, Database.of(f"sqlite:///{file}"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_in(tmp_path)


@pytest.fixture
def unprivileged() -> Iterator[Place]:
    """A place of an ordinary user, as whom the test runs: root may read and write everything."""
    folder = Path(tempfile.mkdtemp(prefix="kmsgw-state-"))
    root = os.geteuid() == 0
    if root:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        os.seteuid(nobody.pw_uid)
    try:
        yield place_in(folder)
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)
        shutil.rmtree(folder)


def refusal(database: Database) -> KmsgwError:
    with pytest.raises(KmsgwError) as told:
        migrate(database)
    assert "\n" not in str(told.value)
    return told.value


@pytest.mark.parametrize("mask", [0o022, 0o000], ids=oct)
def test_only_the_owner_reads_the_files(place: Place, mask: int) -> None:
    before = os.umask(mask)
    try:
        migrate(place.database)
        store = open_store(place.database)
        with store.unit_of_work() as work:
            work.add(plain_key("one"))
        modes = {path.name: path.stat().st_mode & 0o777 for path in place.folder.iterdir()}
        store.close()
    finally:
        os.umask(before)

    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}


def test_a_commit_is_flushed_and_foreign_keys_hold(place: Place) -> None:
    migrate(place.database)
    connections = Connections(place.database, SERVING)

    with connections.transaction(Access.READ) as connection:
        told = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "trusted_schema")
        }
    connections.close()

    assert told == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 2500,
        "trusted_schema": 0,
    }


def test_readers_go_on_while_a_writer_holds_the_lock(place: Place) -> None:
    migrate(place.database)
    store = open_store(place.database, Timeouts(statement=0.2))

    with store.unit_of_work() as work:
        work.add(plain_key("one"))
        assert store.epoch() == 0
        with pytest.raises(StateUnavailable, match="is slow to write"), store.unit_of_work():
            pass
    assert store.epoch() == 1
    store.close()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    told = refusal(place_in(tmp_path / "missing").database)

    assert isinstance(told, ConfigurationError)
    assert told.message == f"state.url: {tmp_path / 'missing' / 'state.db'}: its folder does not exist"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "not a file" in str(refusal(Database.of(f"sqlite:///{tmp_path}")))


def test_a_file_of_something_else_is_refused_and_left_alone(place: Place) -> None:
    place.file.write_bytes(b"these are the notes of a doctor\n" * 100)

    assert "is no SQLite database (SQLITE_NOTADB)" in str(refusal(place.database))
    assert place.file.read_bytes() == b"these are the notes of a doctor\n" * 100


def test_a_folder_that_can_not_be_written_is_refused(unprivileged: Place) -> None:
    unprivileged.folder.chmod(0o500)

    told = refusal(unprivileged.database)

    assert isinstance(told, ConfigurationError)
    assert "can't be made: Permission denied" in str(told)


@pytest.mark.parametrize("mode", [0o000, 0o400], ids=oct)
def test_a_file_that_can_not_be_read_and_written_is_refused(unprivileged: Place, mode: int) -> None:
    migrate(unprivileged.database)
    unprivileged.file.chmod(mode)

    told = refusal(unprivileged.database)

    assert isinstance(told, ConfigurationError)
    assert "can't be read and written by this user" in str(told)


def test_a_file_in_a_folder_without_write_permission_is_refused(unprivileged: Place) -> None:
    migrate(unprivileged.database)
    unprivileged.folder.chmod(0o500)

    assert "its folder can't be written" in str(refusal(unprivileged.database))


def test_a_file_that_becomes_read_only_is_an_outage(unprivileged: Place) -> None:
    migrate(unprivileged.database)
    unprivileged.file.chmod(0o400)
    store = open_store(unprivileged.database)

    with pytest.raises(StateUnavailable, match=r"SQLITE_(READONLY|CANTOPEN)"), store.unit_of_work() as work:
        work.add(plain_key("one"))
    store.close()


def test_a_file_that_vanished_is_an_outage_and_is_not_made_anew(place: Place) -> None:
    store = open_store(place.database)

    with pytest.raises(StateUnavailable, match="can't be opened"):
        store.epoch()

    assert not place.file.exists()
    store.close()


def test_a_backup_in_another_journal_mode_is_taken_as_it_is(place: Place) -> None:
    migrate(place.database)
    with closing(sqlite3.connect(place.file)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
    store = open_store(place.database)

    assert store.epoch() == 0
    store.close()
    with closing(sqlite3.connect(place.file)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_full_disk_is_an_outage_that_leaves_the_state_whole(place: Place) -> None:
    migrate(place.database)
    connections = Connections(place.database, SERVING)
    store = open_store(place.database)
    with store.unit_of_work() as work:
        made = work.add(plain_key("one"))
    store.close()

    def fill() -> None:
        with connections.transaction(Access.WRITE) as connection:
            # As many pages as there are: the next one is "no room", as on a full disk.
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
            for number in range(200):
                SqlUnitOfWork(connection).add(plain_key(f"key-{number}"))

    with pytest.raises(StateUnavailable, match=r"no room on its disk \(SQLITE_FULL\)"):
        fill()
    connections.close()
    again = open_store(place.database)
    assert again.changes_since(-1, {}).keys == (made,)
    again.close()


def test_a_process_that_starts_waits_for_another_that_writes_the_first_page(place: Place) -> None:
    place.file.touch()
    with closing(sqlite3.connect(place.file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.execute, ["COMMIT"])
        release.start()

        migrate(place.database)

        release.join()
    store = open_store(place.database)
    assert store.epoch() == 0
    store.close()
