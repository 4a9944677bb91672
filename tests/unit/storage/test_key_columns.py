"""What a start and a refresh read of a key: all that is stored."""

from collections.abc import Iterable

from sqlalchemy import Column
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.visitors import iterate

from kmsgw.storage.key_columns import KEY_COLUMNS, VERSION_COLUMNS
from kmsgw.storage.tables import key_versions, keys


def names(expressions: Iterable[ClauseElement]) -> list[str]:
    return [part.name for each in expressions for part in iterate(each) if isinstance(part, Column)]


def test_every_column_of_a_key_is_read_once() -> None:
    assert sorted(names(KEY_COLUMNS)) == sorted(keys.c.keys())


def test_every_column_of_a_version_is_read_once_but_its_key_and_revision() -> None:
    assert sorted(names(VERSION_COLUMNS)) == sorted(set(key_versions.c.keys()) - {"key_id", "revision"})
