"""A witness over HTTP: POST /add-checkpoint and /add-index, GET /ORIGIN_HASH/checkpoint and /metrics.

TLS 1.3, or loopback. Anybody may connect, so everything is bounded: connections in all and of one host, the seconds
that one request may take, the bytes of head and body. A checkpoint stands for itself: the log's signature on it is what
lets it in (C2SP tlog-witness).
"""

import logging
import re
import socket
import ssl
import sys
from contextlib import suppress
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import BinaryIO, Final

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import AuditDamaged, ConfigurationError
from kmsgw.tlog.node_index import INDEX_LIMIT
from kmsgw.witness.answer import Answer
from kmsgw.witness.connections import MOST_CONNECTIONS, MOST_OF_A_HOST, Connections
from kmsgw.witness.request import REQUEST_LIMIT
from kmsgw.witness.tally import Tally
from kmsgw.witness.witness import Witness

REQUEST_SECONDS: Final = 10.0
"""Longest time from a connection's begin, or its last answer, to the end of the next answer."""

HEAD_LIMIT: Final = 16 * 1024
"""Longest head of a request, in bytes: a hundred header lines as long as the library lets pass are 6 MiB."""

_ADD: Final = "/add-checkpoint"
_ADD_INDEX: Final = "/add-index"
_LIMITS: Final = {_ADD: REQUEST_LIMIT, _ADD_INDEX: INDEX_LIMIT}
_METRICS: Final = "/metrics"
_LENGTH: Final = re.compile(r"[0-9]{1,9}\Z")
_MONITORED: Final = re.compile(r"/([0-9a-f]{64})/checkpoint\Z")
_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
_LOG = logging.getLogger(__name__)


def listen_address(text: str, *, tls: bool) -> tuple[str, int]:
    """Return host and port of HOST:PORT. Raises `ConfigurationError`; without TLS for any host but loopback."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise ConfigurationError([f"--listen: {text!r} is not HOST:PORT"], advice="Give it as 127.0.0.1:8446.")
    if not tls and not _is_loopback(host):
        raise ConfigurationError(
            [f"--listen: {host} is reached over the network, and there is no certificate"],
            advice="Give --tls-certificate and --tls-key, or listen on 127.0.0.1.",
        )
    return host, int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class _BoundedHead:
    """What a connection sends, of which each head is short. ``left`` is what the present one may still have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.left = HEAD_LIMIT

    def readline(self, limit: int) -> bytes:
        """Return a line of the head. Raises `http.client.LineTooLong` once the head is too long."""
        if self.left <= 0:
            raise LineTooLong("head")
        line = self._file.readline(min(limit, self.left))
        self.left -= len(line)
        return line

    def read(self, size: int) -> bytes:
        """Return so many bytes of the body, or fewer at the end."""
        return self._file.read(size)

    def close(self) -> None:
        """Close it."""
        self._file.close()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "kmsgw-witness"
    sys_version = ""
    timeout = REQUEST_SECONDS
    disable_nagle_algorithm = True
    """Head and body are two writes: else the second waits 40 ms for the other side to acknowledge the first."""
    server: "WitnessServer"
    rfile: _BoundedHead  # type: ignore[assignment]

    def setup(self) -> None:
        """Shake hands here, in the connection's own thread: one that is slow at it holds up nobody."""
        if self.server.tls is not None:
            self.request.settimeout(REQUEST_SECONDS)
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
            self.server.connections.replace(self.client_address, self.request)
        super().setup()
        self.rfile = _BoundedHead(self.rfile)  # type: ignore[arg-type]

    def finish(self) -> None:
        """Close what TLS has put over the connection."""
        try:
            super().finish()
        finally:
            self.request.close()

    def handle_one_request(self) -> None:
        """Answer the next request on the connection, in bounded time."""
        self.server.connections.begin(self.client_address)
        self.rfile.left = HEAD_LIMIT
        super().handle_one_request()

    def do_POST(self) -> None:
        """Take a checkpoint, or the index of a node."""
        limit = _LIMITS.get(self.path)
        if limit is None:
            self.close_connection = True
            self._answer(Answer(404, b"There is only POST /add-checkpoint and /add-index.\n"))
            return
        length = self.headers.get("Content-Length", "")
        if not _LENGTH.match(length) or "Transfer-Encoding" in self.headers:
            self._refuse(Answer(411, b"Say how long the request is (Content-Length).\n"))
            return
        if int(length) > limit:
            self._refuse(Answer(413, b"The request is too long.\n"))
            return
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            self.close_connection = True
            return
        try:
            witness = self.server.witness
            answer = witness.add_checkpoint(body) if self.path == _ADD else witness.add_index(body)
        except (OSError, AuditDamaged) as error:
            # Nothing is cosigned that is not remembered. What is wrong is for the witness's own log.
            _LOG.critical("the state of this witness can't be used: %s", error)
            answer = Answer(500, b"The witness can't keep its state.\n")
        self.server.tally.answered(answer.status)
        self._answer(answer)

    def do_GET(self) -> None:
        """Show a cosigned checkpoint, or the figures."""
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body that is not read would be taken for the next request
        if self.path == _METRICS:
            self._answer(Answer(200, self.server.figures(), _METRICS_TYPE))
            return
        match = _MONITORED.match(self.path)
        note = None if match is None else self.server.newest(match[1])
        self._answer(Answer(404, b"There is nothing here.\n") if note is None else Answer(200, note))

    def _refuse(self, answer: Answer) -> None:
        """Answer a request whose body is not read: what follows on the connection would be taken for the next."""
        self.server.tally.answered(answer.status)
        self.close_connection = True
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        """Write no line for each request: callers could fill the disk with them."""


