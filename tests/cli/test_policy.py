"""`kmsgw policy validate` and `test`, offline."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.command_line import kmsgw

SHIPPED = Path(__file__).parents[2] / "policies"


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "policies"))


def test_the_policies_of_the_product_are_valid() -> None:
    shown = kmsgw("policy", "validate", str(SHIPPED), "-o", "json")

    found = json.loads(shown.text)
    assert (shown.code, shown.stderr) == (0, "")
    assert found["result"] == "ok"
    assert len(found["digest"]) == 64
    assert {"reader", "writer", "key-officer"} <= set(found["roles"])


def test_the_policies_of_the_product_pass_their_cases() -> None:
    shown = kmsgw("policy", "test", str(SHIPPED), "-o", "json")

    assert shown.code == 0
    results = json.loads(shown.text)
    assert len(results) > 100
    assert all(each["result"] == "passed" for each in results)
    assert shown.stderr == f"{len(results)} policy cases passed.\n"
    assert kmsgw("policy", "test", str(SHIPPED), "--failed").stderr == f"No case failed.\n{shown.stderr}"


def test_every_fault_of_a_folder_is_named_at_once(policies: Path) -> None:
    (policies / "broken.cedar").write_text('permit (principal, action, resource);\n\n@id("x")\npermit (oops;\n')

    shown = kmsgw("policy", "validate", str(policies))

    assert shown.code == 1
    assert shown.stdout == b""
    lines = shown.stderr.splitlines()
    assert lines[0] == "Error: 2 faults."
    assert any(line.startswith(f"  {policies / 'broken.cedar'}:1: the policy has no id") for line in lines)
    assert any(line.startswith(f"  {policies / 'broken.cedar'}:3: ") for line in lines)
    assert lines[-1] == "Next: Run `kmsgw policy validate` on the folder until it finds nothing."


def test_a_policy_that_permits_too_much_fails_its_cases(policies: Path) -> None:
    (policies / "extra.cedar").write_text('@id("everything")\npermit (principal, action, resource);\n')

    shown = kmsgw("policy", "test", str(policies), "--failed", "-o", "json")

    failed = json.loads(shown.text)
    assert shown.code == 1
    assert failed
    assert all(each["result"] == "failed" for each in failed)
    assert "everything" in failed[0]["actual"]
    assert f"Error: {len(failed)} of " in shown.stderr


def test_a_folder_without_cases_is_no_success(policies: Path) -> None:
    shutil.rmtree(policies / "cases")

    assert kmsgw("policy", "test", str(policies)).code == 1


@pytest.mark.parametrize("text", ["01JB2V7F3M", "4b5f0d6e-0f38-4b6b-8a57-6f0c9c1a7f3b"])
def test_what_is_no_request_id_is_told_so_without_asking_the_gateway(text: str) -> None:
    shown = kmsgw("policy", "explain", text)

    assert shown.code == 1
    assert shown.stderr.startswith(f"Error: '{text}' is no request id: those have the form 01a20014-")
    assert "kmsgw audit search" in shown.stderr


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_a_folder_that_is_not_there_is_named(verb: str) -> None:
    shown = kmsgw("policy", verb, "/nonexistent")

    assert shown.code == 1
    assert "/nonexistent" in shown.stderr
    assert "Traceback" not in shown.stderr
