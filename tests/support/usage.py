"""Usage twice: as the database has it, and counted anew from the verified logs, by rules written down a second time."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from kmsgw.storage import Database
from kmsgw.storage.connections import single_use_engine
from kmsgw.storage.database import SERVING
from tests.support.traffic import verified_entries

COUNTS = ("envelopes", "data_keys", "decrypts", "rewraps_away", "rewraps_here", "wraps", "sealed_bytes")

Sums = Mapping[tuple[str, int, str, str], int]
"""By key, version, tenant and name of the count; what is 0 is left out."""


def execute(database: Database, *statements: str) -> list[tuple[object, ...]]:
    """Run statements in one transaction beside the gateway; return the rows of the last."""
    rows: list[tuple[object, ...]] = []
    with single_use_engine(database, SERVING).connect() as connection, connection.begin():
        for statement in statements:
            done = connection.exec_driver_sql(statement)
            rows = [tuple(row) for row in done] if done.returns_rows else []
    return rows


def stored(database: Database) -> Sums:
    """Return what the database has."""
    found: Counter[tuple[str, int, str, str]] = Counter()
    for key, version, tenant, *counts in execute(
        database, f"SELECT key_id, version, tenant, {', '.join(COUNTS)} FROM key_usage"
    ):
        for name, count in zip(COUNTS, counts, strict=True):
            assert isinstance(count, int)
            found[str(key), int(str(version)), str(tenant), name] += count
    return +found


def logged(*folders: Path) -> Sums:
    """Return what the verified logs below some folders say."""
    found: Counter[tuple[str, int, str, str]] = Counter()
    for folder in folders:
        for entries in verified_entries(folder).values():
            for entry in entries:
                _count(found, entry)
    return +found


def _count(found: Counter[tuple[str, int, str, str]], entry: Mapping[str, object]) -> None:
    principal = entry["principal"]
    tenant = str(principal["tenant"]) if isinstance(principal, dict) else ""
    key, version = str(entry.get("key_id")), int(str(entry.get("key_version", 0)))
    verb = str(entry["method"]).rpartition("/")[2]
    found[key, version, tenant, "wraps"] += int(str(entry.get("wraps", 0)))
    if entry["outcome"] != "ok":
        return
    source = str(entry.get("source_key_id")), int(str(entry.get("source_key_version", 0)))
    batch = entry.get("batch")
    times = int(str(batch["count"])) if isinstance(batch, dict) else 1
    verb = verb.removeprefix("Batch")
    if verb in ("Encrypt", "ReEncrypt"):
        found[key, version, tenant, "envelopes"] += times
        found[key, version, tenant, "sealed_bytes"] += int(str(entry.get("sealed_bytes", 0)))
    elif verb.startswith("GenerateDataKey"):
        found[key, version, tenant, "data_keys"] += times
    elif verb == "Decrypt":
        found[key, version, tenant, "decrypts"] += times
    if verb in ("Rewrap", "ReEncrypt") and source != (key, version):
        found[*source, tenant, "rewraps_away"] += times
        found[key, version, tenant, "rewraps_here"] += times if verb == "Rewrap" else 0
