"""Keys to store."""

from datetime import UTC, datetime, timedelta, timezone

from kmsgw.model.key import Key, KeyState, KeyVersion

NOW = datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=UTC)
"""One microsecond before the clocks of Europe change."""


def plain_key(key_id: str, *aliases: str) -> Key:
    return Key(
        key_id=key_id,
        tenant="clinic",
        provider="software",
        versions=(KeyVersion(1, b"sealed", NOW),),
        created=NOW,
        updated=NOW,
        aliases=aliases,
    )


def full_key() -> Key:
    """A key with something in every field, and the values that are easy to get wrong."""
    there = timezone(timedelta(hours=-9, minutes=-30))
    return Key(
        key_id="ehr-records",
        tenant="clinic-north",
        provider="hsm",
        versions=(
            KeyVersion(1, bytes(range(256)), NOW, KeyState.DISABLED, "first; ' \" \\ % :x Zoë 𝛿"),
            KeyVersion(2, b"", NOW.astimezone(there), KeyState.ENABLED, ""),
            KeyVersion(3, b"\x00" * 3000, datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC)),
        ),
        created=NOW,
        updated=NOW.astimezone(there),
        state=KeyState.DISABLED,
        description="Patienten, größer · 患者",
        labels={"zone": "", "Straße": "ü", "a": 'quote " and \\'},
        aliases=("alias/z-last", "alias/a-first"),
    )


def rotated(key: Key) -> Key:
    """Return the key with one version more and a description that tells their number."""
    made = key.with_new_version(b"sealed again", NOW, "rotated")
    return Key(
        key_id=made.key_id,
        tenant=made.tenant,
        provider=made.provider,
        versions=made.versions,
        created=made.created,
        updated=made.updated,
        description=str(len(made.versions)),
        aliases=made.aliases,
        revision=made.revision,
    )
