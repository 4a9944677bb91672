"""The gateway's state in SQLite or PostgreSQL: one schema, one behaviour.

`bootstrap` uses four things of this package: `Database` (where the state is), `examine` (whether it can be used),
`migrate` (bring the schema up to date, once at start) and `open_store` (the keys). Nothing else of the gateway knows
of SQL.
"""

from kmsgw.storage.database import Database
from kmsgw.storage.migrate import examine, migrate
from kmsgw.storage.store import open_store

__all__ = ["Database", "examine", "migrate", "open_store"]
