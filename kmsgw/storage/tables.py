"""The schema, the same on SQLite and PostgreSQL. `migrations` makes it; a test holds the two together."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
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


def moment_of(microseconds: int) -> datetime:
    """Return the moment so many microseconds after the begin of 1970, in UTC."""
    return _UNIX_EPOCH + timedelta(0, 0, microseconds)


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
        return None if value is None else moment_of(value)


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
    destroy_at: Named[datetime | None] = Column(UtcTime, nullable=True)
    minimum_decrypt_version: Named[int] = Column(Integer, nullable=False)
    minimum_encrypt_version: Named[int] = Column(Integer, nullable=False)
    deletion_protection: Named[bool] = Column(Boolean, nullable=False)
    rotation_period_seconds: Named[int | None] = Column(BigInteger, nullable=True)
    rotation_max_messages: Named[int | None] = Column(BigInteger, nullable=True)
    rotation_max_bytes: Named[int | None] = Column(BigInteger, nullable=True)
    rotation_max_wraps: Named[int | None] = Column(BigInteger, nullable=True)


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
    destroy_at: Named[datetime | None] = Column(UtcTime, nullable=True)
    origin: Named[str] = Column(String(32), nullable=False)


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


class _IndexKeyColumns(TypedColumns):
    key_id: Named[str] = Column(NAME_TEXT, ForeignKey(keys.c.key_id), primary_key=True)
    version: Named[int] = Column(Integer, nullable=False)
    wrapped: Named[bytes] = Column(LargeBinary, nullable=False)


index_keys = Table("index_keys", metadata, _IndexKeyColumns)
"""The data key of a key's blind indexes, made at first use and wrapped under ``version``; rotation rewraps it."""


class _OfficerColumns(TypedColumns):
    officer_id: Named[str] = Column(NAME_TEXT, primary_key=True)
    state: Named[str] = Column(String(32), nullable=False)
    sealed_secret: Named[bytes | None] = Column(LargeBinary, nullable=True)
    invitation_hash: Named[bytes | None] = Column(LargeBinary, nullable=True)
    invitation_expires: Named[datetime | None] = Column(UtcTime, nullable=True)
    confirmed: Named[datetime | None] = Column(UtcTime, nullable=True)
    may_enrol_at: Named[datetime | None] = Column(UtcTime, nullable=True)
    floor_step: Named[int] = Column(BigInteger, nullable=False)
    failures: Named[int] = Column(Integer, nullable=False)
    locked_until: Named[datetime | None] = Column(UtcTime, nullable=True)


officers = Table("officers", metadata, _OfficerColumns)
"""The second factor of each officer that began to enrol. TOTP steps up to ``floor_step`` are refused; it only
rises, until there is another secret."""


class _SpentStepColumns(TypedColumns):
    officer_id: Named[str] = Column(NAME_TEXT, ForeignKey(officers.c.officer_id), primary_key=True)
    step: Named[int] = Column(BigInteger, primary_key=True, autoincrement=False)


spent_steps = Table("spent_steps", metadata, _SpentStepColumns)
"""TOTP steps above an officer's ``floor_step`` whose code was accepted: each at most once, by the primary key."""


class _RecoveryCodeColumns(TypedColumns):
    officer_id: Named[str] = Column(NAME_TEXT, ForeignKey(officers.c.officer_id), primary_key=True)
    code_hash: Named[bytes] = Column(LargeBinary, primary_key=True)
    used: Named[datetime | None] = Column(UtcTime, nullable=True)


recovery_codes = Table("recovery_codes", metadata, _RecoveryCodeColumns)
"""Recovery codes, hashed."""


class _SessionColumns(TypedColumns):
    session_hash: Named[bytes] = Column(LargeBinary, primary_key=True)
    officer_id: Named[str] = Column(NAME_TEXT, ForeignKey(officers.c.officer_id), nullable=False)
    fingerprint: Named[str] = Column(String(64), nullable=False)
    created: Named[datetime] = Column(UtcTime, nullable=False)
    last_used: Named[datetime] = Column(UtcTime, nullable=False)
    expires: Named[datetime] = Column(UtcTime, nullable=False)


