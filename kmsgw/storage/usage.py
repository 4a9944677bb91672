"""Usage on disk: the port `UsageStore` over SQLAlchemy."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Insert, case, func, select, tuple_, update

from kmsgw.errors import Conflict
from kmsgw.model.usage import Usage, UsageTally, VersionUsage
from kmsgw.operations.usage import NewestUsage
from kmsgw.storage.access import Access
from kmsgw.storage.connections import Connections
from kmsgw.storage.database import SERVING, Database, Timeouts
from kmsgw.storage.duties import SqlDuties
from kmsgw.storage.faults import database_faults
from kmsgw.storage.insertion import insert_into
from kmsgw.storage.tables import key_usage, key_versions, keys, usage_cursors

_COUNTS: Final = (
    "envelopes",
    "data_keys",
    "decrypts",
    "rewraps_away",
    "rewraps_here",
    "wraps",
    "sealed_bytes",
)
_ROWS_AT_ONCE: Final = 500


class SqlUsageStore:
    """Usage in one database. Safe for threads; every call ends within the time limits of the connections.

    Nothing of it takes a state epoch: usage is no part of a key, and readers of keys must not look at every count.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def counted(self, log_id: str) -> int:
        """Return how many entries of a log the sums hold."""
        with self._connections.transaction(Access.READ) as connection, database_faults():
            return _counted(connection, log_id) or 0

    def add(self, log_id: str, start: int, end: int, tally: UsageTally) -> Mapping[tuple[str, int], int]:
        """Add what the entries of a log from `start` to before `end` say, and return the wraps of what was wrapped."""
        with self._connections.transaction(Access.WRITE) as connection, database_faults():
            _advance(connection, log_id, start, end)
            _add_rows(connection, tally)
            return _wraps_of(connection, list(tally.wraps()))

    def wraps(self, key_id: str, version: int) -> int:
        """Return the wraps under a version."""
        with self._connections.transaction(Access.READ) as connection, database_faults():
            return _wraps_of(connection, [(key_id, version)]).get((key_id, version), 0)

    def of_key(self, key_id: str) -> Sequence[VersionUsage]:
        """Return what was done under each version of a key, newest version first, then by tenant."""
        columns = key_usage.c
        query = (
            select(columns.version, columns.tenant, *(columns[name] for name in _COUNTS), columns.last_used)
            .where(columns.key_id == key_id)
            .order_by(columns.version.desc(), columns.tenant)
        )
        with self._connections.transaction(Access.READ) as connection, database_faults():
            return [
                VersionUsage(version, tenant, Usage(*counts)) for version, tenant, *counts in connection.execute(query)
            ]

    def newest(self) -> Sequence[NewestUsage]:
        """Return what was done under the newest version of each key that was used."""
        columns = key_usage.c
        newest = (
            select(func.max(key_versions.c.version)).where(key_versions.c.key_id == columns.key_id).scalar_subquery()
        )
        query = select(columns.key_id, columns.version, *(columns[name] for name in _COUNTS), columns.last_used).where(
            columns.version == newest
        )
        found: defaultdict[tuple[str, int], Usage] = defaultdict(Usage)
        with self._connections.transaction(Access.READ) as connection, database_faults():
            for key_id, version, *counts in connection.execute(query):
                found[key_id, version] += Usage(*counts)
        return [NewestUsage(key_id, version, usage) for (key_id, version), usage in found.items()]


@dataclass(frozen=True, slots=True)
class UsageState:
    """Usage, and who of all workers does what: over one pool of connections."""

    usage: SqlUsageStore
    duties: SqlDuties
    close: Callable[[], None]


def open_usage(database: Database, timeouts: Timeouts = SERVING) -> UsageState:
    """Return the usage in a database that `migrate` has prepared. Connects on first use."""
    connections = Connections(database, timeouts)
    return UsageState(SqlUsageStore(connections), SqlDuties(connections), connections.close)


def _counted(connection: Connection, log_id: str) -> int | None:
    return connection.execute(select(usage_cursors.c.size).where(usage_cursors.c.origin == log_id)).scalar()


def _advance(connection: Connection, log_id: str, start: int, end: int) -> None:
    """Take note that the sums hold the entries before `end`. Raises `Conflict` unless they hold those before `start`.

    It comes first: whoever wants to write of the same log waits here, and finds another number.
    """
    cursor = usage_cursors.c
    moved = update(usage_cursors).where(cursor.origin == log_id, cursor.size == start).values(size=end)
    if connection.execute(moved).rowcount == 1:
        return
    if start == 0:
        begun = insert_into(connection, usage_cursors).values(origin=log_id, size=end).on_conflict_do_nothing()
        if connection.execute(begun).rowcount == 1:
            return
    raise Conflict("The usage of this log was counted by another.")


def _add_rows(connection: Connection, tally: UsageTally) -> None:
    rows = [
        {
            "key_id": key_id,
            "version": version,
            "tenant": tenant,
            "last_used": usage.last_used,
            **{name: getattr(usage, name) for name in _COUNTS},
        }
        for (key_id, version, tenant), usage in tally.items()
    ]
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[first : first + _ROWS_AT_ONCE]
        # After a restore of an older database the log may tell of keys that are not there any more.
        named = {row["key_id"] for row in some}
        known = set(connection.execute(select(keys.c.key_id).where(keys.c.key_id.in_(named))).scalars())
        some = [row for row in some if row["key_id"] in known]
        if some:
            connection.execute(_upsert(connection, some))


def _upsert(connection: Connection, rows: list[dict[str, Any]]) -> Insert:
    made = insert_into(connection, key_usage).values(rows)
    stored, new = key_usage.c, made.excluded
    return made.on_conflict_do_update(
        index_elements=[stored.key_id, stored.version, stored.tenant],
        set_={
            **{name: stored[name] + new[name] for name in _COUNTS},
            "last_used": case((new.last_used > stored.last_used, new.last_used), else_=stored.last_used),
        },
    )


def _wraps_of(connection: Connection, versions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
    columns = key_usage.c
    found: dict[tuple[str, int], int] = {}
    for first in range(0, len(versions), _ROWS_AT_ONCE):
        query = (
            select(columns.key_id, columns.version, func.sum(columns.wraps))
            .where(tuple_(columns.key_id, columns.version).in_(versions[first : first + _ROWS_AT_ONCE]))
            .group_by(columns.key_id, columns.version)
        )
        for key_id, version, wraps in connection.execute(query):
            found[key_id, version] = int(wraps)
    return found
