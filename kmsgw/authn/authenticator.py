"""Who is calling: the one question that every call asks, answered from memory.

A connection outlives what its certificate was checked against, so each call asks again (threat 1): whether the
certificate is in its time is compared on every call, and new rules or CRLs replace the cache whole.
"""

import threading
from dataclasses import dataclass, field
from datetime import datetime

from kmsgw.authn.certificate import ClientCertificate
from kmsgw.authn.crl import RevocationList
from kmsgw.authn.rules import PrincipalRules
from kmsgw.clock import Clock
from kmsgw.errors import Reason, Unauthenticated
from kmsgw.model.access import Principal

CACHE_ENTRIES = 10_000
"""Certificates that are remembered at once; the oldest goes first."""


@dataclass(frozen=True, slots=True)
class _Known:
    """An accepted certificate; the answer holds while ``begin <= now < end``."""

    begin: datetime
    end: datetime
    principal: Principal


@dataclass(frozen=True, slots=True)
class _Generation:
    """Rules and CRLs with what they have accepted: replaced as one, so that no answer outlives its reasons."""

    rules: PrincipalRules
    crl: RevocationList | None
    known: dict[bytes, _Known] = field(default_factory=dict)


class Authenticator:
    """Turns the certificate of a connection into a principal. Safe for threads; does no I/O."""

    def __init__(
        self, rules: PrincipalRules, crl: RevocationList | None, clock: Clock, *, entries: int = CACHE_ENTRIES
    ) -> None:
        assert entries > 0
        self._generation = _Generation(rules, crl)
        self._now = clock.now
        self._entries = entries
        self._filling = threading.Lock()

    def replace(self, rules: PrincipalRules, crl: RevocationList | None) -> None:
        """Put other rules and CRLs in force, for open connections too: the next call of each is checked anew."""
        self._generation = _Generation(rules, crl)

    def authenticate(self, pem: bytes | None) -> Principal:
        """Return the principal of a client certificate (PEM, the leaf alone), as TLS has verified it.

        Raises `Unauthenticated` with CERTIFICATE_MISSING, CERTIFICATE_INVALID, CERTIFICATE_EXPIRED (also for one that
        is not valid yet), CERTIFICATE_REVOKED, CRL_STALE or PRINCIPAL_UNKNOWN.
        """
        generation = self._generation
        if pem is not None:
            known = generation.known.get(pem)
            if known is not None and known.begin <= self._now() < known.end:
                return known.principal
        return self._examine(generation, pem)

    def _examine(self, generation: _Generation, pem: bytes | None) -> Principal:
        if not pem:
            raise Unauthenticated(
                "The connection has no client certificate.",
                reason=Reason.CERTIFICATE_MISSING,
                advice="Connect with the certificate and private key that were issued to you.",
            )
        certificate = ClientCertificate.parse(pem)
        now = self._now()
        _check_time(certificate, now)
        end = certificate.not_after
        if generation.crl is not None:
            end = min(end, generation.crl.check(certificate, now))
        known = _Known(certificate.not_before, end, generation.rules.match(certificate))
        self._remember(generation, pem, known)
        return known.principal

    def _remember(self, generation: _Generation, pem: bytes, known: _Known) -> None:
        with self._filling:
            # bounded: a CA that issues without end must not fill the memory
            while len(generation.known) >= self._entries and pem not in generation.known:
                del generation.known[next(iter(generation.known))]
            generation.known[pem] = known


def _check_time(certificate: ClientCertificate, now: datetime) -> None:
    if now >= certificate.not_after:
        raise Unauthenticated(
            f"The client certificate expired at {certificate.not_after.isoformat()}.",
            reason=Reason.CERTIFICATE_EXPIRED,
            advice="Have a new one issued.",
        )
    if now < certificate.not_before:
        raise Unauthenticated(
            f"The client certificate is not valid before {certificate.not_before.isoformat()}.",
            reason=Reason.CERTIFICATE_EXPIRED,
            advice="Wait, or set the clock of the machine that issues certificates right.",
        )
