"""What wants the consent of how many other officers: one pure table over all RPCs that change something.

The number of each rule is configuration (``[approvals]``); that an RPC has a rule is not.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeAlias

from kmsgw.errors import InternalError
from kmsgw.model.key import Key
from kmsgw.operations.control.minimum_version import SetMinimumDecryptVersionCommand
from kmsgw.operations.control.update_key import UpdateKeyCommand, lowers_protection


class ApprovalRule(StrEnum):
    """Why consent is asked for. The values are the fields of ``[approvals]``, but for `NONE`."""

    NONE = "none"
    DESTROY = "destroy"
    CANCEL_DESTRUCTION = "cancel_destruction"
    LOWER_PROTECTION = "lower_protection"
    IMPORT_KEY = "import_key"
    CHANGE_OFFICERS = "change_officers"
    CREATE_KEY = "create_key"
    ROTATE_KEY = "rotate_key"
    UPDATE_KEY = "update_key"


ApprovalNumbers: TypeAlias = Mapping[ApprovalRule, int]
"""How many other officers must consent, by rule."""

Judge: TypeAlias = Callable[[Any, Key | None], ApprovalRule]
"""Says of a command, and the key that it is about, which rule it is under."""


def _always(rule: ApprovalRule) -> Judge:
    return lambda command, key: rule  # noqa: ARG005


def _update(command: UpdateKeyCommand, key: Key | None) -> ApprovalRule:
    lowers = key is None or lowers_protection(key, command)
    return ApprovalRule.LOWER_PROTECTION if lowers else ApprovalRule.UPDATE_KEY


def _raise_minimum(command: SetMinimumDecryptVersionCommand, key: Key | None) -> ApprovalRule:  # noqa: ARG001
    return ApprovalRule.LOWER_PROTECTION if command.force else ApprovalRule.UPDATE_KEY


RULES: Final[Mapping[str, Judge]] = {
    "/kmsgw.v1.KeyService/CreateKey": _always(ApprovalRule.CREATE_KEY),
    "/kmsgw.v1.KeyService/UpdateKey": _update,
    "/kmsgw.v1.KeyService/RotateKey": _always(ApprovalRule.ROTATE_KEY),
    "/kmsgw.v1.KeyService/EnableKeyVersion": _always(ApprovalRule.UPDATE_KEY),
    "/kmsgw.v1.KeyService/DisableKeyVersion": _always(ApprovalRule.UPDATE_KEY),
    "/kmsgw.v1.KeyService/ScheduleKeyDestruction": _always(ApprovalRule.DESTROY),
    "/kmsgw.v1.KeyService/CancelKeyDestruction": _always(ApprovalRule.CANCEL_DESTRUCTION),
    "/kmsgw.v1.KeyService/SetMinimumDecryptVersion": _raise_minimum,
    # Makes a wrapping key, which nothing is under until ImportKey.
    "/kmsgw.v1.KeyService/CreateImportParameters": _always(ApprovalRule.NONE),
    "/kmsgw.v1.KeyService/ImportKey": _always(ApprovalRule.IMPORT_KEY),
    "/kmsgw.v1.KeyService/CreateAlias": _always(ApprovalRule.UPDATE_KEY),
    "/kmsgw.v1.KeyService/DeleteAlias": _always(ApprovalRule.UPDATE_KEY),
    # An officer's own second factor and session: whom they are of, the codes themselves prove.
    "/kmsgw.v1.OfficerService/EnrollOfficer": _always(ApprovalRule.NONE),
    "/kmsgw.v1.OfficerService/ConfirmOfficer": _always(ApprovalRule.NONE),
    "/kmsgw.v1.OfficerService/Login": _always(ApprovalRule.NONE),
    "/kmsgw.v1.OfficerService/Logout": _always(ApprovalRule.NONE),
    "/kmsgw.v1.OfficerService/ResetOfficer": _always(ApprovalRule.CHANGE_OFFICERS),
    # Deciding is the consent itself.
    "/kmsgw.v1.ApprovalService/Approve": _always(ApprovalRule.NONE),
    "/kmsgw.v1.ApprovalService/Reject": _always(ApprovalRule.NONE),
}
"""The rule of every RPC that changes state, by full method name. One that is missing is refused."""


def officers_wanted(method: str, command: Any, key: Key | None, numbers: ApprovalNumbers) -> int:
    """Return how many other officers must consent to a command; 0 where nobody must.

    Whatever is forced over a warning wants at least one, and as many as a destruction, whatever is configured.
    Raises `InternalError` for a method without a rule: what nobody thought of is not done by one officer alone.
    """
    judge = RULES.get(method)
    if judge is None:
        raise InternalError("No rule says whether this wants approval.", advice="Report it with the request id.")
    rule = judge(command, key)
    number = 0 if rule is ApprovalRule.NONE else numbers[rule]
    if getattr(command, "force", False):
        return max(number, numbers[ApprovalRule.DESTROY], 1)
    return number
