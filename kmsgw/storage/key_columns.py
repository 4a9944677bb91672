"""The columns of a key and of its versions, in the one order in which they are read, and what is made of them.

Keys are read in two ways: as rows (`key_reading`), and at a start as texts (`unread_keys`). What both take and give is
here, so that a column is never known to one of them only.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

import orjson
from sqlalchemy import BigInteger, Integer, Text, cast, type_coerce

from kmsgw.model.key import NO_ROTATION_POLICY, Key, KeyState, KeyVersion, Origin, RotationPolicy
from kmsgw.storage.faults import damaged
from kmsgw.storage.tables import key_versions, keys

STATES: Final = {each.value: each for each in KeyState}
"""States by the text that is stored."""

ORIGINS: Final = {each.value: each for each in Origin}
"""Origins by the text that is stored."""

KEY_COLUMNS: Final = (
    keys.c.key_id,
    keys.c.tenant,
    keys.c.provider,
    keys.c.state,
    keys.c.description,
    cast(keys.c.labels, Text),
    type_coerce(keys.c.created, BigInteger),
    type_coerce(keys.c.updated, BigInteger),
    type_coerce(keys.c.destroy_at, BigInteger),
    keys.c.minimum_decrypt_version,
    keys.c.minimum_encrypt_version,
    type_coerce(keys.c.deletion_protection, Integer),
    keys.c.rotation_period_seconds,
    keys.c.rotation_max_messages,
    keys.c.rotation_max_bytes,
    keys.c.rotation_max_wraps,
    keys.c.revision,
)
"""A key's columns as the driver has them, past SQLAlchemy's conversions: `key_of` takes their values. The id is the
first, the revision the last."""

VERSION_COLUMNS: Final = (
    key_versions.c.version,
    type_coerce(key_versions.c.created, BigInteger),
    key_versions.c.state,
    key_versions.c.reason,
    type_coerce(key_versions.c.destroy_at, BigInteger),
    key_versions.c.origin,
    key_versions.c.material,
)
"""A version's columns, likewise, for `version_of`. The number is the first, the material the last."""

KeyValues = tuple[
    str,
    str,
    str,
    str,
    str,
    str,
    int,
    int,
    int | None,
    int,
    int,
    int,
    int | None,
    int | None,
    int | None,
    int | None,
    int,
]
"""The types of `KEY_COLUMNS`."""

VersionValues = tuple[int, int, str, str, int | None, str, bytes]
"""The types of `VERSION_COLUMNS`."""


def key_of(
    values: KeyValues,
    versions: tuple[KeyVersion, ...],
    aliases: tuple[str, ...],
    moment: Callable[[int], datetime],
    labels: Callable[[str], Mapping[str, str]],
) -> Key:
    """Return the key of a row. Raises `StateUnavailable` for a value that no version of kmsgw writes.

    `moment` and `labels` read a time and the labels as they are stored: who reads many keys reads each value once.
    """
    (
        key_id, tenant, provider, state, description, label_text, created, updated, destroy_at,
        minimum_decrypt, minimum_encrypt, protection, period, max_messages, max_bytes, max_wraps, revision,
    ) = values  # fmt: skip
    if state not in STATES:
        raise damaged(f"key {key_id} has an unknown state")
    try:
        read_labels = labels(label_text)
    except (ValueError, TypeError):
        raise damaged(f"key {key_id} has malformed labels") from None
    unlimited = period is None and max_messages is None and max_bytes is None and max_wraps is None
    return Key(
        key_id,
        tenant,
        provider,
        versions,
        moment(created),
        moment(updated),
        STATES[state],
        description,
        read_labels,
        aliases,
        revision,
        None if destroy_at is None else moment(destroy_at),
        minimum_decrypt,
        minimum_encrypt,
        bool(protection),
        NO_ROTATION_POLICY
        if unlimited
        else RotationPolicy(None if period is None else timedelta(seconds=period), max_messages, max_bytes, max_wraps),
    )


def version_of(key_id: str, values: VersionValues, moment: Callable[[int], datetime]) -> KeyVersion:
    """Return a version of a key. Raises `StateUnavailable` for a value that no version of kmsgw writes."""
    version, created, state, reason, destroy_at, origin, material = values
    if state not in STATES or origin not in ORIGINS:
        raise damaged(f"key {key_id} has a version with an unknown state or origin")
    return KeyVersion(
        version,
        material,
        moment(created),
        STATES[state],
        reason,
        None if destroy_at is None else moment(destroy_at),
        ORIGINS[origin],
    )


def labels_of(text: str) -> Mapping[str, str]:
    """Return labels from the JSON that is stored; they can't be changed. Raises `ValueError` or `TypeError`."""
    return MappingProxyType(orjson.loads(text))
