"""The records that commands show of keys: one shape, so that a script can rely on it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kmsgw.cli.output import Record
from kmsgw.cli.rotation_options import period_text

if TYPE_CHECKING:
    from kmsgw.client import KeyInfo, KeyVersionInfo, OfficerInfo

_KEY_COLUMNS = (
    "key_id",
    "state",
    "provider",
    "primary_version",
    "next_rotation",
    "destroy_time",
    "aliases",
    "description",
)
_VERSION_COLUMNS = ("version", "state", "created", "origin", "destroy_time", "reason")
_WHERE_SET = frozenset({"next_rotation", "destroy_time"})


def key_columns(records: Sequence[Record]) -> tuple[str, ...]:
    """Return the columns of a table of keys; times that none of them has take no room."""
    return _filled(_KEY_COLUMNS, records)


def version_columns(records: Sequence[Record]) -> tuple[str, ...]:
    """Return the columns of a table of versions; times that none of them has take no room."""
    return _filled(_VERSION_COLUMNS, records)


OFFICER_COLUMNS = ("officer_id", "state", "roles", "confirm_time", "lock_end_time", "recovery_codes")


def moment(time: datetime | None) -> str | None:
    """Return a time as RFC 3339 text in UTC, to the second."""
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_record(key: "KeyInfo") -> Record:
    """Return what is shown of a key."""
    labels: Mapping[str, str] = key.labels
    return {
        "key_id": key.key_id,
        "tenant": key.tenant,
        "provider": key.provider,
        "state": str(key.state),
        "primary_version": key.primary_version,
        "description": key.description,
        "labels": dict(sorted(labels.items())),
        "aliases": list(key.aliases),
        "created": moment(key.created),
        "updated": moment(key.updated),
        "destroy_time": moment(key.destroy_time),
        "deletion_protection": key.deletion_protection,
        "minimum_decrypt_version": key.minimum_decrypt_version,
        "minimum_encrypt_version": key.minimum_encrypt_version,
        "rotate_every": period_text(key.rotation.period),
        "max_messages": key.rotation.max_messages,
        "max_bytes": key.rotation.max_bytes,
        "max_wraps": key.rotation.max_wraps,
        "next_rotation": moment(key.next_rotation),
    }


def version_record(version: "KeyVersionInfo") -> Record:
    """Return what is shown of a key version."""
    return {
        "key_id": version.key_id,
        "version": version.version,
        "state": str(version.state),
        "created": moment(version.created),
        "origin": str(version.origin),
        "destroy_time": moment(version.destroy_time),
        "reason": version.reason,
    }


def _filled(columns: Sequence[str], records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(
        column for column in columns if column not in _WHERE_SET or any(record.get(column) for record in records)
    )


def officer_record(officer: "OfficerInfo") -> Record:
    """Return what is shown of an officer, in the names of the contract."""
    return {
        "officer_id": officer.officer_id,
        "state": str(officer.state),
        "roles": list(officer.roles),
        "confirm_time": moment(officer.confirmed),
        "lock_end_time": moment(officer.locked_until),
        "enrol_time": moment(officer.may_enrol_at),
        "recovery_codes": officer.recovery_codes,
    }
