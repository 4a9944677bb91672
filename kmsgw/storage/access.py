"""What a transaction is for; each back end begins it accordingly."""

from enum import StrEnum
from typing import Final

from sqlalchemy import Connection

_OPTION: Final = "kmsgw_access"


class Access(StrEnum):
    """Purpose of a transaction."""

    READ = "read"
    """One statement that reads."""
    SNAPSHOT = "snapshot"
    """Several statements that must see one and the same state."""
    WRITE = "write"
    """Reading and writing; it sees what others committed before its first write."""


def with_access(connection: Connection, access: Access) -> Connection:
    """Return the connection, marked; call it before the transaction begins."""
    return connection.execution_options(**{_OPTION: access})


def access_of(connection: Connection) -> Access:
    """Return what the transaction that begins now is for."""
    access = connection.get_execution_options().get(_OPTION, Access.READ)
    assert isinstance(access, Access)
    return access