officer_sessions = Table("officer_sessions", metadata, _SessionColumns, Index(None, "officer_id"))
"""Sessions of officers: SHA-256 of the token, and the certificate that it works with."""


class _ApprovalColumns(TypedColumns):
    approval_id: Named[str] = Column(NAME_TEXT, primary_key=True)
    tenant: Named[str] = Column(NAME_TEXT, nullable=False)
    requester: Named[str] = Column(NAME_TEXT, nullable=False)
    method: Named[str] = Column(Text, nullable=False)
    key_id: Named[str] = Column(NAME_TEXT, nullable=False)
    request_hash: Named[bytes] = Column(LargeBinary, nullable=False)
    request_json: Named[str] = Column(Text, nullable=False)
    reason: Named[str] = Column(Text, nullable=False)
    needed: Named[int] = Column(Integer, nullable=False)
    state: Named[str] = Column(String(32), nullable=False)
    created: Named[datetime] = Column(UtcTime, nullable=False)
    expires: Named[datetime] = Column(UtcTime, nullable=False)


approvals = Table("approvals", metadata, _ApprovalColumns, Index(None, "created", "approval_id"))
"""Approvals, each for one exact request. ``state`` is as last decided; expiry is told from ``expires``."""


class _ApprovalVoteColumns(TypedColumns):
    approval_id: Named[str] = Column(NAME_TEXT, ForeignKey(approvals.c.approval_id), primary_key=True)
    officer_id: Named[str] = Column(NAME_TEXT, primary_key=True)
    approves: Named[bool] = Column(Boolean, nullable=False)
    reason: Named[str] = Column(Text, nullable=False)
    time: Named[datetime] = Column(UtcTime, nullable=False)


approval_votes = Table("approval_votes", metadata, _ApprovalVoteColumns)
"""What officers decided, once each."""


class _UsageColumns(TypedColumns):
    key_id: Named[str] = Column(NAME_TEXT, ForeignKey(keys.c.key_id), primary_key=True)
    version: Named[int] = Column(Integer, primary_key=True, autoincrement=False)
    tenant: Named[str] = Column(NAME_TEXT, primary_key=True)
    envelopes: Named[int] = Column(BigInteger, nullable=False)
    data_keys: Named[int] = Column(BigInteger, nullable=False)
    decrypts: Named[int] = Column(BigInteger, nullable=False)
    rewraps_away: Named[int] = Column(BigInteger, nullable=False)
    rewraps_here: Named[int] = Column(BigInteger, nullable=False)
    wraps: Named[int] = Column(BigInteger, nullable=False)
    sealed_bytes: Named[int] = Column(BigInteger, nullable=False)
    last_used: Named[datetime] = Column(UtcTime, nullable=False)


key_usage = Table("key_usage", metadata, _UsageColumns)
"""What was done under each version, by the callers of each tenant. Sums over all workers and nodes."""


class _UsageCursorColumns(TypedColumns):
    origin: Named[str] = Column(String(255), primary_key=True)
    size: Named[int] = Column(BigInteger, nullable=False)


usage_cursors = Table("usage_cursors", metadata, _UsageCursorColumns)
"""How many entries of each audit log are in `key_usage`: written in the same transaction, so none counts twice."""


class _DutyColumns(TypedColumns):
    name: Named[str] = Column(NAME_TEXT, primary_key=True)
    holder: Named[str] = Column(String(255), nullable=False)
    until: Named[datetime] = Column(UtcTime, nullable=False)


duties = Table("duties", metadata, _DutyColumns)
"""Chores of the whole installation, each done by the worker that holds it for now."""


class _AuditLogColumns(TypedColumns):
    origin: Named[str] = Column(String(255), primary_key=True)
    size: Named[int] = Column(BigInteger, nullable=False)
    root: Named[bytes] = Column(LargeBinary, nullable=False)
    epoch: Named[int] = Column(BigInteger, nullable=False)


audit_logs = Table("audit_logs", metadata, _AuditLogColumns)
"""The size of each audit log and its root, as of a state epoch: of log and database, the older one was rolled back."""
