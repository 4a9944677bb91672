"""Deciding: Cedar behind a cache, and in front of Cedar only the policies that can apply.

A decision is a function of a view: the attributes that the schema exposes, and nothing else. The view is the key of
the cache and the only thing that the engine is given, so the cache can't answer for another request.
"""

import json
import logging
from collections.abc import Collection, Sequence
from typing import Final

import cedarpy

from kmsgw.authz.entities import ACTION, KEY, OFFICER, ROLE, SERVICE, TENANT, Uid, uid_json
from kmsgw.authz.explanation import ENGINE_FAULT, explain
from kmsgw.authz.index import Candidates, ScopeIndex
from kmsgw.authz.load import PolicyBundle
from kmsgw.authz.schema import Exposure, entity_json, tenant_json
from kmsgw.model.access import AccessRequest, DecidingPolicy, Decision, PolicyText, PrincipalKind
from kmsgw.model.generation_cache import GenerationCache
from kmsgw.telemetry.meters import Lookups

CACHED_DECISIONS: Final = 8192
"""Decisions in one of the two generations of the cache: at most about 6 MiB each."""
CACHED_GRAPHS: Final = 1024
"""Pairs of a principal and a key kept as parsed entities, in one of the two generations."""
CACHED_SUBSETS: Final = 1024
"""Subsets of the policies kept parsed, in one of the two generations."""

CACHED_TEXT: Final = 512
"""Characters of declared and exposed values in a decision that is kept. Longer ones let a caller fill the memory."""

_LOG = logging.getLogger(__name__)
_SERVICE = PrincipalKind.SERVICE
_DENIED = Decision(allowed=False)
_FAULT = Decision(allowed=False, policies=(ENGINE_FAULT,))

_Pairs = tuple[tuple[str, str], ...]
_Values = tuple[str | None, ...]
_View = tuple[Exposure, str, str, str, frozenset[str], str | None, str, str, _Values, str, str, _Pairs]


class _EngineFault(Exception):
    """The engine gave no decision that may be relied on. Holds no text of Cedar's: that quotes context values."""


