"""All keys as a start reads them: texts that the database puts together, each of which is read when its key is used.

Of 100,000 keys a worker uses a few, and to make objects of all took most of its start. Every row is still looked at, by
the database: one that no version of kmsgw writes must not be found by the call that needs the key.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    cast,
    func,
    literal,
    not_,
    select,
    type_coerce,
    union,
)

from kmsgw.errors import StateUnavailable
from kmsgw.model.key import Key, KeyState
from kmsgw.storage.faults import damaged
from kmsgw.storage.key_columns import KEY_COLUMNS, ORIGINS, STATES, VERSION_COLUMNS, key_of, labels_of, version_of
from kmsgw.storage.tables import key_aliases, key_versions, keys, moment_of

_KEYS_AT_ONCE: Final = 20_000
"""Keys in one statement, so that it ends within its time limit however many there are."""

_POSTGRESQL: Final = "postgresql"
_PARTS: Final = 3
_BETWEEN_KEYS: Final = "\n"
_BEFORE_VERSIONS: Final = "\t"
"""JSON has neither of the two."""


class StoredKeys:
    """All keys as of one moment. See the port `UnreadKeys`."""

    def __init__(self, connection: Connection) -> None:
        """Take all that is there. The transaction must be a snapshot. Raises `StateUnavailable` for a damaged row."""
        _require_readable(connection)
        self.tenants: dict[str, list[str]] = {}
        self._aliases = _aliases(connection)
        self.rotates = _rotations(connection)
        self.ending = _ending(connection)
        self._texts: dict[str, str] = {}
        after = ""
        while True:
            # Three texts, or nothing at all where there are no more keys.
            parts = [part.split(_BETWEEN_KEYS) for part in connection.execute(_page(connection, after)).one() if part]
            if not parts:
                return
            if len({len(part) for part in parts}) != 1 or len(parts) != _PARTS:
                raise _no_version(connection)
            ids, tenants, texts = parts
            self._texts.update(zip(ids, texts, strict=True))
            for key_id, tenant in zip(ids, tenants, strict=True):
                self.tenants.setdefault(tenant, []).append(key_id)
            if len(ids) < _KEYS_AT_ONCE:
                return
            after = ids[-1]

    @property
    def aliases(self) -> Mapping[str, Sequence[str]]:
        """The aliases of each key that has some."""
        return self._aliases

    def __contains__(self, key_id: object) -> bool:
        """Tell whether a key is here."""
        return key_id in self._texts

    def read(self, key_id: str) -> Key | None:
        """Return a key, or None. Raises `StateUnavailable` where its row says that it is another."""
        text = self._texts.get(key_id)
        if text is None:
            return None
        key = _key(text, self._aliases.get(key_id, ()))
        if key.key_id != key_id:
            raise damaged(f"key {key_id} has a malformed row")
        return key

    def drop(self, key_id: str) -> None:
        """Forget a key, which is held elsewhere from now on, or has changed."""
        self._texts.pop(key_id, None)


def _page(connection: Connection, after: str) -> Select[str, str, str]:
    """Select ids, tenants and texts of the next keys by id, each as one value: fetching a row costs more than it."""
    these, those = keys.c, key_versions.c
    others, material = VERSION_COLUMNS[:-1], VERSION_COLUMNS[-1]
    versions = (
        select(_joined(connection, _columns(connection, *others, _hexadecimal(connection, material)), ","))
        .where(those.key_id == these.key_id)
        .correlate(keys)
        .scalar_subquery()
    )
    columns = _columns(connection, *KEY_COLUMNS)
    page = (
        select(these.key_id, these.tenant, (columns + _BEFORE_VERSIONS + versions).label("text"))
        .where(these.key_id > after)
        .order_by(these.key_id)
        .limit(_KEYS_AT_ONCE)
        .subquery()
    )
    return select(
        _joined(connection, page.c.key_id, _BETWEEN_KEYS),
        _joined(connection, page.c.tenant, _BETWEEN_KEYS),
        _joined(connection, page.c.text, _BETWEEN_KEYS),
    )


def _require_readable(connection: Connection) -> None:
    """Raise `StateUnavailable` where a row has a value that `StoredKeys` could not read, or where one is missing."""
    strange = not_(key_versions.c.state.in_(STATES)) | not_(key_versions.c.origin.in_(ORIGINS))
    queries = (
        (select(keys.c.key_id).where(not_(keys.c.state.in_(STATES))), "has an unknown state"),
        (select(key_versions.c.key_id).where(strange), "has a version with an unknown state or origin"),
        # Decryption looks a version up by its place: one that is missing would give the wrong one.
        (
            select(key_versions.c.key_id)
            .group_by(key_versions.c.key_id)
            .having(func.count() != func.max(key_versions.c.version)),
            "lacks a version",
        ),
    )
    for query, fault in queries:
        found = connection.execute(query.limit(1)).scalar()
        if found is not None:
            raise damaged(f"key {found} {fault}")
    if connection.dialect.name != _POSTGRESQL:  # which lets no other text into such a column
        malformed = select(keys.c.key_id).where(func.json_valid(cast(keys.c.labels, Text)) == 0)
        found = connection.execute(malformed.limit(1)).scalar()
        if found is not None:
            raise damaged(f"key {found} has malformed labels")


def _no_version(connection: Connection) -> StateUnavailable:
    """Return the error for keys of which a text is missing: one has no version at all."""
    versioned = select(key_versions.c.key_id)
    found = connection.execute(select(keys.c.key_id).where(keys.c.key_id.not_in(versioned)).limit(1)).scalar()
    return damaged("a key has a malformed row" if found is None else f"key {found} lacks a version")


def _aliases(connection: Connection) -> Mapping[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for key_id, alias in connection.execute(select(key_aliases.c.key_id, key_aliases.c.alias)):
        found[key_id].append(alias)
    return {key_id: tuple(sorted(aliases)) for key_id, aliases in found.items()}


def _rotations(connection: Connection) -> dict[str, datetime]:
    """Return when the rotation period of each key ends that has one and is in use."""
    these, those = keys.c, key_versions.c
    each = key_versions.alias()
    newest = select(func.max(each.c.version)).where(each.c.key_id == these.key_id).correlate(keys).scalar_subquery()
    query = (
        select(these.key_id, these.rotation_period_seconds, type_coerce(those.created, BigInteger))
        .select_from(keys)
        .join(key_versions, (those.key_id == these.key_id) & (those.version == newest))
        .where(these.rotation_period_seconds.is_not(None), these.state == KeyState.ENABLED.value)
    )
    return {
        key_id: moment_of(created) + timedelta(seconds=period)
        for key_id, period, created in connection.execute(query)
        if period is not None
    }


def _ending(connection: Connection) -> set[str]:
    pending = KeyState.PENDING_DESTRUCTION.value
    query = union(
        select(keys.c.key_id).where(keys.c.state == pending),
        select(key_versions.c.key_id).where(key_versions.c.state == pending),
    )
    return {row[0] for row in connection.execute(query)}


def _columns(connection: Connection, *columns: ColumnElement[Any]) -> ColumnElement[str]:
    """Return an expression for columns as a JSON list in one line."""
    if connection.dialect.name == _POSTGRESQL:
        return cast(func.json_build_array(*columns), Text)
    return func.json_array(*columns, type_=Text)


def _joined(connection: Connection, column: ColumnElement[str], between: str) -> ColumnElement[str]:
    """Return an expression for the values of all rows as one text."""
    name = "string_agg" if connection.dialect.name == _POSTGRESQL else "group_concat"
    function = getattr(func, name)
    joined: ColumnElement[str] = function(column, literal(between, Text), type_=Text)
    return joined


def _hexadecimal(connection: Connection, column: ColumnElement[bytes]) -> ColumnElement[str]:
    if connection.dialect.name == _POSTGRESQL:
        return func.encode(column, "hex", type_=Text)
    return func.hex(column, type_=Text)


def _key(text: str, aliases: tuple[str, ...]) -> Key:
    columns, _, versions = text.partition(_BEFORE_VERSIONS)
    values = orjson.loads(columns)
    read = (
        version_of(values[0], (*others, bytes.fromhex(material)), moment_of)
        for *others, material in orjson.loads(f"[{versions}]")
    )
    return key_of(values, tuple(sorted(read, key=lambda each: each.version)), aliases, moment_of, labels_of)
