"""The verbs of PolicyService, SystemService and the health service, through both flavours."""

from datetime import UTC, datetime

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2

from kmsgw.client import (
    Action,
    DecidingPolicy,
    Explanation,
    ExportInfo,
    GatewayStatus,
    Health,
    InvalidRequest,
    NotFound,
    PolicyInfo,
    PrincipalKind,
    ProviderInfo,
)
from kmsgw.v1 import policy_service_pb2 as wire
from kmsgw.v1 import system_service_pb2 as system_wire
from tests.fakes.scripted_gateway import Refusal, ScriptedGateway
from tests.unit.client.driver import Driver


def test_a_recorded_request_is_explained(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script(
        "PolicyService/Explain",
        wire.ExplainResponse(
            effect=wire.EFFECT_DENY,
            policies=[wire.DecidingPolicy(policy_id="no-night", effect=wire.EFFECT_DENY, advice="Come by day.")],
            explanation="Refused by no-night.",
            reason="ACCESS_DENIED",
            principal_id="portal",
            roles=["reader"],
            action="decrypt",
            key_id="ehr",
            time=Timestamp(seconds=1_700_000_000),
        ),
    )

    explained = drive(gateway, lambda client: client.policy.explain_request("request-3"))

    assert wire.ExplainRequest.FromString(script.requests[0]).request_id == "request-3"
    assert explained == Explanation(
        allowed=False,
        explanation="Refused by no-night.",
        policies=(DecidingPolicy("no-night", permits=False, advice="Come by day."),),
        reason="ACCESS_DENIED",
        principal_id="portal",
        roles=("reader",),
        action="decrypt",
        key_id="ehr",
        time=datetime.fromtimestamp(1_700_000_000, UTC),
    )


def test_a_hypothetical_request_declares_nothing_of_the_client(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("PolicyService/Explain", wire.ExplainResponse(effect=wire.EFFECT_ALLOW))

    explained = drive(
        gateway,
        lambda client: client.policy.explain(
            Action.ROTATE_KEY,
            key="ehr",
            roles=["officer"],
            kind=PrincipalKind.OFFICER,
            tenant="clinic",
            context={"a": "b"},
            end_user="dr-who",
        ),
        purpose="care",
    )

    sent = wire.ExplainRequest.FromString(script.requests[0]).hypothetical
    assert (sent.action, sent.key, list(sent.roles), sent.tenant) == ("rotateKey", "ehr", ["officer"], "clinic")
    assert sent.kind == wire.PRINCIPAL_KIND_OFFICER
    assert (sent.declaration.purpose, sent.declaration.end_user) == ("", "dr-who")
    assert (explained.allowed, explained.time) == (True, None)


def test_an_explanation_of_a_malformed_purpose_is_refused(gateway: ScriptedGateway, drive: Driver) -> None:
    with pytest.raises(InvalidRequest):
        drive(gateway, lambda client: client.policy.explain("decrypt", purpose="No Purpose"))


def test_policies_are_listed_with_their_text(gateway: ScriptedGateway, drive: Driver) -> None:
    policy = wire.Policy(policy_id="p", effect=wire.EFFECT_ALLOW, advice="a", source="permit(…);", file="roles.cedar")
    gateway.script("PolicyService/ListPolicies", wire.ListPoliciesResponse(policies=[policy]))

    assert drive(gateway, lambda client: client.policy.list()) == [
        PolicyInfo("p", permits=True, advice="a", source="permit(…);", file="roles.cedar")
    ]


def test_the_status_is_told_whole(gateway: ScriptedGateway, drive: Driver) -> None:
    provider = system_wire.ProviderStatus(
        name="hsm", kind="pkcs11", serving=False, fault="no token", mechanism="AES_GCM", development_only=True
    )
    gateway.script(
        "SystemService/GetStatus",
        system_wire.GetStatusResponse(
            version="0.1.0",
            environment="development",
            node="node1",
            worker="worker0",
            serving=True,
            providers=[provider],
            audit_serving=True,
            audit_origin="kmsgw.local/log/node1/worker0",
            audit_size=9,
            policy_digest="ab",
            development_certificates=True,
            principal_id="portal",
            roles=["writer"],
            exports=[
                system_wire.ExportStatus(
                    target="siem", log="kmsgw.local/log/node1/worker0", delivered=7, lag=2, lag_seconds=0
                )
            ],
        ),
    )

    assert drive(gateway, lambda client: client.status()) == GatewayStatus(
        version="0.1.0",
        environment="development",
        node="node1",
        worker="worker0",
        serving=True,
        providers=(ProviderInfo("hsm", "pkcs11", False, "no token", "AES_GCM", True),),
        audit_serving=True,
        audit_origin="kmsgw.local/log/node1/worker0",
        audit_size=9,
        policy_digest="ab",
        development_certificates=True,
        principal_id="portal",
        roles=("writer",),
        exports=(ExportInfo("siem", "kmsgw.local/log/node1/worker0", 7, 2, 0),),
    )


@pytest.mark.parametrize("state", [Health.SERVING, Health.NOT_SERVING])
def test_health_is_the_standard_services(gateway: ScriptedGateway, drive: Driver, state: Health) -> None:
    script = gateway.script(
        "grpc.health.v1.Health/Check",
        health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.ServingStatus.Value(state)),
    )

    assert drive(gateway, lambda client: client.health("kmsgw.v1.CryptoService")) is state
    assert health_pb2.HealthCheckRequest.FromString(script.requests[0]).service == "kmsgw.v1.CryptoService"


def test_a_health_of_a_newer_standard_is_unknown(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script("grpc.health.v1.Health/Check", health_pb2.HealthCheckResponse(status=77))

    assert drive(gateway, lambda client: client.health()) is Health.UNKNOWN


def test_the_health_of_an_unknown_service_is_not_found(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script("grpc.health.v1.Health/Check", Refusal(grpc.StatusCode.NOT_FOUND, "unknown service"))

    with pytest.raises(NotFound, match="unknown service"):
        drive(gateway, lambda client: client.health("nonsense"))
