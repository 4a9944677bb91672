"""The policies in force, and their replacement while calls are running."""

import logging
import threading
from collections.abc import Collection, Sequence
from pathlib import Path

from kmsgw.authz.checked import pack_policies, unpack_policies
from kmsgw.authz.engine import CedarAuthorizer
from kmsgw.authz.load import PolicyBundle, load_policies
from kmsgw.errors import ConfigurationError
from kmsgw.model.access import AccessRequest, Decision, PolicyText, PrincipalKind
from kmsgw.telemetry.meters import Lookups

_LOG = logging.getLogger(__name__)


class CurrentPolicies:
    """Decides by the newest policies that were in order. See the port `Authorizer`.

    ``lookups`` counts how often a decision was in the cache. Raises `ConfigurationError` where the first policies are
    broken: a gateway does not start without any.
    """

    def __init__(self, folder: Path, checked: bytes = b"") -> None:
        """Take over what `pack` returned for a folder in a process that has checked it; without it, load the folder."""
        self._folder = folder
        self._reloading = threading.Lock()
        self._fault: ConfigurationError | None = None
        self.lookups = Lookups()
        self._authorizer = CedarAuthorizer(_bundle_of(folder, checked), self.lookups)

    @property
    def digest(self) -> str:
        """SHA-256 over schema and policies in force, hexadecimal."""
        return self._authorizer.digest

    @property
    def fault(self) -> ConfigurationError | None:
        """What was wrong with the policies at the last reload, or None where they are in force."""
        return self._fault

    @property
    def authorizer(self) -> CedarAuthorizer:
        """The policies in force at this moment, which do not change under the caller."""
        return self._authorizer

    def policies(self) -> Sequence[PolicyText]:
        """Return the policies in force, by id."""
        return self._authorizer.policies()

    def decide(self, request: AccessRequest) -> Decision:
        """Decide by the policies in force."""
        return self._authorizer.decide(request)

    def kind_of(self, roles: Collection[str]) -> PrincipalKind:
        """Return what a principal of these roles is, by the policies in force."""
        return self._authorizer.kind_of(roles)

    def explain(self, request: AccessRequest, decision: Decision) -> str:
        """Return a decision in words."""
        return self._authorizer.explain(request, decision)

    def pack(self) -> bytes:
        """Return the policies in force for another process, which then need not check them."""
        return pack_policies(self._authorizer.bundle)

    def reload(self, checked: bytes = b"") -> bool:
        """Take over what was checked, or read the folder again; tell whether that is now in force.

        Broken policies change nothing but `fault`. A call sees the old policies or the new ones, never a mixture:
        policies, index and caches are replaced by one assignment.
        """
        with self._reloading:
            try:
                bundle = _bundle_of(self._folder, checked)
            except ConfigurationError as fault:
                self._fault = fault
                _LOG.warning("policies refused, the old ones stay in force: %s", fault.message)
                return False
            self._fault = None
            if bundle.digest != self._authorizer.digest:
                self._authorizer = CedarAuthorizer(bundle, self.lookups)
                _LOG.info("policies in force: %s", bundle.digest)
            return True


def _bundle_of(folder: Path, checked: bytes) -> PolicyBundle:
    found = unpack_policies(checked, folder) if checked else None
    return load_policies(folder) if found is None else found
