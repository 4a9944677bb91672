"""A folder as `kmsgw init` makes it has whoever is needed to reset an officer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmsgw.client import FailedPrecondition, OfficerState, Reason
from tests.support.gateway import Gateway, make_folder
from tests.support.officers import enrolled


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = make_folder(tmp_path / "kms", workers=1).start()
    yield made
    assert made.stop() == 0


def test_the_two_approvers_of_a_fresh_folder_consent_to_a_reset(gateway: Gateway) -> None:
    enrolled(gateway.client("key-officer"))
    administrator = gateway.client("administrator")
    with pytest.raises(FailedPrecondition) as wanted:
        administrator.officers.reset("key-officer", reason="Telephone lost")
    approval_id = wanted.value.approval_id
    bearing = administrator.proving(approval=approval_id)

    for name in ("approver", "approver-2"):
        with pytest.raises(FailedPrecondition) as early:
            bearing.officers.reset("key-officer", reason="Telephone lost")
        assert early.value.reason is Reason.APPROVAL_PENDING
        approvals = gateway.client(name).approvals
        approvals.approve(approval_id, approvals.get(approval_id).request_hash)

    assert bearing.officers.reset("key-officer", reason="Telephone lost").state is OfficerState.RESET
