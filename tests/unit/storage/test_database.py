"""The URL of the state is checked whole, and nothing of it that may be secret is repeated."""

from pathlib import Path

import pytest

from kmsgw.config import StateSettings
from kmsgw.errors import ConfigurationError
from kmsgw.storage import Database
from kmsgw.storage.database import PostgresqlServer, SqliteFile


def test_a_file_is_named_behind_the_prefix() -> None:
    assert Database.of("sqlite:////var/lib/kmsgw/a ?%20#.db").place == SqliteFile(Path("/var/lib/kmsgw/a ?%20#.db"))


def test_a_server_is_taken_apart() -> None:
    place = Database.of("postgresql://km%40gw@[::1]:6432/state%20db", "pass", Path("/ca.pem")).place

    assert place == PostgresqlServer("::1", 6432, "km@gw", "state db", "pass", Path("/ca.pem"))


def test_the_port_of_postgresql_is_the_default() -> None:
    place = Database.of("postgresql://kmsgw@db.example/state").place

    assert isinstance(place, PostgresqlServer)
    assert place.port == 5432


@pytest.mark.parametrize(
    ("url", "faults"),
    [
        ("sqlite://", ["a file is required"]),
        ("sqlite:///", ["a file is required"]),
        ("sqlite:///:memory:", ["a file is required"]),
        ("mysql://u@h/n", ["no database of this kind"]),
        ("postgresql://", ["the host is missing", "the user is missing", "the name of the database is missing"]),
        ("postgresql://u@h", ["the name of the database is missing"]),
        ("postgresql://u@h/n/m", ["the name of the database is missing"]),
        ("postgresql://u@h:port/n", ["not a URL"]),
        ("postgresql://u@h/n?sslmode=disable", ["options after ? or # are not supported"]),
        ("postgresql://u:canary@h/n", ["take the password out"]),
    ],
)
def test_every_fault_of_a_url_is_named(url: str, faults: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Database.of(url)

    assert len(refused.value.faults) == len(faults)
    for told, expected in zip(refused.value.faults, faults, strict=True):
        assert told.startswith("state.url: ")
        assert expected in told
    assert "canary" not in str(refused.value)


def test_sqlite_takes_neither_password_nor_ca() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Database.of("sqlite:////state.db", "canary", Path("/ca.pem"))

    assert refused.value.faults == (
        "state.password_file: SQLite takes no password",
        "state.ca: SQLite takes no CA",
    )


def test_the_password_is_not_printed() -> None:
    assert "canary" not in repr(Database.of("postgresql://u@h/n", "canary"))


@pytest.mark.parametrize("text", ["pa ss\n", "pa ss\r\n", "pa ss"])
def test_the_password_is_the_text_of_its_file_without_the_line_end(tmp_path: Path, text: str) -> None:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_bytes(text.encode())

    place = Database.of_settings(StateSettings(url="postgresql://u@h/n", password_file=file)).place

    assert isinstance(place, PostgresqlServer)
    assert place.password == "pa ss"


@pytest.mark.parametrize(
    ("content", "fault"), [(None, "No such file"), (b"", "empty"), (b"\n", "empty"), (b"\xff", "not UTF-8")]
)
def test_a_bad_password_file_is_refused(tmp_path: Path, content: bytes | None, fault: str) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.touch(mode=0o600)
        file.write_bytes(content)

    with pytest.raises(ConfigurationError, match=fault):
        Database.of_settings(StateSettings(url="postgresql://u@h/n", password_file=file))
