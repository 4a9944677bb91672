"""Rules of loading: what is not wholly in order is refused, with every fault named and placed."""

import os
from pathlib import Path

import pytest

from kmsgw.authz.load import MAX_FILE_BYTES, PolicyBundle, digest_of, load_policies
from kmsgw.errors import ConfigurationError, Reason
from kmsgw.model.access import Action
from tests.unit.authz.situations import SHIPPED, SHIPPED_SCHEMA, folder_of

GOOD = '@id("good")\n@advice("Do good.")\npermit (principal, action == Kmsgw::Action::"getStatus", resource);\n'


def faults_of(folder: Path) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load_policies(folder)
    assert caught.value.reason is Reason.POLICY_INVALID
    assert "kmsgw policy validate" in caught.value.advice
    return caught.value.faults


def test_the_shipped_policies_load_from_any_folder(tmp_path: Path) -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in SHIPPED.glob("*.cedar")}
    copied = load_policies(folder_of(tmp_path / "elsewhere", texts))
    assert copied.digest == load_policies(SHIPPED).digest
    assert copied.roles == {
        "writer", "reader", "data-key-user", "rewrapper", "blind-index-user", "metrics-reader",
        "key-officer", "approver", "auditor", "administrator",
    }  # fmt: skip


def test_every_shipped_policy_has_advice() -> None:
    assert [each.text.policy_id for each in load_policies(SHIPPED).policies if not each.text.advice] == []


def test_a_policy_keeps_what_list_policies_shows(tmp_path: Path) -> None:
    bundle: PolicyBundle = load_policies(folder_of(tmp_path, {"b.cedar": "\n" + GOOD}))
    (policy,) = bundle.policies
    assert policy.text.policy_id == "good"
    assert policy.text.permits
    assert policy.text.advice == "Do good."
    assert policy.text.source == GOOD.strip()
    assert policy.text.file == "b.cedar"
    assert policy.line == 2
    assert (policy.text.policy_id, policy.text.advice) == ("good", "Do good.")


def test_policies_are_sorted_by_id_over_all_files(tmp_path: Path) -> None:
    bundle = load_policies(
        folder_of(tmp_path, {"a.cedar": GOOD.replace("good", "z"), "b.cedar": GOOD.replace("good", "a")})
    )
    assert [policy.text.policy_id for policy in bundle.policies] == ["a", "z"]


def test_permitted_roles_are_those_with_a_permit_for_the_action() -> None:
    bundle = load_policies(SHIPPED)
    assert bundle.permitted_roles(Action.DECRYPT) == ("data-key-user", "reader")
    assert bundle.permitted_roles(Action.ROTATE_KEY) == ("key-officer",)
    assert bundle.permitted_roles(Action.GENERATE_RANDOM_BYTES) == ()


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        ("permit (principal, action, resource);", "the policy has no id"),
        ('@id("") permit (principal, action, resource);', "the policy has no id"),
        ('@id("Not a name") permit (principal, action, resource);', "@id is not of 1 to 64"),
        ('@id("kmsgw.engine-fault") permit (principal, action, resource);', "@id is not of 1 to 64"),
        ('@id("good") permit (principal, action, resource);', '@id("good") is taken by the policy at'),
        ('@id("x") permit (principal == ?principal, action, resource);', "a template can't decide"),
        ('@id("x") permit (principal, action, resource', "unexpected end of input"),
        ('@id("x") permit (principal, action, resource) when { foo };', "invalid variable: foo"),
        ('@id("x") permit (principal in Kmsgw::Rle::"r", action, resource);', "Kmsgw::Rle"),
        ('@id("x") permit (principal, action == Kmsgw::Action::"encypt", resource);', "encypt"),
        ('@id("x") permit (principal, action, resource) when { context.purpose == "" };', "optional attribute"),
        ('@id("x") permit (principal, action, resource) when { context.purpos == "care" };', "`purpos`"),
        ('@id("x") permit (principal, action, resource) when { principal.tenat == principal.tenant };', "`tenat`"),
    ],
)  # fmt: skip
def test_a_broken_policy_is_refused_with_file_and_line(tmp_path: Path, policy: str, fault: str) -> None:
    faults = faults_of(folder_of(tmp_path, {"a.cedar": GOOD, "b.cedar": f"\n\n{policy}\n"}))
    assert fault in faults[0]
    assert all(each.startswith(f"{tmp_path / 'b.cedar'}:3: ") for each in faults)
    assert len(faults) <= 2, "told once, and not once for each action"


