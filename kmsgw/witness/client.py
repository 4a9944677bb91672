"""Asking a witness for cosignatures over HTTPS, from the log's side. Nothing here waits for longer than its bound."""

import http.client
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from kmsgw.errors import ConfigurationError, Unavailable
from kmsgw.witness.answer import Answer

Submit = Callable[[bytes], Answer]
"""Carries the body of add-checkpoint to a witness and its answer back; raises `Unavailable` where there is none."""

ANSWER_LIMIT: Final = 65_536
"""Longest answer that is read, in bytes."""

SECONDS: Final = 5.0
"""Longest wait for a connection, and for each part of an answer."""


@dataclass(slots=True)
class HttpWitness:
    """A witness at a URL, the submission prefix. One request at a time; the connection is kept for the next."""

    url: str
    tls: ssl.SSLContext | None
    seconds: float = SECONDS
    _connection: http.client.HTTPConnection | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def submit(self, body: bytes) -> Answer:
        """Send the body of add-checkpoint and return the answer. Raises `Unavailable`."""
        return self._send("/add-checkpoint", body)

    def introduce(self, index: bytes) -> Answer:
        """Send the signed index of a node (add-index) and return the answer. Raises `Unavailable`."""
        return self._send("/add-index", index)

    def _send(self, verb: str, body: bytes) -> Answer:
        with self._lock:
            try:
                if self._connection is not None:
                    try:
                        return self._exchange(self._connection, verb, body)
                    except (http.client.RemoteDisconnected, ConnectionError):
                        self._close()  # kept for too long: the other side has closed it
                return self._exchange(self._connect(), verb, body)
            except (OSError, http.client.HTTPException) as error:
                self._close()
                # The text of the library can hold addresses, and nothing that is secret.
                raise Unavailable(
                    f"The witness at {self.url} does not answer: {error or type(error).__name__}."
                ) from None

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._close()

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        if parts.scheme == "https":
            self._connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=self.seconds, context=self.tls
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=self.seconds)
        return self._connection

    def _exchange(self, connection: http.client.HTTPConnection, verb: str, body: bytes) -> Answer:
        path = urlsplit(self.url).path.rstrip("/") + verb
        connection.request("POST", path, body, {"Content-Type": "text/plain; charset=utf-8"})
        response = connection.getresponse()
        read = response.read(ANSWER_LIMIT + 1)
        if len(read) > ANSWER_LIMIT:
            raise http.client.HTTPException("its answer is too long")
        if response.will_close:
            self._close()
        return Answer(response.status, read, response.headers.get_content_type())

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def client_context(ca: Path | None, certificate: Path | None, private_key: Path | None) -> ssl.SSLContext:
    """Return a context that believes `ca`, or the machine's CAs; with a certificate to show, where one is given.

    Raises `ConfigurationError` where the files can't be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if certificate is not None and private_key is not None:
            context.load_cert_chain(certificate, private_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            [f"audit.witnesses: ca, certificate or private_key: {error.strerror or 'not usable'}"],
            advice="Give PEM files that belong together.",
        ) from None
    return context
