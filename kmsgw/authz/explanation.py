"""A decision in words: which policies made it, and what to do about it."""

from collections.abc import Sequence
from typing import Final

from kmsgw.authz.entities import KEYLESS_ACTIONS
from kmsgw.model.access import AccessRequest, DecidingPolicy, Decision

ENGINE_FAULT: Final = DecidingPolicy(
    "kmsgw.engine-fault", permits=False, advice="Run `kmsgw policy validate`, and look into the gateway's log."
)
"""Stands for a refusal that no policy made: the engine failed. No policy can have an id with a full stop."""


def explain(decision: Decision, request: AccessRequest, permitted_roles: Sequence[str] = ()) -> str:
    """Return why a request is allowed or refused, naming the policies with their advice. Shows no context value.

    `permitted_roles` are the roles that have a permit for the action, for the case that nothing permits. Pure.
    """
    asks = _question(request)
    if decision.allowed:
        return f"Allowed: {asks}. Permitted by {_named(decision.policies)}."
    if ENGINE_FAULT in decision.policies:
        return f"Refused: {asks}. The policy engine could not decide, which refuses. {ENGINE_FAULT.advice}"
    if decision.policies:
        return f"Refused: {asks}. Forbidden by {_named(decision.policies)}."
    return (
        f"Refused: {asks}. No policy permits it, and what nothing permits is refused. {_hint(request, permitted_roles)}"
    )


def _question(request: AccessRequest) -> str:
    principal = request.principal
    roles = ", ".join(sorted(principal.roles)) or "none"
    on = (
        f"tenant {request.tenant}"
        if request.key is None
        else f"key {request.key.key_id} of tenant {request.key.tenant}"
    )
    purpose = f", for the purpose {request.declaration.purpose}" if request.declaration.purpose else ""
    return (
        f"{principal.kind} {principal.principal_id} of tenant {principal.tenant} (roles: {roles}) "
        f"asks to {request.action} on {on}{purpose}"
    )


def _named(policies: Sequence[DecidingPolicy]) -> str:
    return "; ".join(
        f"{policy.policy_id} ({policy.advice})" if policy.advice else policy.policy_id
        for policy in sorted(policies, key=lambda policy: policy.policy_id)
    )


def _hint(request: AccessRequest, permitted_roles: Sequence[str]) -> str:
    if request.key is None and request.action not in KEYLESS_ACTIONS:
        return "The action is about a key, and the request names none that exists."
    if not permitted_roles:
        return "No role has a permit for this action."
    held = [role for role in permitted_roles if role in request.principal.roles]
    if held:
        return f"The role {', '.join(held)} has a permit for this action, but its conditions do not hold here."
    return f"Roles with a permit for this action: {', '.join(permitted_roles)}."
