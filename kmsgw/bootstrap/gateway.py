"""One worker's gateway from its start to its end, and what it takes over while it runs."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kmsgw.audit.log import DurableLog
from kmsgw.authn.authenticator import Authenticator
from kmsgw.authn.crl import RevocationList
from kmsgw.authn.files import RevocationFiles
from kmsgw.authn.rules import PrincipalRules
from kmsgw.authz import CurrentPolicies
from kmsgw.bootstrap.evidence import Evidence
from kmsgw.bootstrap.observation import Observation
from kmsgw.bootstrap.principals import Principals
from kmsgw.bootstrap.protection import limits_of
from kmsgw.bootstrap.retention import RetentionRounds
from kmsgw.config import (
    Settings,
)
from kmsgw.errors import AuditUnavailable, ConfigurationError, KmsgwError
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.upkeep import Upkeep
from kmsgw.providers.base import KeyProvider
from kmsgw.server.counted_refusals import CountedRefusals
from kmsgw.server.grpc_server import GrpcServer
from kmsgw.server.health import HealthMonitor
from kmsgw.server.quota import Quotas

_LOG = logging.getLogger(__name__)
_WATCH_SECONDS = 1.0
_PROBE_SECONDS = 1.0


@dataclass(slots=True)
class Gateway:
    """One worker's gateway, ready to start."""

    settings: Settings
    server: GrpcServer
    keyring: Keyring
    health: HealthMonitor
    audit: DurableLog
    providers: Mapping[str, KeyProvider]
    policies: CurrentPolicies
    principals: Principals
    authenticator: Authenticator
    rules: PrincipalRules
    revocation: RevocationFiles | None
    quotas: Quotas
    refusals: CountedRefusals
    upkeep: Upkeep
    retention: RetentionRounds
    evidence: Evidence
    observation: Observation
    close_store: Callable[[], None]
    stopped: threading.Event
    taking_over: threading.Lock = field(default_factory=threading.Lock)
    """Rules and CRL go to the authenticator together: who takes over the one must not put back the other."""

    def start(self) -> None:
        """Serve. Raises `StateUnavailable` without database."""
        self.upkeep.begin()
        self.refusals.start()
        self.health.start()
        threading.Thread(target=self._watch_revocation, name="revocation", daemon=True).start()
        self.server.start()
        self.observation.start()
        self.retention.start()
        self.evidence.start()

    def reload(self, settings: Settings, checked_policies: bytes = b"") -> None:
        """Take over principals, limits, CRL and policies. Raises `ConfigurationError` and keeps what is in force."""
        rules = PrincipalRules(settings.principals)
        if not self.policies.reload(checked_policies):
            fault = self.policies.fault
            raise fault if fault is not None else ConfigurationError(["policies: refused"])
        with self.taking_over:
            if self.revocation is not None:
                _refreshed(self.revocation, now=True)
            self.rules = rules
            self.principals.replace(settings.principals)
            self.quotas.replace(limits_of(settings.limits, self.settings.server.workers))
            self.authenticator.replace(rules, self.revocation.current if self.revocation is not None else None)
        _LOG.info("reloaded; policies %s", self.policies.digest[:12])

    def stop(self, grace: float) -> None:
        """Drain: answer what was taken, take no more, close everything in order. `grace` is in seconds."""
        self.stopped.set()
        self.health.stop()
        self.server.stop(grace)
        self.observation.stop()
        self.retention.stop()
        self.evidence.stop()
        self.health.join(_PROBE_SECONDS)
        self.upkeep.stop()
        self.keyring.stop()
        # After the last answer, so that the last checkpoint holds all of them.
        try:
            self.refusals.stop()
            self.audit.close()
        except AuditUnavailable as error:
            # Entries were refused for want of room or by a fault. Their callers were told, each in its call.
            _LOG.warning("the audit log was closed without every entry: %s", error.message)
        self.evidence.finish()
        try:
            self.upkeep.finish()
        except KmsgwError as error:
            _LOG.warning("the last usage is counted at the next start: %s", error.message)
        for provider in self.providers.values():
            provider.close()
        self.close_store()

    def _watch_revocation(self) -> None:
        while self.revocation is not None and not self.stopped.wait(_WATCH_SECONDS):
            try:
                self._follow_revocation(self.revocation)
            except Exception:  # noqa: BLE001  without this thread no CRL would come in force any more
                _LOG.exception("the CRL can't be looked at")

    def _follow_revocation(self, revocation: RevocationFiles) -> None:
        with self.taking_over:
            fresh = _refreshed(revocation)
            if fresh is not None:
                self.authenticator.replace(self.rules, fresh)
                _LOG.info("a new CRL is in force")


def _refreshed(revocation: RevocationFiles, *, now: bool = False) -> RevocationList | None:
    """Return a new CRL, and log once why one is not taken over."""
    before = revocation.faults
    fresh = revocation.refresh(now=now)
    if revocation.faults and revocation.faults != before:
        _LOG.error("the CRL is not taken over, the one before stays: %s", "; ".join(revocation.faults))
    return fresh
