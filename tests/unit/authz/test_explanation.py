"""Rules of explanations: they name who asked, what decided, and what to do."""

from pathlib import Path

import pytest

from kmsgw.authz.engine import CedarAuthorizer
from kmsgw.authz.explanation import ENGINE_FAULT, explain
from kmsgw.authz.load import load_policies
from kmsgw.model.access import AccessRequest, Action, Decision, PrincipalKind
from tests.unit.authz.situations import SHIPPED, ask


@pytest.fixture(scope="module")
def shipped() -> CedarAuthorizer:
    return CedarAuthorizer(load_policies(SHIPPED))


def explained(authorizer: CedarAuthorizer, request: AccessRequest) -> str:
    return authorizer.explain(request, authorizer.decide(request))


def test_an_allowance_names_its_policy(shipped: CedarAuthorizer) -> None:
    assert explained(shipped, ask(Action.DECRYPT, roles=["reader"], purpose="care")) == (
        "Allowed: service viewer of tenant hospital (roles: reader) asks to decrypt on key ehr of tenant hospital, for "
        "the purpose care. Permitted by reader-decrypts (Readers decrypt for a purpose that they declare.)."
    )


def test_a_refusal_by_a_policy_gives_its_advice(shipped: CedarAuthorizer) -> None:
    assert explained(shipped, ask(Action.DECRYPT, roles=["reader"], purpose="research")) == (
        "Refused: service viewer of tenant hospital (roles: reader) asks to decrypt on key ehr of tenant hospital, for "
        "the purpose research. Forbidden by reader-purposes (Declare one of the purposes care, emergency, billing.)."
    )


def test_where_nothing_permits_it_says_which_roles_could(shipped: CedarAuthorizer) -> None:
    assert explained(shipped, ask(Action.ROTATE_KEY, kind=PrincipalKind.OFFICER, roles=["approver"])) == (
        "Refused: officer viewer of tenant hospital (roles: approver) asks to rotateKey on key ehr of tenant hospital. "
        "No policy permits it, and what nothing permits is refused. "
        "Roles with a permit for this action: key-officer."
    )


def test_where_the_role_is_held_it_says_that_conditions_fail(tmp_path: Path) -> None:
    text = explain(Decision(allowed=False), ask(Action.ENCRYPT, roles=["writer"]), ["writer"])
    assert text.endswith("The role writer has a permit for this action, but its conditions do not hold here.")


def test_where_no_role_could_it_says_so() -> None:
    text = explain(Decision(allowed=False), ask(Action.LIST_KEYS))
    assert "(roles: none) asks to listKeys on tenant hospital." in text
    assert text.endswith("No role has a permit for this action.")


def test_a_missing_key_is_named_as_the_cause() -> None:
    request = ask(Action.LIST_KEYS)
    text = explain(Decision(allowed=False), AccessRequest(request.principal, Action.ENCRYPT, "hospital"), ["writer"])
    assert text.endswith("The action is about a key, and the request names none that exists.")


def test_a_failed_engine_is_not_taken_for_a_policy() -> None:
    text = explain(Decision(allowed=False, policies=(ENGINE_FAULT,)), ask(Action.ENCRYPT))
    assert "The policy engine could not decide, which refuses." in text
    assert "kmsgw.engine-fault" not in text


def test_no_context_value_is_in_an_explanation(shipped: CedarAuthorizer) -> None:
    for roles in ([], ["writer"], ["reader"]):
        request = ask(
            Action.DECRYPT, roles=roles, context={"department": "CANARY", "patient": "CANARY"}, purpose="care"
        )
        assert "CANARY" not in explained(shipped, request)
