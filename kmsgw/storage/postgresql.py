"""The back end for several nodes: PostgreSQL through pg8000, with a limit on every wait."""

import socket
import ssl
from typing import Any

import pg8000
import scramp  # type: ignore[import-untyped]
from pg8000.legacy import Connection as DriverConnection
from sqlalchemy import Connection, Engine, Pool, create_engine, event

from kmsgw.errors import ConfigurationError
from kmsgw.storage.access import Access, access_of
from kmsgw.storage.database import PostgresqlServer, Timeouts


class _PatientConnection(DriverConnection):  # type: ignore[misc]  # pg8000 has no types
    """A driver's connection on which a timeout is a broken connection.

    pg8000 lets the socket's TimeoutError through as it is, so that SQLAlchemy would keep the connection in its pool,
    with the late answer still on the way to whoever takes it next.
    """

    def handle_messages(self, context: Any) -> None:
        """Read the answer. Raises the driver's InterfaceError where the socket fails, timeouts included."""
        try:
            super().handle_messages(context)
        except OSError as error:
            raise pg8000.InterfaceError("network error") from error

    def limit(self, timeouts: Timeouts) -> None:
        """Set the limits of the session, on the server and on the socket."""
        self._usock.settimeout(timeouts.call)
        settings = {
            "statement_timeout": f"{timeouts.statement * 1000:.0f}",
            # A node that hangs in the middle of a change must not hold up the changes of all others.
            "idle_in_transaction_session_timeout": f"{timeouts.idle * 1000:.0f}",
            "client_encoding": "UTF8",
        }
        # By a statement, since connection poolers refuse such settings in the startup packet.
        self.autocommit = True
        self.cursor().execute(
            "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
        )
        self.autocommit = False


def postgresql_engine(server: PostgresqlServer, timeouts: Timeouts, pool: type[Pool], **pool_options: float) -> Engine:
    """Return an engine; it connects on first use. Raises `ConfigurationError` where the CA file is unusable."""
    tls = _tls_context(server)

    def connect() -> DriverConnection:
        return _connect(server, timeouts, tls)

    engine = create_engine(
        "postgresql+pg8000://", creator=connect, poolclass=pool, hide_parameters=True, **pool_options
    )
    event.listen(engine, "begin", _begin)
    return engine


def _tls_context(server: PostgresqlServer) -> ssl.SSLContext | None:
    if server.ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=server.ca)
    except ssl.SSLError:
        raise ConfigurationError([f"state.ca: {server.ca}: no certificate in PEM"]) from None
    except OSError as error:
        raise ConfigurationError([f"state.ca: {server.ca}: {error.strerror}"]) from None


def _connect(server: PostgresqlServer, timeouts: Timeouts, tls: ssl.SSLContext | None) -> DriverConnection:
    raw = socket.create_connection((server.host, server.port), timeouts.connect)
    try:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _PatientConnection(
            server.user,
            host=server.host,  # the name that the certificate must have
            database=server.name,
            password=server.password,
            sock=raw,
            # False and not None: with None the driver takes TLS without checking who is at the other end.
            ssl_context=False if tls is None else tls,
            application_name="kmsgw",
        )
    except scramp.ScramException as error:
        raw.close()
        raise pg8000.InterfaceError("the password exchange failed") from error
    except BaseException:
        raw.close()
        raise
    try:
        connection.limit(timeouts)
    except BaseException:
        connection.close()
        raise
    return connection


def _begin(connection: Connection) -> None:
    if access_of(connection) is Access.SNAPSHOT:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
