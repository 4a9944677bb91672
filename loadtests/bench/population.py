"""Keys and policies in great number, put where a gateway finds them at its next start.

The rows are as the gateway writes them; their material is random, since nothing is done with them. What they cost is
being there.
"""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Table, create_engine, insert, select, update

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.storage.tables import key_aliases, key_versions, keys, state_epoch

_ROWS_AT_ONCE: Final = 5_000
_MATERIAL_BYTES: Final = 60
_ALIAS_EACH: Final = 10
_LABELS: Final = 50
_POLICY: Final = """
@id("ward-{number}-writes")
@advice("Ask for the role ward-{number}.")
permit (
  principal is Kmsgw::Service in Kmsgw::Role::"ward-{number}",
  action in [Kmsgw::Action::"encrypt", Kmsgw::Action::"decrypt"],
  resource
)
when {{ context.data has department && context.data.department == "ward-{number}" }};
"""


def add_keys(database: Path, total: int) -> None:
    """Fill a gateway's SQLite file up to so many keys, each with a version, and some with labels and an alias."""
    engine = create_engine(f"sqlite:///{database}")
    with engine.begin() as connection:
        there = len(connection.execute(select(keys.c.key_id)).all())
        epoch = int(connection.execute(select(state_epoch.c.value)).scalar_one())
        now = SYSTEM_CLOCK.now()
        for first in range(there, total, _ROWS_AT_ONCE):
            numbers = range(first, min(first + _ROWS_AT_ONCE, total))
            _add(connection, keys, (_key(number, epoch, now) for number in numbers))
            _add(connection, key_versions, (_version(number, epoch, now) for number in numbers))
            _add(connection, key_aliases, (_alias(number) for number in numbers if number % _ALIAS_EACH == 0))
        connection.execute(update(state_epoch).values(value=epoch + total))
    engine.dispose()


def add_policies(folder: Path, total: int) -> None:
    """Fill a policy folder up to so many policies, each on a role of its own."""
    there = sum(path.read_text(encoding="utf-8").count("@id(") for path in folder.glob("*.cedar"))
    made = "".join(_POLICY.format(number=number) for number in range(total - there))
    (folder / "wards.cedar").write_text(made, encoding="utf-8")


def _add(connection: Connection, table: Table, rows: Iterator[dict[str, object]]) -> None:
    values = list(rows)
    if values:
        connection.execute(insert(table), values)


def _name(number: int) -> str:
    return f"ward-{number}-records"


def _key(number: int, epoch: int, now: datetime) -> dict[str, object]:
    return {
        "key_id": _name(number),
        "tenant": "hospital",
        "provider": "software",
        "state": "enabled",
        "description": f"records of ward {number}",
        "labels": {"ward": f"ward-{number % _LABELS}"},
        "created": now,
        "updated": now,
        "revision": epoch + 1 + number,
        "destroy_at": None,
        "minimum_decrypt_version": 1,
        "minimum_encrypt_version": 0,
        "deletion_protection": False,
        "rotation_period_seconds": None,
        "rotation_max_messages": None,
        "rotation_max_bytes": None,
        "rotation_max_wraps": None,
    }


def _version(number: int, epoch: int, now: datetime) -> dict[str, object]:
    return {
        "key_id": _name(number),
        "version": 1,
        "material": os.urandom(_MATERIAL_BYTES),
        "state": "enabled",
        "reason": "",
        "created": now,
        "revision": epoch + 1 + number,
        "destroy_at": None,
        "origin": "generated",
    }


def _alias(number: int) -> dict[str, object]:
    return {"alias": f"alias/{_name(number)}", "key_id": _name(number)}
