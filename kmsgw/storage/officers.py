"""Officers as rows: the port `OfficerStore` over SQLAlchemy.

Whoever decides over an officer holds its row: on PostgreSQL by SELECT FOR UPDATE, on SQLite as the one writer of the
file. So two workers, or two nodes, never count wrong codes past each other, nor take one code twice; the primary key
of the spent steps would refuse the second one even where a lock were not held.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, Table, delete, func, insert, literal, select, update

from kmsgw.model.officer import CLOCK_TOLERANCE, Officer, OfficerState, Session
from kmsgw.operations.officer_ports import OfficerStore, OfficerUnit
from kmsgw.storage.access import Access
from kmsgw.storage.connections import Connections
from kmsgw.storage.database import SERVING, Database, Timeouts
from kmsgw.storage.faults import damaged, database_faults
from kmsgw.storage.insertion import insert_into
from kmsgw.storage.tables import officer_sessions, officers, recovery_codes, spent_steps

_STATES: Final = {each.value: each for each in OfficerState}

_these = officers.c
_LEFT = (
    select(func.count())
    .select_from(recovery_codes)
    .where(recovery_codes.c.officer_id == _these.officer_id, recovery_codes.c.used.is_(None))
    .scalar_subquery()
)
_OFFICERS = select(
    _these.officer_id,
    _these.state,
    _these.sealed_secret,
    _these.invitation_hash,
    _these.invitation_expires,
    _these.confirmed,
    _these.may_enrol_at,
    _these.floor_step,
    _these.failures,
    _these.locked_until,
    _LEFT,
)

_OfficerRow = Row[
    str,
    str,
    bytes | None,
    bytes | None,
    datetime | None,
    datetime | None,
    datetime | None,
    int,
    int,
    datetime | None,
    int,
]


class SqlOfficerUnit:
    """One officer's row, held by a transaction that somebody else commits. For one thread."""

    def __init__(self, connection: Connection, officer_id: str) -> None:
        self._connection = connection
        self._officer_id = officer_id
        self._officer = self._hold()

    @property
    def officer(self) -> Officer:
        """The officer as stored, or as it was saved in this transaction."""
        return self._officer

    def save(self, officer: Officer) -> None:
        """Write the officer."""
        with database_faults():
            row = update(officers).where(_these.officer_id == self._officer_id).values(**_values(officer))
            self._connection.execute(row)
        self._officer = officer

    def spend(self, step: int) -> bool:
        """Note that the code of a step was accepted; False where it was already."""
        with database_faults():
            return _insert_once(self._connection, spent_steps, {"officer_id": self._officer_id, "step": step})

    def forget_steps(self, up_to: int) -> None:
        """Forget the spent steps up to a number."""
        with database_faults():
            mine = spent_steps.c.officer_id == self._officer_id
            self._connection.execute(delete(spent_steps).where(mine, spent_steps.c.step <= up_to))

    def replace_recovery_codes(self, hashes: Sequence[bytes]) -> None:
        """Put these recovery codes in the place of all that there were."""
        with database_faults():
            self._connection.execute(delete(recovery_codes).where(recovery_codes.c.officer_id == self._officer_id))
            if hashes:
                rows = [{"officer_id": self._officer_id, "code_hash": each, "used": None} for each in hashes]
                self._connection.execute(insert(recovery_codes), rows)

    def use_recovery_code(self, code_hash: bytes, now: datetime) -> bool:
        """Use a recovery code up; False where there is no such code, or it was used."""
        with database_faults():
            unused = (
                (recovery_codes.c.officer_id == self._officer_id)
                & (recovery_codes.c.code_hash == code_hash)
                & recovery_codes.c.used.is_(None)
            )
            return self._connection.execute(update(recovery_codes).where(unused).values(used=now)).rowcount == 1

    def add_session(self, session: Session, keep: int) -> None:
        """Add a session of this officer; of the others those stay that have not expired, the newest `keep` of all."""
        these = officer_sessions.c
        mine = these.officer_id == self._officer_id
        with database_faults():
            newest = select(these.session_hash).where(mine, these.expires > session.created)
            newest = newest.order_by(these.created.desc(), these.session_hash).limit(keep - 1)
            kept = list(self._connection.execute(newest).scalars())
            self._connection.execute(delete(officer_sessions).where(mine, these.session_hash.not_in(kept)))
            self._connection.execute(
                insert(officer_sessions).values(
                    session_hash=session.session_hash,
                    officer_id=self._officer_id,
                    fingerprint=session.fingerprint,
                    created=session.created,
                    last_used=session.last_used,
                    expires=session.expires,
                )
            )

    def drop_sessions(self) -> None:
        """End every session of this officer."""
        with database_faults():
            self._connection.execute(delete(officer_sessions).where(officer_sessions.c.officer_id == self._officer_id))

    def _hold(self) -> Officer:
        with database_faults():
            _insert_once(
                self._connection,
                officers,
                {"officer_id": self._officer_id, **_values(Officer(self._officer_id))},
            )
            # The lock in a statement of its own: PostgreSQL reads the rest again after it has waited for it.
            held = select(literal(1)).select_from(officers).where(_these.officer_id == self._officer_id)
            self._connection.execute(held.with_for_update())
            found = _find(self._connection, self._officer_id)
        if found is None:
            raise damaged(f"officer {self._officer_id} vanished")
        return found


