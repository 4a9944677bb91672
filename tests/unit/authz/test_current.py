"""Rules of replacing policies while calls run: the new ones in order, or the old ones."""

import threading
from pathlib import Path

import pytest

from kmsgw.authz.current import CurrentPolicies
from kmsgw.errors import ConfigurationError
from kmsgw.model.access import Action
from kmsgw.operations.ports import Authorizer
from tests.unit.authz.situations import ask, folder_of

PERMIT = '@id("permit-encrypt") permit (principal, action == Kmsgw::Action::"encrypt", resource);'
FORBID = PERMIT + '@id("forbid-all") forbid (principal, action, resource);'


def test_it_has_the_shape_that_operations_want(tmp_path: Path) -> None:
    port: Authorizer = CurrentPolicies(folder_of(tmp_path, PERMIT))
    assert port.decide(ask(Action.ENCRYPT)).allowed
    assert [each.policy_id for each in port.policies()] == ["permit-encrypt"]


def test_new_policies_take_effect_on_what_was_decided_before(tmp_path: Path) -> None:
    current = CurrentPolicies(folder_of(tmp_path, PERMIT))
    assert current.decide(ask(Action.ENCRYPT)).allowed
    before = current.digest
    folder_of(tmp_path, FORBID)
    assert current.decide(ask(Action.ENCRYPT)).allowed
    assert current.reload()
    assert not current.decide(ask(Action.ENCRYPT)).allowed
    assert current.digest != before
    assert current.fault is None


@pytest.mark.parametrize("broken", ["permit (", "permit (principal, action, resource);", '@id("x") permit (a, b, c);'])
def test_broken_policies_leave_the_old_ones_in_force_and_their_fault_is_kept(tmp_path: Path, broken: str) -> None:
    current = CurrentPolicies(folder_of(tmp_path, FORBID))
    before = current.digest
    folder_of(tmp_path, broken)
    assert not current.reload()
    assert current.digest == before
    assert current.decide(ask(Action.ENCRYPT)).policy_ids == ("forbid-all",)
    assert current.fault is not None
    assert "some.cedar:1" in current.fault.faults[0]


def test_a_folder_that_is_gone_leaves_the_old_policies_in_force(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "policies", PERMIT)
    current = CurrentPolicies(folder)
    folder.rename(tmp_path / "elsewhere")
    assert not current.reload()
    assert current.decide(ask(Action.ENCRYPT)).allowed


def test_mended_policies_clear_the_fault(tmp_path: Path) -> None:
    current = CurrentPolicies(folder_of(tmp_path, PERMIT))
    folder_of(tmp_path, "broken")
    current.reload()
    folder_of(tmp_path, PERMIT)
    assert current.reload()
    assert current.fault is None


def test_unchanged_policies_keep_what_is_cached(tmp_path: Path) -> None:
    current = CurrentPolicies(folder_of(tmp_path, PERMIT))
    before = current.authorizer
    assert current.reload()
    assert current.authorizer is before


def test_the_first_policies_must_be_in_order(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        CurrentPolicies(folder_of(tmp_path, "broken"))


def test_a_call_sees_the_old_policies_or_the_new_ones(tmp_path: Path) -> None:
    current = CurrentPolicies(folder_of(tmp_path, PERMIT))
    seen: set[tuple[bool, tuple[str, ...]]] = set()
    stop = threading.Event()

    def ask_on() -> None:
        while not stop.is_set():
            decision = current.decide(ask(Action.ENCRYPT))
            seen.add((decision.allowed, decision.policy_ids))

    thread = threading.Thread(target=ask_on)
    thread.start()
    for text in (FORBID, PERMIT, FORBID, "broken", PERMIT):
        folder_of(tmp_path, text)
        current.reload()
    stop.set()
    thread.join()
    assert seen <= {(True, ("permit-encrypt",)), (False, ("forbid-all",))}
