"""Keys as rows: reading whole keys in bulk. A worker reads all of them before it serves, 100,000 in about a second.

So the columns come as the driver has them, past SQLAlchemy's conversions, and what many rows share is converted once.
Every row is still looked at: one that no version of kmsgw writes must not be found by the call that needs the key.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeVarTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, select, tuple_

from kmsgw.model.key import Key, KeyVersion
from kmsgw.storage.faults import damaged
from kmsgw.storage.key_columns import KEY_COLUMNS, VERSION_COLUMNS, KeyValues, key_of, labels_of, version_of
from kmsgw.storage.tables import key_aliases, key_versions, keys, moment_of

_KEYS_AT_ONCE: Final = 5_000
"""Keys in one statement, so that it ends within its time limit however many there are."""

_VERSIONS_AT_ONCE: Final = 10_000
"""Version rows in one statement, so that it ends within its time limit however many versions the keys have."""

_NAMED_AT_MOST: Final = 500
"""Keys whose ids are put into a statement. It costs more than to have the database choose them once more, but leaves
the planner no choice but the index: a change of one key must not cost a walk over all versions."""

_Ts = TypeVarTuple("_Ts")


def load_key(connection: Connection, key_id: str, known: Key | None = None) -> Key | None:
    """Return a key whole, or None. Where the transaction is no snapshot, its parts may be of different revisions.

    `known` is the key as it was once read: what has not changed since is taken from there.
    """
    rows = connection.execute(_select_keys().where(keys.c.key_id == key_id)).all()
    if not rows:
        return None
    if known is not None:
        stored = rows[0][-1]
        if stored == known.revision:
            return known
        if stored < known.revision:
            known = None
    after = -1 if known is None else known.revision
    return next(_Chunk(connection, rows, None).keys(after, {} if known is None else {key_id: known}))


def load_changed(connection: Connection, after: int, known: Mapping[str, Key]) -> Iterator[Key]:
    """Yield the keys with a revision above `after`, by revision. The transaction must be a snapshot.

    `known` holds the keys as they were at `after`: of those, only the versions that changed since are read.
    """
    beyond: ColumnElement[bool] = keys.c.revision > after
    while True:
        rows = connection.execute(_page(_select_keys(), beyond)).all()
        if rows:
            yield from _Chunk(connection, rows, _page(select(keys.c.key_id), beyond)).keys(after, known)
        if len(rows) < _KEYS_AT_ONCE:
            return
        last = tuple_(rows[-1][-1], rows[-1][0], types=[keys.c.revision.type, keys.c.key_id.type])
        beyond = tuple_(keys.c.revision, keys.c.key_id) > last


class _Chunk:
    """Rows of keys that were read together, and what belongs to them: two statements more for all of them."""

    def __init__(self, connection: Connection, rows: Sequence[Row[*KeyValues]], chosen: Select[str] | None) -> None:
        """Take rows. ``chosen`` selects their ids, for when they are too many to be named."""
        self._connection = connection
        self._rows = rows
        self._chosen = chosen if len(rows) > _NAMED_AT_MOST else None
        self._moments = _Moments()
        self._labels = _Labels()

    def keys(self, after: int, known: Mapping[str, Key]) -> Iterator[Key]:
        """Yield the keys. Of those that are `known`, as they were at `after`, only what changed since is read."""
        changed = self._versions(after)
        aliases = self._aliases()
        moment, labels = self._moments.__getitem__, self._labels.__getitem__
        for row in self._rows:
            key_id = row[0]
            of_key = _merged(known[key_id].versions, changed[key_id]) if key_id in known else changed[key_id]
            if not of_key or of_key[-1].version != len(of_key):
                # Decryption looks a version up by its place: a row that is missing would give the wrong one.
                raise damaged(f"key {key_id} lacks a version")
            named = tuple(sorted(aliases[key_id])) if key_id in aliases else ()
            yield key_of(row, tuple(of_key), named, moment, labels)

    def _versions(self, after: int) -> defaultdict[str, list[KeyVersion]]:
        """Return the versions that changed after an epoch, by number: unique, at least 1 and sorted."""
        found: defaultdict[str, list[KeyVersion]] = defaultdict(list)
        moment = self._moments.__getitem__
        these = key_versions.c
        query = (
            select(these.key_id, *VERSION_COLUMNS)
            .where(self._of_these(these.key_id), these.revision > after)
            .order_by(these.key_id, these.version)
            .limit(_VERSIONS_AT_ONCE)
        )
        page = query
        while True:
            rows = self._connection.execute(page).all()
            for row in rows:
                found[row[0]].append(version_of(row[0], row[1:], moment))
            if len(rows) < _VERSIONS_AT_ONCE:
                return found
            last = tuple_(rows[-1][0], rows[-1][1], types=[these.key_id.type, these.version.type])
            page = query.where(tuple_(these.key_id, these.version) > last)

    def _aliases(self) -> Mapping[str, Sequence[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        query = select(key_aliases.c.key_id, key_aliases.c.alias).where(self._of_these(key_aliases.c.key_id))
        for key_id, alias in self._connection.execute(query):
            found[key_id].append(alias)
        return found

    def _of_these(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        return column.in_([row[0] for row in self._rows] if self._chosen is None else self._chosen)


class _Moments(dict[int, datetime]):
    """Moments by the number that is stored. Most keys have not changed since they were made, as their version has."""

    def __missing__(self, microseconds: int) -> datetime:
        made = self[microseconds] = moment_of(microseconds)
        return made


class _Labels(dict[str, Mapping[str, str]]):
    """Labels by their JSON: few values are common to many keys. What is returned can't be changed."""

    def __missing__(self, text: str) -> Mapping[str, str]:
        made = self[text] = labels_of(text)
        return made


def _merged(known: Sequence[KeyVersion], changed: Sequence[KeyVersion]) -> list[KeyVersion]:
    """Return the versions that were known with those that changed since in their places; both are by number."""
    merged = list(known)
    for each in changed:
        merged[each.version - 1 : each.version] = [each]
    return merged


def _select_keys() -> Select[*KeyValues]:
    return select(*KEY_COLUMNS)


def _page(query: Select[*_Ts], condition: ColumnElement[bool]) -> Select[*_Ts]:
    return query.where(condition).order_by(keys.c.revision, keys.c.key_id).limit(_KEYS_AT_ONCE)
