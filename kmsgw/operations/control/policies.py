"""Verbs on policies: Explain and ListPolicies. They change nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar, Protocol

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import InvalidRequest, NotFound, Reason
from kmsgw.model.access import (
    AccessRequest,
    Action,
    DecidingPolicy,
    Decision,
    PolicyText,
    Principal,
    PrincipalKind,
)
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.key import Key
from kmsgw.model.request_id import is_request_id
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.verb import NO_SUCH_KEY, Access, Grant

_MAX_ROLES = 32
_ACTIONS = frozenset(each.value for each in Action)
_ANYBODY = "somebody"
"""Id of an imagined principal that has none, and is of another kind than who asks."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """What the audit log says of a request.

    ``policies`` are the ids that decided, ``done`` whether it was, and ``purpose`` is the declared one.
    """

    principal_id: str
    tenant: str
    roles: tuple[str, ...]
    action: str
    key_id: str
    done: bool
    reason: str
    policies: tuple[str, ...]
    note: str
    time: datetime
    alias: str = ""
    purpose: str = ""

    @property
    def allowed(self) -> bool:
        """Whether policy allowed it; it may have been refused for something else after that."""
        return self.done or (self.reason != Reason.ACCESS_DENIED and bool(self.policies))


class RequestFinder(Protocol):
    """Finds requests in the node's audit logs."""

    def find(self, request_id: str) -> RecordedRequest | None:
        """Return the recorded request, or None. Waits for the next checkpoint where the request is that young."""


class PrincipalDirectory(Protocol):
    """Knows the configured principals."""

    def find(self, principal_id: str) -> Principal | None:
        """Return the principal of this id, or None."""


@dataclass(frozen=True, slots=True)
class ExplainRecordedCommand:
    """Explain a recorded request."""

    request_id: str

    def __post_init__(self) -> None:
        if not is_request_id(self.request_id):
            raise InvalidRequest("request_id is malformed.", advice="Take it from an answer or from the audit log.")


@dataclass(frozen=True, slots=True)
class ExplainHypotheticalCommand:
    """Explain how a request that nobody made would be decided. Without `kind` its principal is what its roles are."""

    roles: tuple[str, ...]
    principal_id: str
    tenant: str
    action: str
    key: str
    context: EncryptionContext
    declaration: AccessDeclaration
    kind: PrincipalKind | None = None

    def __post_init__(self) -> None:
        if self.action not in {each.value for each in Action}:
            raise InvalidRequest("There is no such action.", advice=f"Use one of: {', '.join(Action)}.")
        if len(self.roles) > _MAX_ROLES:
            raise InvalidRequest("There are too many roles.", advice=f"Give at most {_MAX_ROLES}.")
        if not self.roles and not self.principal_id:
            raise InvalidRequest(
                "Nobody is named.", advice="Give roles, or the principal_id of a configured principal."
            )


