"""The shipped policies: what every role may do, action by action, and what no combination of roles may do."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, combinations
from pathlib import Path

import pytest

from kmsgw.authz.cases import run_cases
from kmsgw.authz.engine import CedarAuthorizer
from kmsgw.authz.load import load_policies
from kmsgw.model.access import Action, PrincipalKind
from tests.unit.authz.situations import SHIPPED, ask, key_of

SERVICE, OFFICER = PrincipalKind.SERVICE, PrincipalKind.OFFICER
A = Action
EVERY_SERVICE = {A.GENERATE_RANDOM_BYTES, A.GET_STATUS}
EVERY_OFFICER = {A.GET_STATUS, A.ENROL_OFFICER, A.LIST_APPROVALS}
DATA = {
    A.ENCRYPT,
    A.DECRYPT,
    A.GENERATE_DATA_KEY,
    A.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT,
    A.COMPUTE_MAC,
    A.VERIFY_MAC,
}
"""What officers never do."""

KEY_CHANGES = {
    A.CREATE_KEY,
    A.UPDATE_KEY,
    A.ROTATE_KEY,
    A.ENABLE_KEY_VERSION,
    A.DISABLE_KEY_VERSION,
    A.CREATE_ALIAS,
    A.DELETE_ALIAS,
    A.SCHEDULE_KEY_DESTRUCTION,
    A.CANCEL_KEY_DESTRUCTION,
    A.SET_MINIMUM_DECRYPT_VERSION,
    A.IMPORT_KEY,
}
"""What services never do."""

CHANGES = KEY_CHANGES | {A.RESET_OFFICER, A.DECIDE_APPROVAL}
"""What auditors never do. `enrolOfficer` is not among them: it changes nothing but the caller's own second factor."""

LOOKS_AT_KEYS = {A.GET_KEY, A.LIST_KEYS, A.LIST_KEY_VERSIONS, A.GET_KEY_USAGE}

SERVICE_ROLES = {
    "writer": {A.ENCRYPT, A.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT},
    "reader": {A.DECRYPT},
    "data-key-user": {A.GENERATE_DATA_KEY, A.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT, A.DECRYPT},
    "rewrapper": {A.REWRAP},
    "blind-index-user": {A.COMPUTE_MAC, A.VERIFY_MAC},
    "metrics-reader": {A.READ_METRICS},
}
OFFICER_ROLES = {
    "key-officer": KEY_CHANGES | LOOKS_AT_KEYS,
    "approver": {A.DECIDE_APPROVAL, A.GET_KEY, A.LIST_KEY_VERSIONS, A.GET_KEY_USAGE},
    "auditor": LOOKS_AT_KEYS | {A.LIST_OFFICERS, A.EXPLAIN_POLICY, A.LIST_POLICIES, A.READ_METRICS, A.READ_AUDIT_LOG},
    "administrator": {
        A.GET_KEY_USAGE,
        A.LIST_OFFICERS,
        A.RESET_OFFICER,
        A.EXPLAIN_POLICY,
        A.LIST_POLICIES,
        A.READ_METRICS,
    },
}
EXPECTED = {
    **{(SERVICE, role): EVERY_SERVICE | SERVICE_ROLES.get(role, set()) for role in (*SERVICE_ROLES, *OFFICER_ROLES)},
    **{(OFFICER, role): EVERY_OFFICER | OFFICER_ROLES.get(role, set()) for role in (*SERVICE_ROLES, *OFFICER_ROLES)},
    (SERVICE, "unheard-of"): EVERY_SERVICE,
    (OFFICER, "unheard-of"): EVERY_OFFICER,
}
ROLES = sorted({role for _, role in EXPECTED})


@pytest.fixture(scope="module")
def shipped() -> CedarAuthorizer:
    return CedarAuthorizer(load_policies(SHIPPED))


