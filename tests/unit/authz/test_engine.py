"""Rules of deciding: exposed attributes only, cached by exactly these, deny by default and on any fault."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cedarpy
import pytest

from kmsgw.authz import engine
from kmsgw.authz.engine import CedarAuthorizer
from kmsgw.authz.entities import KEYLESS_ACTIONS
from kmsgw.authz.explanation import ENGINE_FAULT
from kmsgw.authz.load import load_policies
from kmsgw.model.access import AccessRequest, Action, PrincipalKind
from kmsgw.operations.ports import Authorizer
from tests.unit.authz.situations import SHIPPED, SHIPPED_SCHEMA, ask, authorizer_of, key_of

ANYTHING = '@id("anything") permit (principal, action, resource);'


@pytest.fixture
def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Return the list that every call of the engine's adds its request to."""
    calls: list[dict[str, object]] = []
    original: Callable[..., cedarpy.AuthzResult] = cedarpy.is_authorized

    def recording(request: dict[str, object], *rest: object) -> cedarpy.AuthzResult:
        calls.append(request)
        return original(request, *rest)

    monkeypatch.setattr(cedarpy, "is_authorized", recording)
    return calls


def test_it_has_the_shape_that_operations_want(tmp_path: Path) -> None:
    port: Authorizer = authorizer_of(tmp_path, ANYTHING)
    assert len(port.digest) == 64
    assert [each.policy_id for each in port.policies()] == ["anything"]


def test_a_permit_names_its_policies_with_their_advice(tmp_path: Path) -> None:
    authorizer = authorizer_of(tmp_path, '@id("b") @advice("Do b.") permit (principal, action, resource);' + ANYTHING)
    decision = authorizer.decide(ask(Action.ENCRYPT))
    assert decision.allowed
    assert decision.policy_ids == ("anything", "b")
    assert [each.advice for each in decision.policies if each.policy_id == "b"] == ["Do b."]


def test_a_forbid_outweighs_permits_and_alone_is_named(tmp_path: Path) -> None:
    authorizer = authorizer_of(tmp_path, ANYTHING + '@id("never") forbid (principal, action, resource);')
    decision = authorizer.decide(ask(Action.ENCRYPT))
    assert (decision.allowed, decision.policy_ids) == (False, ("never",))
    assert not decision.policies[0].permits


def test_what_nothing_permits_is_denied_and_names_nothing(tmp_path: Path) -> None:
    authorizer = authorizer_of(tmp_path, '@id("x") permit (principal, action == Kmsgw::Action::"getStatus", resource);')
    decision = authorizer.decide(ask(Action.ENCRYPT))
    assert (decision.allowed, decision.policies) == (False, ())


def test_a_policy_can_name_one_key_and_one_tenant(tmp_path: Path) -> None:
    authorizer = authorizer_of(
        tmp_path,
        """@id("one-key") permit (principal, action, resource == Kmsgw::Key::"ehr");
        @id("one-tenant") permit (principal, action, resource in Kmsgw::Tenant::"clinic");
        @id("one-service") permit (principal == Kmsgw::Service::"root", action, resource);
        @id("one-provider") permit (principal, action, resource is Kmsgw::Key) when { resource.provider == "usb" };""",
    )
    assert authorizer.decide(ask(Action.ENCRYPT, key=key_of("ehr"))).policy_ids == ("one-key",)
    assert authorizer.decide(ask(Action.ENCRYPT, key=key_of("lab", "clinic"))).policy_ids == ("one-tenant",)
    assert authorizer.decide(ask(Action.LIST_KEYS, tenant="clinic")).policy_ids == ("one-tenant",)
    assert authorizer.decide(ask(Action.ENCRYPT, key=key_of("lab"), principal_id="root")).policy_ids == ("one-service",)
    assert not authorizer.decide(ask(Action.ENCRYPT, key=key_of("lab"))).allowed


def test_an_officer_is_not_a_service_of_the_same_name(tmp_path: Path) -> None:
    authorizer = authorizer_of(tmp_path, '@id("x") permit (principal == Kmsgw::Service::"amira", action, resource);')
    assert authorizer.decide(ask(Action.ENCRYPT, principal_id="amira")).allowed
    assert not authorizer.decide(ask(Action.ENCRYPT, principal_id="amira", kind=PrincipalKind.OFFICER)).allowed


def test_declared_pairs_reach_policies_and_no_others(tmp_path: Path, evaluations: list[dict[str, object]]) -> None:
    authorizer = authorizer_of(
        tmp_path,
        """@id("x") permit (principal, action, resource)
        when { context.data has department && context.data.department == "cardiology" };""",
    )
    evaluations.clear()
    assert authorizer.decide(ask(Action.ENCRYPT, context={"department": "cardiology", "patient": "CANARY"})).allowed
    assert not authorizer.decide(ask(Action.ENCRYPT, context={"department": "surgery", "patient": "CANARY"})).allowed
    assert not authorizer.decide(ask(Action.ENCRYPT, context={"patient": "CANARY"})).allowed
    assert len(evaluations) == 3
    assert "CANARY" not in str(evaluations)


