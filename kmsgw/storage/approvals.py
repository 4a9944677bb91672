"""The approvals on disk: the port `ApprovalStore` over SQLAlchemy."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from kmsgw.errors import InternalError, Reason, ResourceExhausted
from kmsgw.model.approval import MAX_PENDING, OPEN_STATES, Approval, ApprovalState, Vote
from kmsgw.operations.approval_ports import ApprovalPlace, ApprovalStore
from kmsgw.storage.access import Access
from kmsgw.storage.connections import Connections
from kmsgw.storage.database import SERVING, Database, Timeouts
from kmsgw.storage.faults import damaged, database_faults
from kmsgw.storage.tables import approval_votes, approvals, state_epoch

_OPEN = [state.value for state in OPEN_STATES]


class SqlApprovalStore:
    """Approvals in one database. Safe for threads."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def open(self, wanted: Approval) -> Approval:
        """Store an approval and return it; where the same requester has an open one with this hash, return that.

        Raises `ResourceExhausted` where the requester has `MAX_PENDING` open ones.
        """
        these = approvals.c
        with self._connections.transaction(Access.WRITE) as connection, database_faults():
            # One at a time, on every node, or two that ask at once would both find room and no equal.
            connection.execute(select(state_epoch.c.value).with_for_update()).all()
            # Written down, so that a clock that goes back does not bring them to life again (threat 3).
            ended = update(approvals).where(these.state.in_(_OPEN), these.expires <= wanted.created)
            connection.execute(ended.values(state=ApprovalState.EXPIRED.value))
            own = (these.requester == wanted.requester) & these.state.in_(_OPEN)
            equal = _load(connection, own & (these.request_hash == wanted.request_hash), limit=1)
            if equal:
                return equal[0]
            count = connection.execute(select(func.count()).select_from(approvals).where(own)).scalar_one()
            if count < MAX_PENDING:
                connection.execute(insert(approvals).values(**_values(wanted)))
                return wanted
        raise ResourceExhausted(
            f"{MAX_PENDING} approvals that you asked for are open.",
            reason=Reason.LIMIT_REACHED,
            advice="Use them, or take them back with `kmsgw approval reject`.",
        )

    def find(self, approval_id: str) -> Approval | None:
        """Return the approval with its votes, or None."""
        with self._connections.transaction(Access.SNAPSHOT) as connection, database_faults():
            return next(iter(_load(connection, approvals.c.approval_id == approval_id, limit=1)), None)

    def page(
        self, tenant: str, state: ApprovalState | None, after: ApprovalPlace | None, limit: int, now: datetime
    ) -> Sequence[Approval]:
        """Return at most `limit` approvals of a tenant, in a state at `now` where one is given, newest first."""
        these = approvals.c
        condition = these.tenant == tenant
        if state is not None:
            condition &= _is_in(state, now)
        if after is not None:
            # Written out: SQLite and PostgreSQL both use the index for it, and row values need typed literals.
            earlier = (these.created == after.created) & (these.approval_id < after.approval_id)
            condition &= or_(these.created < after.created, earlier)
        with self._connections.transaction(Access.SNAPSHOT) as connection, database_faults():
            return _load(connection, condition, limit)

    def decide(self, approval_id: str, next_approval: Callable[[Approval], Approval]) -> Approval | None:
        """Store state and votes of what `next_approval` makes of the approval, and return it; None where none is.

        No other decision and no use comes between. What `next_approval` raises is raised, and nothing stored.
        """
        this = approvals.c.approval_id == approval_id
        with self._connections.transaction(Access.WRITE) as connection:
            with database_faults():
                connection.execute(select(approvals.c.state).where(this).with_for_update()).all()
                found = _load(connection, this, limit=1)
            if not found:
                return None
            made = next_approval(found[0])
            with database_faults():
                _store_decision(connection, found[0], made)
            return made

    def consume(self, approval: Approval, now: datetime) -> bool:
        """Mark an approved approval as used, if nobody has and its time is not over; tell whether this call did."""
        these = approvals.c
        # One statement that both asks and changes: of any number of callers, on any node, one finds it approved.
        used = update(approvals).where(
            these.approval_id == approval.approval_id,
            these.state == ApprovalState.APPROVED.value,
            these.requester == approval.requester,
            these.request_hash == approval.request_hash,
            these.expires > now,
        )
        with self._connections.transaction(Access.WRITE) as connection, database_faults():
            done = connection.execute(used.values(state=ApprovalState.USED.value)).rowcount
        if done not in (0, 1):
            raise InternalError("An approval was used in a number of places.")
        return done == 1

    def close(self) -> None:
        """Release the connections."""
        self._connections.close()