def combinations_of(roles: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield every combination of roles, none and all among them."""
    listed = sorted(roles)
    return chain.from_iterable(combinations(listed, size) for size in range(len(listed) + 1))


def allowed_to(shipped: CedarAuthorizer, kind: PrincipalKind, roles: Iterable[str]) -> set[Action]:
    """Return all that a principal may do that declares what can be declared."""
    held = tuple(roles)
    return {a for a in A if shipped.decide(ask(a, kind=kind, roles=held, purpose="care", end_user="dr-haddad")).allowed}


def test_every_role_of_the_policies_is_in_the_table() -> None:
    assert load_policies(SHIPPED).roles == set(ROLES) - {"unheard-of"}
    assert {(kind, role) for kind in PrincipalKind for role in ROLES} == set(EXPECTED)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize(("kind", "role"), list(EXPECTED))
def test_a_role_may_do_what_the_table_says_and_nothing_else(
    shipped: CedarAuthorizer, kind: PrincipalKind, role: str, action: Action
) -> None:
    decision = shipped.decide(ask(action, kind=kind, roles=[role], purpose="care"))
    assert decision.allowed == (action in EXPECTED[kind, role])


@pytest.mark.parametrize("action", list(Action))
def test_no_role_reaches_another_tenant(shipped: CedarAuthorizer, action: Action) -> None:
    for kind in PrincipalKind:
        request = ask(action, kind=kind, roles=ROLES, purpose="care", end_user="dr-haddad", tenant="clinic", key=None)
        in_own = shipped.decide(request)
        foreign = ask(action, kind=kind, roles=ROLES, purpose="care", end_user="dr-haddad", tenant="clinic")
        if foreign.key is None:
            assert "tenant-isolation" not in in_own.policy_ids
        else:
            refused = shipped.decide(foreign)
            assert not refused.allowed
            assert "tenant-isolation" in refused.policy_ids


def test_no_combination_of_roles_lets_an_officer_see_data_or_a_service_change_keys(shipped: CedarAuthorizer) -> None:
    for roles in combinations_of({*SERVICE_ROLES, *OFFICER_ROLES}):
        for action in DATA:
            assert not shipped.decide(ask(action, kind=OFFICER, roles=roles, purpose="care")).allowed
        for action in CHANGES:
            assert not shipped.decide(ask(action, kind=SERVICE, roles=roles, purpose="care")).allowed


def test_no_further_role_lets_an_auditor_change_anything(shipped: CedarAuthorizer) -> None:
    for kind in PrincipalKind:
        for roles in combinations_of({*SERVICE_ROLES, *OFFICER_ROLES} - {"auditor"}):
            for action in CHANGES:
                decision = shipped.decide(ask(action, kind=kind, roles=("auditor", *roles), purpose="care"))
                assert not decision.allowed
                assert "auditors-change-nothing" in decision.policy_ids


@pytest.mark.parametrize(("kind", "of_kind"), [(SERVICE, SERVICE_ROLES), (OFFICER, OFFICER_ROLES)])
def test_nobody_may_do_everything(
    shipped: CedarAuthorizer, kind: PrincipalKind, of_kind: Mapping[str, set[Action]]
) -> None:
    forbidden_to_all = KEY_CHANGES if kind is SERVICE else DATA
    for roles in combinations_of(of_kind):
        assert forbidden_to_all & set(Action) - allowed_to(shipped, kind, roles) == forbidden_to_all


def test_who_asks_for_what_cannot_be_undone_does_not_consent_by_the_same_role(shipped: CedarAuthorizer) -> None:
    asked_for = {A.SCHEDULE_KEY_DESTRUCTION, A.CANCEL_KEY_DESTRUCTION, A.IMPORT_KEY, A.RESET_OFFICER}
    for role in ROLES:
        held = allowed_to(shipped, OFFICER, [role])
        assert not (A.DECIDE_APPROVAL in held and held & asked_for)


@pytest.mark.parametrize(
    ("role", "purpose", "allowed"),
    [
        ("reader", "care", True),
        ("reader", "emergency", True),
        ("reader", "billing", True),
        ("reader", "research", False),
        ("reader", "", False),
        ("data-key-user", "research", True),
        ("data-key-user", "", False),
    ],
)
def test_decryption_needs_a_declared_purpose(shipped: CedarAuthorizer, role: str, purpose: str, allowed: bool) -> None:
    assert shipped.decide(ask(A.DECRYPT, roles=[role], purpose=purpose)).allowed is allowed


def test_a_restricted_key_opens_only_for_a_named_end_user(shipped: CedarAuthorizer) -> None:
    key = key_of("psychiatry", labels={"confidentiality": "restricted"})
    refused = shipped.decide(ask(A.DECRYPT, roles=["reader"], purpose="care", key=key))
    assert refused.policy_ids == ("restricted-names-end-user",)
    assert shipped.decide(ask(A.DECRYPT, roles=["reader"], purpose="care", key=key, end_user="dr-haddad")).allowed


def test_an_action_on_a_key_that_does_not_exist_is_refused(shipped: CedarAuthorizer) -> None:
    request = ask(A.LIST_KEYS, roles=ROLES, purpose="care")
    for action in set(Action) - EVERY_SERVICE - {A.READ_METRICS}:
        unknown = type(request)(request.principal, action, request.tenant, declaration=request.declaration)
        assert not shipped.decide(unknown).allowed


def test_a_role_is_known_for_what_it_is(shipped: CedarAuthorizer) -> None:
    assert {shipped.kind_of([role]) for role in SERVICE_ROLES} == {SERVICE}
    assert {shipped.kind_of([role]) for role in OFFICER_ROLES} == {OFFICER}
    assert shipped.kind_of(["auditor", "approver"]) is OFFICER
    assert shipped.kind_of(["auditor", "reader"]) is SERVICE
    assert shipped.kind_of(["unheard-of"]) is SERVICE
    assert shipped.kind_of([]) is SERVICE


def test_a_role_that_permits_to_services_too_is_no_officers_role(tmp_path: Path) -> None:
    for path in SHIPPED.glob("*.cedar*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "more.cedar").write_text(
        '@id("auditing-programs") permit (principal in Kmsgw::Role::"auditor", '
        'action == Kmsgw::Action::"getStatus", resource);'
    )
    extended = CedarAuthorizer(load_policies(tmp_path))
    assert extended.kind_of(["auditor"]) is SERVICE
    assert extended.kind_of(["approver"]) is OFFICER


def test_the_cases_beside_the_policies_pass() -> None:
    results = run_cases(load_policies(SHIPPED), SHIPPED)
    assert [result for result in results if not result.passed] == []
    assert len(results) > 800


def test_every_role_has_a_case_for_every_action_with_each_kind_of_principal() -> None:
    """A matrix allows what it lists and refuses the rest, so that one of them is a case for every action."""
    written: dict[tuple[PrincipalKind, str], set[Action]] = {}
    for path in (SHIPPED / "cases").glob("*.toml"):
        for matrix in tomllib.loads(path.read_text(encoding="utf-8")).get("matrix", ()):
            principal = matrix["principal"]
            if len(principal["roles"]) == 1:
                place = PrincipalKind(principal.get("kind", "service")), principal["roles"][0]
                written[place] = {Action(name) for name in matrix["allow"]}
    named = {place: actions for place, actions in EXPECTED.items() if place[1] != "unheard-of"}
    assert written == named
