"""The gateway's state in SQLite or PostgreSQL: one schema, one behaviour.

`bootstrap` uses these things of this package: `Database` (where the state is), `examine` (whether it can be used),
`migrate` (bring the schema up to date, once at start), and `open_state` (the stores over it). The other functions open
one store alone, with connections of its own. Nothing else of the gateway knows of SQL.
"""

from kmsgw.storage.approvals import open_approvals
from kmsgw.storage.database import Database
from kmsgw.storage.index_keys import open_index_keys
from kmsgw.storage.migrate import examine, migrate
from kmsgw.storage.officers import open_officers
from kmsgw.storage.state import State, open_state
from kmsgw.storage.store import open_store
from kmsgw.storage.usage import open_usage

__all__ = [
    "Database",
    "State",
    "examine",
    "migrate",
    "open_approvals",
    "open_index_keys",
    "open_officers",
    "open_state",
    "open_store",
    "open_usage",
]
