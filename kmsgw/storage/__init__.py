"""The gateway's state in SQLite or PostgreSQL: one schema, one behaviour.

`bootstrap` uses these things of this package: `Database` (where the state is), `examine` (whether it can be used),
`migrate` (bring the schema up to date, once at start), `open_store` (the keys), `open_officers`, `open_approvals`,
`open_usage` (usage, and who does what), and `open_index_keys` (the wrapped keys of blind indexes). Nothing else of the
gateway knows of SQL.
"""

from kmsgw.storage.approvals import open_approvals
from kmsgw.storage.database import Database
from kmsgw.storage.index_keys import open_index_keys
from kmsgw.storage.migrate import examine, migrate
from kmsgw.storage.officers import open_officers
from kmsgw.storage.store import open_store
from kmsgw.storage.usage import open_usage

__all__ = [
    "Database",
    "examine",
    "migrate",
    "open_approvals",
    "open_index_keys",
    "open_officers",
    "open_store",
    "open_usage",
]
