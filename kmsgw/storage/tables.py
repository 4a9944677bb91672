"""The schema, the same on SQLite and PostgreSQL. `migrations` makes it; a test holds the two together."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Named,
    String,
    Table,
    Text,
    TypedColumns,
    TypeDecorator,
)

_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class UtcTime(TypeDecorator[datetime]):
    """A moment, stored as whole microseconds since 1970 in UTC; always read as an aware datetime in UTC.

    A number is exact and alike on both back ends. It also loads fast: pg8000 reads a timestamp with strptime, 8 µs
    each, of which a key has three.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Return the number to store. The value must be aware: naive time has no meaning across nodes."""
        if value is None:
            return None
        assert value.tzinfo is not None, "a stored time must be aware"
        return (value - _UNIX_EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment of a stored number."""
        return None if value is None else _UNIX_EPOCH + timedelta(microseconds=value)


NAME_TEXT: Final = String(64).with_variant(String(64, collation="C"), "postgresql")
"""Ids, tenants, aliases: compared by bytes. A language's order may change with the system's C library, and then
PostgreSQL's indexes over it are silently wrong."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables. Every constraint has a name, so that a later migration can change it."""


class _StateEpochColumns(TypedColumns):
    id: Named[int] = Column(Integer, primary_key=True, autoincrement=False)
    value: Named[int] = Column(BigInteger, nullable=False)


state_epoch = Table("state_epoch", metadata, _StateEpochColumns, CheckConstraint("id = 1", name="single_row"))
"""One row: the number of the last committed change. Whoever writes anything updates it first and so holds its lock."""


class _KeyColumns(TypedColumns):
    key_id: Named[str] = Column(NAME_TEXT, primary_key=True)
    tenant: Named[str] = Column(NAME_TEXT, nullable=False)
    provider: Named[str] = Column(NAME_TEXT, nullable=False)
    state: Named[str] = Column(String(32), nullable=False)
    description: Named[str] = Column(Text, nullable=False)
    labels: Named[dict[str, str]] = Column(JSON, nullable=False)
    created: Named[datetime] = Column(UtcTime, nullable=False)
    updated: Named[datetime] = Column(UtcTime, nullable=False)
    revision: Named[int] = Column(BigInteger, nullable=False)


keys = Table("keys", metadata, _KeyColumns, Index(None, "revision", "key_id"))
"""Keys. No row is ever deleted, so that an id is never used twice. The index finds what changed after an epoch."""


class _KeyVersionColumns(TypedColumns):
    key_id: Named[str] = Column(NAME_TEXT, ForeignKey(keys.c.key_id), primary_key=True)
    version: Named[int] = Column(Integer, primary_key=True, autoincrement=False)
    material: Named[bytes] = Column(LargeBinary, nullable=False)
    state: Named[str] = Column(String(32), nullable=False)
    reason: Named[str] = Column(Text, nullable=False)
    created: Named[datetime] = Column(UtcTime, nullable=False)
    revision: Named[int] = Column(BigInteger, nullable=False)


key_versions = Table(
    "key_versions",
    metadata,
    _KeyVersionColumns,
    CheckConstraint("version >= 1", name="version_from_one"),
    Index(None, "key_id", "revision"),
)
"""Versions of keys, 1 to n without a gap. No row is ever deleted. ``material`` is the provider's, treated as secret.

``revision`` is the epoch of the row's own last change: who knows the key of an earlier epoch reads only what differs.
"""


class _KeyAliasColumns(TypedColumns):
    alias: Named[str] = Column(NAME_TEXT, primary_key=True)
    key_id: Named[str] = Column(NAME_TEXT, ForeignKey(keys.c.key_id), nullable=False)


key_aliases = Table("key_aliases", metadata, _KeyAliasColumns, Index(None, "key_id"))
"""Aliases, each of one key."""
