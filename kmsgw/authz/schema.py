"""Reading the policy schema: which attributes it exposes, and whether the gateway can fill it.

Cedar's schema is not searched with a grammar of our own. The names in it are only candidates: whether one is
declared, and as what, the validator is asked with a small probe policy. So the two can't disagree.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

import cedarpy

from kmsgw.authz.entities import ACTION, KEY, KEYLESS_ACTIONS, OFFICER, ROLE, SERVICE, TENANT, uid_json
from kmsgw.model.access import Action

_CANDIDATE = re.compile(r'^\s*(?:type )?(?P<name>"(?:[^"\\]|\\.)*"|[A-Za-z_]\w*)\??(?::| =)', re.MULTILINE)
_UNDECLARED = 'principal["declared nowhere"] == 0'
_FILLED = {"context": ("purpose", "end_user", "data"), "principal": ("tenant",), "resource": ("provider", "labels")}


@dataclass(frozen=True, slots=True, eq=False)
class Exposure:
    """What the schema exposes of a request for one action. Compared by identity: there is one for each action.

    ``on_key`` tells whether the action's resource is a key; else it is a tenant.
    """

    action: Action
    on_key: bool
    purpose: bool = False
    end_user: bool = False
    data: frozenset[str] = field(default_factory=frozenset)
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Name:
    """An attribute name, as text and as a Cedar string literal."""

    text: str
    literal: str


class _Grouped:
    """Faults that many actions share, each told once."""

    def __init__(self) -> None:
        self._actions: dict[str, list[Action]] = {}

    def add(self, fault: str, action: Action) -> None:
        # Cedar's own text names the action, which would keep equal faults apart.
        actions = self._actions.setdefault(fault.replace(f'{ACTION}::"{action.value}"', "the action"), [])
        if action not in actions:
            actions.append(action)

    def faults(self) -> list[str]:
        everywhere = len(Action)
        return [
            f"{fault} ({'every action' if len(actions) == everywhere else 'actions ' + ', '.join(actions)})"
            for fault, actions in self._actions.items()
        ]


def entity_json(uid: tuple[str, str], attributes: Mapping[str, object], parents: Sequence[tuple[str, str]]) -> object:
    """Return an entity in Cedar's JSON form."""
    return {"uid": uid_json(uid), "attrs": dict(attributes), "parents": [uid_json(parent) for parent in parents]}


def tenant_json(tenant: str) -> object:
    """Return a tenant as the value of an attribute, in Cedar's JSON form."""
    return {"__entity": uid_json((TENANT, tenant))}


def validation_faults(policies: str, schema: cedarpy.Schema) -> dict[str, list[str]]:
    """Return what Cedar's strict validator finds, by the positional id of the policy (``policy0`` is the first)."""
    found: dict[str, list[str]] = {}
    # Without the GIL, so that a reload of 1,000 policies (60 ms in one call) stalls no call that is being answered.
    for error in cedarpy.validate_policies(policies, schema, release_gil=True).errors:
        policy_id = str(error.policy_id)
        found.setdefault(policy_id, []).append(str(error.error).removeprefix(f"for policy `{policy_id}`, "))
    return found


def _flagged(probes: Sequence[str], schema: cedarpy.Schema) -> list[bool]:
    """Tell for each probe policy whether the validator objects to it."""
    if not probes:
        return []
    faults = validation_faults("\n".join(probes), schema)
    return [f"policy{number}" in faults for number in range(len(probes))]


def _probe(scope: str, base: str, name: _Name, test: str) -> str:
    # The validator skips what follows a `has` that can never hold, so an objection to `test` shows a declared name.
    return f"permit ({scope}) when {{ {base} has {name.literal} && {test} }};"


def _candidates(schema: cedarpy.Schema) -> list[_Name]:
    names: set[_Name] = set()
    for match in _CANDIDATE.finditer(str(schema)):
        literal = match["name"] if match["name"].startswith('"') else json.dumps(match["name"])
        parsed = cedarpy.policies_to_pst(f"permit (principal, action, resource) when {{ {literal} == {literal} }};")
        condition = parsed.static_policies["policy0"].clauses[0].expr
        assert isinstance(condition, cedarpy.pst.BinaryOp)
        assert isinstance(condition.left, cedarpy.pst.StringLit)
        names.add(_Name(condition.left.value, literal))
    return sorted(names, key=lambda name: name.text)


def _declared(schema: cedarpy.Schema, scope: str, base: str, names: Sequence[_Name]) -> list[_Name]:
    flags = _flagged([_probe(scope, base, name, _UNDECLARED) for name in names], schema)
    return [name for name, declared in zip(names, flags, strict=True) if declared]


def _strings(
    schema: cedarpy.Schema, scope: str, base: str, names: Sequence[_Name]
) -> tuple[tuple[str, ...], list[str]]:
    """Return the attributes declared in a record of strings, and a fault for each that is anything else."""
    declared = _declared(schema, scope, base, names)
    flags = _flagged([_probe(scope, base, name, f'{base}[{name.literal}] like "*"') for name in declared], schema)
    wrong = [_no_string(name) for name, flagged in zip(declared, flags, strict=True) if flagged]
    return tuple(name.text for name in declared), wrong


def _foreign(schema: cedarpy.Schema, scope: str, base: str, names: Sequence[_Name]) -> list[str]:
    """Return a fault for each attribute that the gateway never fills: a policy on it would silently not apply."""
    others = [name for name in names if name.text not in _FILLED[base]]
    found = _declared(schema, scope, base, others)
    return [_no_such(name) for name in found]


