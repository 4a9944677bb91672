"""The two flavours have one interface, and it covers the contract."""

import importlib
import inspect
import pkgutil

import pytest

import kmsgw.client
from kmsgw.client import (
    Approvals,
    AsyncApprovals,
    AsyncAudit,
    AsyncClient,
    AsyncKeys,
    AsyncLocalEncryption,
    AsyncPolicy,
    Audit,
    Client,
    Keys,
    LocalEncryption,
    Policy,
    calls,
)
from kmsgw.v1 import (
    approval_service_pb2,
    audit_service_pb2,
    crypto_service_pb2,
    key_service_pb2,
    officer_service_pb2,
    policy_service_pb2,
    system_service_pb2,
)

CONTRACT = (
    approval_service_pb2,
    audit_service_pb2,
    crypto_service_pb2,
    key_service_pb2,
    officer_service_pb2,
    policy_service_pb2,
    system_service_pb2,
)
PAIRS = [
    (Client, AsyncClient),
    (Keys, AsyncKeys),
    (Approvals, AsyncApprovals),
    (Policy, AsyncPolicy),
    (Audit, AsyncAudit),
    (LocalEncryption, AsyncLocalEncryption),
]


def verbs(kind: type) -> set[str]:
    return {name for name, value in vars(kind).items() if not name.startswith("_") and callable(value)}


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS)
def test_both_flavours_have_the_same_verbs_with_the_same_arguments(sync: type, asynchronous: type) -> None:
    assert verbs(sync) == verbs(asynchronous)
    for name in verbs(sync):
        one, other = getattr(sync, name), getattr(asynchronous, name)
        assert inspect.signature(one) == inspect.signature(other) or name == "close"


def test_a_bound_method_shows_all_its_arguments_and_no_other() -> None:
    assert list(inspect.signature(Client.random_bytes).parameters) == ["self", "length", "timeout"]
    assert list(inspect.signature(AsyncClient.open).parameters)[:4] == ["self", "envelope", "context", "expected_key"]
    assert list(inspect.signature(Keys.list).parameters) == ["self", "page_size", "timeout"]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_every_batch_takes_for_its_items_what_its_request_has_bindings_for(kind: type) -> None:
    taken = {
        name: {
            each for each in inspect.signature(getattr(kind, name)).parameters if each.endswith(("keys", "contexts"))
        }
        for name in verbs(kind)
        if name.startswith("batch_")
    }
    assert taken == {
        "batch_encrypt": {"keys", "contexts"},
        "batch_decrypt": {"contexts"},
        "batch_re_encrypt": {"source_contexts", "destination_keys", "destination_contexts"},
        "batch_rewrap": {"contexts"},
        "batch_generate_data_key": {"keys", "contexts"},
        "batch_generate_data_key_without_plaintext": {"keys", "contexts"},
    }


@pytest.mark.parametrize("kind", [kind for pair in PAIRS for kind in pair])
def test_every_verb_is_documented(kind: type) -> None:
    assert all(inspect.getdoc(getattr(kind, name)) for name in verbs(kind))


def test_every_method_of_the_contract_has_a_verb() -> None:
    services = [service for module in CONTRACT for service in module.DESCRIPTOR.services_by_name.values()]
    contract = {f"/{service.full_name}/{method.name}" for service in services for method in service.methods}

    modules = [
        importlib.import_module(f"{calls.__name__}.{found.name}") for found in pkgutil.iter_modules(calls.__path__)
    ]
    covered = {value for module in modules for value in vars(module).values() if isinstance(value, str)}

    assert contract <= covered


def test_what_is_exported_exists() -> None:
    assert all(hasattr(kmsgw.client, name) for name in kmsgw.client.__all__)
    assert sorted(set(kmsgw.client.__all__), key=str.lower) == sorted(kmsgw.client.__all__, key=str.lower)
    assert calls.__doc__
