"""From a certificate to a principal, by the rules of the configuration.

Rules are indexed by what they match, so that thousands of principals cost no more than one. A certificate that fits
several principals is refused: whose rights it would get must not depend on an order.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kmsgw.authn.certificate import ClientCertificate, is_spiffe_id
from kmsgw.config import MatchSettings, PrincipalSettings
from kmsgw.errors import ConfigurationError, Reason, Unauthenticated
from kmsgw.model.access import Principal

_SHORT_NAMES = frozenset({"CN", "L", "ST", "O", "OU", "C", "STREET", "DC", "UID"})  # RFC 4514, section 3
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+\Z")
_DNS = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\Z")


@dataclass(frozen=True, slots=True)
class _Spiffe:
    uri: str


@dataclass(frozen=True, slots=True)
class _Dns:
    name: str


@dataclass(frozen=True, slots=True)
class _Subject:
    attributes: frozenset[tuple[str, str]]


_Identity = _Spiffe | _Dns | _Subject


@dataclass(frozen=True, slots=True)
class _Rule:
    issuer: frozenset[tuple[str, str]]
    principal: PrincipalSettings


class PrincipalRules:
    """The rules in force. Immutable, so safe for threads; a reload makes a new one."""

    def __init__(self, principals: Sequence[PrincipalSettings]) -> None:
        """Index the rules. Raises `ConfigurationError` with every rule that can't match or that repeats another."""
        faults: list[str] = []
        index: dict[_Identity, list[_Rule]] = {}
        for principal in principals:
            faults += [f"principals.{principal.id}.match.{fault}" for fault in _faults(principal.match)]
            rule = _Rule(frozenset((principal.match.issuer or {}).items()), principal)
            same = index.setdefault(_identity(principal.match), [])
            faults += [
                f"principals.{principal.id}.match: the same as that of {other.principal.id}"
                for other in same
                if other.issuer == rule.issuer
            ]
            same.append(rule)
        if faults:
            raise ConfigurationError(faults)
        self._index = index
        # the sets of attribute names in use: few, however many rules there are
        self._shapes = {
            frozenset(name for name, _ in identity.attributes) for identity in index if isinstance(identity, _Subject)
        }

    def match(self, certificate: ClientCertificate) -> Principal:
        """Return the one principal that the certificate is.

        Raises `Unauthenticated` with PRINCIPAL_UNKNOWN where it fits none, or more than one.
        """
        issuer = certificate.issuer.items()
        found = [
            rule.principal
            for identity in self._identities(certificate)
            for rule in self._index.get(identity, ())
            if rule.issuer <= issuer
        ]
        if not found:
            raise Unauthenticated(
                "No principal has this certificate.",
                reason=Reason.PRINCIPAL_UNKNOWN,
                advice="Have the operator add it under [[principals]], or use the certificate that was registered.",
            )
        if len({principal.id for principal in found}) > 1:
            raise Unauthenticated(
                "The certificate fits more than one principal.",
                reason=Reason.PRINCIPAL_UNKNOWN,
                advice="Have the operator make the rules under [[principals]] exclude each other.",
            )
        principal = found[0]
        return Principal(
            principal_id=principal.id,
            kind=principal.kind,
            tenant=principal.tenant,
            roles=principal.roles,
            fingerprint=certificate.fingerprint,
            certificate_expires=certificate.not_after,
        )

    def _identities(self, certificate: ClientCertificate) -> Iterable[_Identity]:
        if certificate.spiffe is not None:
            yield _Spiffe(certificate.spiffe)
        for name in certificate.dns:
            yield _Dns(name)
        for shape in self._shapes:
            if shape <= certificate.subject.keys():
                yield _Subject(frozenset((name, certificate.subject[name]) for name in shape))


def _identity(match: MatchSettings) -> _Identity:
    if match.spiffe is not None:
        return _Spiffe(match.spiffe)
    if match.dns is not None:
        return _Dns(match.dns.lower())
    return _Subject(frozenset((match.subject or {}).items()))


def _faults(match: MatchSettings) -> Iterable[str]:
    if match.spiffe is not None and not is_spiffe_id(match.spiffe):
        yield "spiffe: not of the form spiffe://trust-domain/path"
    if match.dns is not None and not _DNS.match(match.dns.lower()):
        yield "dns: not a host name; wildcards are not supported"
    yield from _unknown_attributes("subject", match.subject or {})
    yield from _unknown_attributes("issuer", match.issuer or {})


def _unknown_attributes(place: str, attributes: Mapping[str, str]) -> Iterable[str]:
    for name in attributes:
        if name not in _SHORT_NAMES and not _OID.match(name):
            yield f"{place}: no attribute is named {name!r}; use {', '.join(sorted(_SHORT_NAMES))} or a dotted OID"
