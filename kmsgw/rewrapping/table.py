"""A column of an SQL table, read by its key in batches and changed by compare-and-set of the old value."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnClause, Connection, Engine, Inspector, RowMapping, and_, func, inspect, select, update
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table
from sqlalchemy.exc import NoSuchTableError

from kmsgw.envelope.format import Envelope
from kmsgw.errors import ConfigurationError, KmsgwError, Reason
from kmsgw.rewrapping.context_rule import ContextRule
from kmsgw.rewrapping.database import database_faults
from kmsgw.rewrapping.rows import BATCH_BYTES, Json, Row, RowFault, Source, Unapplied, Wrapping
from kmsgw.rewrapping.stored import TextEncoding, envelope_of, header_of, stored_with

KeyValue: TypeAlias = int | str | bytes | UUID
"""What a key column may hold."""

_FIRST_BATCH = 64
"""Rows of the first batch, before the size of the values is known."""


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """Where the envelopes are: ``table`` (or SCHEMA.TABLE), the column, and a unique key column."""

    table: str
    column: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow(Row):
    """A row as it was read; ``value`` is what the change is compared with."""

    key: KeyValue
    value: str | bytes = field(default=b"", repr=False)
    envelope: Envelope | None = None
    encoding: TextEncoding = TextEncoding.BASE64

    def digest(self) -> str:
        """Return the digest of the stored value."""
        return _digest(self.value)

    def digest_with(self, wrapping: Wrapping) -> str:
        """Return the digest of the value with a new wrapping."""
        return _digest(self.renewed(wrapping))

    def renewed(self, wrapping: Wrapping) -> str | bytes:
        """Return the value to store."""
        assert self.envelope is not None
        return stored_with(self.value, self.envelope, wrapping, self.encoding)


class Table(Source[TableRow]):
    """A column of a table. A position is the key of the last row, as JSON text; rows come in the order of the key.

    Rows that come later are looked at where their key is behind the position. No transaction is open while the
    gateway is asked, so nobody waits for the job.
    """

    def __init__(self, engine: Engine, shown: str, names: ColumnNames, rule: ContextRule, encoding: TextEncoding):
        self._engine = engine
        self._shown = shown
        self._names = names
        self._rule = rule
        self._encoding = encoding
        schema, _, name = names.table.rpartition(".")
        self._schema, self._name = schema or None, name
        # Without types, so that every value is compared as the driver gave it.
        self._key: ColumnClause[Any] = sql_column(names.key)
        self._column: ColumnClause[Any] = sql_column(names.column)
        fields: list[ColumnClause[Any]] = [
            sql_column(each) for each in rule.fields if each not in {names.key, names.column}
        ]
        self._table = sql_table(name, self._key, self._column, *fields, schema=self._schema)
        self._limit = _FIRST_BATCH

    def description(self) -> Mapping[str, Json]:
        """Return what identifies the source."""
        return {
            "kind": "table",
            "database": self._shown,
            "table": self._names.table,
            "column": self._names.column,
            "key": self._names.key,
            "encoding": str(self._encoding),
            "context": self._rule.digest(),
        }

    def begin(self) -> Mapping[str, Json]:
        """Check the columns, and that the key is unique; count the rows."""
        with database_faults(self._shown), self._engine.connect() as connection:
            self._check(inspect(connection))
            if connection.scalar(select(func.count()).select_from(self._table).where(self._key.is_(None))):
                raise ConfigurationError(
                    [f"the key {self._names.key!r} is NULL in some rows"], advice="Name a key that every row has."
                )
            rows = connection.scalar(select(func.count()).select_from(self._table))
        return {"rows": int(rows or 0)}

    def resume(self, found: Mapping[str, Json], state: Mapping[str, Json]) -> None:
        """Do nothing: what was committed stands, and the batch in hand is compared again."""

    def look(self, found: Mapping[str, Json]) -> None:
        """Do nothing: reading needs no more than the connection."""

    def read(self, position: str, limit: int) -> Sequence[TableRow]:
        """Return the next rows in the order of the key."""
        statement = select(*self._table.columns).order_by(self._key).limit(min(limit, self._limit))
        if position:
            statement = statement.where(self._key > _key_of(position))
        with database_faults(self._shown), self._engine.connect() as connection:
            rows = [self._row(each) for each in connection.execute(statement).mappings()]
        if rows:
            # So many of such values as memory is meant for; the driver reads a whole answer at once.
            mean = max(1, sum(row.size for row in rows) // len(rows))
            self._limit = max(1, BATCH_BYTES // mean)
        return rows

    def read_again(self, position: str, count: int, places: Sequence[str]) -> Sequence[TableRow]:  # noqa: ARG002
        """Return the rows of an unfinished batch as they are now."""
        found: list[TableRow] = []
        with database_faults(self._shown), self._engine.connect() as connection:
            for place in places:
                statement = select(*self._table.columns).where(self._key == _key_of(place))
                found += [self._row(each) for each in connection.execute(statement).mappings()]
        return found

    def apply(self, rows: Sequence[TableRow], wrappings: Mapping[str, Wrapping]) -> Unapplied:
        """Change rows in one transaction, each where it has the old value still."""
        unapplied: dict[str, RowFault | None] = {}
        if wrappings:
            with database_faults(self._shown), self._engine.begin() as connection:
                for row in rows:
                    if row.place in wrappings and not self._set(connection, row, wrappings[row.place]):
                        unapplied[row.place] = None
        return unapplied

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    def _set(self, connection: Connection, row: TableRow, wrapping: Wrapping) -> bool:
        statement = (
            update(self._table)
            .where(and_(self._key == row.key, self._column == row.value))
            .values({self._column: row.renewed(wrapping)})
        )
        changed = connection.execute(statement).rowcount
        assert changed in {0, 1}, "the key was unique when the job began"
        return changed == 1

    def _check(self, inspector: Inspector) -> None:
        names = self._names
        try:
            columns = [each["name"] for each in inspector.get_columns(self._name, self._schema)]
        except NoSuchTableError:
            raise ConfigurationError(
                [f"the database has no table {names.table!r}"], advice="Name it as --table NAME or SCHEMA.NAME."
            ) from None
        missing = [name for name in (names.key, names.column, *self._rule.fields) if name not in columns]
        if missing:
            raise ConfigurationError(
                [f"the table has no column {name!r}" for name in missing], advice=f"It has: {', '.join(columns)}."
            )
        unique = [inspector.get_pk_constraint(self._name, self._schema)["constrained_columns"]]
        unique += [each["column_names"] for each in inspector.get_unique_constraints(self._name, self._schema)]
        unique += [
            [name for name in each["column_names"] if name is not None]
            for each in inspector.get_indexes(self._name, self._schema)
            # A partial index promises nothing of the other rows.
            if each["unique"] and not any(key.endswith("_where") for key in each.get("dialect_options", {}))
        ]
        if [names.key] not in unique:
            raise ConfigurationError(
                [f"the key {names.key!r} is not unique"],
                advice="Name the primary key, or a column with a unique constraint.",
            )

    def _row(self, found: RowMapping) -> TableRow:
        key, value = found[self._names.key], found[self._names.column]
        if isinstance(value, memoryview | bytearray):
            value = bytes(value)
        place = _place_of(key)
        size = len(value) if isinstance(value, str | bytes) else 0

        def faulty(fault: RowFault | None) -> TableRow:
            return TableRow(place=place, after=place, key=key, fault=fault, size=size)

        if value is not None and not isinstance(value, str | bytes):
            return faulty(RowFault(str(Reason.FIELD_INVALID), "The value is neither bytes nor text."))
        if not value:
            return faulty(None)
        try:
            envelope = envelope_of(value, self._encoding)
        except KmsgwError as error:
            return faulty(RowFault.of(error))
        context = self._rule.context({name: found[name] for name in self._rule.fields})
        if isinstance(context, RowFault):
            return faulty(context)
        return TableRow(
            place=place,
            after=place,
            header=header_of(envelope),
            context=context,
            size=size,
            key=key,
            value=value,
            envelope=envelope,
            encoding=self._encoding,
        )


def _place_of(key: object) -> str:
    """Return a key as JSON text, by which `_key_of` finds it again."""
    if isinstance(key, int | str) and not isinstance(key, bool):
        return json.dumps(key, ensure_ascii=False)
    if isinstance(key, UUID):
        return json.dumps({"uuid": str(key)})
    if isinstance(key, bytes):
        return json.dumps({"hex": key.hex()})
    raise ConfigurationError(
        [f"the key is of the type {type(key).__name__}"], advice="Name a key of whole numbers, text, bytes or UUIDs."
    )


def _key_of(place: str) -> KeyValue:
    found = json.loads(place)
    if isinstance(found, dict):
        return UUID(found["uuid"]) if "uuid" in found else bytes.fromhex(found["hex"])
    assert isinstance(found, int | str)
    return found


def _digest(value: str | bytes) -> str:
    kind, raw = (b"t", value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else (b"b", value)
    return sha256(kind + raw).hexdigest()
