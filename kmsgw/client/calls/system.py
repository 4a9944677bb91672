"""What is running and how it is: SystemService, and the standard health service. `timeout` is in seconds."""

from grpc_health.v1 import health_pb2

from kmsgw.client.calls.call import Answer, Call, method_path
from kmsgw.client.results import ExportInfo, GatewayStatus, Health, ProviderInfo
from kmsgw.v1 import system_service_pb2 as wire

_STATUS = method_path(wire.DESCRIPTOR.services_by_name["SystemService"], "GetStatus")
_HEALTH = method_path(health_pb2.DESCRIPTOR.services_by_name["Health"], "Check")


def status(*, timeout: float | None = None) -> Call[GatewayStatus]:
    """Return the state of the worker that takes the call, and who the gateway takes the caller for."""

    def read(answer: Answer) -> GatewayStatus:
        response = wire.GetStatusResponse.FromString(answer.payload)
        providers = tuple(
            ProviderInfo(each.name, each.kind, each.serving, each.fault, each.mechanism, each.development_only)
            for each in response.providers
        )
        return GatewayStatus(
            version=response.version,
            environment=response.environment,
            node=response.node,
            worker=response.worker,
            serving=response.serving,
            providers=providers,
            audit_serving=response.audit_serving,
            audit_origin=response.audit_origin,
            audit_size=response.audit_size,
            policy_digest=response.policy_digest,
            development_certificates=response.development_certificates,
            principal_id=response.principal_id,
            roles=tuple(response.roles),
            exports=tuple(
                ExportInfo(
                    each.target,
                    each.log,
                    each.delivered,
                    each.lag,
                    each.lag_seconds if each.HasField("lag_seconds") else None,
                )
                for each in response.exports
            ),
        )

    return Call(_STATUS, wire.GetStatusRequest().SerializeToString(), read, timeout=timeout)


def health(service: str = "", *, timeout: float | None = None) -> Call[Health]:
    """Return whether the gateway, or one of its services by full name, can serve. Raises `NotFound` on another name."""
    request: bytes = health_pb2.HealthCheckRequest(service=service).SerializeToString()

    def read(answer: Answer) -> Health:
        state = health_pb2.HealthCheckResponse.FromString(answer.payload).status
        names = health_pb2.HealthCheckResponse.ServingStatus
        return Health(names.Name(state)) if state in names.values() else Health.UNKNOWN

    return Call(_HEALTH, request, read, timeout=timeout)
