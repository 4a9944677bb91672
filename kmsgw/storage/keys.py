"""Keys as rows: reading whole keys in bulk, and writing what differs."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, tuple_, update

from kmsgw.errors import InternalError
from kmsgw.model.key import Key, KeyState, KeyVersion, Origin, RotationPolicy
from kmsgw.storage.faults import damaged
from kmsgw.storage.tables import key_aliases, key_versions, keys

_KEYS_AT_ONCE: Final = 1_000
"""Keys in one statement: far below the parameters that SQLite (32,766) and PostgreSQL (65,535) allow."""

_VERSIONS_AT_ONCE: Final = 10_000
"""Version rows in one statement, so that it ends within its time limit however many versions the keys have."""

_ORIGINS: Final = {each.value: each for each in Origin}

_KeyRow = Row[
    str,
    str,
    str,
    str,
    str,
    dict[str, str],
    datetime,
    datetime,
    datetime | None,
    int,
    int,
    bool,
    int | None,
    int | None,
    int | None,
    int | None,
    int,
]


def load_key(connection: Connection, key_id: str, known: Key | None = None) -> Key | None:
    """Return a key whole, or None. Where the transaction is no snapshot, its parts may be of different revisions.

    `known` is the key as it was once read: what has not changed since is taken from there.
    """
    rows = _key_rows(connection, keys.c.key_id == key_id)
    if known is not None and rows:
        stored = rows[0][-1]
        if stored == known.revision:
            return known
        if stored < known.revision:
            known = None
    after = -1 if known is None else known.revision
    for key in _assembled(connection, rows, after, {} if known is None else {key_id: known}):
        return key
    return None


def load_changed(connection: Connection, after: int, known: Mapping[str, Key]) -> Iterator[Key]:
    """Yield the keys with a revision above `after`, by revision. The transaction must be a snapshot.

    `known` holds the keys as they were at `after`: of those, only the versions that changed since are read.
    """
    beyond: ColumnElement[bool] = keys.c.revision > after
    while True:
        chunk = _key_rows(connection, beyond)
        yield from _assembled(connection, chunk, after, known)
        if len(chunk) < _KEYS_AT_ONCE:
            return
        last = tuple_(chunk[-1][-1], chunk[-1][0], types=[keys.c.revision.type, keys.c.key_id.type])
        beyond = tuple_(keys.c.revision, keys.c.key_id) > last


def stored_revision(connection: Connection, key_id: str) -> int | None:
    """Return the revision of a key, or None where there is no such key."""
    return connection.execute(select(keys.c.revision).where(keys.c.key_id == key_id)).scalar()


def find_taken_alias(connection: Connection, key: Key) -> str | None:
    """Return one of the key's aliases that leads to another key, or None."""
    taken = select(key_aliases.c.alias).where(key_aliases.c.alias.in_(key.aliases), key_aliases.c.key_id != key.key_id)
    return connection.execute(taken.limit(1)).scalar() if key.aliases else None


def insert_key(connection: Connection, key: Key) -> None:
    """Write a key that is not there yet, with the revision that it has."""
    connection.execute(insert(keys).values(key_id=key.key_id, **_key_values(key)))
    _insert_versions(connection, key, key.versions)
    _insert_aliases(connection, key.key_id, set(key.aliases))


def update_key(connection: Connection, stored: Key, key: Key) -> None:
    """Write a key over `stored`, which is what is there, with the revision it has; only what differs is touched."""
    if len(key.versions) < len(stored.versions):
        raise InternalError(f"A version of the key {key.key_id} would be lost.")
    connection.execute(update(keys).where(keys.c.key_id == key.key_id).values(**_key_values(key)))
    for before, now in zip(stored.versions, key.versions, strict=False):
        # Most are the very same object: a key may have thousands of versions, of which a change touches one.
        if before is not now and before != now:
            this = (key_versions.c.key_id == key.key_id) & (key_versions.c.version == now.version)
            connection.execute(update(key_versions).where(this).values(**_version_values(key, now)))
    _insert_versions(connection, key, key.versions[len(stored.versions) :])
    gone = set(stored.aliases) - set(key.aliases)
    if gone:
        connection.execute(delete(key_aliases).where(key_aliases.c.alias.in_(gone)))
    _insert_aliases(connection, key.key_id, set(key.aliases) - set(stored.aliases))


def _key_values(key: Key) -> dict[str, object]:
    if not key.versions or any(each.version != place for place, each in enumerate(key.versions, 1)):
        raise InternalError(f"The versions of the key {key.key_id} are not 1 to n.")
    period = key.rotation.period
    return {
        "tenant": key.tenant,
        "provider": key.provider,
        "state": key.state.value,
        "description": key.description,
        "labels": dict(key.labels),
        "created": key.created,
        "updated": key.updated,
        "destroy_at": key.destroy_at,
        "minimum_decrypt_version": key.minimum_decrypt_version,
        "minimum_encrypt_version": key.minimum_encrypt_version,
        "deletion_protection": key.deletion_protection,
        "rotation_period_seconds": None if period is None else int(period.total_seconds()),
        "rotation_max_messages": key.rotation.max_messages,
        "rotation_max_bytes": key.rotation.max_bytes,
        "rotation_max_wraps": key.rotation.max_wraps,
        "revision": key.revision,
    }


