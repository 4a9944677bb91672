"""The sizes of audit logs on both databases: a size never falls, and each comes with the state epoch."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kmsgw.model.key import Key, KeyVersion
from kmsgw.operations.log_ledger import LedgerEntry
from kmsgw.storage import State, open_state
from tests.contract.key_store_backends import Backend, postgresql_backend, sqlite_backend
from tests.support.postgres import PostgresServer

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    if request.param == "sqlite":
        yield from _opened(sqlite_backend(tmp_path).migrated())
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    database = server.create_database()
    yield from _opened(postgresql_backend(server, database).migrated())
    server.drop_database(database)


def _opened(backend: Backend) -> Iterator[State]:
    opened = open_state(backend.database)
    yield opened
    opened.close()


def test_a_size_grows_and_never_falls_and_comes_with_the_epoch(state: State) -> None:
    ledger = state.ledger
    assert ledger.read("log") == (None, 0)
    assert ledger.enter("log", 5, b"\x05" * 32) == LedgerEntry(5, b"\x05" * 32, 0)
    with state.keys.unit_of_work() as unit:
        unit.add(Key("ehr", "hospital", "software", (KeyVersion(1, b"m", NOW),), NOW, NOW))
    assert ledger.read("log") == (LedgerEntry(5, b"\x05" * 32, 0), 1)
    assert ledger.enter("log", 4, b"\x04" * 32) == LedgerEntry(5, b"\x05" * 32, 1)
    assert ledger.enter("log", 7, b"\x07" * 32) == LedgerEntry(7, b"\x07" * 32, 1)
    assert ledger.enter("other", 1, b"\x01" * 32) == LedgerEntry(1, b"\x01" * 32, 1)
    assert ledger.read("log") == (LedgerEntry(7, b"\x07" * 32, 1), 1)
