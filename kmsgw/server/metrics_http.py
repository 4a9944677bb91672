"""GET /metrics: HTTPS in front of a pipeline, so that a scrape passes what every call passes.

A scrape is a call of the method ``/metrics``: certificate, policy, an officer's session, the audit record are those of
gRPC. The HTTP is as little as Prometheus needs: one request a connection, no body, few connections at a time, and a
few seconds for all of it, so that nobody holds a thread (threat 19). Who has shown no certificate holds none at all
(`kmsgw.server.handshakes`).
"""

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, NamedTuple

from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import BytesValue

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import Status, Unavailable
from kmsgw.operations.control.read_metrics import ReadMetrics, ReadMetricsCommand
from kmsgw.server.handshakes import MOST_HALF_OPEN, Handshakes
from kmsgw.server.http_tls import HttpTls
from kmsgw.server.passage import Call, Reply
from kmsgw.server.rpcs import Plane, Rpc
from kmsgw.server.status import REQUEST_ID_METADATA, read_proof
from kmsgw.telemetry.exposition import CONTENT_TYPE

METRICS_METHOD: Final = "/metrics"
"""Path of the metrics, and their method in the audit log."""

CONNECTION_SECONDS: Final = 5.0
"""Longest time for one connection, from the end of its handshake."""

MOST_CONNECTIONS: Final = 8
"""Connections at a time on one worker, those apart whose handshake has not ended; more are closed at once."""

MOST_HEAD_BYTES: Final = 16_384
"""Longest head of a request."""

_TEXT: Final = "text/plain; charset=utf-8"
_CODES: Final = {
    Status.UNAUTHENTICATED: "401 Unauthorized",
    Status.PERMISSION_DENIED: "403 Forbidden",
    Status.UNIMPLEMENTED: "404 Not Found",
    Status.RESOURCE_EXHAUSTED: "429 Too Many Requests",
    Status.UNAVAILABLE: "503 Service Unavailable",
}
_LOG = logging.getLogger(__name__)


def metrics_table(operation: ReadMetrics) -> dict[str, Rpc]:
    """Return the table of the one call that HTTP has. It is not on gRPC."""
    row = Rpc(
        METRICS_METHOD,
        Plane.CONTROL,
        Empty,
        lambda _: ReadMetricsCommand(),
        operation,
        lambda text: BytesValue(value=text),
    )
    return {row.method: row}


class Request(NamedTuple):
    """The head of a request: its verb, its path without a query, and its headers, names in lower case."""

    verb: str
    path: str
    headers: tuple[tuple[str, str], ...]


def parse_head(head: bytes) -> Request | None:
    """Return a request's head as HTTP/1.1 writes it (RFC 9112), or None where it is none, or has a body."""
    lines = head.decode("ascii", "replace").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.0", "HTTP/1.1") or not parts[1].startswith("/"):
        return None
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            return None
        headers.append((name.lower(), value.strip()))
    if any(name in ("content-length", "transfer-encoding") and value != "0" for name, value in headers):
        return None
    return Request(parts[0], parts[1].partition("?")[0], tuple(headers))


class MetricsServer:
    """One worker's listener; workers share the address with SO_REUSEPORT, so one that hangs answers no scrape."""

    def __init__(self, address: str, tls: HttpTls, handle: Callable[[Call], Reply]) -> None:
        """Listen on HOST:PORT. Raises `Unavailable` where that can't be."""
        self._handle = handle
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._pool = ThreadPoolExecutor(MOST_CONNECTIONS, thread_name_prefix="metrics")
        host, _, port = address.rpartition(":")
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[
                0
            ]
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(place)
            listener.listen(MOST_HALF_OPEN)
        except OSError:
            raise Unavailable(
                f"The address {address} can't be listened on.", advice="See which program has the port."
            ) from None
        self._handshakes = Handshakes(listener, tls.context, self._take)

    def start(self) -> None:
        """Begin to answer."""
        self._handshakes.start()

    def stop(self) -> None:
        """Answer no more, and wait for those that are being answered."""
        self._handshakes.stop()
        self._pool.shutdown()

    def _take(self, secured: ssl.SSLSocket, peer: str) -> None:
        if not self._free.acquire(blocking=False):
            secured.close()
            return
        self._pool.submit(self._serve, secured, peer)

    def _serve(self, secured: ssl.SSLSocket, peer: str) -> None:
        deadline = SYSTEM_CLOCK.monotonic() + CONNECTION_SECONDS
        try:
            with secured:
                secured.settimeout(CONNECTION_SECONDS)
                secured.sendall(self._answer(secured, peer, deadline))
                with suppress(OSError):
                    secured.unwrap()
        except OSError:
            pass  # the other side's doing: gone away, or too slow
        except Exception:  # noqa: BLE001  the next scrape is to be answered all the same
            _LOG.exception("a scrape failed by a fault of kmsgw")
        finally:
            self._free.release()

    def _answer(self, secured: ssl.SSLSocket, peer: str, deadline: float) -> bytes:
        request = _receive(secured, deadline)
        if request is None:
            return _response("400 Bad Request", b"Send GET /metrics.\n")
        if request.verb != "GET":
            return _response("405 Method Not Allowed", b"Send GET /metrics.\n", {"Allow": "GET"})
        presented = secured.getpeercert(binary_form=True)
        certificate = ssl.DER_cert_to_PEM_cert(presented).encode() if presented else None
        reply = self._handle(Call(request.path, b"", certificate, peer, lambda: read_proof(request.headers)))
        headers = {REQUEST_ID_METADATA: reply.request_id}
        if reply.error is not None:
            code = _CODES.get(reply.error.status, "500 Internal Server Error")
            told = f"{reply.error.reason.value}: {reply.error}".replace("REQUEST_ID", reply.request_id)
            return _response(code, f"{told}\n".encode(), headers)
        return _response("200 OK", BytesValue.FromString(reply.message).value, headers, CONTENT_TYPE)


def _receive(secured: ssl.SSLSocket, deadline: float) -> Request | None:
    """Return the head of a request. Raises `TimeoutError` where it does not come in time."""
    received = b""
    while b"\r\n\r\n" not in received:
        left = deadline - SYSTEM_CLOCK.monotonic()
        if left <= 0:
            raise TimeoutError
        secured.settimeout(left)
        more = secured.recv(4096)
        received += more
        if not more or len(received) > MOST_HEAD_BYTES:
            return None
    return parse_head(received.partition(b"\r\n\r\n")[0])


def _response(code: str, body: bytes, headers: Mapping[str, str] | None = None, content_type: str = _TEXT) -> bytes:
    named = {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Connection": "close",
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {code}\r\n{head}\r\n".encode() + body
