"""The certificates of a target, read from their files for each new connection: a renewed one needs no restart."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kmsgw.errors import ConfigurationError
from kmsgw.secret_file import read_secret_file

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Suites of TLS 1.2; those of RFC 9662 among them. TLS 1.3 has its own."""

_ADVICE: Final = "Write PEM files again, a private key without passphrase that belongs to its certificate."


@dataclass(frozen=True, slots=True)
class TargetFiles:
    """Files of ``[[audit.export]]``; ``place`` names the table in faults."""

    place: str
    ca: Path
    certificate: Path | None = None
    private_key: Path | None = None

    def read(self) -> tuple[bytes, bytes | None, bytes | None]:
        """Return CAs, certificate and private key, in PEM. Raises `ConfigurationError` with every fault."""
        faults: list[str] = []
        found: list[bytes | None] = []
        for name, path in (("ca", self.ca), ("certificate", self.certificate)):
            try:
                found.append(None if path is None else path.read_bytes())
            except OSError as error:
                faults.append(f"{self.place}.{name}: {path}: {error.strerror}")
        try:
            key = None if self.private_key is None else read_secret_file(self.private_key, f"{self.place}.private_key")
        except ConfigurationError as error:
            faults += error.faults
        if faults:
            raise ConfigurationError(
                faults, advice="Give files that kmsgwd's user may read, the private key mode 0600."
            )
        ca, certificate = found
        assert ca is not None
        return ca, certificate, key

    def context(self) -> ssl.SSLContext:
        """Return a context for a client: TLS 1.2 or 1.3, the receiver's name compared. Raises `ConfigurationError`."""
        ca, certificate, key = self.read()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Log receivers are often appliances without TLS 1.3; RFC 9662 asks for 1.2 with such suites at least.
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        try:
            context.load_verify_locations(cadata=ca.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError):
            raise ConfigurationError([f"{self.place}.ca: {self.ca}: no certificates in PEM"], advice=_ADVICE) from None
        if certificate is not None and key is not None:
            self._load_chain(context, certificate + b"\n" + key)
        return context

    def _load_chain(self, context: ssl.SSLContext, pem: bytes) -> None:
        # What was read and checked, not what has the name by now: ssl takes only names.
        memory = os.memfd_create("kmsgw-export", os.MFD_CLOEXEC)
        try:
            os.pwrite(memory, pem, 0)
            # Without a password callback that fails, OpenSSL would ask on the terminal.
            context.load_cert_chain(f"/proc/self/fd/{memory}", password=b"")
        except (ssl.SSLError, OSError):
            fault = f"{self.place}.private_key: {self.private_key}: it does not go with {self.certificate}"
            raise ConfigurationError([fault], advice=_ADVICE) from None
        finally:
            os.close(memory)
