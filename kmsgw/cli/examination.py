"""What `kmsgw doctor` looks at before it calls the gateway: files, certificates, name, port and TLS."""

import ipaddress
import socket
import ssl
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from kmsgw.cli.failure import CommandError, printable
from kmsgw.cli.finding import Finding, Result
from kmsgw.cli.profile import Profile, require_private
from kmsgw.client import ConfigurationError, Credentials
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.model.names import DEVELOPMENT_ORGANISATION

_SOON = timedelta(days=14)


def examine_files(profile: Profile) -> Iterator[Finding]:
    """Check the three files of mutual TLS: there, readable, private, matching, in date, of the CA."""
    try:
        credentials = Credentials.from_files(profile.ca, profile.certificate, profile.key)
    except ConfigurationError as error:
        for fault in error.faults:
            yield Finding("files", Result.FAIL, printable(fault), printable(error.advice))
        return
    yield Finding("files", Result.OK, "CA, certificate and private key are readable and belong together")
    yield _mode(profile.key)
    leaf = x509.load_pem_x509_certificate(credentials.certificate)
    yield _dates("certificate", leaf, "Ask for a new certificate.")
    yield _issuer(leaf, x509.load_pem_x509_certificates(credentials.ca))


def examine_connection(profile: Profile, *, handshake: bool) -> Iterator[Finding]:
    """Check that the name resolves, the port answers, and the TLS handshake shows a certificate that fits.

    Without `handshake`, for want of usable files, name and port only.
    """
    host, _, port = profile.address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal():
        yield Finding("address", Result.FAIL, printable(f"{profile.address} is not HOST:PORT"), "Correct the profile.")
        return
    try:
        plain = socket.create_connection((host, int(port)), timeout=profile.timeout)
    except socket.gaierror as error:
        yield Finding(
            "address", Result.FAIL, printable(f"{host}: {error.strerror}"), "Check the name and the name service."
        )
        return
    except (OSError, OverflowError) as error:
        advice = "Check that kmsgwd runs there, and the firewall between."
        yield Finding("address", Result.FAIL, printable(f"{profile.address}: {error}"), advice)
        return
    yield Finding("address", Result.OK, printable(f"{profile.address} accepts connections"))
    with plain:
        if handshake:
            yield from _handshake(plain, host, profile)


def _handshake(plain: socket.socket, host: str, profile: Profile) -> Iterator[Finding]:
    try:
        context = ssl.create_default_context(cafile=str(profile.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(profile.certificate, profile.key)
        with context.wrap_socket(plain, server_hostname=host) as secured:
            shown = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
            speaks_http2 = secured.selected_alpn_protocol() == "h2"
    except ssl.SSLCertVerificationError as error:
        yield Finding(
            "TLS",
            Result.FAIL,
            printable(f"the gateway's certificate: {error.verify_message}"),
            "Check the CA file, the clock, and that the address is a name in the certificate.",
        )
        return
    except OSError as error:  # ssl.SSLError is one
        yield Finding(
            "TLS",
            Result.FAIL,
            printable(f"no TLS 1.3 handshake: {error.strerror or type(error).__name__}"),
            "Check that this is the gateway's port.",
        )
        return
    if not speaks_http2:
        yield Finding("TLS", Result.FAIL, "the server does not speak HTTP/2", "Check that this is the gateway's port.")
        return
    yield Finding("TLS", Result.OK, f"TLS 1.3, certificate of {_names(shown)}")
    yield _dates("server", shown, "Ask the gateway's operator to renew it.")


def _mode(key: Path) -> Finding:
    try:
        require_private(key)
    except CommandError as error:
        return Finding("key file", Result.FAIL, printable(error.message.removesuffix(".")), printable(error.advice))
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & 0o077:
        text = printable(f"{key} is not yours, and has mode {mode:04o}: others can read it")
        return Finding("key file", Result.WARN, text, "Have its owner close it to all who need not read it.")
    return Finding("key file", Result.OK, f"mode {mode:04o}")


def _dates(check: str, certificate: x509.Certificate, advice: str) -> Finding:
    now: datetime = SYSTEM_CLOCK.now()
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < first:
        return Finding(
            check, Result.FAIL, f"not valid before {first:%Y-%m-%d %H:%M} UTC", "Check this machine's clock."
        )
    if now > last:
        return Finding(check, Result.FAIL, f"expired on {last:%Y-%m-%d %H:%M} UTC", advice)
    if last - now < _SOON:
        return Finding(check, Result.WARN, f"expires soon, on {last:%Y-%m-%d %H:%M} UTC", advice)
    return Finding(check, Result.OK, f"valid until {last:%Y-%m-%d %H:%M} UTC")


def _issuer(leaf: x509.Certificate, authorities: list[x509.Certificate]) -> Finding:
    for authority in authorities:
        try:
            leaf.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        organisations = leaf.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
        if any(each.value == DEVELOPMENT_ORGANISATION for each in organisations):
            return Finding("issuer", Result.WARN, "a development CA", "Use certificates of your own CA in production.")
        return Finding("issuer", Result.OK, "issued by the CA in the CA file")
    return Finding(
        "issuer",
        Result.WARN,
        "not issued directly by the CA in the CA file",
        "That is well where the gateway trusts another CA for clients; otherwise name the right files.",
    )


def _names(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "no name"
    texts = [str(name.value) for name in names if isinstance(name.value, str | ipaddress.IPv4Address)]
    return printable(", ".join(texts))