def open_approvals(database: Database, timeouts: Timeouts = SERVING) -> ApprovalStore:
    """Return the approvals of a database that `migrate` has prepared. Connects on first use."""
    return SqlApprovalStore(Connections(database, timeouts))


def _is_in(state: ApprovalState, now: datetime) -> ColumnElement[bool]:
    these = approvals.c
    if state is ApprovalState.EXPIRED:
        return or_(these.state == state.value, and_(these.state.in_(_OPEN), these.expires <= now))
    if state in OPEN_STATES:
        return and_(these.state == state.value, these.expires > now)
    return these.state == state.value


def _values(approval: Approval) -> dict[str, object]:
    return {
        "approval_id": approval.approval_id,
        "tenant": approval.tenant,
        "requester": approval.requester,
        "method": approval.method,
        "key_id": approval.key_id,
        "request_hash": approval.request_hash,
        "request_json": approval.request_json,
        "reason": approval.reason,
        "needed": approval.needed,
        "state": approval.state.value,
        "created": approval.created,
        "expires": approval.expires,
    }


def _store_decision(connection: Connection, stored: Approval, made: Approval) -> None:
    this = approvals.c.approval_id == stored.approval_id
    connection.execute(update(approvals).where(this).values(state=made.state.value))
    before = set(stored.votes)
    for vote in made.votes:
        if vote in before:
            continue
        votes = approval_votes.c
        # Of an officer that withdraws its consent the new vote counts; the audit log has both.
        connection.execute(
            delete(approval_votes).where(votes.approval_id == stored.approval_id, votes.officer_id == vote.officer_id)
        )
        connection.execute(
            insert(approval_votes).values(
                approval_id=stored.approval_id,
                officer_id=vote.officer_id,
                approves=vote.approves,
                reason=vote.reason,
                time=vote.time,
            )
        )


def _load(connection: Connection, condition: ColumnElement[bool], limit: int) -> list[Approval]:
    these = approvals.c
    query = (
        select(
            these.approval_id,
            these.tenant,
            these.requester,
            these.method,
            these.key_id,
            these.request_hash,
            these.request_json,
            these.reason,
            these.needed,
            these.created,
            these.expires,
            these.state,
        )
        .where(condition)
        .order_by(these.created.desc(), these.approval_id.desc())
        .limit(limit)
    )
    rows = connection.execute(query).all()
    votes = _votes(connection, [row[0] for row in rows])
    return [
        Approval(
            approval_id=row[0],
            tenant=row[1],
            requester=row[2],
            method=row[3],
            key_id=row[4],
            request_hash=row[5],
            request_json=row[6],
            reason=row[7],
            needed=row[8],
            created=row[9],
            expires=row[10],
            state=_state(row[11]),
            votes=tuple(votes[row[0]]),
        )
        for row in rows
    ]


def _votes(connection: Connection, approval_ids: list[str]) -> defaultdict[str, list[Vote]]:
    found: defaultdict[str, list[Vote]] = defaultdict(list)
    if approval_ids:
        these = approval_votes.c
        query = (
            select(these.approval_id, these.officer_id, these.approves, these.reason, these.time)
            .where(these.approval_id.in_(approval_ids))
            .order_by(these.time, these.officer_id)
        )
        for approval_id, officer_id, approves, reason, time in connection.execute(query):
            found[approval_id].append(Vote(officer_id, approves, reason, time))
    return found


def _state(text: str) -> ApprovalState:
    try:
        return ApprovalState(text)
    except ValueError:
        raise damaged("an approval has an unknown state") from None
