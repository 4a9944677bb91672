"""What docs/policies.md shows works as it is written, and says what the shipped policies do."""

import re
from pathlib import Path

from kmsgw.authz.cases import run_cases
from kmsgw.authz.load import load_policies
from kmsgw.model.access import Action
from tests.unit.authz.situations import SHIPPED, SHIPPED_SCHEMA, folder_of

GUIDE = (SHIPPED.parent / "docs" / "policies.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_policies_of_the_guide_load_with_its_schema_and_its_cases_pass(tmp_path: Path) -> None:
    (fragment,) = blocks("cedarschema")
    schema = re.sub(r"  type ContextData = \{.*?\};\n", fragment, SHIPPED_SCHEMA, count=1, flags=re.DOTALL)
    assert "study?: String" in schema
    policies = {path.name: path.read_text(encoding="utf-8") for path in SHIPPED.glob("*.cedar")}
    written = blocks("cedar")
    assert len(written) == 2
    folder_of(tmp_path, {**policies, "guide.cedar": "\n".join(written)}, schema)
    (cases,) = (block for block in blocks("toml") if "[[case]]" in block)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "guide.toml").write_text(cases, encoding="utf-8")
    results = run_cases(load_policies(tmp_path), tmp_path)
    assert [result for result in results if not result.passed] == []


def test_the_guide_names_every_action_role_and_shipped_forbid() -> None:
    bundle = load_policies(SHIPPED)
    forbids = [policy.text.policy_id for policy in bundle.policies if not policy.text.permits]
    assert [name for name in (*Action, *bundle.roles, *forbids) if f"`{name}`" not in GUIDE] == []
