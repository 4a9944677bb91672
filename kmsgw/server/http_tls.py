"""Mutual TLS 1.3 for HTTP, with the same files as the gRPC port, followed as they change."""

import ssl
import threading

from kmsgw.authn.files import WatchedFiles
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.config import Environment, TlsSettings
from kmsgw.errors import ConfigurationError
from kmsgw.server.tls_files import read_tls_files


class HttpTls:
    """TLS contexts of one listener. Safe for threads."""

    def __init__(self, settings: TlsSettings, environment: Environment, clock: Clock = SYSTEM_CLOCK) -> None:
        """Read the files. Raises `ConfigurationError` with every fault."""
        self._settings = settings
        self._environment = environment
        self._clock = clock
        self._lock = threading.Lock()
        self._watch = WatchedFiles((settings.certificate, settings.private_key, settings.client_ca), clock)
        self._watch.changed(now=True)
        self._context = self._load()

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection. Files that are not sound leave the old one in force."""
        with self._lock:
            if self._watch.changed():
                try:
                    self._context = self._load()
                except ConfigurationError:
                    self._watch.retry()  # `kmsgw.server.tls` says what is wrong with them
            return self._context

    def _load(self) -> ssl.SSLContext:
        files = read_tls_files(self._settings, self._environment, self._clock)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        # Without tickets every connection shows its certificate anew.
        context.num_tickets = 0
        try:
            context.load_verify_locations(cadata=files.client_ca.decode("ascii", "replace"))
            context.load_cert_chain(self._settings.certificate, self._settings.private_key)
        except (OSError, ssl.SSLError):
            raise ConfigurationError(["tls: certificate and private key changed while they were read"]) from None
        return context
