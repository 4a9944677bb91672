"""A client's certificate, read once into the parts that identify it.

Names are parsed, never matched as text (threat 1): ``CN=a,OU=b`` inside one attribute's value is not two attributes.
Sources: RFC 5280 for the fields, the SPIFFE X.509-SVID standard (sections 2 and 4) for the URI.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from kmsgw.errors import Reason, Unauthenticated
from kmsgw.model.names import DEVELOPMENT_ORGANISATION

CERTIFICATE_LIMIT = 64 * 1024
"""Longest certificate that is parsed, in bytes."""

_SPIFFE = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)*\Z")
_SPIFFE_LIMIT = 2048


def is_spiffe_id(uri: str) -> bool:
    """Tell whether `uri` is a SPIFFE ID in its one canonical form (SPIFFE-ID standard, section 2)."""
    return len(uri) <= _SPIFFE_LIMIT and _SPIFFE.match(uri) is not None


def attributes_of(name: x509.Name) -> Mapping[str, str]:
    """Return the attributes of a distinguished name by their short name (CN, OU) or dotted OID.

    Relative names with several values are taken apart. An attribute that appears twice is left out: which of the two
    a rule would mean is ambiguous, so it never matches. Values that are not text are left out as well.
    """
    pairs = [(attribute.rfc4514_attribute_name, attribute.value) for attribute in name]
    count = Counter(key for key, _ in pairs)
    return MappingProxyType({key: value for key, value in pairs if count[key] == 1 and isinstance(value, str)})


def is_development_certificate(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate was made by `kmsgw init`: its issuer or subject carries the mark (threat 22)."""
    return any(
        attribute.rfc4514_attribute_name == "O" and attribute.value == DEVELOPMENT_ORGANISATION
        for name in (certificate.issuer, certificate.subject)
        for attribute in name
    )


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What a client's certificate says of it.

    ``spiffe`` is None where it has none. ``dns`` is in lower case. ``fingerprint`` is the SHA-256 of the DER form,
    hexadecimal. ``issuer_der`` is the issuer's name as encoded in the certificate, ``source`` the whole of it.
    """

    spiffe: str | None
    dns: frozenset[str]
    subject: Mapping[str, str]
    issuer: Mapping[str, str]
    issuer_der: bytes
    serial: int
    not_before: datetime
    not_after: datetime
    fingerprint: str
    source: x509.Certificate = field(repr=False, compare=False)

    @classmethod
    def parse(cls, raw: bytes) -> "ClientCertificate":
        """Read a certificate in PEM or DER.

        Raises `Unauthenticated` with CERTIFICATE_INVALID where it is malformed, is that of a CA, may not be used by
        a client (extended key usage without clientAuth), or has more than one URI beside a SPIFFE URI.
        """
        certificate = _load(raw)
        try:
            if certificate.serial_number <= 0:  # RFC 5280, section 4.1.2.2
                raise _invalid("The client certificate has no positive serial number.", "Have it issued again.")
            names = _alternative_names(certificate)
            _check_purpose(certificate)
            return cls(
                spiffe=_spiffe(names.get_values_for_type(x509.UniformResourceIdentifier)),
                dns=frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName)),
                subject=attributes_of(certificate.subject),
                issuer=attributes_of(certificate.issuer),
                issuer_der=certificate.issuer.public_bytes(),
                serial=certificate.serial_number,
                not_before=certificate.not_valid_before_utc,
                not_after=certificate.not_valid_after_utc,
                fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
                source=certificate,
            )
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
            # cryptography reads lazily: broken extensions and names show only now
            raise _invalid("The client certificate is malformed.", "Have it issued again.") from None


def _invalid(message: str, advice: str) -> Unauthenticated:
    return Unauthenticated(message, reason=Reason.CERTIFICATE_INVALID, advice=advice)


def _load(raw: bytes) -> x509.Certificate:
    if len(raw) <= CERTIFICATE_LIMIT:
        try:
            if raw.lstrip().startswith(b"-----"):
                return x509.load_pem_x509_certificate(raw)
            return x509.load_der_x509_certificate(raw)
        except (ValueError, x509.InvalidVersion):
            pass
    raise _invalid("The client certificate is malformed.", "Have it issued again.")


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def _check_purpose(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        pass
    else:
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
            raise _invalid(
                "The certificate may not be used by a client.",
                "Have it issued with the extended key usage clientAuth.",
            )
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return
    if constraints.ca:
        raise _invalid("The certificate is that of a CA, not of a client.", "Use a certificate issued to the client.")


def _spiffe(uris: Iterable[str]) -> str | None:
    """Return the SPIFFE URI; refuse any other URI beside it, as the X.509-SVID standard says (section 2)."""
    every = list(uris)
    if not any(uri.lower().startswith("spiffe:") for uri in every):
        return None
    if len(every) != 1 or not is_spiffe_id(every[0]):
        raise _invalid(
            "The certificate's SPIFFE URI is not the only URI, or not in canonical form.",
            "Have it issued with exactly one URI, of the form spiffe://TRUST-DOMAIN/PATH.",
        )
    return every[0]
