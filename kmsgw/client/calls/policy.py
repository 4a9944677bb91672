"""The verbs of PolicyService. `timeout` bounds a call in seconds over all attempts."""

from collections.abc import Sequence

from kmsgw.client.calls.call import Answer, Call, GivenContext, Page, context_pairs, method_path, time_of
from kmsgw.client.results import Explanation, PolicyInfo
from kmsgw.model.access import Action, DecidingPolicy, PrincipalKind
from kmsgw.model.context import AccessDeclaration
from kmsgw.v1 import policy_service_pb2 as wire
from kmsgw.v1.common_pb2 import AccessDeclaration as AccessDeclarationMessage

_SERVICE = wire.DESCRIPTOR.services_by_name["PolicyService"]
_EXPLAIN = method_path(_SERVICE, "Explain")
_LIST = method_path(_SERVICE, "ListPolicies")
_KINDS = {
    None: wire.PRINCIPAL_KIND_UNSPECIFIED,
    PrincipalKind.SERVICE: wire.PRINCIPAL_KIND_SERVICE,
    PrincipalKind.OFFICER: wire.PRINCIPAL_KIND_OFFICER,
}


def explain_request(request_id: str, *, timeout: float | None = None) -> Call[Explanation]:
    """Say why a recorded request was allowed or refused. Raises `NotFound` where the gateway has none of this id."""
    request = wire.ExplainRequest(request_id=request_id)
    return Call(_EXPLAIN, request.SerializeToString(), _read_explanation, timeout=timeout)


def explain(
    action: Action | str,
    *,
    key: str = "",
    roles: Sequence[str] = (),
    principal_id: str = "",
    kind: PrincipalKind | None = None,
    tenant: str = "",
    context: GivenContext = None,
    purpose: str = "",
    end_user: str = "",
    timeout: float | None = None,
) -> Call[Explanation]:
    """Say how a request would be decided that nobody made. `roles` are required unless `principal_id` is configured.

    `kind` is what the principal is; without it what `principal_id` is configured as, or what `roles` are for.
    What the client declares of its own calls plays no part here.
    """
    declared = AccessDeclaration(purpose, end_user)
    request = wire.ExplainRequest(
        hypothetical=wire.HypotheticalRequest(
            roles=roles,
            principal_id=principal_id,
            tenant=tenant,
            action=str(action),
            key=key,
            kind=_KINDS[kind],
            encryption_context=context_pairs(context),
            declaration=AccessDeclarationMessage(purpose=declared.purpose, end_user=declared.end_user),
        )
    )
    return Call(_EXPLAIN, request.SerializeToString(), _read_explanation, timeout=timeout)


def list_policies(page_token: str, *, page_size: int = 100, timeout: float | None = None) -> Call[Page[PolicyInfo]]:
    """Iterate over the policies in force, by id. `page_size` is 1 to 1,000; `timeout` is for each page."""
    request = wire.ListPoliciesRequest(page_size=page_size, page_token=page_token)

    def read(answer: Answer) -> Page[PolicyInfo]:
        response = wire.ListPoliciesResponse.FromString(answer.payload)
        policies = (
            PolicyInfo(each.policy_id, each.effect == wire.EFFECT_ALLOW, each.advice, each.source, each.file)
            for each in response.policies
        )
        return Page(tuple(policies), response.next_page_token)

    return Call(_LIST, request.SerializeToString(), read, timeout=timeout)


def _read_explanation(answer: Answer) -> Explanation:
    response = wire.ExplainResponse.FromString(answer.payload)
    return Explanation(
        allowed=response.effect == wire.EFFECT_ALLOW,
        explanation=response.explanation,
        policies=tuple(
            DecidingPolicy(each.policy_id, each.effect == wire.EFFECT_ALLOW, each.advice) for each in response.policies
        ),
        reason=response.reason,
        principal_id=response.principal_id,
        roles=tuple(response.roles),
        action=response.action,
        key_id=response.key_id,
        time=time_of(response.time) if response.HasField("time") else None,
    )