class CedarAuthorizer:
    """The policies of one bundle. Safe to share among threads. See the port `Authorizer`."""

    def __init__(self, bundle: PolicyBundle, lookups: Lookups | None = None) -> None:
        """Decide by a bundle; `lookups` counts how often a decision was in the cache."""
        self._lookups = lookups or Lookups()
        self._bundle = bundle
        # Enums hash in Python code, which is a third of a hit; a member lives for ever, so its address names it.
        self._exposures = {id(action): exposure for action, exposure in bundle.exposures.items()}
        self._texts = tuple(policy.text for policy in bundle.policies)
        self._deciding = {
            text.policy_id: DecidingPolicy(text.policy_id, text.permits, text.advice) for text in self._texts
        }
        self._index = ScopeIndex([policy.scope for policy in bundle.policies])
        self._decisions: GenerationCache[_View, Decision] = GenerationCache(CACHED_DECISIONS)
        self._graphs: GenerationCache[tuple[object, ...], cedarpy.Entities] = GenerationCache(CACHED_GRAPHS)
        self._subsets: GenerationCache[Candidates, cedarpy.PolicySet] = GenerationCache(CACHED_SUBSETS)

    @property
    def digest(self) -> str:
        """SHA-256 over schema and policies, hexadecimal."""
        return self._bundle.digest

    @property
    def bundle(self) -> PolicyBundle:
        """What is decided by."""
        return self._bundle

    def policies(self) -> Sequence[PolicyText]:
        """Return the policies in force, by id."""
        return self._texts

    def decide(self, request: AccessRequest) -> Decision:
        """Decide by the exposed attributes of a request. Denies by default and on any fault of the engine."""
        view = self._view(request)
        decision = self._decisions.get(view)
        if decision is None:
            self._lookups.misses += 1
            return self._decide_anew(view)
        self._lookups.hits += 1
        return decision

    def kind_of(self, roles: Collection[str]) -> PrincipalKind:
        """Return what a principal of these roles is: an officer where each is an officers' role, else a service."""
        officer = bool(roles) and self._bundle.officers_roles.issuperset(roles)
        return PrincipalKind.OFFICER if officer else PrincipalKind.SERVICE

    def explain(self, request: AccessRequest, decision: Decision) -> str:
        """Return a decision in words. Pure."""
        return explain(decision, request, self._bundle.permitted_roles(request.action))

    def _view(self, request: AccessRequest) -> _View:
        exposure = self._exposures[id(request.action)]
        principal = request.principal
        key = request.key
        labels: _Values = ()
        if key is None or not exposure.on_key:
            key_id, tenant, provider = None, request.tenant, ""
        else:
            key_id, tenant, provider = key.key_id, key.tenant, key.provider
            if exposure.labels and key.labels:
                labels = tuple(map(key.labels.get, exposure.labels))
        data: _Pairs = ()
        if exposure.data:
            exposed = exposure.data
            # No comprehension: its frame costs more than the pairs, of which at most 16 are there and one is exposed.
            for pair in request.context.pairs:
                if pair[0] in exposed:
                    data = (*data, pair)
        return (
            exposure,
            SERVICE if principal.kind is _SERVICE else OFFICER,
            principal.principal_id,
            principal.tenant,
            principal.roles,
            key_id,
            tenant,
            provider,
            labels,
            request.declaration.purpose if exposure.purpose else "",
            request.declaration.end_user if exposure.end_user else "",
            data,
        )

    def _decide_anew(self, view: _View) -> Decision:
        try:
            decision = self._evaluate(view)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a panic in Cedar's Rust code is a BaseException; it must deny
            _LOG.error("policy engine failed: %s", type(error).__name__)
            return _FAULT
        purpose, end_user, data = view[-3:]
        if len(purpose) + len(end_user) + sum(len(value) for _, value in data) <= CACHED_TEXT:
            self._decisions.put(view, decision)
        return decision

    def _evaluate(self, view: _View) -> Decision:
        exposure, kind, principal_id, _, roles, key_id, owner, _, _, purpose, end_user, data = view
        if exposure.on_key and key_id is None:
            return _DENIED
        principal: Uid = (kind, principal_id)
        tenant: Uid = (TENANT, owner)
        resource: Uid = tenant if key_id is None else (KEY, key_id)
        within = (tenant,) if key_id is None else (resource, tenant)
        asking = (principal, *((ROLE, role) for role in roles))
        candidates = self._index.candidates(exposure.action, asking, within)
        if not candidates:
            return _DENIED
        context: dict[str, object] = {"data": dict(data)}
        if purpose:
            context["purpose"] = purpose
        if end_user:
            context["end_user"] = end_user
        request = {
            "principal": uid_json(principal),
            "action": uid_json((ACTION, exposure.action.value)),
            "resource": uid_json(resource),
            "context": json.dumps(context),
        }
        graph = self._graph(view)
        return self._decision(cedarpy.is_authorized(request, self._subset(candidates), graph, self._bundle.schema))

    def _graph(self, view: _View) -> cedarpy.Entities:
        """Return principal and key as Cedar's entities, parsed: more than half of what a miss would cost."""
        exposure, kind, principal_id, tenant, roles, key_id, owner, provider, labels, *_ = view
        known_by = view[1:9]
        graph = self._graphs.get(known_by)
        if graph is None:
            attributes = {"tenant": tenant_json(tenant)}
            entities = [entity_json((kind, principal_id), attributes, [(ROLE, role) for role in roles])]
            if key_id is not None:
                named = {name: text for name, text in zip(exposure.labels, labels, strict=False) if text is not None}
                entities.append(entity_json((KEY, key_id), {"provider": provider, "labels": named}, [(TENANT, owner)]))
            graph = cedarpy.Entities.from_json_str(json.dumps(entities), self._bundle.schema)
            self._graphs.put(known_by, graph)
        return graph

    def _decision(self, result: cedarpy.AuthzResult) -> Decision:
        diagnostics = result.diagnostics
        # Cedar skips a policy that fails while it runs. A forbid that is skipped would allow, so any failure denies.
        if result.decision is cedarpy.Decision.NoDecision or diagnostics.errors:
            raise _EngineFault
        names = diagnostics.id_annotations_by_reason
        deciding = tuple(self._deciding[policy_id] for policy_id in sorted(names[each] for each in diagnostics.reasons))
        if result.allowed and not any(policy.permits for policy in deciding):
            raise _EngineFault
        return Decision(result.allowed, deciding)

    def _subset(self, candidates: Candidates) -> cedarpy.PolicySet:
        subset = self._subsets.get(candidates)
        if subset is None:
            subset = cedarpy.PolicySet.from_str("\n".join(self._texts[position].source for position in candidates))
            self._subsets.put(candidates, subset)
        return subset