def _unfilled(schema: cedarpy.Schema) -> list[str]:
    """Return a fault for each part of a bare request that the schema would not take."""
    faults: list[str] = []
    principal = {"tenant": tenant_json("t")}
    samples = (
        ((SERVICE, "s"), principal, ((ROLE, "r"),)),
        ((OFFICER, "o"), principal, ((ROLE, "r"),)),
        ((KEY, "k"), {"provider": "p", "labels": {}}, ((TENANT, "t"),)),
    )
    for uid, attributes, parents in samples:
        try:
            cedarpy.Entities.from_json_str(json.dumps([entity_json(uid, attributes, parents)]), schema)
        except ValueError as error:
            faults.append(f"{uid[0]}: not declared as the gateway fills it: {error}")
    grouped = _Grouped()
    for action in Action:
        for asking in ((SERVICE, "s"), (OFFICER, "o")):
            resource = (TENANT, "t") if action in KEYLESS_ACTIONS else (KEY, "k")
            request = {
                "principal": uid_json(asking),
                "action": uid_json((ACTION, action.value)),
                "resource": uid_json(resource),
                "context": {"data": {}},
            }
            result = cedarpy.is_authorized(request, "", "[]", schema)
            if result.decision is cedarpy.Decision.NoDecision:
                reasons = " ".join(result.diagnostics.errors).removeprefix("failed to build request: ")
                grouped.add(f"a {asking[0]} can't ask about a {resource[0]}: {reasons}", action)
    return faults + grouped.faults()


@lru_cache(maxsize=4)
def read_schema(text: str) -> tuple[cedarpy.Schema, Mapping[Action, Exposure], tuple[str, ...]]:
    """Return a schema, what it exposes, and its faults. A reload with the schema unchanged asks nothing anew.

    Raises ValueError where the text is no Cedar schema.
    """
    schema = cedarpy.Schema.from_str(text)
    exposures, faults = read_exposure(schema)
    return schema, MappingProxyType(dict(exposures)), tuple(faults)


def read_exposure(schema: cedarpy.Schema) -> tuple[Mapping[Action, Exposure], list[str]]:
    """Return what the schema exposes for each action, and every fault that makes it unfit for the gateway.

    Unfit: an action that does not take services and officers on its resource, a required attribute, one that is no
    String, one that the gateway does not know.
    """
    faults = _unfilled(schema)
    if faults:
        return {}, faults
    names = _candidates(schema)
    key_scope = f"principal, action, resource is {KEY}"
    for entity, scope, base in (
        (SERVICE, f"principal is {SERVICE}, action, resource", "principal"),
        (OFFICER, f"principal is {OFFICER}, action, resource", "principal"),
        (KEY, key_scope, "resource"),
        (TENANT, f"principal, action, resource is {TENANT}", "resource"),
    ):
        faults += [f"{entity}: {fault}" for fault in _foreign(schema, scope, base, names)]
    labels, wrong = _strings(schema, key_scope, "resource.labels", names)
    faults += [f"{KEY}, labels: {fault}" for fault in wrong]
    return _read_contexts(schema, names, labels, faults)


def _read_contexts(
    schema: cedarpy.Schema, names: Sequence[_Name], labels: tuple[str, ...], faults: list[str]
) -> tuple[Mapping[Action, Exposure], list[str]]:
    """Add what is exposed of each action's context, and the faults of that."""
    grouped = _Grouped()
    exposures: dict[Action, Exposure] = {}
    declarations = [name for name in names if name.text in {"purpose", "end_user"}]
    others = [name for name in names if name.text not in _FILLED["context"]]
    in_context = _declared_by_action(schema, "context", declarations + others)
    in_data = _declared_by_action(schema, "context.data", names)
    probes = {
        (action, base, name): _probe(_of_action(action), base, name, f'{base}[{name.literal}] like "*"')
        for base, found in (("context", in_context), ("context.data", in_data))
        for action, declared in found.items()
        for name in declared
        if base == "context.data" or name not in others
    }
    no_strings = {
        asked for asked, flagged in zip(probes, _flagged(list(probes.values()), schema), strict=True) if flagged
    }
    for action in Action:
        for name in in_context[action]:
            if name in others:
                grouped.add(f"context: {_no_such(name)}", action)
        for base, told, found in (("context", "context", in_context), ("context.data", "context, data", in_data)):
            for name in found[action]:
                if (action, base, name) in no_strings:
                    grouped.add(f"{told}: {_no_string(name)}", action)
        declared = {name.text for name in in_context[action]}
        on_key = action not in KEYLESS_ACTIONS
        exposures[action] = Exposure(
            action,
            on_key,
            "purpose" in declared,
            "end_user" in declared,
            frozenset(name.text for name in in_data[action]),
            labels if on_key else (),
        )
    return exposures, faults + grouped.faults()


def _declared_by_action(schema: cedarpy.Schema, base: str, names: Sequence[_Name]) -> Mapping[Action, Sequence[_Name]]:
    """Return for each action which of the names are declared in `base`.

    Most are for none. That one probe finds for all actions at once, at twice the price of one for a single action.
    """
    somewhere = _declared(schema, "principal, action, resource", base, names)
    asked = [(action, name) for action in Action for name in somewhere]
    flags = _flagged([_probe(_of_action(action), base, name, _UNDECLARED) for action, name in asked], schema)
    found: dict[Action, list[_Name]] = {action: [] for action in Action}
    for (action, name), declared in zip(asked, flags, strict=True):
        if declared:
            found[action].append(name)
    return found


def _of_action(action: Action) -> str:
    return f'principal, action == {ACTION}::"{action.value}", resource'


def _no_such(name: _Name) -> str:
    return f"the gateway fills no attribute {name.text}; take it out"


def _no_string(name: _Name) -> str:
    return f"{name.text} must be declared as an optional String"
