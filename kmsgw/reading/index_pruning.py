"""Entries that were pruned go from the index too: what the log may not keep, nothing that is derived of it may.

It takes a look at every row, so it is done only where a log was pruned further. SQLite overwrites what it deletes.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from kmsgw.reading.index_file import ENTRY_BITS
from kmsgw.tlog.pruned import Pruning
from kmsgw.tlog.reader import LogReader

_TABLES: Final = ("entry", "request", "end_user")
_NAMES_OF_KINDS: Final = (
    "principal",
    "key_id",
    "source_key_id",
    "alias",
    "method",
    "outcome",
    "reason",
    "purpose",
    "phase",
)


def let_go_of_pruned(database: sqlite3.Connection, readers: Sequence[LogReader]) -> None:
    """Take out what the logs do not hold any more. Raises `AuditDamaged` where a log does not bear out its pruning."""
    known = dict(database.execute("SELECT log, before FROM pruned"))
    numbers = {origin: number for number, origin in database.execute("SELECT id, origin FROM log")}
    further: dict[int, Pruning] = {}
    for reader in readers:
        pruning = reader.pruning()
        number = numbers[reader.origin]
        if pruning is not None and pruning.before > known.get(number, 0):
            further[number] = pruning
    if not further:
        return
    database.execute("PRAGMA secure_delete = ON")
    with database:
        for number, pruning in further.items():
            _let_go(database, number, pruning)
        database.execute("UPDATE kind SET entries = (SELECT count(*) FROM entry WHERE entry.kind = kind.id)")
        database.execute("DELETE FROM kind WHERE entries = 0")
        used = " UNION ".join(f"SELECT {name} FROM kind" for name in _NAMES_OF_KINDS)  # noqa: S608  names of columns
        database.execute(f"DELETE FROM name WHERE id NOT IN ({used} UNION SELECT name FROM end_user)")  # noqa: S608


def _let_go(database: sqlite3.Connection, number: int, pruning: Pruning) -> None:
    first = number << ENTRY_BITS
    database.execute("CREATE TEMP TABLE IF NOT EXISTS kept (place INTEGER PRIMARY KEY)")
    database.execute("DELETE FROM temp.kept")
    kept = ((first + index,) for run in pruning.kept for index in run)
    database.executemany("INSERT INTO temp.kept VALUES (?)", kept)
    for table in _TABLES:
        database.execute(
            f"DELETE FROM {table} WHERE place >= ? AND place < ? "  # noqa: S608  names of tables
            "AND place NOT IN (SELECT place FROM temp.kept)",
            (first, first + pruning.before),
        )
    database.execute("INSERT OR REPLACE INTO pruned VALUES (?, ?)", (number, pruning.before))
