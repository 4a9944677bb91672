"""The shipped policies: what every role may do, action by action, and what no combination of roles may do."""

from itertools import combinations

import pytest

from kmsgw.authz.cases import run_cases
from kmsgw.authz.engine import CedarAuthorizer
from kmsgw.authz.load import load_policies
from kmsgw.model.access import Action, PrincipalKind
from tests.unit.authz.situations import SHIPPED, ask, key_of

SERVICE, OFFICER = PrincipalKind.SERVICE, PrincipalKind.OFFICER
A = Action
EVERY_SERVICE = {A.GENERATE_RANDOM_BYTES, A.GET_STATUS}
DATA = {A.ENCRYPT, A.DECRYPT, A.GENERATE_DATA_KEY, A.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT}
CHANGES = {
    A.CREATE_KEY,
    A.UPDATE_KEY,
    A.ROTATE_KEY,
    A.ENABLE_KEY_VERSION,
    A.DISABLE_KEY_VERSION,
    A.CREATE_ALIAS,
    A.DELETE_ALIAS,
}

EXPECTED = {
    (SERVICE, "writer"): EVERY_SERVICE | {A.ENCRYPT, A.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT},
    (SERVICE, "reader"): EVERY_SERVICE | {A.DECRYPT},
    (SERVICE, "data-key-user"): EVERY_SERVICE | {A.GENERATE_DATA_KEY, A.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT, A.DECRYPT},
    (SERVICE, "rewrapper"): EVERY_SERVICE | {A.REWRAP},
    (SERVICE, "key-officer"): EVERY_SERVICE,
    (SERVICE, "auditor"): EVERY_SERVICE,
    (SERVICE, "administrator"): EVERY_SERVICE,
    (SERVICE, "unheard-of"): EVERY_SERVICE,
    (OFFICER, "key-officer"): CHANGES | {A.GET_KEY, A.LIST_KEYS, A.LIST_KEY_VERSIONS, A.GET_STATUS},
    (OFFICER, "auditor"): {
        A.GET_KEY,
        A.LIST_KEYS,
        A.LIST_KEY_VERSIONS,
        A.EXPLAIN_POLICY,
        A.LIST_POLICIES,
        A.GET_STATUS,
    },
    (OFFICER, "administrator"): {A.EXPLAIN_POLICY, A.LIST_POLICIES, A.GET_STATUS},
    (OFFICER, "writer"): {A.GET_STATUS},
    (OFFICER, "reader"): {A.GET_STATUS},
    (OFFICER, "data-key-user"): {A.GET_STATUS},
    (OFFICER, "rewrapper"): {A.GET_STATUS},
    (OFFICER, "unheard-of"): {A.GET_STATUS},
}
ROLES = sorted({role for _, role in EXPECTED})


@pytest.fixture(scope="module")
def shipped() -> CedarAuthorizer:
    return CedarAuthorizer(load_policies(SHIPPED))


def test_every_role_of_the_policies_is_in_the_table() -> None:
    assert load_policies(SHIPPED).roles <= set(ROLES)
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
    for size in range(len(ROLES) + 1):
        for roles in combinations(ROLES, size):
            for action in (A.ENCRYPT, A.DECRYPT, A.GENERATE_DATA_KEY):
                assert not shipped.decide(ask(action, kind=OFFICER, roles=roles, purpose="care")).allowed
            for action in (A.CREATE_KEY, A.DISABLE_KEY_VERSION):
                assert not shipped.decide(ask(action, kind=SERVICE, roles=roles, purpose="care")).allowed


def test_nobody_may_do_everything(shipped: CedarAuthorizer) -> None:
    for kind in PrincipalKind:
        allowed = {a for a in Action if shipped.decide(ask(a, kind=kind, roles=ROLES, purpose="care")).allowed}
        assert not (allowed & DATA and allowed & CHANGES)


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
    for action in set(Action) - {A.GET_STATUS, A.GENERATE_RANDOM_BYTES}:
        unknown = type(request)(request.principal, action, request.tenant, declaration=request.declaration)
        assert not shipped.decide(unknown).allowed


def test_the_cases_beside_the_policies_pass() -> None:
    results = run_cases(load_policies(SHIPPED), SHIPPED)
    assert [result for result in results if not result.passed] == []
    assert len(results) > 200
