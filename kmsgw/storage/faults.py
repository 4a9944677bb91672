"""What the database refuses or fails at, told as `StateUnavailable` without a word of the driver's own text.

Drivers put SQL, parameters and rows into their messages, and those hold key material. So only codes are taken from
them, and the driver's exception is not kept as context of ours (threat 17).
"""

import socket
import sqlite3
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from kmsgw.errors import StateUnavailable

_SQLSTATE: Final = {
    # PostgreSQL, Appendix A: whole codes first, then classes of two characters.
    "28000": ("refuses the login", "Check user, password_file and pg_hba.conf; it may want TLS: set ca."),
    "28P01": ("refuses the password", "Check the user in [state] url, and password_file."),
    "3D000": ("does not have the database that is named", "Create it, or correct [state] url."),
    "42501": ("refuses the permission", "Grant the user its tables, and CREATE on the schema for migrations."),
    "42P01": ("has no tables of kmsgw", "Start kmsgwd once, or restore a backup."),
    "57014": ("took too long", "Look for a long transaction or for heavy load on the server."),
    "55P03": ("took too long", "Look for a long transaction on the server."),
    "57P03": ("is starting or stopping", "Try again in a moment."),
    "25006": ("is read-only", "Let [state] url name the primary server."),
    "53100": ("has no room on its disk", "Free space on the server."),
    "53300": ("has no connection left", "Raise max_connections, or run fewer workers."),
    "08": ("broke the connection", "Try again in a moment."),
    "57": ("was stopped", "Try again in a moment."),
    "40": ("could not order concurrent changes", "Try again in a moment."),
}

_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: ("is locked by another process", "End the program that holds it open."),
    sqlite3.SQLITE_CANTOPEN: ("can't be opened", "Check that the file is there and that kmsgwd may write its folder."),
    sqlite3.SQLITE_READONLY: ("is read-only", "Let kmsgwd's user own the file and its folder, writable."),
    sqlite3.SQLITE_PERM: ("refuses the permission", "Let kmsgwd's user own the file and its folder."),
    sqlite3.SQLITE_FULL: ("has no room on its disk", "Free space."),
    sqlite3.SQLITE_IOERR: ("can't be read or written", "Check the disk."),
    sqlite3.SQLITE_NOTADB: ("is no SQLite database", "Correct [state] url, or restore a backup."),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "Restore a backup."),
}


@contextmanager
def database_faults() -> Iterator[None]:
    """Turn what the driver, the pool and the network raise into `StateUnavailable`.

    Wrap only calls of the database in it: an `OSError` from elsewhere would be blamed on the database. Errors in how
    kmsgw uses the database, such as a value of a wrong type, pass: they are bugs and no outage.
    """
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
            raise
        fault = _described(error)
        try:
            raise fault
        finally:
            # `from None` would only hide the driver's exception; crash reporters print it all the same.
            fault.__context__ = None


def damaged(what: str) -> StateUnavailable:
    """Return the error for rows that contradict each other or that no version of kmsgw writes."""
    return StateUnavailable(
        f"The state database is damaged: {what}.", advice="Restore a backup; do not change rows by hand."
    )


def _described(error: SQLAlchemyError | OSError) -> StateUnavailable:
    if isinstance(error, PoolTimeout):
        return StateUnavailable("All connections to the state database are busy.")
    cause: BaseException | None = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, OSError):
        return _network(cause)
    if isinstance(cause, sqlite3.Error):
        return _sqlite(cause)
    return _postgresql(cause)


def _unavailable(what: str, advice: str, code: str = "") -> StateUnavailable:
    return StateUnavailable(f"The state database {what}{f' ({code})' if code else ''}.", advice=advice)


def _network(error: OSError) -> StateUnavailable:
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "Check that [state] ca issued its certificate and that the certificate names the host of the URL."
        return _unavailable(f"has a certificate that is not accepted: {error.verify_message}", advice)
    if isinstance(error, ssl.SSLError):
        return _unavailable("does not speak TLS as expected", "Check its TLS settings and [state] ca.")
    if isinstance(error, socket.gaierror):
        return _unavailable("has a host name that does not resolve", "Check [state] url, and DNS.")
    if isinstance(error, TimeoutError):
        return _unavailable("does not answer", "Check that the server is up and that no firewall is between.")
    return _unavailable(f"can't be reached: {error.strerror}", "Check that the server is up, and [state] url.")


def _sqlite(error: sqlite3.Error) -> StateUnavailable:
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", "")
    if isinstance(code, int) and (code & 0xFF) in _SQLITE:
        return _unavailable(*_SQLITE[code & 0xFF], code=name)
    if str(error).startswith("no such table"):
        return _unavailable(*_SQLSTATE["42P01"])
    return _unavailable("failed", "Check the file with `sqlite3 FILE 'PRAGMA integrity_check'`.", name)


def _postgresql(error: BaseException | None) -> StateUnavailable:
    first = error.args[0] if error is not None and error.args else ""
    if isinstance(first, dict):
        code = str(first.get("C", ""))
        known = _SQLSTATE.get(code) or _SQLSTATE.get(code[:2])
        return _unavailable(*(known or ("failed", "Look into the server's log.")), code=f"SQLSTATE {code}")
    if first == "Server refuses SSL":
        return _unavailable("offers no TLS", "Turn TLS on in the server, or take [state] ca out.")
    return _unavailable("broke the connection", "Try again in a moment.")
