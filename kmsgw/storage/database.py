"""Where the state is: the URL of the configuration, checked and taken apart, and the time limits on every call."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from kmsgw.config import StateSettings
from kmsgw.errors import ConfigurationError
from kmsgw.secret_file import read_secret_file

_POSTGRESQL_PORT: Final = 5432
_URL_ADVICE: Final = "Use sqlite:///FILE or postgresql://USER@HOST:PORT/NAME in [state] url."


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds. A call is at worst one `call` on a dead connection and one `connect` to replace it.

    ``connect`` bounds reaching the server and logging in, each step of it; ``statement`` is what the server allows a
    statement, waiting for locks included; ``call`` bounds waiting for the server's bytes, for the case that it is gone
    without a word; ``idle`` is how long a transaction may do nothing before the server ends it and frees its locks.
    """

    connect: float = 2.0
    statement: float = 2.5
    call: float = 3.0
    idle: float = 10.0


SERVING: Final = Timeouts()
"""Limits while serving: no call takes longer than 5 s."""

MIGRATING: Final = Timeouts(statement=60.0, call=65.0, idle=60.0)
"""Limits while migrating: a node may wait for another that migrates."""


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """State in a file of this machine. ``path`` is absolute."""

    path: Path


@dataclass(frozen=True, slots=True)
class PostgresqlServer:
    """State in a PostgreSQL database. With ``ca`` the server must prove itself by TLS; without, there is no TLS."""

    host: str
    port: int
    user: str
    name: str
    password: str = field(repr=False, default="")
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Database:
    """The place of the state, one of two kinds."""

    place: SqliteFile | PostgresqlServer

    @classmethod
    def of(cls, url: str, password: str | None = None, ca: Path | None = None) -> "Database":
        """Return the database of a URL. Raises `ConfigurationError` with every fault; it never repeats the URL."""
        try:
            parts = urlsplit(url)
            port = parts.port or _POSTGRESQL_PORT
        except ValueError:
            raise ConfigurationError(["state.url: not a URL"], advice=_URL_ADVICE) from None
        if parts.scheme == "sqlite":
            return cls(_sqlite(url, password, ca))
        if parts.scheme != "postgresql":
            raise ConfigurationError(["state.url: no database of this kind is known"], advice=_URL_ADVICE)
        name = unquote(parts.path.removeprefix("/"))
        checks = (
            (parts.hostname, "the host is missing"),
            (parts.username, "the user is missing"),
            (name and "/" not in name, "the name of the database is missing"),
            (parts.password is None, "take the password out and name a password_file"),
            (not parts.query and not parts.fragment, "options after ? or # are not supported"),
        )
        faults = [f"state.url: {fault}" for holds, fault in checks if not holds]
        if faults:
            raise ConfigurationError(faults, advice=_URL_ADVICE)
        user = unquote(parts.username or "")
        return cls(PostgresqlServer(parts.hostname or "", port, user, name, password or "", ca))

    @classmethod
    def of_settings(cls, settings: StateSettings) -> "Database":
        """Return the database that ``[state]`` names, with the password of its file.

        Raises `ConfigurationError` where the password file can't be read or is empty, or the URL has a fault.
        """
        password = None if settings.password_file is None else _read_password(settings.password_file)
        return cls.of(settings.url, password, settings.ca)


def _sqlite(url: str, password: str | None, ca: Path | None) -> SqliteFile:
    # Not percent-decoded, and with ? and # in it if so: it is a path that was put behind a prefix.
    path = url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else ""
    faults = []
    if not path or path.startswith(":memory:"):
        faults.append("state.url: a file is required, since the workers share it")
    if password is not None:
        faults.append("state.password_file: SQLite takes no password")
    if ca is not None:
        faults.append("state.ca: SQLite takes no CA")
    if faults:
        raise ConfigurationError(faults, advice=_URL_ADVICE)
    return SqliteFile(Path(path).absolute())


def _read_password(path: Path) -> str:
    try:
        password = read_secret_file(path, "state.password_file").decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigurationError([f"state.password_file: {path}: not UTF-8 text"]) from None
    if not password:
        raise ConfigurationError([f"state.password_file: {path}: empty"], advice="Put the password on its first line.")
    return password
