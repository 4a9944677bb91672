"""Certificate revocation lists (RFC 5280, section 5), checked by the gateway itself.

grpcio hands over the certificate that the client proved to hold, and the TLS layer has built its chain to one of the
configured CAs. Here the certificate's own CA is found again by its signature, and that CA's list decides. So an
intermediate CA that issues to clients must be listed in ``tls.client_ca`` beside its root, with a CRL of its own.
A CA of the file that another one has revoked counts as revoked with everything it issued.

Delta, indirect and partial lists are refused: to read one as a whole list would miss revocations.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from kmsgw.authn.certificate import ClientCertificate
from kmsgw.errors import ConfigurationError, Reason, Unauthenticated

_PEM_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_KNOWN_EXTENSIONS = (x509.CRLNumber, x509.AuthorityKeyIdentifier, x509.IssuingDistributionPoint)
_KNOWN_ENTRY_EXTENSIONS = (x509.CRLReason, x509.InvalidityDate)


@dataclass(frozen=True, slots=True)
class Issue:
    """Which of its CA's lists one is: its thisUpdate, and its CRLNumber, -1 where it has none.

    Both only rise from one list to the next (RFC 5280, 5.2.3).
    """

    updated: datetime
    number: int = -1

    def is_before(self, other: "Issue") -> bool:
        """Tell whether it is an older one than another, by either."""
        return self.updated < other.updated or -1 < self.number < other.number

    def newest(self, other: "Issue") -> "Issue":
        """Return the later of both times and the higher of both numbers."""
        return Issue(max(self.updated, other.updated), max(self.number, other.number))


@dataclass(frozen=True, slots=True)
class _List:
    """What one CA's list says."""

    issue: "Issue"
    next_update: datetime
    serials: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    crl: _List | None
    revoked: bool

    @property
    def name(self) -> str:
        return self.certificate.subject.rfc4514_string()


class RevocationList:
    """The CRLs in force with the CAs that signed them. Immutable, so safe for threads; a reload makes a new one."""

    def __init__(self, authorities: Sequence[_Authority]) -> None:
        self._by_name: dict[bytes, list[_Authority]] = {}
        for authority in authorities:
            self._by_name.setdefault(authority.certificate.subject.public_bytes(), []).append(authority)

    @classmethod
    def load(cls, crl_pem: bytes, client_ca_pem: bytes) -> "RevocationList":
        """Read one or more CRLs and check their signatures against the CAs.

        A list whose nextUpdate has passed is taken, so that `check` can refuse with the right reason; a CA without a
        list likewise. Raises `ConfigurationError` with every fault where a file is malformed or a list has no known
        signer.
        """
        authorities = load_certificates(client_ca_pem)
        faults: list[str] = []
        lists: dict[bytes, _List] = {}
        for number, crl in enumerate(_load_lists(crl_pem), start=1):
            try:
                signer, content = _read(crl, authorities)
            except ValueError as error:
                faults.append(f"CRL number {number}: {error}")
            else:
                known = lists.get(signer)
                if known is None or known.issue.updated < content.issue.updated:
                    lists[signer] = content
        if faults:
            raise ConfigurationError(faults, advice="Publish the CRL again with the CA of tls.client_ca that signs it.")
        return cls([_Authority(ca, lists.get(_key(ca)), _is_revoked(ca, authorities, lists)) for ca in authorities])

    def check(self, certificate: ClientCertificate, now: datetime) -> datetime:
        """Return until when the answer "not revoked" holds: the nextUpdate of its CA's list.

        Raises `Unauthenticated` with CERTIFICATE_REVOKED, or with CRL_STALE where the list is too old or there is
        none: what can't be checked is refused.
        """
        authority = self._issuer(certificate)
        if authority is None or authority.crl is None:
            issuer = certificate.source.issuer.rfc4514_string()
            raise Unauthenticated(
                f"There is no CRL of the CA that issued the certificate ({issuer}).",
                reason=Reason.CRL_STALE,
                advice="Have the operator add the CA to tls.client_ca and its CRL to tls.crl.",
            )
        if authority.revoked or certificate.serial in authority.crl.serials:
            raise Unauthenticated(
                "The certificate is revoked.",
                reason=Reason.CERTIFICATE_REVOKED,
                advice="Have a new certificate issued with a new key.",
            )
        if now >= authority.crl.next_update:
            raise Unauthenticated(
                f"The CRL of the CA that issued the certificate is too old ({authority.name}).",
                reason=Reason.CRL_STALE,
                advice="Have the operator publish a current CRL to tls.crl.",
            )
        return authority.crl.next_update

    @property
    def expires(self) -> datetime | None:
        """When the first of the lists must be published anew; None where no CA has one."""
        return min((each.crl.next_update for each in self._authorities() if each.crl is not None), default=None)

    def faults(self, now: datetime) -> list[str]:
        """Return a line for each CA whose certificates are refused now, for start-up and `status`."""
        found: list[str] = []
        for authority in self._authorities():
            if authority.revoked:
                found.append(f"the CA {authority.name} is revoked; take it out of tls.client_ca")
            elif authority.crl is None:
                found.append(f"no CRL of the CA {authority.name}; add its CRL to tls.crl")
            elif now >= authority.crl.next_update:
                found.append(f"the CRL of {authority.name} is too old; publish a current one to tls.crl")
        return found

    @property
    def issues(self) -> Mapping[bytes, tuple[str, Issue]]:
        """Which list of each CA it is, by the fingerprint of the CA's certificate, with its name."""
        return {
            _key(each.certificate): (each.name, each.crl.issue) for each in self._authorities() if each.crl is not None
        }

    def _authorities(self) -> Iterator[_Authority]:
        for same_name in self._by_name.values():
            yield from same_name

    def _issuer(self, certificate: ClientCertificate) -> _Authority | None:
        # by signature and not by name alone: after a CA's key is renewed, two CAs share a name
        for authority in self._by_name.get(certificate.issuer_der, ()):
            if _signed_by(certificate.source, authority.certificate):
                return authority
        return None