def test_what_is_not_exposed_does_not_miss_the_cache(tmp_path: Path, evaluations: list[dict[str, object]]) -> None:
    authorizer = authorizer_of(tmp_path, ANYTHING, SHIPPED_SCHEMA.replace("end_user?: String,", ""))
    evaluations.clear()
    for number in range(50):
        authorizer.decide(
            ask(
                Action.DECRYPT,
                key=key_of(labels={"owner": f"team-{number}", "confidentiality": "normal"}),
                end_user=f"dr-{number}",
                context={"patient": str(number), "department": "cardiology"},
            )
        )
    assert len(evaluations) == 1


@pytest.mark.parametrize(
    "other",
    [
        ask(Action.ENCRYPT),
        ask(Action.DECRYPT, principal_id="other"),
        ask(Action.DECRYPT, kind=PrincipalKind.OFFICER),
        ask(Action.DECRYPT, tenant="clinic"),
        ask(Action.DECRYPT, roles=["reader"]),
        ask(Action.DECRYPT, key=key_of("lab")),
        ask(Action.DECRYPT, key=key_of("ehr", "clinic")),
        ask(Action.DECRYPT, key=key_of(labels={"confidentiality": "restricted"})),
        ask(Action.DECRYPT, purpose="care"),
        ask(Action.DECRYPT, end_user="care"),
        ask(Action.DECRYPT, context={"department": "care"}),
    ],
)
def test_everything_exposed_is_part_of_the_cache_key(
    tmp_path: Path, evaluations: list[dict[str, object]], other: AccessRequest
) -> None:
    authorizer = authorizer_of(tmp_path, ANYTHING)
    evaluations.clear()
    for request in (ask(Action.DECRYPT), other, ask(Action.DECRYPT), other):
        authorizer.decide(request)
    assert len(evaluations) == 2


def test_a_decision_follows_a_key_whose_labels_or_provider_change(tmp_path: Path) -> None:
    authorizer = authorizer_of(
        tmp_path,
        ANYTHING
        + """@id("label") forbid (principal, action, resource is Kmsgw::Key)
        when { resource.labels has confidentiality && resource.labels.confidentiality == "restricted" };
        @id("provider") forbid (principal, action, resource is Kmsgw::Key) when { resource.provider == "usb" };""",
    )
    plain, labelled = key_of(), key_of(labels={"confidentiality": "restricted"})
    moved = replace(plain, provider="usb")
    for _ in range(2):
        assert authorizer.decide(ask(Action.ENCRYPT, key=plain)).policy_ids == ("anything",)
        assert authorizer.decide(ask(Action.ENCRYPT, key=labelled)).policy_ids == ("label",)
        assert authorizer.decide(ask(Action.ENCRYPT, key=moved)).policy_ids == ("provider",)


def test_a_decision_follows_a_principal_whose_roles_change(tmp_path: Path) -> None:
    authorizer = authorizer_of(tmp_path, '@id("x") permit (principal in Kmsgw::Role::"writer", action, resource);')
    for _ in range(2):
        assert authorizer.decide(ask(Action.ENCRYPT, roles=["writer"])).allowed
        assert not authorizer.decide(ask(Action.ENCRYPT, roles=[])).allowed


def test_a_flood_of_requests_leaves_the_cache_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CACHED_DECISIONS", 10)
    authorizer = authorizer_of(tmp_path, ANYTHING)
    for number in range(100):
        authorizer.decide(ask(Action.DECRYPT, end_user=f"dr-{number}"))
    assert len(authorizer._decisions) <= 20


def test_a_decision_on_long_texts_is_not_kept(tmp_path: Path) -> None:
    authorizer = authorizer_of(tmp_path, ANYTHING)
    assert authorizer.decide(ask(Action.ENCRYPT, context={"department": "c" * 4000})).allowed
    assert len(authorizer._decisions) == 0
    assert authorizer.decide(ask(Action.ENCRYPT, context={"department": "cardiology"})).allowed
    assert len(authorizer._decisions) == 1


