"""Insertion that knows ON CONFLICT."""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def insert_into(connection: Connection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """Return an insertion that knows ON CONFLICT, which both back ends write alike."""
    if connection.dialect.name != "postgresql":
        return sqlite.insert(table)
    # Imported where it is needed: who keeps the state in SQLite need not load it.
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415

    return postgresql.insert(table)