class SqlOfficerStore:
    """Officers in one database. Safe for threads; every call ends within the time limits given."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def find(self, officer_id: str) -> Officer | None:
        """Return an officer, or None where it never did anything."""
        with self._connections.transaction(Access.READ) as connection, database_faults():
            return _find(connection, officer_id)

    def all(self) -> Mapping[str, Officer]:
        """Return every officer that ever did anything, by id."""
        with self._connections.transaction(Access.READ) as connection, database_faults():
            return {row[0]: _officer(row) for row in connection.execute(_OFFICERS)}

    @contextmanager
    def locked(self, officer_id: str) -> Iterator[OfficerUnit]:
        """Open a transaction that holds one officer. Keep it short: on SQLite it holds up all other writers."""
        with self._connections.transaction(Access.WRITE) as connection:
            yield SqlOfficerUnit(connection, officer_id)

    def find_session(self, session_hash: bytes) -> Session | None:
        """Return a session of an officer whose second factor is in force, or None."""
        these = officer_sessions.c
        query = (
            select(these.officer_id, these.fingerprint, these.created, these.last_used, these.expires)
            .join(officers, _these.officer_id == these.officer_id)
            .where(these.session_hash == session_hash, _these.state == OfficerState.ACTIVE.value)
        )
        with self._connections.transaction(Access.READ) as connection, database_faults():
            row = connection.execute(query).one_or_none()
        return None if row is None else Session(session_hash, row[0], row[1], row[2], row[3], row[4])

    def open_sessions(self, now: datetime) -> int:
        """Return how many sessions have not expired."""
        query = select(func.count()).select_from(officer_sessions).where(officer_sessions.c.expires > now)
        with self._connections.transaction(Access.READ) as connection, database_faults():
            return connection.execute(query).scalar_one()

    def touch_session(self, session_hash: bytes, now: datetime) -> None:
        """Write when a session was used last, unless a later use is written; one far in the future is none."""
        last_used = officer_sessions.c.last_used
        this = (officer_sessions.c.session_hash == session_hash) & (
            (last_used < now) | (last_used > now + CLOCK_TOLERANCE)
        )
        with self._connections.transaction(Access.WRITE) as connection, database_faults():
            connection.execute(update(officer_sessions).where(this).values(last_used=now))

    def drop_session(self, session_hash: bytes) -> None:
        """End a session."""
        with self._connections.transaction(Access.WRITE) as connection, database_faults():
            connection.execute(delete(officer_sessions).where(officer_sessions.c.session_hash == session_hash))

    def close(self) -> None:
        """Release the connections."""
        self._connections.close()


def open_officers(database: Database, timeouts: Timeouts = SERVING) -> OfficerStore:
    """Return the officers of a database that `migrate` has prepared. Connects on first use."""
    return SqlOfficerStore(Connections(database, timeouts))


def _find(connection: Connection, officer_id: str) -> Officer | None:
    row = connection.execute(_OFFICERS.where(_these.officer_id == officer_id)).one_or_none()
    return None if row is None else _officer(row)


def _officer(row: _OfficerRow) -> Officer:
    officer_id, state, sealed, invitation, invited, confirmed, may_enrol_at, floor, failures, locked, left = row
    if state not in _STATES:
        raise damaged(f"officer {officer_id} has an unknown state")
    return Officer(
        officer_id,
        _STATES[state],
        sealed or b"",
        invitation or b"",
        invited,
        confirmed,
        may_enrol_at,
        floor,
        failures,
        locked,
        left,
    )


def _values(officer: Officer) -> dict[str, object]:
    return {
        "state": officer.state.value,
        "sealed_secret": officer.sealed_secret or None,
        "invitation_hash": officer.invitation_hash or None,
        "invitation_expires": officer.invitation_expires,
        "confirmed": officer.confirmed,
        "may_enrol_at": officer.may_enrol_at,
        "floor_step": officer.floor_step,
        "failures": officer.failures,
        "locked_until": officer.locked_until,
    }


def _insert_once(connection: Connection, table: Table, values: Mapping[str, object]) -> bool:
    """Insert a row unless there is one of its primary key; tell whether it was inserted."""
    return connection.execute(insert_into(connection, table).values(values).on_conflict_do_nothing()).rowcount == 1
