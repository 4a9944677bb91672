"""Figures over all keys, counted by the database: a walk over 100,000 keys in a worker would hold up its calls."""

from sqlalchemy import BigInteger, Connection, func, select, type_coerce

from kmsgw.model.key import KeyState
from kmsgw.operations.ports import KeyCensus
from kmsgw.storage.tables import key_versions, keys, moment_of


def census(connection: Connection, oldest: int) -> KeyCensus:
    """Count the keys by state, and find the enabled ones whose newest version was made first. See `KeyCensus`."""
    these, those = keys.c, key_versions.c
    states = connection.execute(select(these.state, func.count()).group_by(these.state)).all()
    newest = select(those.key_id, func.max(those.version).label("version")).group_by(those.key_id).subquery()
    made = type_coerce(those.created, BigInteger)
    query = (
        select(these.key_id, made)
        .join(newest, newest.c.key_id == these.key_id)
        .join(key_versions, (those.key_id == newest.c.key_id) & (those.version == newest.c.version))
        .where(these.state == KeyState.ENABLED.value)
        .order_by(made, these.key_id)
        .limit(oldest)
    )
    found = [(key_id, moment_of(created)) for key_id, created in connection.execute(query)]
    return KeyCensus({KeyState(state): count for state, count in states}, found)
