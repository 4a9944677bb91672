"""The server's TLS files: read, checked, and every fault told with what to do about it. Needs no grpcio.

**TLS 1.3 only.** grpcio has no option for the lowest TLS version, and its servers accept TLS 1.2. But a list of cipher
suites in its environment applies to TLS 1.2 alone (BoringSSL fixes those of TLS 1.3), and suites for pre-shared keys
can't be used without one: with `TLS13_ENVIRONMENT` every TLS 1.2 handshake ends with "no shared cipher".
grpcio reads it when it is imported, so it must be in the environment of a worker before the worker starts.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID

from kmsgw.authn.certificate import is_development_certificate
from kmsgw.authn.crl import RevocationList, load_certificates
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.config import Environment, TlsSettings
from kmsgw.errors import ConfigurationError

TLS13_ENVIRONMENT: Mapping[str, str] = {"GRPC_SSL_CIPHER_SUITES": "ECDHE-PSK-CHACHA20-POLY1305"}
"""Environment of a worker process that makes grpcio refuse TLS 1.2. To be set before grpcio is imported."""

_MAX_FILE_BYTES = 16 * 1024 * 1024
_MIN_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files as read together, sound as a whole. PEM; the private key never shows."""

    certificate: bytes
    private_key: bytes = field(repr=False)
    client_ca: bytes
    leaf: x509.Certificate = field(repr=False)
    development: bool


def read_tls_files(settings: TlsSettings, environment: Environment, clock: Clock = SYSTEM_CLOCK) -> TlsFiles:
    """Read certificate, private key and CAs. Raises `ConfigurationError` with every fault, a line each."""
    faults: list[str] = []
    certificate = _read("tls.certificate", settings.certificate, faults)
    private_key = _read("tls.private_key", settings.private_key, faults, secret=True)
    client_ca = _read("tls.client_ca", settings.client_ca, faults)
    chain = _certificates("tls.certificate", settings.certificate, certificate, faults)
    authorities = _certificates("tls.client_ca", settings.client_ca, client_ca, faults)
    if chain:
        faults += [f"tls.certificate: {settings.certificate}: {fault}" for fault in _server_faults(chain[0], clock)]
    if private_key:
        faults += [
            f"tls.private_key: {settings.private_key}: {fault}" for fault in _key_faults(private_key, chain, settings)
        ]
    for authority in authorities:
        faults += [f"tls.client_ca: {settings.client_ca}: {fault}" for fault in _authority_faults(authority, clock)]
    development = any(is_development_certificate(each) for each in (*chain, *authorities))
    if development and environment is Environment.PRODUCTION and not settings.allow_development:
        faults.append(
            "tls: certificates made by `kmsgw init` are refused in production; use those of your own CA, "
            "or set tls.allow_development = true"
        )
    if faults:
        raise ConfigurationError(faults)
    return TlsFiles(certificate, private_key, client_ca, chain[0], development)


def check_tls_files(settings: TlsSettings, environment: Environment, clock: Clock = SYSTEM_CLOCK) -> list[str]:
    """Return every fault of the TLS files, CRL included, a line each that says what to do. Empty: all is well."""
    faults: list[str] = []
    try:
        read_tls_files(settings, environment, clock)
    except ConfigurationError as error:
        faults += error.faults
    if settings.crl is not None:
        crl = _read("tls.crl", settings.crl, faults)
        if crl:
            faults += [f"tls.crl: {settings.crl}: {fault}" for fault in _crl_faults(crl, settings.client_ca, clock)]
    return faults


def _read(place: str, path: Path, faults: list[str], *, secret: bool = False) -> bytes:
    """Return the content, or nothing and a fault. The mode is that of the opened file, not of a later look."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                faults.append(f"{place}: {path}: not a file; name a PEM file")
                return b""
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(_MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        faults.append(f"{place}: {path}: {error.strerror}; check the path and its mode, or run `kmsgw init`")
        return b""
    if len(content) > _MAX_FILE_BYTES:
        faults.append(f"{place}: {path}: longer than {_MAX_FILE_BYTES >> 20} MiB; name a PEM file")
        return b""
    if not content:
        faults.append(f"{place}: {path}: empty; write it again")
    mode = stat.S_IMODE(status.st_mode)
    if secret and mode & 0o077:
        faults.append(f"{place}: {path}: mode {mode:04o} lets others read it; run `chmod 600 {path}`")
    return content


def _certificates(place: str, path: Path, pem: bytes, faults: list[str]) -> Sequence[x509.Certificate]:
    if not pem:
        return ()
    try:
        return load_certificates(pem)
    except ConfigurationError as error:
        faults += [f"{place}: {path}: {fault}; write it again as PEM" for fault in error.faults]
        return ()


def _time_faults(certificate: x509.Certificate, clock: Clock) -> Iterator[str]:
    now = clock.now()
    if now >= certificate.not_valid_after_utc:
        yield f"expired at {certificate.not_valid_after_utc.isoformat()}; renew it"
    if now < certificate.not_valid_before_utc:
        yield f"not valid before {certificate.not_valid_before_utc.isoformat()}; wait, or set the clock right"


def _server_faults(leaf: x509.Certificate, clock: Clock) -> Iterator[str]:
    yield from _time_faults(leaf, clock)
    try:
        extensions = leaf.extensions
    except (ValueError, x509.DuplicateExtension):
        yield "malformed extensions; have it issued again"
        return
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    if not names.get_values_for_type(x509.DNSName) and not names.get_values_for_type(x509.IPAddress):
        yield "names no host; have it issued with a subject alternative name, which clients require"
    try:
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        yield "not for servers; have it issued with the extended key usage serverAuth"


def _key_faults(pem: bytes, chain: Sequence[x509.Certificate], settings: TlsSettings) -> Iterator[str]:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        yield "encrypted with a passphrase; write it without, mode 0600"
        return
    except (ValueError, UnsupportedAlgorithm):
        yield "no PEM private key, or a malformed one; write it again"
        return
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _MIN_RSA_BITS:
            yield f"RSA of {key.key_size} bits is too short; use ECDSA P-256, or RSA from {_MIN_RSA_BITS} bits"
    elif not isinstance(key, ec.EllipticCurvePrivateKey):
        yield "a kind of key that grpcio does not serve with; use ECDSA P-256, or RSA"
    if chain and _public_key(key) != _public_key(chain[0]):
        yield f"does not belong to {settings.certificate}; replace both files together, leaf certificate first"


def _public_key(owner: PrivateKeyTypes | x509.Certificate) -> bytes | None:
    """Return the public key in one encoding, None where it is of a kind unknown."""
    try:
        key = owner.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _authority_faults(authority: x509.Certificate, clock: Clock) -> Iterator[str]:
    name = authority.subject.rfc4514_string()
    for fault in _time_faults(authority, clock):
        yield f"{name}: {fault}, or take it out"
    try:
        marked = authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        marked = False
    if not marked:
        yield f"{name}: not the certificate of a CA; name the CA that issues client certificates"


def _crl_faults(crl: bytes, client_ca: Path, clock: Clock) -> Iterator[str]:
    try:
        authorities = client_ca.read_bytes()
        load_certificates(authorities)
    except (OSError, ConfigurationError):
        return  # told already, as a fault of tls.client_ca
    try:
        yield from RevocationList.load(crl, authorities).faults(clock.now())
    except ConfigurationError as error:
        for fault in error.faults:
            yield f"{fault}; publish the CRL again with the CA of tls.client_ca that signs it"
