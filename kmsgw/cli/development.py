"""A certificate authority for development and tests, in memory.

Every name it puts in a certificate carries `DEVELOPMENT_ORGANISATION`, so that a gateway in production can refuse what
was made here (threat 22). Keys are ECDSA P-256: BoringSSL, OpenSSL and Go accept it in TLS 1.3 without any setting.
Certificates follow RFC 5280; the server's have subject alternative names, without which Go refuses them.
"""

import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.model.names import DEVELOPMENT_ORGANISATION

VALIDITY = timedelta(days=90)
"""How long development certificates and CRLs are valid."""

TRUST_DOMAIN = "kmsgw.development"
"""SPIFFE trust domain of development clients."""

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
"""Subject alternative names that every development server certificate has by default."""

_BACKDATED = timedelta(minutes=5)  # clocks of virtual machines and containers differ by some seconds
_ATTRIBUTES: Mapping[str, ObjectIdentifier] = {
    "CN": NameOID.COMMON_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "C": NameOID.COUNTRY_NAME,
    "L": NameOID.LOCALITY_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
}


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate and its private key, both PEM; the key is PKCS#8 without a passphrase."""

    certificate: bytes
    private_key: bytes = field(repr=False)
    serial: int


def spiffe_id(name: str) -> str:
    """Return the SPIFFE URI of a development client."""
    return f"spiffe://{TRUST_DOMAIN}/{name}"


def subject_name(attributes: Mapping[str, str]) -> x509.Name:
    """Return a name of attributes such as CN and OU, with `DEVELOPMENT_ORGANISATION` where no O is given.

    Raises `KeyError` on an attribute that is not one of CN, O, OU, C, L, ST.
    """
    marked = {"O": DEVELOPMENT_ORGANISATION, **attributes}
    return x509.Name([x509.NameAttribute(_ATTRIBUTES[name], value) for name, value in marked.items()])


def host_name(host: str) -> x509.GeneralName:
    """Return a subject alternative name: an IP address where `host` is one, else a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


class DevelopmentCa:
    """A CA that lives in memory. Make one with `create`; its private key leaves it through `private_key` alone."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, clock: Clock) -> None:
        self._certificate = certificate
        self._key = key
        self._clock = clock

    @classmethod
    def create(
        cls, *, name: str = "", not_after: datetime | None = None, clock: Clock = SYSTEM_CLOCK, ca: bool = True
    ) -> Self:
        """Make a CA with a new key. `name` is its CN; the default ends in random digits, so that no two are alike.

        With ``ca=False`` the certificate is not marked as that of a CA: for tests of those who must refuse it.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = subject_name({"CN": name or f"kmsgw development CA {secrets.token_hex(4)}"})
        now = clock.now()
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - _BACKDATED if not_after is None else min(now, not_after) - VALIDITY)
            .not_valid_after(not_after or now + VALIDITY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
            .add_extension(_key_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key, clock)

    @classmethod
    def load(cls, certificate: bytes, private_key: bytes, clock: Clock = SYSTEM_CLOCK) -> Self:
        """Return the CA of a certificate and a private key in PEM, as `kmsgw init` wrote them."""
        key = serialization.load_pem_private_key(private_key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(x509.load_pem_x509_certificate(certificate), key, clock)

    @property
    def certificate(self) -> bytes:
        """The CA's certificate, PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def private_key(self) -> bytes:
        """The CA's private key, PEM (PKCS#8, no passphrase)."""
        return _pem(self._key)

    def issue_server(
        self,
        hosts: Sequence[str] = LOCAL_HOSTS,
        *,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> IssuedCertificate:
        """Issue a server certificate for host names and IP addresses; without any it has no SAN."""
        return self._issue(
            {"CN": "kmsgwd"},
            [host_name(host) for host in hosts],
            [ExtendedKeyUsageOID.SERVER_AUTH],
            not_before,
            not_after,
        )

    def issue_client(
        self,
        name: str,
        *,
        spiffe: str | Sequence[str] | None = None,
        dns: Sequence[str] = (),
        subject: Mapping[str, str] | x509.Name | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        usages: Sequence[ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH,),
    ) -> IssuedCertificate:
        """Issue a client certificate.

        `name` is its CN unless `subject` gives all attributes, or the whole name. Without `spiffe` and `dns` it has
        no SAN. `usages` are the extended key usages; without any the extension is left out.
        """
        uris = [spiffe] if isinstance(spiffe, str) else list(spiffe or ())
        names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
        return self._issue(subject or {"CN": name}, names, usages, not_before, not_after)

    def crl(
        self,
        revoked: Sequence[int] = (),
        *,
        last_update: datetime | None = None,
        next_update: datetime | None = None,
        number: int = 1,
    ) -> bytes:
        """Sign a CRL (PEM) that revokes the certificates with these serial numbers."""
        now = self._clock.now()
        end = next_update or now + VALIDITY
        begin = last_update or min(now, end - timedelta(days=1))
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(begin)
            .next_update(end)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(self._authority_key_identifier(), critical=False)
        )
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(begin).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _issue(
        self,
        subject: Mapping[str, str] | x509.Name,
        names: Sequence[x509.GeneralName],
        usages: Sequence[ObjectIdentifier],
        not_before: datetime | None,
        not_after: datetime | None,
    ) -> IssuedCertificate:
        name = subject if isinstance(subject, x509.Name) else subject_name(subject)
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        now = self._clock.now()
        end = not_after or now + VALIDITY
        begin = not_before or min(now - _BACKDATED, end - timedelta(days=1))
        builder = (
            x509.CertificateBuilder(self._certificate.subject, name, key.public_key(), serial)
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(self._authority_key_identifier(), critical=False)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return IssuedCertificate(certificate.public_bytes(serialization.Encoding.PEM), _pem(key), serial)

    def _authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
