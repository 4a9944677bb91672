"""Brings the schema up to date, safely with several processes and nodes starting at once.

Alembic is imported where something is to be migrated: to import it takes a third of what examining a configuration
does, and nearly every start finds the schema as it should be.
"""

import os
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

from kmsgw.errors import ConfigurationError
from kmsgw.storage.access import Access, with_access
from kmsgw.storage.connections import single_use_engine
from kmsgw.storage.database import MIGRATING, SERVING, Database, SqliteFile, Timeouts
from kmsgw.storage.faults import database_faults
from kmsgw.storage.sqlite import create_file, require_folder

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

NEWEST: Final = "0004"
"""The newest revision of the schema."""

_LOCK: Final = 0x6B6D736777
"""Number of the advisory lock on PostgreSQL: "kmsgw" in ASCII."""


def migrate(database: Database, timeouts: Timeouts = MIGRATING, revision: str = "head") -> None:
    """Make the schema what this version of kmsgw wants, or up to an older one; an SQLite file that isn't there is made.

    One transaction: it happens whole or not at all, and whoever comes second waits and finds it done. Raises
    `ConfigurationError` where the schema is newer than this version or the file can't be made, and `StateUnavailable`
    where the database does not answer.
    """
    if isinstance(database.place, SqliteFile):
        create_file(database.place)
    engine = single_use_engine(database, timeouts)
    with database_faults(), engine.connect() as connection, with_access(connection, Access.WRITE).begin():
        # On SQLite the transaction itself is the lock, since it begins as a writer's.
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
        if revision != "head" or not _is_newest(connection):
            _upgrade(connection, revision)


def examine(database: Database, timeouts: Timeouts = SERVING) -> None:
    """Find out whether `migrate` can do its work; change and make nothing. Raises what it raises."""
    place = database.place
    if isinstance(place, SqliteFile):
        if not os.path.lexists(place.path):
            require_folder(place)
            return
        create_file(place)  # it is there: this looks at it and no more
    engine = single_use_engine(database, timeouts)
    with database_faults(), engine.connect() as connection, with_access(connection, Access.READ).begin():
        if not _is_newest(connection):
            _require_known(connection, _known(_configuration()))


def _is_newest(connection: Connection) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [NEWEST]


def _configuration() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "kmsgw.storage:migrations")
    return config


def _known(config: "Config") -> "ScriptDirectory":
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(config)


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic import command

    config = _configuration()
    config.attributes["connection"] = connection
    _require_known(connection, _known(config))
    command.upgrade(config, revision)


def _require_known(connection: Connection, known: "ScriptDirectory") -> None:
    """Raise `ConfigurationError` where the database was migrated by a version that knows more than this one.

    Older code would read newer rows wrongly, and could open what a newer version has closed.
    """
    from alembic.runtime.migration import MigrationContext
    from alembic.util import CommandError

    for revision in MigrationContext.configure(connection).get_current_heads():
        try:
            known.get_revision(revision)
        except CommandError:
            newest = known.get_current_head()
            raise ConfigurationError(
                [f"state.url: the database has schema {revision[:32]!r}, newer than {newest!r} of this kmsgw"],
                advice="Run the version of kmsgw that made it, or a newer one.",
            ) from None
