"""PolicyService and SystemService: from the wire to commands, and from results to the wire."""

from collections.abc import Mapping
from typing import Final

from kmsgw.errors import InvalidRequest
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.operations.control.get_status import GetStatusCommand, WorkerState
from kmsgw.operations.control.key_views import check_page_size
from kmsgw.operations.control.policies import (
    ExplainCommand,
    ExplainHypotheticalCommand,
    ExplainRecordedCommand,
    Explanation,
    ListPoliciesCommand,
    PolicyPage,
)
from kmsgw.server.wire_crypto import context_of, declaration_of
from kmsgw.server.wire_keys import timestamp
from kmsgw.v1 import policy_service_pb2 as pb
from kmsgw.v1 import system_service_pb2

_MAX_TOKEN = 256
_KINDS: Final[Mapping[pb.PrincipalKind, PrincipalKind | None]] = {
    pb.PRINCIPAL_KIND_UNSPECIFIED: None,
    pb.PRINCIPAL_KIND_SERVICE: PrincipalKind.SERVICE,
    pb.PRINCIPAL_KIND_OFFICER: PrincipalKind.OFFICER,
}


def effect(permits: bool) -> pb.Effect:
    """Write an effect."""
    return pb.EFFECT_ALLOW if permits else pb.EFFECT_DENY


def explain_command(request: pb.ExplainRequest) -> ExplainCommand:
    """Read an Explain request."""
    subject = request.WhichOneof("subject")
    if subject == "request_id":
        return ExplainRecordedCommand(request.request_id)
    if subject == "hypothetical":
        asked = request.hypothetical
        return ExplainHypotheticalCommand(
            tuple(asked.roles),
            asked.principal_id,
            asked.tenant,
            asked.action,
            asked.key,
            context_of(asked.encryption_context),
            declaration_of(asked.declaration),
            _kind(asked.kind),
        )
    raise InvalidRequest("subject is not set.", advice="Give request_id or hypothetical.")


def _kind(asked: pb.PrincipalKind) -> PrincipalKind | None:
    if asked not in _KINDS:
        raise InvalidRequest("kind is unknown.", advice="Give a service, an officer, or none.")
    return _KINDS[asked]


def explain_response(result: Explanation) -> pb.ExplainResponse:
    """Write an Explain response."""
    made = pb.ExplainResponse(
        effect=effect(result.allowed),
        policies=[
            pb.DecidingPolicy(policy_id=each.policy_id, effect=effect(each.permits), advice=each.advice)
            for each in result.policies
        ],
        explanation=result.text,
        reason=result.reason,
        principal_id=result.principal_id,
        roles=result.roles,
        action=result.action,
        key_id=result.key_id,
    )
    if result.time is not None:
        made.time.CopyFrom(timestamp(result.time))
    return made


def list_policies_command(request: pb.ListPoliciesRequest) -> ListPoliciesCommand:
    """Read a ListPolicies request; its page token is the last id of the page before."""
    if len(request.page_token) > _MAX_TOKEN:
        raise InvalidRequest("page_token is malformed.", advice="Give next_page_token back as it was answered.")
    return ListPoliciesCommand(check_page_size(request.page_size), request.page_token)


def list_policies_response(result: PolicyPage) -> pb.ListPoliciesResponse:
    """Write a ListPolicies response."""
    return pb.ListPoliciesResponse(
        policies=[
            pb.Policy(
                policy_id=each.policy_id,
                effect=effect(each.permits),
                advice=each.advice,
                source=each.source,
                file=each.file,
            )
            for each in result.policies
        ],
        next_page_token=result.next_after,
        digest=result.digest,
    )


def get_status_command(request: system_service_pb2.GetStatusRequest) -> GetStatusCommand:  # noqa: ARG001
    """Read a GetStatus request."""
    return GetStatusCommand()


def get_status_response(result: tuple[WorkerState, Principal]) -> system_service_pb2.GetStatusResponse:
    """Write a GetStatus response."""
    state, principal = result
    return system_service_pb2.GetStatusResponse(
        version=state.version,
        environment=state.environment,
        node=state.node,
        worker=state.worker,
        serving=state.serving,
        providers=[
            system_service_pb2.ProviderStatus(
                name=each.description.name,
                kind=each.description.kind.value,
                serving=not each.fault,
                fault=each.fault,
                mechanism=each.description.mechanism,
                development_only=each.description.development_only,
            )
            for each in state.providers
        ],
        audit_serving=state.audit_serving,
        audit_origin=state.audit_origin,
        audit_size=state.audit_size,
        policy_digest=state.policy_digest,
        development_certificates=state.development_certificates,
        principal_id=principal.principal_id,
        roles=sorted(principal.roles),
        exports=[
            system_service_pb2.ExportStatus(
                target=each.target, log=each.log, delivered=each.delivered, lag=each.lag, lag_seconds=each.lag_seconds
            )
            for each in state.exports
        ],
    )