@pytest.mark.parametrize(
    "odd",
    [
        'x"; Kmsgw::Officer::"root',
        "x\\",
        "a::b",
        "cafe\u0301",
        "caf\u00e9",
        "new\nline",
        "nul\x00byte",
        "\U0001f512",
        '{"__entity": 1}',
        "__entity",
        "",
        "lone \ud800 surrogate",
    ],
)
def test_no_text_in_an_id_is_taken_for_anything_but_an_id(tmp_path: Path, odd: str) -> None:
    authorizer = authorizer_of(
        tmp_path,
        """@id("root") permit (principal == Kmsgw::Officer::"root", action, resource);
        @id("cafe") permit (principal == Kmsgw::Service::"caf\\u{e9}", action, resource);
        @id("key") permit (principal, action, resource == Kmsgw::Key::"ehr");
        @id("role") permit (principal in Kmsgw::Role::"reader", action, resource);
        @id("purpose") permit (principal, action, resource) when { context has purpose };""",
    )
    expected = odd == "caf\u00e9"
    lab = key_of("lab")
    assert authorizer.decide(ask(Action.ENCRYPT, principal_id=odd, key=lab)).allowed is expected
    assert not authorizer.decide(ask(Action.ENCRYPT, roles=[odd], key=lab)).allowed
    assert not authorizer.decide(ask(Action.ENCRYPT, tenant=odd, key=lab)).allowed
    assert not authorizer.decide(ask(Action.ENCRYPT, key=key_of(odd))).allowed
    assert not authorizer.decide(ask(Action.ENCRYPT, key=key_of("lab", labels={"confidentiality": odd}))).allowed


def test_an_error_while_a_policy_runs_denies_because_cedar_would_skip_the_policy(tmp_path: Path) -> None:
    authorizer = authorizer_of(
        tmp_path,
        ANYTHING
        + """@id("never") forbid (principal, action, resource)
        when { context has purpose && ip("10.0.0.1").isInRange(ip("10.0.0.0/8")) && 9223372036854775807 + 1 > 0 };""",
    )
    assert authorizer.decide(ask(Action.ENCRYPT)).allowed
    decision = authorizer.decide(ask(Action.ENCRYPT, purpose="care"))
    assert (decision.allowed, decision.policies) == (False, (ENGINE_FAULT,))


class _PanicException(BaseException):
    """What a panic in Rust code arrives as: no Exception."""


@pytest.mark.parametrize("failure", [ValueError("CANARY"), MemoryError("CANARY"), _PanicException("CANARY")])
def test_any_failure_of_the_engine_denies_is_not_cached_and_logs_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: BaseException
) -> None:
    authorizer = authorizer_of(tmp_path, ANYTHING)

    def failing(*_: object) -> cedarpy.AuthzResult:
        raise failure

    with monkeypatch.context() as patch, caplog.at_level(logging.DEBUG):
        patch.setattr(cedarpy, "is_authorized", failing)
        assert not authorizer.decide(ask(Action.ENCRYPT)).allowed
    assert type(failure).__name__ in caplog.text
    assert "CANARY" not in caplog.text
    assert authorizer.decide(ask(Action.ENCRYPT)).allowed


def test_a_key_that_is_not_known_is_denied_without_asking_the_engine(
    tmp_path: Path, evaluations: list[dict[str, object]], caplog: pytest.LogCaptureFixture
) -> None:
    authorizer = authorizer_of(tmp_path, ANYTHING)
    evaluations.clear()
    listing = ask(Action.LIST_KEYS)
    for action in set(Action) - KEYLESS_ACTIONS:
        decision = authorizer.decide(AccessRequest(listing.principal, action, "hospital"))
        assert (decision.allowed, decision.policies) == (False, ())
    assert evaluations == []
    assert caplog.text == ""


def test_an_action_on_a_tenant_is_decided_on_the_tenant_asked_about_whatever_key_is_named(tmp_path: Path) -> None:
    authorizer = authorizer_of(tmp_path, '@id("x") permit (principal, action, resource in Kmsgw::Tenant::"clinic");')
    assert not authorizer.decide(ask(Action.LIST_KEYS, key=key_of("lab", "clinic"))).allowed


def test_no_decision_denies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authorizer = authorizer_of(tmp_path, ANYTHING)
    undecided = cedarpy.AuthzResult({"decision": "NoDecision", "diagnostics": {"errors": []}})
    monkeypatch.setattr(cedarpy, "is_authorized", lambda *_: undecided)
    assert authorizer.decide(ask(Action.ENCRYPT)).policies == (ENGINE_FAULT,)


def test_an_allowance_that_names_no_permit_denies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authorizer = authorizer_of(tmp_path, ANYTHING)
    groundless = cedarpy.AuthzResult({"decision": "Allow", "diagnostics": {"reason": [], "errors": []}})
    monkeypatch.setattr(cedarpy, "is_authorized", lambda *_: groundless)
    assert not authorizer.decide(ask(Action.ENCRYPT)).allowed


def test_threads_share_one_authorizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "CACHED_DECISIONS", 8)
    authorizer = CedarAuthorizer(load_policies(SHIPPED))
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(200):
            role, purpose = ("reader", "care") if (turn + number) % 2 else ("writer", "care")
            request = ask(Action.DECRYPT, roles=[role], purpose=purpose, end_user=f"dr-{turn % 16}")
            if authorizer.decide(request).allowed != (role == "reader"):
                wrong.append(role)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
