"""Connections to the database that holds the envelopes: SQLite, or PostgreSQL through pg8000."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pg8000
import scramp  # type: ignore[import-untyped]
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from kmsgw.errors import ConfigurationError, StateUnavailable

_ADVICE = "Use sqlite:///FILE or postgresql://USER@HOST:PORT/NAME."
_CONNECT_SECONDS = 10.0
_LOCK_SECONDS = 60
"""How long a change waits for one that another program makes."""

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def open_database(url: str, password_file: Path | None, ca: Path | None) -> tuple[Engine, str]:
    """Return an engine and the URL as it may be shown. It connects on first use.

    Raises `ConfigurationError` with every fault; a URL with a password is refused, and nothing repeats it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError:
        raise ConfigurationError(["the database is not a URL"], advice=_ADVICE) from None
    if parts.scheme == "sqlite":
        return _sqlite(url, password_file, ca)
    if parts.scheme not in {"postgresql", "postgresql+pg8000"}:
        raise ConfigurationError(["the database is of a kind that is not known"], advice=_ADVICE)
    name = unquote(parts.path.removeprefix("/"))
    checks = (
        (parts.hostname, "the URL names no host"),
        (parts.username, "the URL names no user"),
        (name and "/" not in name, "the URL names no database"),
        (parts.password is None, "a password does not belong into the URL: name a file with --password-file"),
        (not parts.query and not parts.fragment, "options after ? or # are not supported"),
    )
    faults = [fault for holds, fault in checks if not holds]
    if faults:
        raise ConfigurationError(faults, advice=_ADVICE)
    host, user = parts.hostname or "", unquote(parts.username or "")
    password = None if password_file is None else _read_password(password_file)
    tls = None if ca is None else _tls(ca)
    if tls is None and host not in _LOCAL:
        raise ConfigurationError(
            [f"{host} is another machine, and the connection would not be encrypted"],
            advice="Name the CA of its certificate with --database-ca.",
        )

    def connect() -> pg8000.Connection:
        try:
            return pg8000.connect(
                user,
                host=host,
                port=port,
                database=name,
                password=password,
                timeout=None,
                tcp_keepalive=True,
                # False and not None: with None the driver takes TLS without checking who is at the other end.
                ssl_context=False if tls is None else tls,
                application_name="kmsgw rewrap",
            )
        except scramp.ScramException as error:
            raise pg8000.InterfaceError("the password exchange failed") from error

    engine = create_engine(
        "postgresql+pg8000://",
        creator=connect,
        hide_parameters=True,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,  # a slow job leaves its connection idle between batches
    )
    event.listen(engine, "connect", _limit_postgresql)
    return engine, f"postgresql://{user}@{host}:{port}/{name}"


def _limit_postgresql(connection: pg8000.Connection, record: object) -> None:  # noqa: ARG001
    cursor = connection.cursor()
    cursor.execute(f"SELECT set_config('lock_timeout', '{_LOCK_SECONDS}s', false)")
    cursor.execute("SELECT set_config('idle_in_transaction_session_timeout', '60s', false)")
    connection.commit()


def _sqlite(url: str, password_file: Path | None, ca: Path | None) -> tuple[Engine, str]:
    path = Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None
    if path is None or not path.is_file():
        raise ConfigurationError(["the SQLite URL names no file that exists"], advice=_ADVICE)
    if password_file is not None or ca is not None:
        raise ConfigurationError(["SQLite takes neither a password nor a CA"], advice="Leave them out.")
    engine = create_engine(
        f"sqlite:///{path.resolve()}",
        connect_args={"timeout": _LOCK_SECONDS, "check_same_thread": False},
        hide_parameters=True,
        pool_size=1,
        max_overflow=0,
    )
    return engine, f"sqlite:///{path.resolve()}"


def _tls(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise ConfigurationError([f"{ca}: no certificate in PEM"]) from None
    except OSError as error:
        raise ConfigurationError([f"{ca}: {error.strerror}"]) from None


def _read_password(path: Path) -> str:
    try:
        password = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigurationError([f"{path}: {error.strerror}"], advice="Give a file that you may read.") from None
    except UnicodeDecodeError:
        raise ConfigurationError([f"{path}: not UTF-8 text"]) from None
    if not password:
        raise ConfigurationError([f"{path}: empty"], advice="Put the password on its first line.")
    return password


@contextmanager
def database_faults(shown: str) -> Iterator[None]:
    """Turn the errors of a database into `StateUnavailable` with the first line of what it says."""
    try:
        yield
    except (SQLAlchemyError, pg8000.Error, OSError) as error:
        raise StateUnavailable(
            f"{shown}: {_told(error)}.",
            advice="Check the database, then run the same command again: the job goes on where it stopped.",
            retry_after=None,
        ) from None


def _told(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    first = cause.args[0] if cause.args else type(cause).__name__
    if isinstance(first, dict):  # what PostgreSQL said, by field; M is its message
        first = first.get("M", type(cause).__name__)
    return str(first).splitlines()[0].rstrip(".") if str(first).strip() else type(cause).__name__