class WitnessServer(ThreadingHTTPServer):
    """The listener of a witness. `serve_forever` answers until `shutdown`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_CONNECTIONS

    def __init__(
        self,
        address: tuple[str, int],
        witness: Witness,
        tally: Tally,
        tls: ssl.SSLContext | None = None,
        *,
        most: int = MOST_CONNECTIONS,
        most_of_a_host: int = MOST_OF_A_HOST,
    ) -> None:
        """Listen, for so many connections at a time. Raises `ConfigurationError` where that can't be."""
        self.witness = witness
        self.tally = tally
        self.tls = tls
        self.connections = Connections(SYSTEM_CLOCK, REQUEST_SECONDS, most, most_of_a_host)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise ConfigurationError(
                [f"--listen: {address[0]}:{address[1]}: {error.strerror}"], advice="See which program has the port."
            ) from None

    def figures(self) -> bytes:
        """Return the figures for Prometheus."""
        try:
            logs = {origin: self.witness.cosigned(origin) for origin in self.witness.origins()}
        except (OSError, AuditDamaged) as error:
            _LOG.critical("the state of this witness can't be read: %s", error)
            logs = dict.fromkeys(self.witness.origins())
        return self.tally.expose(logs, self.witness.nodes(), self.witness.lost())

    def newest(self, name: str) -> bytes | None:
        """Return the cosigned checkpoint of the log whose origin has this hash, or None."""
        origin = self.witness.origin_of(name)
        try:
            return None if origin is None else self.witness.newest(origin)
        except OSError as error:
            _LOG.critical("the state of this witness can't be read: %s", error.strerror)
            return None

    def verify_request(self, request: object, client_address: object) -> bool:
        """Take a connection if there is room."""
        assert isinstance(request, socket.socket)
        return self.connections.admit(client_address, request)

    def service_actions(self) -> None:
        """Cut connections whose time is over."""
        for each in self.connections.late():
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Answer a connection in a thread of its own. Where none can be begun, its place is free again."""
        try:
            super().process_request(request, client_address)
        except BaseException:
            self.connections.forget(client_address)
            raise

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Answer one connection and forget it."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.forget(client_address)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002
        """Say what went wrong in a connection, unless it was the other side's doing."""
        error = sys.exception()
        if not isinstance(error, OSError):
            _LOG.error("a request failed by a fault of kmsgw", exc_info=error)


def server_context(certificate: str, private_key: str, client_ca: str | None) -> ssl.SSLContext:
    """Return a context of TLS 1.3; with `client_ca`, callers must show a certificate. Raises `ConfigurationError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(certificate, private_key)
        if client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            [f"--tls-certificate, --tls-key, --client-ca: {error.strerror or 'not usable'}"],
            advice="Give PEM files that belong together.",
        ) from None
    return context