@pytest.mark.parametrize(
    ("condition", "name"),
    [
        ("when { context has purpos && context.purpos == \"care\" }", "context.purpos"),
        ("unless { context has end_usr }", "context.end_usr"),
        ("when { context.data has departement }", "context.data.departement"),
        ("when { context has data.departement }", "context.data.departement"),
        ("when { resource is Kmsgw::Key && resource.labels has confidential }", "resource.labels.confidential"),
        ("when { principal has tennant }", "principal.tennant"),
        ("when { !([1].contains(if context has \"pur pose\" then 1 else 2)) }", "context.pur pose"),
    ],
)  # fmt: skip
def test_a_misspelt_attribute_behind_has_is_refused_though_cedar_lets_it_pass(
    tmp_path: Path, condition: str, name: str
) -> None:
    policy = f'@id("x")\nforbid (principal, action == Kmsgw::Action::"decrypt", resource) {condition};'
    faults = faults_of(folder_of(tmp_path, {"a.cedar": GOOD, "b.cedar": policy}))
    assert f"{tmp_path / 'b.cedar'}:1: the schema declares no attribute {name}, so the test never holds" in faults


def test_declared_attributes_behind_has_are_accepted(tmp_path: Path) -> None:
    policy = """@id("x") forbid (principal, action, resource) when {
        context has purpose && context.data has department && context has data.department
        && (!(resource is Kmsgw::Key) || resource.labels has confidentiality)
        && resource has provider && principal has tenant };"""
    assert len(load_policies(folder_of(tmp_path, policy)).policies) == 1


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    faults = faults_of(
        folder_of(
            tmp_path,
            {
                "a.cedar": "permit (principal, action, resource);\n"
                "forbid (principal, action, resource) when { context.x };",
                "b.cedar": '@id("b") permit (principal, actn, resource);\n'
                '@id("c") permit (principal in Kmsgw::Rle::"r", action, resource);\n'
                '@id("d") forbid (principal, action, resource) when { context has purpos };',
            },
        )
    )  # fmt: skip
    places = sorted({fault.removeprefix(f"{tmp_path}/").split(": ")[0] for fault in faults})
    assert places == ["a.cedar:1", "a.cedar:2", "b.cedar:1", "b.cedar:2", "b.cedar:3"]


def test_a_broken_schema_is_refused(tmp_path: Path) -> None:
    faults = faults_of(folder_of(tmp_path, GOOD, SHIPPED_SCHEMA.replace("entity Role;", "entty Role;")))
    assert faults == (f"{tmp_path / 'schema.cedarschema'}: error parsing schema: unexpected token `entty`",)


def test_a_folder_without_schema_or_policies_is_refused(tmp_path: Path) -> None:
    assert faults_of(tmp_path) == (f"{tmp_path / 'schema.cedarschema'}: No such file or directory",)
    folder_of(tmp_path, {})
    (found,) = faults_of(tmp_path)
    assert "no policy" in found
    (missing,) = faults_of(tmp_path / "nowhere")
    assert "No such file or directory" in missing


def test_a_file_that_is_not_text_or_too_long_is_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, GOOD)
    (tmp_path / "a.cedar").write_bytes(b"\xff\xfe")
    (tmp_path / "b.cedar").write_bytes(b" " * (MAX_FILE_BYTES + 1))
    assert faults_of(tmp_path) == (
        f"{tmp_path / 'b.cedar'}: longer than {MAX_FILE_BYTES} bytes",
        f"{tmp_path / 'a.cedar'}: not UTF-8 text",
    )


def test_what_an_editor_leaves_beside_a_file_is_not_read(tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.cedar": GOOD, "a.cedar~": "broken", ".b.cedar": "broken"})
    (tmp_path / ".#a.cedar").symlink_to(tmp_path / "user@host.1")
    assert len(load_policies(tmp_path).policies) == 1


def test_the_digest_changes_with_every_file_and_its_name(tmp_path: Path) -> None:
    before = load_policies(folder_of(tmp_path, {"a.cedar": GOOD})).digest
    (tmp_path / "a.cedar").rename(tmp_path / "b.cedar")
    renamed = load_policies(tmp_path).digest
    folder_of(tmp_path, {"b.cedar": GOOD + "// more"})
    commented = load_policies(tmp_path).digest
    assert len({before, renamed, commented}) == 3
    assert len(before) == 64


def test_the_digest_has_lengths_so_that_no_two_sets_of_files_share_one() -> None:
    assert digest_of({"a": b"bc"}) != digest_of({"ab": b"c"})
    assert digest_of({"a": b"x", "b": b"y"}) == digest_of({"b": b"y", "a": b"x"})


def test_an_unreadable_file_is_a_fault_and_no_traceback(tmp_path: Path) -> None:
    folder_of(tmp_path, GOOD)
    os.mkdir(tmp_path / "dir.cedar")  # noqa: PTH102
    (found,) = faults_of(tmp_path)
    assert found == f"{tmp_path / 'dir.cedar'}: Is a directory"