def load_certificates(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PEM file. Raises `ConfigurationError` where it has none or one is malformed."""
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except (ValueError, x509.InvalidVersion):
        raise ConfigurationError(["no PEM certificate, or a malformed one"]) from None
    return certificates


def _load_lists(pem: bytes) -> Iterable[x509.CertificateRevocationList]:
    blocks = _PEM_CRL.findall(pem)
    if not blocks:
        raise ConfigurationError(["no PEM CRL"], advice="Convert it with `openssl crl -inform DER -in FILE`.")
    try:
        return [x509.load_pem_x509_crl(block) for block in blocks]
    except ValueError:
        raise ConfigurationError(["a malformed CRL"], advice="Publish the CRL again.") from None


def _key(certificate: x509.Certificate) -> bytes:
    return certificate.fingerprint(hashes.SHA256())


def _read(crl: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate]) -> tuple[bytes, _List]:
    """Return the signer's key in the index, and the content. Raises `ValueError` that says why it can't be used."""
    signer = next((ca for ca in authorities if ca.subject == crl.issuer and _may_sign(ca) and _valid(crl, ca)), None)
    if signer is None:
        raise ValueError(f"no CA of tls.client_ca has signed it (issuer {crl.issuer.rfc4514_string()})")
    for extension in crl.extensions:
        _check_extension(extension)
    if crl.next_update_utc is None:
        raise ValueError("it has no nextUpdate")
    serials = set()
    for entry in crl:
        if any(each.critical and not isinstance(each.value, _KNOWN_ENTRY_EXTENSIONS) for each in entry.extensions):
            raise ValueError("an entry has a critical extension that is not supported")
        serials.add(entry.serial_number)
    return _key(signer), _List(_issue(crl), crl.next_update_utc, frozenset(serials))


def _issue(crl: x509.CertificateRevocationList) -> Issue:
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return Issue(crl.last_update_utc)
    return Issue(crl.last_update_utc, number)


def _check_extension(extension: x509.Extension[x509.ExtensionType]) -> None:
    value = extension.value
    if isinstance(value, x509.DeltaCRLIndicator):
        raise ValueError("it is a delta CRL; publish the complete one")  # noqa: TRY004 - the file is wrong, not a type
    if isinstance(value, x509.IssuingDistributionPoint) and (
        value.indirect_crl
        or value.only_contains_ca_certs
        or value.only_contains_attribute_certs
        or value.only_some_reasons
    ):
        raise ValueError("it covers only a part of the certificates; publish the complete one")
    if extension.critical and not isinstance(value, _KNOWN_EXTENSIONS):
        raise ValueError("it has a critical extension that is not supported")


def _valid(crl: x509.CertificateRevocationList, ca: x509.Certificate) -> bool:
    key = ca.public_key()
    try:
        return crl.is_signature_valid(key)  # type: ignore[arg-type]  # any other kind of key raises TypeError
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _may_sign(ca: x509.Certificate) -> bool:
    try:
        return ca.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _signed_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_revoked(ca: x509.Certificate, authorities: Sequence[x509.Certificate], lists: Mapping[bytes, _List]) -> bool:
    return any(
        _key(issuer) in lists and ca.serial_number in lists[_key(issuer)].serials
        for issuer in authorities
        if issuer.subject == ca.issuer and _signed_by(ca, issuer)
    )
