"""Leases on disk: the port `Duties` over SQLAlchemy."""

from datetime import datetime, timedelta

from sqlalchemy import or_, select, update

from kmsgw.storage.access import Access
from kmsgw.storage.connections import Connections
from kmsgw.storage.faults import database_faults
from kmsgw.storage.insertion import insert_into
from kmsgw.storage.tables import duties


class SqlDuties:
    """Who of all workers does what, in one database. Safe for threads."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def hold(self, name: str, holder: str, now: datetime, lease: timedelta) -> bool:
        """Take a duty that nobody has, or keep it; tell whether `holder` has it now, for `lease` from `now`.

        Most calls only read: the holder writes in the second half of its lease, all others once it is over.
        """
        with self._connections.transaction(Access.READ) as connection, database_faults():
            query = select(duties.c.holder, duties.c.until).where(duties.c.name == name)
            row = connection.execute(query).first()
        if row is not None and now < row[1] <= now + 2 * lease:
            if row[0] != holder:
                return False
            if row[1] - now > lease / 2:
                return True
        return self._take(name, holder, now, lease)

    def _take(self, name: str, holder: str, now: datetime, lease: timedelta) -> bool:
        columns = duties.c
        # One that is absurdly far off was written by a clock that was wrong: nobody would ever have the duty again.
        free = or_(columns.holder == holder, columns.until <= now, columns.until > now + 2 * lease)
        with self._connections.transaction(Access.WRITE) as connection, database_faults():
            taken = update(duties).where(columns.name == name, free).values(holder=holder, until=now + lease)
            if connection.execute(taken).rowcount == 1:
                return True
            begun = insert_into(connection, duties).values(name=name, holder=holder, until=now + lease)
            return connection.execute(begun.on_conflict_do_nothing()).rowcount == 1
