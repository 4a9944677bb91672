"""The scope of a policy: the principals, actions and resources that it can apply to at all."""

import json
from dataclasses import dataclass

import cedarpy
from cedarpy import pst

from kmsgw.authz.entities import (
    ACTION,
    KEY,
    KEYLESS_ACTIONS,
    PRINCIPAL_TYPES,
    ROLE,
    SERVICE,
    TENANT,
    Uid,
    node,
    uid_json,
    uid_of,
)
from kmsgw.model.access import Action, PrincipalKind

_ACTIONS = {action.value: action for action in Action}
_KINDS = {name: kind for kind, name in PRINCIPAL_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope, loosened where that is simpler: it may let through what the policy does not, never the other way.

    ``principal`` and ``resource`` are the entity that the request's principal and resource must be or be in, or None
    for any. A test of the type alone is left to the engine; ``kind`` is what it asks for, or None for either.
    """

    principal: Uid | None
    actions: frozenset[Action]
    resource: Uid | None
    kind: PrincipalKind | None = None

    @property
    def role(self) -> str | None:
        """The role that the principal must have, or None where the policy names none."""
        return self.principal[1] if self.principal is not None and self.principal[0] == ROLE else None


class ScopeReader:
    """Reads scopes against one schema."""

    def __init__(self, schema: cedarpy.Schema) -> None:
        self._schema = schema
        self._members: dict[Uid, frozenset[Action]] = {}

    def read(self, policy: pst.Template) -> Scope:
        """Return the scope of a policy that has no slots."""
        principal = policy.principal
        return Scope(_entity(principal), self._actions(policy.action), _entity(policy.resource), _kind(principal))

    def _actions(self, constraint: pst.ActionConstraint) -> frozenset[Action]:
        match constraint:
            case pst.ActionEq(entity):
                return frozenset(action for action in (_ACTIONS.get(entity.id),) if action is not None)
            case pst.ActionIn(entities):
                return frozenset[Action]().union(*(self._members_of(uid_of(entity)) for entity in entities))
            case _:
                return frozenset(Action)

    def _members_of(self, uid: Uid) -> frozenset[Action]:
        """Return the actions that are in `uid`. The schema may put actions in groups, so the engine is asked."""
        known = self._members.get(uid)
        if known is None:
            probe = pst.Template("probe", "permit", pst.ScopeAny(), pst.ActionIn((node(uid),)), pst.ScopeAny(), (), {})
            policies = cedarpy.PolicySet.from_pst(pst.PolicySet({}, {"probe": probe}, ()))
            requests = [_bare_request(action) for action in Action]
            results = cedarpy.is_authorized_batch(requests, policies, "[]", self._schema)
            known = frozenset(action for action, result in zip(Action, results, strict=True) if result.allowed)
            self._members[uid] = known
        return known


def _bare_request(action: Action) -> dict[str, object]:
    resource = (TENANT, "t") if action in KEYLESS_ACTIONS else (KEY, "k")
    return {
        "principal": uid_json((SERVICE, "s")),
        "action": uid_json((ACTION, action.value)),
        "resource": uid_json(resource),
        "context": json.dumps({"data": {}}),
    }


def _entity(constraint: pst.PrincipalOrResourceConstraint) -> Uid | None:
    match constraint:
        case pst.ScopeEq(entity) | pst.ScopeIn(entity) | pst.ScopeIsIn(_, entity):
            return uid_of(entity)
        case _:
            return None


def _kind(constraint: pst.PrincipalOrResourceConstraint) -> PrincipalKind | None:
    match constraint:
        case pst.ScopeIs(kind) | pst.ScopeIsIn(kind, _):
            return _KINDS.get(str(kind))
        case _:
            return None
