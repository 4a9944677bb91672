"""What wants approval: the whole table of RPCs, and the numbers that configuration gives."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kmsgw.config import ApprovalSettings
from kmsgw.errors import InternalError
from kmsgw.model.key import Key, KeyState, KeyVersion, RotationPolicy
from kmsgw.operations.approval_rules import RULES, ApprovalRule, officers_wanted
from kmsgw.operations.catalogue import Operations, World
from kmsgw.operations.control.minimum_version import SetMinimumDecryptVersionCommand
from kmsgw.operations.control.schedule_destruction import ScheduleKeyDestructionCommand
from kmsgw.operations.control.update_key import UpdateKeyCommand
from kmsgw.server.rpcs import Rpc, rpc_table
from kmsgw.v1 import approval_service_pb2, key_service_pb2, officer_service_pb2

NOW = datetime(2026, 11, 21, tzinfo=UTC)
KEYS = "/kmsgw.v1.KeyService/"
NUMBERS: dict[ApprovalRule, int] = {
    rule: place for place, rule in enumerate(ApprovalRule, 10) if rule is not ApprovalRule.NONE
}
KEY = Key(
    "ehr",
    "hospital",
    "software",
    (KeyVersion(1, b"", NOW), KeyVersion(2, b"", NOW)),
    NOW,
    NOW,
    deletion_protection=True,
    minimum_encrypt_version=2,
    rotation=RotationPolicy(period=timedelta(days=30)),
)


def table() -> dict[str, Rpc]:
    nothing: Any = None
    return rpc_table(Operations(World(**dict.fromkeys((field.name for field in fields(World)), nothing))))


def test_every_rpc_that_changes_state_has_a_rule() -> None:
    changing = {method for method, rpc in table().items() if rpc.operation.changes_state}
    assert changing
    assert changing <= set(RULES)


def test_every_rule_is_of_a_method_of_the_contract() -> None:
    contract = {
        f"/{service.full_name}/{method.name}"
        for module in (approval_service_pb2, key_service_pb2, officer_service_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert set(RULES) <= contract


def test_every_rule_is_a_setting_and_every_number_is_a_rule() -> None:
    assert set(ApprovalSettings.model_fields) - {"valid_seconds"} == set(ApprovalRule) - {"none"}


def test_what_has_no_rule_is_refused() -> None:
    with pytest.raises(InternalError):
        officers_wanted("/kmsgw.v1.KeyService/ExportKey", None, None, NUMBERS)


@pytest.mark.parametrize(
    ("method", "rule"),
    [
        ("CreateKey", ApprovalRule.CREATE_KEY),
        ("RotateKey", ApprovalRule.ROTATE_KEY),
        ("EnableKeyVersion", ApprovalRule.UPDATE_KEY),
        ("DisableKeyVersion", ApprovalRule.UPDATE_KEY),
        ("ScheduleKeyDestruction", ApprovalRule.DESTROY),
        ("CancelKeyDestruction", ApprovalRule.CANCEL_DESTRUCTION),
        ("ImportKey", ApprovalRule.IMPORT_KEY),
        ("CreateAlias", ApprovalRule.UPDATE_KEY),
        ("DeleteAlias", ApprovalRule.UPDATE_KEY),
    ],
)
def test_a_method_wants_as_many_officers_as_its_rule(method: str, rule: ApprovalRule) -> None:
    assert officers_wanted(KEYS + method, None, KEY, NUMBERS) == NUMBERS[rule]


def test_a_reset_of_an_officer_is_a_change_of_officers() -> None:
    reset = officers_wanted("/kmsgw.v1.OfficerService/ResetOfficer", None, None, NUMBERS)
    assert reset == NUMBERS[ApprovalRule.CHANGE_OFFICERS]


@pytest.mark.parametrize(
    "method", [method for method in RULES if ".KeyService/" not in method and "Reset" not in method]
)
def test_ones_own_second_factor_and_votes_want_nobody(method: str) -> None:
    assert officers_wanted(method, None, None, NUMBERS) == 0


def update(**changes: Any) -> UpdateKeyCommand:
    plain: dict[str, Any] = {"description": None, "labels": None, "state": None}
    return UpdateKeyCommand(key="ehr", etag="", reason="", dry_run=False, **{**plain, **changes})


@pytest.mark.parametrize(
    "command",
    [
        update(deletion_protection=False),
        update(minimum_encrypt_version=1),
        update(rotation=RotationPolicy()),
        update(rotation=RotationPolicy(period=timedelta(days=31)), description="with something harmless"),
    ],
)
def test_an_update_that_lowers_protection_is_under_its_rule(command: UpdateKeyCommand) -> None:
    assert officers_wanted(KEYS + "UpdateKey", command, KEY, NUMBERS) == NUMBERS[ApprovalRule.LOWER_PROTECTION]


@pytest.mark.parametrize(
    "command",
    [
        update(description="records"),
        update(state=KeyState.DISABLED),
        update(deletion_protection=True),
        update(rotation=RotationPolicy(period=timedelta(days=29))),
    ],
)
def test_any_other_update_is_one(command: UpdateKeyCommand) -> None:
    assert officers_wanted(KEYS + "UpdateKey", command, KEY, NUMBERS) == NUMBERS[ApprovalRule.UPDATE_KEY]


@pytest.mark.parametrize(("destroy", "wanted"), [(0, 1), (1, 1), (3, 3)])
def test_what_is_forced_wants_an_officer_whatever_is_configured(destroy: int, wanted: int) -> None:
    numbers = {**dict.fromkeys(ApprovalRule, 0), ApprovalRule.DESTROY: destroy}
    forced = ScheduleKeyDestructionCommand("ehr", 0, 7, True, "", "over", False)
    raised = SetMinimumDecryptVersionCommand("ehr", 2, True, "over", False)
    assert officers_wanted(KEYS + "ScheduleKeyDestruction", forced, KEY, numbers) == wanted
    assert officers_wanted(KEYS + "SetMinimumDecryptVersion", raised, KEY, numbers) == wanted


@pytest.mark.parametrize(("force", "rule"), [(False, ApprovalRule.UPDATE_KEY), (True, ApprovalRule.LOWER_PROTECTION)])
def test_a_minimum_that_is_raised_by_force_lowers_protection(force: bool, rule: ApprovalRule) -> None:
    command = SetMinimumDecryptVersionCommand("ehr", 2, force, "over", False)
    assert officers_wanted(KEYS + "SetMinimumDecryptVersion", command, KEY, NUMBERS) == NUMBERS[rule]
