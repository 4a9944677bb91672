"""The listener's credentials: mutual TLS with certificates that are replaced without a restart.

Every connection must present a client certificate that leads to a CA of ``tls.client_ca``; grpcio checks that, and its
time. Revocation, identity and time on later calls are `kmsgw.authn`'s. See `kmsgw.server.tls_files` for TLS 1.3.
"""

import threading
from datetime import datetime

import grpc

from kmsgw.authn.certificate import is_development_certificate
from kmsgw.authn.files import WatchedFiles
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.config import Environment, TlsSettings
from kmsgw.errors import ConfigurationError
from kmsgw.server.tls_files import TLS13_ENVIRONMENT, TlsFiles, check_tls_files, read_tls_files

__all__ = ["TLS13_ENVIRONMENT", "ServerCredentials", "check_tls_files", "is_development_certificate"]


class ServerCredentials:
    """Credentials of one listener that follow their files. Safe for threads.

    grpcio asks for the configuration before each handshake. The answer is "as before" at once, but for one look at the
    files a second; only a change reads them. New files that are not sound leave the old ones in force.
    """

    def __init__(self, settings: TlsSettings, environment: Environment, clock: Clock = SYSTEM_CLOCK) -> None:
        """Read the files. Raises `ConfigurationError` with every fault."""
        self._settings = settings
        self._environment = environment
        self._clock = clock
        self._lock = threading.Lock()
        self._watch = WatchedFiles((settings.certificate, settings.private_key, settings.client_ca), clock)
        self._watch.changed(now=True)
        self._files = read_tls_files(settings, environment, clock)
        self._faults: tuple[str, ...] = ()
        self._pending: grpc.ServerCertificateConfiguration | None = None
        self._handshakes = 0
        self._credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(self._files),
            self._fetch,  # type: ignore[arg-type]  # the stubs leave out that None means no change
            require_client_authentication=True,
        )

    @property
    def credentials(self) -> grpc.ServerCredentials:
        """What `grpc.Server.add_secure_port` takes."""
        return self._credentials

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the files on disk are not in force; empty where they are. For health and `status`."""
        return self._faults

    @property
    def handshakes(self) -> int:
        """How many handshakes were begun."""
        return self._handshakes

    @property
    def development(self) -> bool:
        """Whether a certificate in force, the server's or a CA's, was made by `kmsgw init`."""
        return self._files.development

    @property
    def expires(self) -> datetime:
        """When the server's certificate ends."""
        return self._files.leaf.not_valid_after_utc

    def refresh(self) -> bool:
        """Look at the files now; tell whether new ones came in force. New connections use them."""
        with self._lock:
            return self._reload(now=True)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return a new configuration, or None for no change. Runs on grpcio's threads; must not raise."""
        self._handshakes += 1
        if not self._lock.acquire(blocking=False):
            return None  # another handshake is reading the files: this one need not wait for the disk
        try:
            self._reload(now=False)
            pending, self._pending = self._pending, None
            return pending
        finally:
            self._lock.release()

    def _reload(self, *, now: bool) -> bool:
        if not self._watch.changed(now=now):
            return False
        try:
            files = read_tls_files(self._settings, self._environment, self._clock)
        except ConfigurationError as error:
            self._faults = error.faults
            self._watch.retry()
            return False
        self._faults = ()
        self._files = files
        self._pending = _configuration(files)
        return True


def _configuration(files: TlsFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(files.private_key, files.certificate)], root_certificates=files.client_ca
    )