def _version_values(key: Key, version: KeyVersion) -> dict[str, object]:
    return {
        "material": version.material,
        "state": version.state.value,
        "reason": version.reason,
        "created": version.created,
        "destroy_at": version.destroy_at,
        "origin": version.origin.value,
        "revision": key.revision,
    }


def _insert_versions(connection: Connection, key: Key, versions: Sequence[KeyVersion]) -> None:
    if versions:
        rows = [{"key_id": key.key_id, "version": each.version, **_version_values(key, each)} for each in versions]
        connection.execute(insert(key_versions), rows)


def _insert_aliases(connection: Connection, key_id: str, aliases: set[str]) -> None:
    if aliases:
        connection.execute(insert(key_aliases), [{"alias": each, "key_id": key_id} for each in sorted(aliases)])


def _key_rows(connection: Connection, condition: ColumnElement[bool]) -> Sequence[_KeyRow]:
    query = (
        select(
            keys.c.key_id,
            keys.c.tenant,
            keys.c.provider,
            keys.c.state,
            keys.c.description,
            keys.c.labels,
            keys.c.created,
            keys.c.updated,
            keys.c.destroy_at,
            keys.c.minimum_decrypt_version,
            keys.c.minimum_encrypt_version,
            keys.c.deletion_protection,
            keys.c.rotation_period_seconds,
            keys.c.rotation_max_messages,
            keys.c.rotation_max_bytes,
            keys.c.rotation_max_wraps,
            keys.c.revision,
        )
        .where(condition)
        .order_by(keys.c.revision, keys.c.key_id)
        .limit(_KEYS_AT_ONCE)
    )
    return connection.execute(query).all()


def _assembled(connection: Connection, rows: Sequence[_KeyRow], after: int, known: Mapping[str, Key]) -> Iterator[Key]:
    """Yield the keys of at most `_KEYS_AT_ONCE` rows: two statements for all of them, not two for each."""
    key_ids = [row[0] for row in rows]
    changed = _versions_of(connection, key_ids, after)
    aliases = _aliases_of(connection, key_ids)
    for row in rows:
        key_id, tenant, provider, state, description, labels, created, updated, destroy_at = row[:9]
        minimum_decrypt, minimum_encrypt, protection, period, max_messages, max_bytes, max_wraps, revision = row[9:]
        of_key = _merged(known[key_id].versions, changed[key_id]) if key_id in known else changed[key_id]
        if not of_key or of_key[-1].version != len(of_key):
            # Decryption looks a version up by its place: a row that is missing would give the wrong one.
            raise damaged(f"key {key_id} lacks a version")
        yield Key(
            key_id=key_id,
            tenant=tenant,
            provider=provider,
            versions=tuple(of_key),
            created=created,
            updated=updated,
            state=_state(state, key_id),
            description=description,
            labels=MappingProxyType(labels),
            aliases=tuple(sorted(aliases[key_id])),
            revision=revision,
            destroy_at=destroy_at,
            minimum_decrypt_version=minimum_decrypt,
            minimum_encrypt_version=minimum_encrypt,
            deletion_protection=protection,
            rotation=RotationPolicy(
                None if period is None else timedelta(seconds=period), max_messages, max_bytes, max_wraps
            ),
        )


def _merged(known: Sequence[KeyVersion], changed: Sequence[KeyVersion]) -> list[KeyVersion]:
    """Return the versions that were known with those that changed since in their places; both are by number."""
    merged = list(known)
    for each in changed:
        merged[each.version - 1 : each.version] = [each]
    return merged


def _versions_of(connection: Connection, key_ids: list[str], after: int) -> defaultdict[str, list[KeyVersion]]:
    """Return the versions of these keys that changed after an epoch, by number: unique, at least 1 and sorted."""
    found: defaultdict[str, list[KeyVersion]] = defaultdict(list)
    if not key_ids:
        return found
    these = key_versions.c
    query = (
        select(
            these.key_id,
            these.version,
            these.material,
            these.created,
            these.state,
            these.reason,
            these.destroy_at,
            these.origin,
        )
        .where(these.key_id.in_(key_ids), these.revision > after)
        .order_by(these.key_id, these.version)
        .limit(_VERSIONS_AT_ONCE)
    )
    page = query
    while True:
        rows = connection.execute(page).all()
        for key_id, version, material, created, state, reason, destroy_at, origin in rows:
            found[key_id].append(
                KeyVersion(version, material, created, _state(state, key_id), reason, destroy_at, _ORIGINS[origin])
            )
        if len(rows) < _VERSIONS_AT_ONCE:
            return found
        last = tuple_(rows[-1][0], rows[-1][1], types=[these.key_id.type, these.version.type])
        page = query.where(tuple_(these.key_id, these.version) > last)


def _aliases_of(connection: Connection, key_ids: list[str]) -> defaultdict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    if key_ids:
        query = select(key_aliases.c.key_id, key_aliases.c.alias).where(key_aliases.c.key_id.in_(key_ids))
        for key_id, alias in connection.execute(query):
            found[key_id].append(alias)
    return found


def _state(text: str, key_id: str) -> KeyState:
    try:
        return KeyState(text)
    except ValueError:
        raise damaged(f"key {key_id} has an unknown state") from None
