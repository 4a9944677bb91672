"""Rules of policy cases: they say what was expected, and a malformed one is refused."""

from pathlib import Path

import pytest

from kmsgw.authz.cases import CaseResult, run_cases
from kmsgw.authz.load import load_policies
from kmsgw.errors import ConfigurationError, Reason
from kmsgw.model.access import Action
from tests.unit.authz.situations import folder_of

POLICIES = """@id("reads") permit (principal in Kmsgw::Role::"reader", action == Kmsgw::Action::"decrypt", resource);
@id("lists") permit (principal, action == Kmsgw::Action::"listKeys", resource in Kmsgw::Tenant::"hospital");
@id("restricted") forbid (principal, action, resource is Kmsgw::Key)
when { resource.labels has confidentiality && !(context has end_user) && !(context has data.department) };"""

READER = 'principal = { id = "viewer", roles = ["reader"] }\nkey = "ehr"\n'


def run(tmp_path: Path, cases: str) -> list[CaseResult]:
    folder_of(tmp_path, POLICIES)
    (tmp_path / "cases").mkdir(exist_ok=True)
    (tmp_path / "cases" / "some.toml").write_text(cases, encoding="utf-8")
    return list(run_cases(load_policies(tmp_path), tmp_path))


def faults_of(tmp_path: Path, cases: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        run(tmp_path, cases)
    assert caught.value.reason is Reason.POLICY_INVALID
    return caught.value.faults


def test_a_case_that_holds_passes(tmp_path: Path) -> None:
    (result,) = run(
        tmp_path, f'[[case]]\nname = "n"\n{READER}action = "decrypt"\nexpect = "allow"\npolicies = ["reads"]'
    )
    assert result == CaseResult("n", "cases/some.toml", True, "allow by reads", "allow by reads", ("reads",))


@pytest.mark.parametrize(
    ("expectation", "expected"),
    [
        ('expect = "deny"', "deny"),
        ('expect = "allow"\npolicies = ["lists"]', "allow by lists"),
        ('expect = "allow"\npolicies = ["reads", "lists"]', "allow by lists, reads"),
    ],
)
def test_a_case_that_does_not_hold_says_what_was_decided(tmp_path: Path, expectation: str, expected: str) -> None:
    (result,) = run(tmp_path, f'[[case]]\nname = "n"\n{READER}action = "decrypt"\n{expectation}')
    assert (result.passed, result.expected, result.actual) == (False, expected, "allow by reads")


def test_an_empty_list_of_policies_expects_that_nothing_permits(tmp_path: Path) -> None:
    refused = f'[[case]]\nname = "n"\n{READER}action = "encrypt"\nexpect = "deny"\npolicies = []'
    assert run(tmp_path, refused)[0].passed
    forbidden = refused.replace('key = "ehr"', 'key = { id = "ehr", labels = { confidentiality = "high" } }')
    (result,) = run(tmp_path, forbidden)
    assert (result.passed, result.expected, result.actual) == (False, "deny by no policy", "deny by restricted")


def test_a_case_can_ask_for_several_actions(tmp_path: Path) -> None:
    results = run(tmp_path, f'[[case]]\nname = "n"\n{READER}action = ["encrypt", "rewrap"]\nexpect = "deny"')
    assert [(result.name, result.passed) for result in results] == [("n: encrypt", True), ("n: rewrap", True)]


def test_a_matrix_asserts_every_action(tmp_path: Path) -> None:
    results = run(tmp_path, f'[[matrix]]\nname = "n"\n{READER}allow = ["decrypt", "rewrap"]')
    assert len(results) == len(Action)
    assert {result.name: result.expected for result in results if not result.passed} == {
        "n: rewrap": "allow",
        "n: listKeys": "deny",
    }


def test_defaults_hold_for_every_case_of_the_file_and_can_be_replaced(tmp_path: Path) -> None:
    results = run(
        tmp_path,
        f'[defaults]\n{READER}action = "decrypt"\nexpect = "allow"\n'
        '[[case]]\nname = "one"\n[[case]]\nname = "two"\nprincipal = { id = "other" }\nexpect = "deny"',
    )
    assert [result.passed for result in results] == [True, True]


def test_tenant_purpose_end_user_context_and_labels_reach_the_policies(tmp_path: Path) -> None:
    labelled = READER.replace('"ehr"', '{ id = "ehr", provider = "hsm", labels = { confidentiality = "high" } }')
    case = f'[[case]]\nname = "n"\n{labelled}action = "decrypt"\npurpose = "care"\n'
    assert run(tmp_path, case + 'expect = "deny"')[0].passed
    assert run(tmp_path, case + 'expect = "allow"\nend_user = "dr-haddad"')[0].passed
    assert run(tmp_path, case + 'expect = "allow"\ncontext = { department = "cardiology" }')[0].passed
    elsewhere = '[[case]]\nname = "n"\naction = "listKeys"\ntenant = "clinic"\nexpect = "deny"'
    assert run(tmp_path, elsewhere)[0].passed


@pytest.mark.parametrize(
    ("cases", "fault"),
    [
        ("", "no case in any *.toml file"),
        ("[[case]", "not TOML"),
        ("[[cases]]", "cases: Extra inputs are not permitted"),
        ('[[case]]\naction = "decrypt"\nexpect = "deny"', "case 1: name: Field required"),
        ('[[case]]\nname = "n"\naction = "decypt"\nexpect = "deny"', "case 1: action"),
        ('[[case]]\nname = "n"\naction = []\nexpect = "deny"', "case 1: action"),
        ('[[case]]\nname = "n"\naction = "decrypt"\nexpect = "maybe"', "case 1: expect"),
        ('[[case]]\nname = "n"\naction = "decrypt"\nexpect = "deny"\npurpos = "x"', "case 1: purpos"),
        ('[[case]]\nname = "n"\naction = "decrypt"\nexpect = "deny"\npurpose = "A B"', "case 1: The declared purpose"),
        ('[[case]]\nname = "n"\naction = "decrypt"\nexpect = "deny"\ncontext = { "" = "x" }', "case 1: A context key"),
        ('[[matrix]]\nname = "n"', "matrix 1: allow: Field required"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_refused_and_the_place_named(tmp_path: Path, cases: str, fault: str) -> None:
    faults = faults_of(tmp_path, cases)
    assert all(each.startswith(str(tmp_path / "cases")) for each in faults)
    assert any(fault in each for each in faults), faults


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    assert len(faults_of(tmp_path, '[[case]]\nname = "n"\n[[matrix]]\nname = ""\nallow = []')) == 3
