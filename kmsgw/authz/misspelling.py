"""Finding misspelt attributes that Cedar's validator lets pass.

`context has purpos && context.purpos == "care"` is valid Cedar: the test can never hold, so what follows it is not
looked at. In a forbid that would silently allow. Every `has` is therefore put before an expression that must draw an
objection; where none comes, the attribute is declared for no request that the policy can apply to.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import cast

import cedarpy
from cedarpy import pst

from kmsgw.authz.schema import validation_faults

_FIELDS: dict[type, tuple[str, ...]] = {}
"""Names of the fields of nodes: some thousand nodes are of a dozen kinds."""

_OBJECTIONABLE = pst.GetAttr(pst.Var("principal"), "declared nowhere")


def undeclared_names(policies: Sequence[pst.Template], schema: cedarpy.Schema) -> list[list[str]]:
    """Return for each policy the attributes that it tests with `has` and the schema does not declare."""
    asked: list[dict[str, str]] = []
    probes: dict[str, pst.Template] = {}
    known: dict[object, str] = {}
    for policy in policies:
        paths: dict[str, str] = {}
        for test in _tests(policy.clauses):
            # Attributes are declared for types: policies on other roles and other keys ask the same.
            kind = _type_of(policy.principal), policy.action, _type_of(policy.resource), repr(test)
            probe_id = known.setdefault(kind, f"policy{len(probes)}")
            if probe_id not in probes:
                condition = pst.When(pst.BinaryOp("and", test, _OBJECTIONABLE))
                probes[probe_id] = replace(policy, id=probe_id, clauses=(condition,), annotations={})
            paths[probe_id] = _path(test)
        asked.append(paths)
    objections = _objections(probes, schema) if probes else set()
    return [
        list(dict.fromkeys(path for probe_id, path in paths.items() if probe_id not in objections)) for paths in asked
    ]


def _type_of(constraint: pst.PrincipalOrResourceConstraint) -> object:
    """Return a constraint of a scope without the id of the entity that it names."""
    match constraint:
        case pst.ScopeEq(pst.EntityUid() as entity) | pst.ScopeIn(pst.EntityUid() as entity):
            return type(constraint), entity.type
        case pst.ScopeIsIn(entity_type, pst.EntityUid() as entity):
            return type(constraint), entity_type, entity.type
        case _:
            return constraint


def _objections(probes: dict[str, pst.Template], schema: cedarpy.Schema) -> set[str]:
    # One text a probe: the rendering of a whole set need not keep the order that positional ids depend on.
    texts = [str(cedarpy.PolicySet.from_pst(pst.PolicySet({}, {each: probes[each]}, ()))) for each in probes]
    return set(validation_faults("\n".join(texts), schema))


def _tests(root: object) -> Iterator[pst.HasAttr]:
    """Yield every `has` under a part of the syntax tree."""
    if isinstance(root, pst.HasAttr):
        yield root
    kind = type(root)
    if kind is tuple:
        parts: Iterable[object] = cast("tuple[object, ...]", root)
    elif kind is dict:
        parts = cast("dict[object, object]", root).values()
    else:
        names = _FIELDS.get(kind)
        if names is None:
            names = _FIELDS[kind] = tuple(each.name for each in fields(kind)) if is_dataclass(kind) else ()
        parts = [getattr(root, name) for name in names]
    for part in parts:
        if type(part) is not str:
            yield from _tests(part)


def _path(test: pst.HasAttr) -> str:
    parts: list[str] = list(test.attrs)
    base: pst.Expr = test.base
    while isinstance(base, pst.GetAttr):
        parts.insert(0, base.attr)
        base = base.base
    if isinstance(base, pst.Var):
        parts.insert(0, base.name)
    return ".".join(parts)
