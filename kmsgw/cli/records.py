"""The records that commands show of keys: one shape, so that a script can rely on it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kmsgw.cli.output import Record

if TYPE_CHECKING:
    from kmsgw.client import KeyInfo, KeyVersionInfo

KEY_COLUMNS = ("key_id", "state", "provider", "primary_version", "aliases", "description")
VERSION_COLUMNS = ("version", "state", "created", "reason")


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
    }


def version_record(version: "KeyVersionInfo") -> Record:
    """Return what is shown of a key version."""
    return {
        "key_id": version.key_id,
        "version": version.version,
        "state": str(version.state),
        "created": moment(version.created),
        "reason": version.reason,
    }
