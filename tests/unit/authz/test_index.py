"""The index changes no decision: what the candidates decide is what all policies decide."""

import json
import random
from pathlib import Path

import cedarpy
import pytest

from kmsgw.authz.engine import CedarAuthorizer
from kmsgw.authz.entities import ACTION, KEY, KEYLESS_ACTIONS, PRINCIPAL_TYPES, ROLE, TENANT
from kmsgw.authz.load import load_policies
from kmsgw.model.access import AccessRequest, Action, PrincipalKind
from tests.unit.authz.situations import SHIPPED_SCHEMA, ask, folder_of, key_of

ROLES = ("reader", "writer", "auditor")
IDS = ("alpha", "beta")
TENANTS = ("hospital", "clinic")
KEYS = ("ehr", "lab")
GROUPED_SCHEMA = SHIPPED_SCHEMA.replace("  action encrypt,", "  action useKey;\n  action encrypt,").replace(
    "getKeyUsage\n    appliesTo", "getKeyUsage\n    in [useKey] appliesTo"
)

_PRINCIPALS = (
    "principal",
    "principal is Kmsgw::Service",
    'principal == Kmsgw::Service::"{id}"',
    'principal == Kmsgw::Officer::"{id}"',
    'principal in Kmsgw::Service::"{id}"',
    'principal in Kmsgw::Role::"{role}"',
    'principal is Kmsgw::Officer in Kmsgw::Role::"{role}"',
)
_ACTIONS = (
    "action",
    'action == Kmsgw::Action::"{action}"',
    'action in [Kmsgw::Action::"{action}", Kmsgw::Action::"listKeys"]',
    'action in Kmsgw::Action::"useKey"',
)
_RESOURCES = (
    "resource",
    "resource is Kmsgw::Key",
    'resource == Kmsgw::Key::"{key}"',
    'resource in Kmsgw::Key::"{key}"',
    'resource in Kmsgw::Tenant::"{tenant}"',
    'resource is Kmsgw::Key in Kmsgw::Tenant::"{tenant}"',
)
_CONDITIONS = (
    "",
    'when {{ context has purpose && context.purpose == "care" }}',
    "unless {{ context.data has department }}",
    'when {{ principal in Kmsgw::Role::"{role}" }}',
    "unless {{ resource in principal.tenant }}",
)


def random_policies(draw: random.Random, count: int) -> str:
    policies: list[str] = []
    while len(policies) < count:
        effect = draw.choice(("permit", "permit", "permit", "forbid"))
        parts = (draw.choice(each) for each in (_PRINCIPALS, _ACTIONS, _RESOURCES))
        text = f'@id("p{len(policies)}") {effect} ({", ".join(parts)}) {draw.choice(_CONDITIONS)};'
        policy = text.format(
            id=draw.choice(IDS),
            role=draw.choice(ROLES),
            action=draw.choice(list(Action)),
            key=draw.choice(KEYS),
            tenant=draw.choice(TENANTS),
        )
        if cedarpy.validate_policies(policy, GROUPED_SCHEMA_PARSED):
            policies.append(policy)
    return "\n".join(policies)


GROUPED_SCHEMA_PARSED = cedarpy.Schema.from_str(GROUPED_SCHEMA)


def random_request(draw: random.Random) -> AccessRequest:
    action = draw.choice(list(Action))
    return ask(
        action,
        kind=draw.choice(list(PrincipalKind)),
        principal_id=draw.choice(IDS),
        tenant=draw.choice(TENANTS),
        roles=draw.sample(ROLES, draw.randint(0, len(ROLES))),
        key=None if action in KEYLESS_ACTIONS else key_of(draw.choice(KEYS), draw.choice(TENANTS)),
        purpose=draw.choice(("", "care", "billing")),
        context=draw.choice(({}, {"department": "cardiology"})),
    )


def decided_by_all(policies: str, request: AccessRequest) -> tuple[bool, tuple[str, ...]]:
    """Decide with every policy, from text, and with entities written out here: nothing of the index is in it."""
    asking = request.principal
    kind = PRINCIPAL_TYPES[asking.kind]
    entities: list[dict[str, object]] = [
        {
            "uid": {"type": kind, "id": asking.principal_id},
            "attrs": {"tenant": {"__entity": {"type": TENANT, "id": asking.tenant}}},
            "parents": [{"type": ROLE, "id": role} for role in asking.roles],
        }
    ]
    resource = {"type": TENANT, "id": request.tenant}
    if request.key is not None:
        resource = {"type": KEY, "id": request.key.key_id}
        attributes = {"provider": request.key.provider, "labels": {}}
        parents = [{"type": TENANT, "id": request.key.tenant}]
        entities.append({"uid": resource, "attrs": attributes, "parents": parents})
    context: dict[str, object] = {"data": dict(request.context.pairs)}
    if request.declaration.purpose:
        context["purpose"] = request.declaration.purpose
    question = {
        "principal": {"type": kind, "id": asking.principal_id},
        "action": {"type": ACTION, "id": request.action.value},
        "resource": resource,
        "context": context,
    }
    result = cedarpy.is_authorized(question, policies, json.dumps(entities), GROUPED_SCHEMA_PARSED)
    names = result.diagnostics.id_annotations_by_reason
    return result.allowed, tuple(sorted(names[each] for each in result.diagnostics.reasons))


@pytest.mark.parametrize("seed", range(12))
def test_candidates_decide_as_all_policies_do(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    policies = random_policies(draw, 25)
    authorizer = CedarAuthorizer(load_policies(folder_of(tmp_path, policies, GROUPED_SCHEMA)))
    outcomes: set[bool] = set()
    for _ in range(60):
        request = random_request(draw)
        decision = authorizer.decide(request)
        assert (decision.allowed, decision.policy_ids) == decided_by_all(policies, request)
        outcomes.add(decision.allowed)
    assert outcomes == {True, False}, "a comparison of refusals alone would show little"


def test_an_action_group_of_the_schema_is_followed(tmp_path: Path) -> None:
    policy = '@id("x") permit (principal, action in Kmsgw::Action::"useKey", resource);'
    bundle = load_policies(folder_of(tmp_path, policy, GROUPED_SCHEMA))
    (loaded,) = bundle.policies
    assert Action.ENCRYPT in loaded.scope.actions
    assert Action.LIST_KEYS not in loaded.scope.actions
    assert CedarAuthorizer(bundle).decide(ask(Action.ENCRYPT)).allowed


def test_a_request_meets_only_the_policies_that_can_apply(tmp_path: Path) -> None:
    policies = "\n".join(
        f'@id("key-{number}") permit (principal in Kmsgw::Role::"r{number % 7}", action == Kmsgw::Action::"decrypt", '
        f'resource == Kmsgw::Key::"k{number}");'
        for number in range(300)
    )
    authorizer = CedarAuthorizer(load_policies(folder_of(tmp_path, policies)))
    assert authorizer.decide(ask(Action.DECRYPT, roles=["r1"], key=key_of("k8"))).policy_ids == ("key-8",)
    (subset,) = authorizer._subsets._young
    assert len(subset) == 1
