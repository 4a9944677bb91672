"""RenewDataKeyLeases: say of many data keys at once whether the clients that keep them may go on.

Nothing is unwrapped and nothing handed out. Each lease is decided as the hand-out of its data key would be now: by the
policies, the state of the key and of its version, and for sealing by what the newest version is. So a key that is
disabled, rotated or about to be destroyed, or a caller that policy no longer allows, loses its leases (docs/adr/0016).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import FailedPrecondition, InvalidRequest, Reason
from kmsgw.model.access import AccessRequest, Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.data_key_limits import DataKeyLimits
from kmsgw.model.key import Key
from kmsgw.model.lifecycle import Act, opening_version, require_version
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.verb import Access, Grant, Refused, public

MAX_LEASES: Final = 500
"""Most leases of one call."""


class DataKeyUse(StrEnum):
    """What a client keeps a data key for."""

    SEAL = "seal"
    OPEN = "open"


class LeaseOutcome(StrEnum):
    """What became of a lease: it runs anew; another data key is due; it ends now."""

    RENEWED = "renewed"
    SUPERSEDED = "superseded"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class DataKeyLease:
    """The lease of data keys under one version, context and declaration. ``alias`` is what they were asked for by.

    To open with: the alias of the key that was expected.
    """

    use: DataKeyUse
    key_id: str
    key_version: int
    alias: str
    context: EncryptionContext
    declaration: AccessDeclaration


@dataclass(frozen=True, slots=True)
class RenewDataKeyLeasesCommand:
    """Renew `leases`, 1 to 500."""

    leases: tuple[DataKeyLease, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.leases) <= MAX_LEASES:
            raise InvalidRequest("The number of leases is out of range.", advice=f"Send 1 to {MAX_LEASES} in a call.")


@dataclass(frozen=True, slots=True)
class RenewedLease:
    """What became of a lease. ``reason`` says why it ended; None where it did not."""

    outcome: LeaseOutcome
    lease_seconds: float = 0.0
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class _Verdict:
    answer: RenewedLease
    action: Action
    policies: tuple[str, ...] = ()


_ACTIONS: Final = {DataKeyUse.SEAL: Action.GENERATE_DATA_KEY, DataKeyUse.OPEN: Action.DECRYPT}
_SUPERSEDED: Final = RenewedLease(LeaseOutcome.SUPERSEDED)
_DENIED: Final = RenewedLease(LeaseOutcome.ENDED, reason=Reason.ACCESS_DENIED)


class RenewDataKeyLeases:
    """The verb. Everybody may ask; the policies are asked for each lease."""

    changes_state: ClassVar[bool] = False

    def __init__(
        self, keyring: Keyring, authorizer: Authorizer, limits: DataKeyLimits, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._keyring = keyring
        self._authorizer = authorizer
        self._limits = limits
        self._clock = clock

    def accesses(self, command: RenewDataKeyLeasesCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants nothing by itself: one lease that is refused must not end the others."""
        return ()

    def run(self, command: RenewDataKeyLeasesCommand, grant: Grant) -> tuple[RenewedLease, ...]:
        """Return what became of each lease, in order."""
        # Each costs a decision of the policies, as a call does; what they cost is not to be had for one (threat 19).
        grant.trail.calls = len(command.leases)
        asked = self._clock.monotonic()
        self._keyring.require_fresh()
        verdicts = [self._decide(lease, grant) for lease in command.leases]
        if not all(map(_is_renewed, verdicts)):
            # Whatever is not renewed costs one look at the database, for the call and not for each: nobody learns by
            # the time which names are taken (threat 16), and what was made elsewhere a moment ago is known now.
            # All are decided anew: a key that was disabled meanwhile is lent no longer.
            self._keyring.refresh(unless_since=asked)
            verdicts = [self._decide(lease, grant) for lease in command.leases]
        _record(command.leases, verdicts, grant)
        return tuple(verdict.answer for verdict in verdicts)

    def _decide(self, lease: DataKeyLease, grant: Grant) -> _Verdict:
        action = _ACTIONS[lease.use]
        key = public(self._keyring.last_seen(lease.key_id))
        if key is None:
            return _Verdict(_DENIED, action)
        decision = self._authorizer.decide(
            AccessRequest(grant.principal, action, key.tenant, key, lease.context, lease.declaration)
        )
        if not decision.allowed:
            # Of another tenant's key the record says what it says of one that nobody has (threat 16).
            policies = decision.policy_ids if key.tenant == grant.principal.tenant else ()
            return _Verdict(_DENIED, action, policies)
        return _Verdict(self._by_state(lease, key), action, decision.policy_ids)

    def _by_state(self, lease: DataKeyLease, key: Key) -> RenewedLease:
        moved = bool(lease.alias) and self._keyring.leads_to(lease.alias) != key.key_id
        try:
            if lease.use is DataKeyUse.OPEN:
                if moved:
                    return _ended(Reason.DECRYPTION_FAILED)  # as Decrypt with that expected key
                found = opening_version(key, lease.key_version, Act.DECRYPT)
                return self._renewed() if found is not None else _ended(Reason.KEY_VERSION_UNKNOWN)
            require_version(key, Act.GENERATE_DATA_KEY, lease.key_version)
        except FailedPrecondition as refused:
            return _ended(refused.reason)
        if lease.key_version < key.minimum_decrypt_version:
            return _ended(Reason.KEY_VERSION_BELOW_MINIMUM)  # nobody could open what is sealed under it
        return _SUPERSEDED if moved or lease.key_version != key.primary.version else self._renewed()

    def _renewed(self) -> RenewedLease:
        return RenewedLease(LeaseOutcome.RENEWED, self._limits.lease_seconds)


def _is_renewed(verdict: _Verdict) -> bool:
    return verdict.answer.outcome is LeaseOutcome.RENEWED


def _ended(reason: Reason) -> RenewedLease:
    return RenewedLease(LeaseOutcome.ENDED, reason=reason)


def _record(leases: Sequence[DataKeyLease], verdicts: Sequence[_Verdict], grant: Grant) -> None:
    """Tell the audit record, by key and version, how many leases had which end, and who decided."""
    counts: dict[str, Counter[str]] = {}
    for lease, verdict in zip(leases, verdicts, strict=True):
        answer = verdict.answer
        told = f"{lease.use} {answer.reason or answer.outcome}"
        counts.setdefault(f"{lease.key_id}/{lease.key_version}", Counter())[told] += 1
    grant.trail.facts["leases"] = counts
    denied = [verdict for verdict in verdicts if verdict.answer is _DENIED]
    if denied:
        policies = frozenset(policy for verdict in denied for policy in verdict.policies)
        grant.trail.refused = Refused(denied[0].action, policies, f"{len(denied)} leases refused by policy")
