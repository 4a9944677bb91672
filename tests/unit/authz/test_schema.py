"""Rules of the policy schema: what is declared is exposed, and what the gateway can't fill is refused."""

import cedarpy
import pytest

from kmsgw.authz.schema import read_exposure
from kmsgw.model.access import Action
from tests.unit.authz.situations import SHIPPED_SCHEMA


def changed(before: str, after: str) -> cedarpy.Schema:
    assert before in SHIPPED_SCHEMA
    return cedarpy.Schema.from_str(SHIPPED_SCHEMA.replace(before, after, 1))


def test_the_shipped_schema_exposes_what_it_declares() -> None:
    exposures, faults = read_exposure(cedarpy.Schema.from_str(SHIPPED_SCHEMA))
    assert faults == []
    assert set(exposures) == set(Action)
    decrypt = exposures[Action.DECRYPT]
    assert (decrypt.purpose, decrypt.end_user) == (True, True)
    assert decrypt.data == {"department"}
    assert decrypt.labels == ("confidentiality",)
    assert exposures[Action.LIST_KEYS].labels == ()


@pytest.mark.parametrize(
    ("before", "after", "exposed"),
    [
        ("department?: String,", "", set()),
        ("department?: String,", 'department?: String, "study:id"?: String,', {"department", "study:id"}),
        (
            "department?: String,",
            'department?: String, "odd \\"name;\\u{301}"?: String,',
            {"department", 'odd "name;\u0301'},
        ),
        ("department?: String,", "purpose?: String, data?: String,", {"purpose", "data"}),
    ],
)
def test_exactly_the_declared_pairs_are_exposed(before: str, after: str, exposed: set[str]) -> None:
    exposures, faults = read_exposure(changed(before, after))
    assert faults == []
    assert exposures[Action.ENCRYPT].data == exposed


def test_an_undeclared_end_user_is_not_exposed() -> None:
    exposures, faults = read_exposure(changed("end_user?: String,", ""))
    assert faults == []
    assert not exposures[Action.DECRYPT].end_user
    assert exposures[Action.DECRYPT].purpose


def test_each_action_can_expose_something_else() -> None:
    schema = SHIPPED_SCHEMA.replace("action encrypt,", "action encrypt appliesTo { principal: [Service, Officer], "
        "resource: [Key], context: { data: {} } };\n  action", 1)  # fmt: skip
    exposures, faults = read_exposure(cedarpy.Schema.from_str(schema))
    assert faults == []
    assert (exposures[Action.ENCRYPT].purpose, exposures[Action.ENCRYPT].data) == (False, frozenset())
    assert exposures[Action.DECRYPT].data == {"department"}


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("department?: String", "department: String", "expected the record to have an attribute `department`"),
        ("department?: String", "beds?: Long", "context, data: beds must be declared as an optional String"),
        ("purpose?: String,", "purpose?: Long,", "context: purpose must be declared as an optional String"),
        ("purpose?: String,", "purpose?: String, ip?: String,", "context: the gateway fills no attribute ip"),
        ("provider: String,", "provider: String, owner?: String,", "Kmsgw::Key: the gateway fills no attribute owner"),
        ("tenant: Tenant,", "tenant: Tenant, ward?: String,", "Kmsgw::Officer: the gateway fills no attribute ward"),
        ("tenant: Tenant,", "tenant: String,", "Kmsgw::Service: not declared as the gateway fills it"),
        ("entity Tenant;", "entity Tenant { city?: String };", "Kmsgw::Tenant: the gateway fills no attribute city"),
        ("confidentiality?: String", "confidentiality?: Bool", "labels: confidentiality must be declared"),
        ("confidentiality?: String", "confidentiality: String", "Kmsgw::Key: not declared as the gateway fills it"),
        ("labels: KeyLabels,", "", "Kmsgw::Key: not declared as the gateway fills it"),
        ("in [Role]", "", "Kmsgw::Service: not declared as the gateway fills it"),
        ("decrypt,", "", "does not exist in the supplied schema (actions decrypt)"),
        ("principal: [Service, Officer]", "principal: [Service]", "a Kmsgw::Officer can't ask about a Kmsgw::Key"),
    ],
)  # fmt: skip
def test_a_schema_that_the_gateway_cannot_fill_is_refused(before: str, after: str, fault: str) -> None:
    _, faults = read_exposure(changed(before, after))
    assert any(fault in each for each in faults), faults


def test_a_fault_that_all_actions_share_is_told_once() -> None:
    _, faults = read_exposure(changed("department?: String", "beds?: Long"))
    assert faults == ["context, data: beds must be declared as an optional String (every action)"]
