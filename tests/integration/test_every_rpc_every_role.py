"""Every RPC against every role. An RPC without an expectation fails the walk, and so does a role without one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from kmsgw.cli.development import DevelopmentCa
from kmsgw.server.rpcs import SERVICES
from kmsgw.v1 import (
    common_pb2,
    crypto_service_pb2,
    key_service_pb2,
    policy_service_pb2,
    system_service_pb2,
)
from tests.support.gateway import Gateway, make_folder

ROLES = {
    "ehr-writer": "writer",
    "ehr-reader": "reader",
    "ehr-datakeys": "data-key-user",
    "rewrap-job": "rewrapper",
    "key-officer": "key-officer",
    "auditor": "auditor",
    "administrator": "administrator",
    "billing": "writer of another tenant",
    "stranger": "none: a certificate that no rule matches",
}
EVERYBODY = frozenset(ROLES) - {"stranger"}
SERVICES_ONLY = frozenset({"ehr-writer", "ehr-reader", "ehr-datakeys", "rewrap-job", "billing"})
OFFICER, AUDITOR, ADMINISTRATOR = "key-officer", "auditor", "administrator"

ALLOWED: Mapping[str, frozenset[str]] = {
    "CryptoService/Encrypt": frozenset({"ehr-writer"}),
    "CryptoService/Decrypt": frozenset({"ehr-reader", "ehr-datakeys"}),
    "CryptoService/ReEncrypt": frozenset(),
    "CryptoService/Rewrap": frozenset({"rewrap-job"}),
    "CryptoService/GenerateDataKey": frozenset({"ehr-datakeys"}),
    "CryptoService/GenerateDataKeyWithoutPlaintext": frozenset({"ehr-writer", "ehr-datakeys"}),
    "CryptoService/GenerateRandomBytes": SERVICES_ONLY,
    "KeyService/CreateKey": frozenset({OFFICER}),
    "KeyService/GetKey": frozenset({OFFICER, AUDITOR}),
    "KeyService/ListKeys": frozenset({OFFICER, AUDITOR}),
    "KeyService/UpdateKey": frozenset({OFFICER}),
    "KeyService/RotateKey": frozenset({OFFICER}),
    "KeyService/ListKeyVersions": frozenset({OFFICER, AUDITOR}),
    "KeyService/EnableKeyVersion": frozenset({OFFICER}),
    "KeyService/DisableKeyVersion": frozenset({OFFICER}),
    "KeyService/CreateAlias": frozenset({OFFICER}),
    "KeyService/DeleteAlias": frozenset({OFFICER}),
    "PolicyService/Explain": frozenset({AUDITOR, ADMINISTRATOR}),
    "PolicyService/ListPolicies": frozenset({AUDITOR, ADMINISTRATOR}),
    "SystemService/GetStatus": EVERYBODY,
    "grpc.health.v1.Health/Check": EVERYBODY,
    "grpc.health.v1.Health/List": EVERYBODY,
    "grpc.health.v1.Health/Watch": EVERYBODY,
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": EVERYBODY,
    "CryptoService/NoSuchMethod": frozenset(),
}

MODULES = {
    "CryptoService": crypto_service_pb2,
    "KeyService": key_service_pb2,
    "PolicyService": policy_service_pb2,
    "SystemService": system_service_pb2,
}
CARE = common_pb2.AccessDeclaration(purpose="care")


@dataclass(frozen=True)
class Walk:
    gateway: Gateway
    envelope: bytes
    channels: Mapping[str, grpc.Channel]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    gateway = make_folder(tmp_path_factory.mktemp("walk") / "kms", workers=1)
    tls, clients = gateway.folder / "tls", gateway.folder / "clients"
    ca = DevelopmentCa.load((tls / "ca.pem").read_bytes(), (tls / "ca.key").read_bytes())
    stranger = ca.issue_client("stranger", spiffe="spiffe://kmsgw.development/stranger")
    (clients / "stranger.pem").write_bytes(stranger.certificate)
    (clients / "stranger.key").write_bytes(stranger.private_key)
    gateway.start()
    officer = gateway.client("key-officer").keys
    officer.create("walked")
    officer.rotate("walked")
    officer.create_alias("alias/walked-away", "walked")
    envelope = gateway.client("ehr-writer").encrypt("walked", b"record").envelope
    root = (tls / "ca.pem").read_bytes()
    channels = {
        name: grpc.secure_channel(
            gateway.address,
            grpc.ssl_channel_credentials(
                root, (clients / f"{name}.key").read_bytes(), (clients / f"{name}.pem").read_bytes()
            ),
        )
        for name in ROLES
    }
    yield Walk(gateway, envelope, channels)
    for channel in channels.values():
        channel.close()
    gateway.stop()


def a_request(method: str, walk: Walk) -> Message:
    """Return a request that succeeds where policy allows it. State changes are dry runs."""
    crypto, keys = crypto_service_pb2, key_service_pb2
    requests: dict[str, Callable[[], Message]] = {
        "Encrypt": lambda: crypto.EncryptRequest(key="walked", plaintext=b"x", declaration=CARE),
        "Decrypt": lambda: crypto.DecryptRequest(envelope=walk.envelope, declaration=CARE),
        "ReEncrypt": lambda: crypto.ReEncryptRequest(
            envelope=walk.envelope, destination_key="walked", declaration=CARE
        ),
        "Rewrap": lambda: crypto.RewrapRequest(envelope=walk.envelope, declaration=CARE),
        "GenerateDataKey": lambda: crypto.GenerateDataKeyRequest(key="walked", declaration=CARE),
        "GenerateDataKeyWithoutPlaintext": lambda: crypto.GenerateDataKeyWithoutPlaintextRequest(key="walked"),
        "GenerateRandomBytes": lambda: crypto.GenerateRandomBytesRequest(length=8),
        "CreateKey": lambda: keys.CreateKeyRequest(key_id="another", dry_run=True),
        "GetKey": lambda: keys.GetKeyRequest(key="alias/walked-away"),
        "ListKeys": lambda: keys.ListKeysRequest(),
        "UpdateKey": lambda: keys.UpdateKeyRequest(
            key="walked",
            new_values=keys.Key(description="seen"),
            update_mask={"paths": ["description"]},
            dry_run=True,
        ),
        "RotateKey": lambda: keys.RotateKeyRequest(key="walked", dry_run=True),
        "ListKeyVersions": lambda: keys.ListKeyVersionsRequest(key="walked"),
        "EnableKeyVersion": lambda: keys.EnableKeyVersionRequest(key="walked", version=1, dry_run=True),
        "DisableKeyVersion": lambda: keys.DisableKeyVersionRequest(key="walked", version=1, dry_run=True),
        "CreateAlias": lambda: keys.CreateAliasRequest(alias="alias/walker", key="walked", dry_run=True),
        "DeleteAlias": lambda: keys.DeleteAliasRequest(alias="alias/walked-away", dry_run=True),
        "Explain": lambda: policy_service_pb2.ExplainRequest(
            hypothetical=policy_service_pb2.HypotheticalRequest(roles=["reader"], action="decrypt", key="walked")
        ),
        "ListPolicies": lambda: policy_service_pb2.ListPoliciesRequest(),
        "GetStatus": lambda: system_service_pb2.GetStatusRequest(),
        "NoSuchMethod": lambda: system_service_pb2.GetStatusRequest(),
        "Check": lambda: health_pb2.HealthCheckRequest(),
        "List": lambda: health_pb2.HealthListRequest(),
        "Watch": lambda: health_pb2.HealthCheckRequest(),
        "ServerReflectionInfo": lambda: reflection_pb2.ServerReflectionRequest(list_services=""),
    }
    return requests[method]()


def call(channel: grpc.Channel, rpc: str, request: Message) -> grpc.StatusCode:
    """Make the call and return how it ended."""
    path = f"/{rpc}" if rpc.startswith("grpc.") else f"/kmsgw.v1.{rpc}"
    body = request.SerializeToString()
    try:
        if rpc.endswith("/Watch"):
            next(iter(channel.unary_stream(path, bytes, bytes)(body, timeout=10)))
        elif rpc.endswith("/ServerReflectionInfo"):
            next(iter(channel.stream_stream(path, bytes, bytes)(iter([body]), timeout=10)))
        else:
            channel.unary_unary(path, bytes, bytes)(body, timeout=10)
    except grpc.RpcError as error:
        return cast("grpc.Call", error).code()
    return grpc.StatusCode.OK


def served_methods(walk: Walk) -> set[str]:
    """Return every method that the gateway itself says it serves, by reflection."""
    assert set(SERVICES) == {f"kmsgw.v1.{name}" for name in MODULES}
    methods = {
        f"{name}/{method.name}"
        for name, module in MODULES.items()
        for method in module.DESCRIPTOR.services_by_name[name].methods
    }
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stream = walk.channels["auditor"].stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    listed = next(iter(stream(iter([request]), timeout=10))).list_services_response.service
    assert {service.name for service in listed} == {
        *SERVICES,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    health = health_pb2.DESCRIPTOR.services_by_name["Health"]
    methods |= {f"{health.full_name}/{method.name}" for method in health.methods}
    return methods | {"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}


def test_every_rpc_has_an_expectation(walk: Walk) -> None:
    assert served_methods(walk) == set(ALLOWED) - {"CryptoService/NoSuchMethod"}


def test_every_configured_principal_is_walked(walk: Walk) -> None:
    configured = {path.stem for path in (walk.gateway.folder / "clients").glob("*.pem")}
    assert configured == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("rpc", ALLOWED)
def test_an_rpc_answers_a_role_as_expected(walk: Walk, rpc: str, role: str) -> None:
    code = call(walk.channels[role], rpc, a_request(rpc.rpartition("/")[2], walk))
    if role == "stranger":
        assert code is grpc.StatusCode.UNAUTHENTICATED
    elif rpc == "CryptoService/NoSuchMethod":
        assert code is grpc.StatusCode.UNIMPLEMENTED
    elif role in ALLOWED[rpc]:
        assert code is grpc.StatusCode.OK
    else:
        assert code is grpc.StatusCode.PERMISSION_DENIED
