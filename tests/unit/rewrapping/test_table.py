"""Columns of tables: keys of every kind, what is refused before anything is changed, and how large a read is."""

import base64
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from kmsgw.errors import ConfigurationError, StateUnavailable
from kmsgw.rewrapping.context_rule import ContextRule
from kmsgw.rewrapping.database import open_database
from kmsgw.rewrapping.rows import BATCH_BYTES, Wrapping
from kmsgw.rewrapping.stored import TextEncoding
from kmsgw.rewrapping.table import ColumnNames, Table, TableRow
from tests.support.postgres import PostgresDatabase, PostgresServer
from tests.unit.rewrapping.examples import envelope, new_wrapped, rewrapped

NO_RULE = ContextRule()


@contextmanager
def sqlite_table(folder: Path, *statements: str, column: str = "sealed", key: str = "id") -> Iterator[Table]:
    with closing(sqlite3.connect(folder / "t.db")) as database, database:
        for statement in statements:
            database.execute(statement)
    engine, shown = open_database(f"sqlite:///{folder / 't.db'}", None, None)
    with closing(Table(engine, shown, ColumnNames("t", column, key), NO_RULE, TextEncoding.BASE64)) as source:
        yield source


def every_row(source: Table, limit: int = 2) -> list[TableRow]:
    found: list[TableRow] = []
    while rows := source.read(found[-1].after if found else "", limit):
        found += rows
    return found


def hexadecimal(data: bytes) -> str:
    return f"x'{data.hex()}'"


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("INTEGER", ["-5", "0", "7", "9007199254740993"]),
        ("TEXT", ["''", "'a'", "'a%b'", "'é\n\"'"]),
        ("BLOB", ["x''", "x'00'", "x'00ff'", "x'ff'"]),
    ],
)
def test_keys_of_every_kind_are_found_again(kind: str, keys: list[str], tmp_path: Path) -> None:
    data = envelope("anna")
    inserts = [f"INSERT INTO t VALUES ({key}, {hexadecimal(data)})" for key in keys]
    with sqlite_table(tmp_path, f"CREATE TABLE t (id {kind} PRIMARY KEY NOT NULL, sealed BLOB)", *inserts) as source:
        assert source.begin() == {"rows": 4}
        rows = every_row(source)
        again = source.read_again("", 4, [row.place for row in rows])
        unapplied = source.apply(rows, {row.place: Wrapping(2, new_wrapped(data, 2)) for row in rows})

        assert len({row.place for row in rows}) == 4
        assert [row.place for row in again] == [row.place for row in rows]
        assert not unapplied
        assert {row.value for row in every_row(source)} == {rewrapped(data)}


def test_text_stays_text_and_bytes_of_text_stay_bytes(tmp_path: Path) -> None:
    data = envelope("anna")
    encoded = base64.b64encode(data)
    with sqlite_table(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, sealed)",
        f"INSERT INTO t VALUES (1, '{encoded.decode()}'), (2, {hexadecimal(encoded)}), (3, {hexadecimal(data)})",
        "INSERT INTO t VALUES (4, NULL), (5, ''), (6, x''), (7, 12), (8, 'no')",
    ) as source:
        rows = every_row(source)
        source.apply(rows, {row.place: Wrapping(2, new_wrapped(data, 2)) for row in rows[:3]})
        values = [row.value for row in every_row(source)]

    made = base64.b64encode(rewrapped(data))
    assert values[:3] == [made.decode(), made, rewrapped(data)]
    assert [row.fault.reason if row.fault else None for row in rows[3:]] == [
        None,
        None,
        None,
        "FIELD_INVALID",
        "ENVELOPE_MALFORMED",
    ]
    assert not any(row.header for row in rows[3:])


def test_an_old_value_that_is_no_longer_there_is_not_overwritten(tmp_path: Path) -> None:
    data, newer = envelope("anna"), envelope("newer")
    with sqlite_table(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, sealed BLOB)",
        f"INSERT INTO t VALUES (1, {hexadecimal(data)}), (2, {hexadecimal(data)}), (3, {hexadecimal(data)})",
    ) as source:
        rows = source.read("", 10)
        with closing(sqlite3.connect(tmp_path / "t.db")) as database, database:
            database.execute("UPDATE t SET sealed = ? WHERE id = 2", (newer,))
            database.execute("DELETE FROM t WHERE id = 3")
        unapplied = source.apply(rows, {row.place: Wrapping(2, new_wrapped(data, 2)) for row in rows})

        assert unapplied == {"2": None, "3": None}
        assert [row.value for row in every_row(source)] == [rewrapped(data), newer]


