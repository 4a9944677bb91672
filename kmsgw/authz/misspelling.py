"""Finding misspelt attributes that Cedar's validator lets pass.

`context has purpos && context.purpos == "care"` is valid Cedar: the test can never hold, so what follows it is not
looked at. In a forbid that would silently allow. Every `has` is therefore put before an expression that must draw an
objection; where none comes, the attribute is declared for no request that the policy can apply to.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace

import cedarpy
from cedarpy import pst

from kmsgw.authz.schema import validation_faults

_OBJECTIONABLE = pst.GetAttr(pst.Var("principal"), "declared nowhere")


def undeclared_names(policies: Sequence[pst.Template], schema: cedarpy.Schema) -> list[list[str]]:
    """Return for each policy the attributes that it tests with `has` and the schema does not declare."""
    names: list[list[str]] = [[] for _ in policies]
    probes: dict[str, pst.Template] = {}
    origin: dict[str, tuple[int, str]] = {}
    for number, policy in enumerate(policies):
        for test in _tests(policy.clauses):
            probe_id = f"policy{len(probes)}"
            condition = pst.When(pst.BinaryOp("and", test, _OBJECTIONABLE))
            probes[probe_id] = replace(policy, id=probe_id, clauses=(condition,), annotations={})
            origin[probe_id] = number, _path(test)
    if not probes:
        return names
    objections = _objections(probes, schema)
    for probe_id, (number, name) in origin.items():
        if probe_id not in objections and name not in names[number]:
            names[number].append(name)
    return names


def _objections(probes: dict[str, pst.Template], schema: cedarpy.Schema) -> set[str]:
    # One text a probe: the rendering of a whole set need not keep the order that positional ids depend on.
    texts = [str(cedarpy.PolicySet.from_pst(pst.PolicySet({}, {each: probes[each]}, ()))) for each in probes]
    return set(validation_faults("\n".join(texts), schema))


def _tests(root: object) -> Iterator[pst.HasAttr]:
    """Yield every `has` under a part of the syntax tree."""
    if isinstance(root, pst.HasAttr):
        yield root
    if isinstance(root, tuple):
        parts: Sequence[object] = root
    elif isinstance(root, dict):
        parts = list(root.values())
    elif is_dataclass(root):
        parts = [getattr(root, each.name) for each in fields(root)]
    else:
        return
    for part in parts:
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
