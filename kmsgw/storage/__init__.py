"""The gateway's state in SQLite or PostgreSQL: one schema, one behaviour.

`bootstrap` uses three things of this package: `Database` (where the state is), `migrate` (bring the schema up to date,
once at start) and `open_store` (the keys). Nothing else of the gateway knows of SQL.
"""

from kmsgw.storage.database import Database
from kmsgw.storage.migrate import migrate
from kmsgw.storage.store import open_store

__all__ = ["Database", "migrate", "open_store"]