@pytest.mark.parametrize(
    ("statements", "fault"),
    [
        (("CREATE TABLE other (id INTEGER PRIMARY KEY)",), "no table 't'"),
        (("CREATE TABLE t (id INTEGER PRIMARY KEY)",), "no column 'sealed'"),
        (("CREATE TABLE t (id INTEGER, sealed BLOB)",), "the key 'id' is not unique"),
        (("CREATE TABLE t (id INTEGER, x INTEGER, sealed BLOB, PRIMARY KEY (id, x))",), "the key 'id' is not unique"),
        (
            (
                "CREATE TABLE t (id INTEGER, sealed BLOB)",
                "CREATE UNIQUE INDEX i ON t (id) WHERE id > 5",
            ),
            "the key 'id' is not unique",
        ),
        (
            ("CREATE TABLE t (id INTEGER UNIQUE, sealed BLOB)", "INSERT INTO t VALUES (NULL, x'00')"),
            "NULL in some rows",
        ),
    ],
)
def test_a_table_that_can_not_be_gone_through_is_refused_at_once(
    statements: tuple[str, ...], fault: str, tmp_path: Path
) -> None:
    with sqlite_table(tmp_path, *statements) as source, pytest.raises(ConfigurationError, match=fault):
        source.begin()


def test_a_unique_index_will_do_for_a_key(tmp_path: Path) -> None:
    statements = ("CREATE TABLE t (id INTEGER NOT NULL, sealed BLOB)", "CREATE UNIQUE INDEX i ON t (id)")
    with sqlite_table(tmp_path, *statements) as source:
        assert source.begin() == {"rows": 0}


def test_a_key_without_one_text_form_is_refused(tmp_path: Path) -> None:
    statements = ("CREATE TABLE t (id REAL PRIMARY KEY, sealed BLOB)", "INSERT INTO t VALUES (0.1, NULL)")
    with sqlite_table(tmp_path, *statements) as source, pytest.raises(ConfigurationError, match="type float"):
        source.read("", 1)


def test_large_values_are_read_few_at_a_time(tmp_path: Path) -> None:
    with sqlite_table(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, sealed BLOB)",
        *(f"INSERT INTO t VALUES ({number}, zeroblob({BATCH_BYTES // 4}))" for number in range(72)),
    ) as source:
        first = source.read("", 500)
        second = source.read(first[-1].after, 500)

        assert len(first) == 64
        assert len(second) == 4


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("postgresql://u:secret-7@localhost/db", "a password does not belong into the URL"),
        ("postgresql://u@localhost", "names no database"),
        ("postgresql://localhost/db", "names no user"),
        ("postgresql://u@localhost:99999/db", "not a URL"),
        ("postgresql://u@localhost/db?sslmode=off", "not supported"),
        ("postgresql://u@db.example/ehr", "would not be encrypted"),
        ("mysql://u@localhost/db", "not known"),
        ("sqlite:///nowhere.db", "no file that exists"),
        ("sqlite://", "no file that exists"),
    ],
)
def test_a_database_that_can_not_be_meant_is_refused_without_repeating_the_url(url: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault) as refused:
        open_database(url, None, None)
    assert "secret-7" not in str(refused.value)


def test_a_password_file_must_hold_one(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, fault in (("none", "No such file"), ("empty", "empty")):
        with pytest.raises(ConfigurationError, match=fault):
            open_database("postgresql://u@localhost/db", tmp_path / name, None)


def test_uuids_text_and_bytes_of_postgresql_are_found_again(postgres_database: PostgresDatabase) -> None:
    data = envelope("anna")
    engine, shown = open_database(postgres_database.url, postgres_database.password_file, None)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA ehr")
        connection.exec_driver_sql(
            "CREATE TABLE ehr.t (id uuid PRIMARY KEY, sealed bytea, word varchar(900), n bigint)"
        )
        for number in range(5):
            connection.exec_driver_sql(
                "INSERT INTO ehr.t VALUES (gen_random_uuid(), %s, %s, %s)",
                (data, base64.b64encode(data).decode(), number),
            )
    assert postgres_database.password not in shown + repr(engine)

    for column, old, new in (
        ("sealed", data, rewrapped(data)),
        ("word", base64.b64encode(data).decode(), base64.b64encode(rewrapped(data)).decode()),
    ):
        names = ColumnNames("ehr.t", column, "id")
        source = Table(engine, shown, names, ContextRule([], [("n", "{n}")]), TextEncoding.BASE64)
        assert source.begin() == {"rows": 5}
        rows = every_row(source)
        assert [row.value for row in rows] == [old] * 5
        assert not source.apply(rows, {row.place: Wrapping(2, new_wrapped(data, 2)) for row in rows})
        assert [row.value for row in source.read_again("", 5, [row.place for row in rows])] == [new] * 5
        assert source.apply(rows[:1], {rows[0].place: Wrapping(3, new_wrapped(data, 3))}) == {rows[0].place: None}
    engine.dispose()


def test_a_database_that_refuses_is_told_in_its_own_words(postgres_server: PostgresServer, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("wrong-7\n")
    engine, shown = open_database(postgres_server.url, wrong, None)
    source = Table(engine, shown, ColumnNames("t", "a", "b"), NO_RULE, TextEncoding.BASE64)

    with pytest.raises(StateUnavailable, match="password") as refused:
        source.begin()

    assert "wrong-7" not in str(refused.value)
    assert refused.value.__cause__ is None
    source.close()
