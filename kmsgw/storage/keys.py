"""Keys as rows: writing what differs. `key_reading` reads them."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select, update

from kmsgw.errors import InternalError
from kmsgw.model.key import Key, KeyVersion
from kmsgw.storage.tables import key_aliases, key_versions, keys


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