ExplainCommand = ExplainRecordedCommand | ExplainHypotheticalCommand


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with its reasons. ``time`` is None for a hypothetical request."""

    allowed: bool
    policies: tuple[DecidingPolicy, ...]
    text: str
    reason: str
    principal_id: str
    roles: tuple[str, ...]
    action: str
    key_id: str
    time: datetime | None


class Explain:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(
        self,
        authorizer: Authorizer,
        keyring: Keyring,
        finder: RequestFinder,
        directory: PrincipalDirectory,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._authorizer = authorizer
        self._keyring = keyring
        self._finder = finder
        self._directory = directory
        self._clock = clock

    def accesses(self, command: ExplainCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants to know why."""
        return (Access(Action.EXPLAIN_POLICY),)

    def run(self, command: ExplainCommand, grant: Grant) -> Explanation:
        """Explain. Raises `NotFound` for a request that the caller's tenant did not make."""
        if isinstance(command, ExplainRecordedCommand):
            return self._recorded(command.request_id, grant.principal.tenant)
        return self._hypothetical(command, grant.principal)

    def _recorded(self, request_id: str, tenant: str) -> Explanation:
        found = self._finder.find(request_id)
        key = self._named(found, tenant) if found is not None else None
        # Who asked, and whose key it was: an officer of either tenant may know why.
        if found is None or tenant not in {found.tenant or tenant, key.tenant if key is not None else ""}:
            raise NotFound(
                "This node has no record of the request.", advice="Check the id; ask the node that answered it."
            )
        if key is not None and key.tenant != tenant and found.reason == Reason.ACCESS_DENIED:
            # What the caller's tenant asked of another's key is told as of an unknown one (threat 16).
            found, key = replace(found, policies=(), note=NO_SUCH_KEY), None
        elif key is not None and key.tenant != found.tenant and found.note == NO_SUCH_KEY and found.action in _ACTIONS:
            # The entry says no more than that, for those who may read it there; whose key it is may know more.
            found = replace(found, policies=self._decided_now(found, key), note="")
        texts: Mapping[str, PolicyText] = {each.policy_id: each for each in self._authorizer.policies()}
        deciding = tuple(
            DecidingPolicy(each, texts[each].permits, texts[each].advice)
            if each in texts
            else DecidingPolicy(each, found.allowed, "This policy is no longer in force.")
            for each in found.policies
        )
        return Explanation(
            found.allowed,
            deciding,
            self._recorded_text(found, deciding, key),
            found.reason,
            found.principal_id,
            found.roles,
            found.action,
            "" if found.note == NO_SUCH_KEY else found.key_id,
            found.time,
        )

    def _named(self, found: RecordedRequest, tenant: str) -> Key | None:
        """Return the key that a request named, if there was one by then; it may be another tenant's than `tenant`.

        That costs a look at the database too, as an unknown one does: or the time would tell one from the other.
        """
        refused = found.note == NO_SUCH_KEY
        name = found.alias or found.key_id if refused else found.key_id
        asked = self._clock.monotonic()
        key = self._keyring.resolve(name) if name else None
        if key is not None and key.tenant != tenant:
            self._keyring.refresh(unless_since=asked)
        return None if refused and key is not None and key.created > found.time else key

    def _decided_now(self, found: RecordedRequest, key: Key) -> tuple[str, ...]:
        return self._authorizer.decide(_asked(found, key)).policy_ids

    def _recorded_text(self, found: RecordedRequest, deciding: tuple[DecidingPolicy, ...], key: Key | None) -> str:
        named = ", ".join(f"{each.policy_id!r}" for each in deciding)
        if found.allowed:
            by = f"Policy allowed it, by {named}." if named else "No policy is asked about it."
            return by + (f" It ended with {found.reason}." if found.reason else "")
        if deciding and all(each.permits for each in deciding):
            return f"Policy allowed it, by {named}. It was refused with {found.reason}."
        if found.reason != Reason.ACCESS_DENIED:
            return f"It was refused with {found.reason}, before any policy was asked."
        if found.note:
            return f"It was refused: {found.note}. An unknown key is refused like a forbidden one."
        if found.action not in _ACTIONS:
            return "No policy is asked about it: it is for officers alone."
        return self._authorizer.explain(_asked(found, key), Decision(allowed=False, policies=deciding))

    def _hypothetical(self, command: ExplainHypotheticalCommand, caller: Principal) -> Explanation:
        known = self._directory.find(command.principal_id) if command.principal_id else None
        if known is not None and known.tenant != caller.tenant:
            known = None  # Another tenant's principals are told of no more than its keys (threat 16).
        if known is None and not command.roles:
            raise NotFound("No principal of this id is configured.", advice="Check the id, or give roles.")
        # Never the caller's kind: an auditor, who is an officer, asks what services may do.
        kind = command.kind or (known.kind if known else self._authorizer.kind_of(command.roles))
        imagined = Principal(
            command.principal_id or (caller.principal_id if kind is caller.kind else _ANYBODY),
            kind,
            command.tenant or (known.tenant if known else caller.tenant),
            frozenset(command.roles) or (known.roles if known else frozenset()),
        )
        key = self._visible(command.key, caller) if command.key else None
        action, roles = Action(command.action), tuple(sorted(imagined.roles))
        if command.key and key is None:
            text = "There is no such key in your tenant. An unknown key is refused like a forbidden one."
            return Explanation(False, (), text, "", imagined.principal_id, roles, action, "", None)
        tenant = key.tenant if key else imagined.tenant
        request = AccessRequest(imagined, action, tenant, key, command.context, command.declaration)
        decision = self._authorizer.decide(request)
        return Explanation(
            decision.allowed,
            decision.policies,
            self._authorizer.explain(request, decision),
            "",
            imagined.principal_id,
            roles,
            action,
            key.key_id if key else "",
            None,
        )

    def _visible(self, name: str, caller: Principal) -> Key | None:
        """Return a key of the caller's tenant. Another's costs a look at the database too, as an unknown one does."""
        asked = self._clock.monotonic()
        key = self._keyring.resolve(name)
        if key is not None and key.tenant != caller.tenant:
            self._keyring.refresh(unless_since=asked)
            return None
        return key


def _asked(found: RecordedRequest, key: Key | None) -> AccessRequest:
    """Return a recorded request as policies are asked about it, without what the log doesn't keep: context values."""
    who = Principal(found.principal_id, PrincipalKind.SERVICE, found.tenant, frozenset(found.roles))
    return AccessRequest(
        who,
        Action(found.action),
        key.tenant if key else found.tenant,
        key,
        declaration=AccessDeclaration(purpose=found.purpose),
    )


@dataclass(frozen=True, slots=True)
class ListPoliciesCommand:
    """Show a page of policies, from after the policy id `after`."""

    page_size: int
    after: str


@dataclass(frozen=True, slots=True)
class PolicyPage:
    """A page of policies; ``next_after`` is empty on the last."""

    policies: tuple[PolicyText, ...]
    next_after: str
    digest: str


class ListPolicies:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def accesses(self, command: ListPoliciesCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants to read the policies."""
        return (Access(Action.LIST_POLICIES),)

    def run(self, command: ListPoliciesCommand, grant: Grant) -> PolicyPage:  # noqa: ARG002
        """Return the policies in force."""
        rest = [each for each in self._authorizer.policies() if each.policy_id > command.after]
        page = tuple(rest[: command.page_size])
        more = len(rest) > len(page)
        return PolicyPage(page, page[-1].policy_id if more else "", self._authorizer.digest)
