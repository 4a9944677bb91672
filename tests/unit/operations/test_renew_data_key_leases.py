"""Leases of data keys: each decided as the hand-out of its data key would be now, and one call recorded as one."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from kmsgw.errors import InvalidRequest, Reason, StateUnavailable
from kmsgw.model.access import AccessRequest, Action, DecidingPolicy, Decision, Principal, PrincipalKind
from kmsgw.model.context import EMPTY_CONTEXT, NO_DECLARATION, AccessDeclaration, EncryptionContext
from kmsgw.model.data_key_limits import DataKeyLimits
from kmsgw.model.key import KeyState, KeyVersion
from kmsgw.operations.data.renew_data_key_leases import (
    DataKeyLease,
    DataKeyUse,
    LeaseOutcome,
    RenewDataKeyLeases,
    RenewDataKeyLeasesCommand,
    RenewedLease,
)
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Grant
from tests.fakes.clock import SetClock
from tests.unit.operations.test_keyring import FakeStore

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WRITER = Principal("ehr-datakeys", PrincipalKind.SERVICE, "hospital", frozenset({"data-key-user"}))
SEAL, OPEN = DataKeyUse.SEAL, DataKeyUse.OPEN
RENEWED = RenewedLease(LeaseOutcome.RENEWED, 30.0)
SUPERSEDED = RenewedLease(LeaseOutcome.SUPERSEDED)
ONE, TWO = KeyVersion(1, b"", NOW), KeyVersion(2, b"", NOW)


def ended(reason: Reason) -> RenewedLease:
    return RenewedLease(LeaseOutcome.ENDED, reason=reason)


@dataclass
class Policies:
    """Allows everything but what `denies` says; remembers what it was asked."""

    denies: Callable[[AccessRequest], bool] = lambda _request: False
    asked: list[AccessRequest] = field(default_factory=list)

    def decide(self, request: AccessRequest) -> Decision:
        self.asked.append(request)
        allowed = not self.denies(request)
        return Decision(allowed, (DecidingPolicy("some-policy", allowed),))


class Bench:
    """The verb over a key `ehr` with two versions and an alias, and a key of another tenant's."""

    def __init__(self) -> None:
        self.store, self.clock, self.policies = FakeStore(), SetClock(), Policies()
        self.store.put("ehr", versions=(ONE, TWO), aliases=("alias/records",))
        self.store.put("kmsgw-own", tenant="kmsgw")
        self.keyring = Keyring(self.store, clock=self.clock)
        self.keyring.refresh()
        limits = DataKeyLimits(100, 1000, 300.0, 30.0)
        self.verb = RenewDataKeyLeases(self.keyring, self.policies, limits, clock=self.clock)  # type: ignore[arg-type]
        self.grant = Grant(WRITER, "request", NOW)

    def change(self, **changes: object) -> None:
        self.store.put("ehr", **changes)

    def renew(self, *leases: DataKeyLease) -> list[RenewedLease]:
        self.clock.sleep(0.001)
        assert not self.verb.accesses(RenewDataKeyLeasesCommand(leases))
        return list(self.verb.run(RenewDataKeyLeasesCommand(leases), self.grant))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def lease(use: DataKeyUse, version: int = 2, key: str = "ehr", alias: str = "") -> DataKeyLease:
    return DataKeyLease(use, key, version, alias, EMPTY_CONTEXT, NO_DECLARATION)


def test_what_may_be_handed_out_is_renewed_without_a_look_at_the_database(bench: Bench) -> None:
    looks = bench.store.looks
    assert bench.renew(lease(SEAL), lease(OPEN), lease(OPEN, 1), lease(SEAL, alias="alias/records")) == [RENEWED] * 4
    assert bench.store.looks == looks


def test_after_a_rotation_who_seals_is_told_to_fetch_another_and_who_opens_goes_on(bench: Bench) -> None:
    assert bench.renew(lease(SEAL, 1), lease(OPEN, 1)) == [SUPERSEDED, RENEWED]


def test_an_alias_that_leads_elsewhere_supersedes(bench: Bench) -> None:
    bench.change(aliases=())
    bench.store.put("other", aliases=("alias/records",))
    bench.keyring.refresh()
    assert bench.renew(lease(SEAL, alias="alias/records"), lease(SEAL)) == [SUPERSEDED, RENEWED]


@pytest.mark.parametrize("now_of", [(), ("alias/records",)])
def test_who_opens_by_an_expected_alias_loses_the_lease_once_it_leads_elsewhere_or_nowhere(
    bench: Bench, now_of: tuple[str, ...]
) -> None:
    opening = lease(OPEN, alias="alias/records")
    assert bench.renew(opening) == [RENEWED]
    bench.change(aliases=())
    bench.store.put("other", aliases=now_of)
    bench.keyring.refresh()
    assert bench.renew(opening, lease(OPEN)) == [ended(Reason.DECRYPTION_FAILED), RENEWED]


def test_an_expected_alias_tells_nothing_to_whom_policy_forbids_the_key(bench: Bench) -> None:
    bench.policies.denies = lambda _request: True
    assert (
        bench.renew(lease(OPEN, alias="alias/records"), lease(OPEN, alias="alias/none"))
        == [ended(Reason.ACCESS_DENIED)] * 2
    )


def test_each_lease_is_worth_a_call_of_the_quota_also_where_the_state_is_not_known(bench: Bench) -> None:
    bench.renew(*[lease(SEAL)] * 500)
    assert bench.grant.trail.calls == 500
    unlucky = Bench()
    unlucky.store.down = True
    unlucky.clock.sleep(2)
    with pytest.raises(StateUnavailable):
        unlucky.renew(*[lease(SEAL)] * 500)
    assert unlucky.grant.trail.calls == 500


@pytest.mark.parametrize(
    ("changes", "seal", "open_"),
    [
        ({"state": KeyState.DISABLED}, Reason.KEY_DISABLED, Reason.KEY_DISABLED),
        (
            {"state": KeyState.PENDING_DESTRUCTION},
            Reason.KEY_PENDING_DESTRUCTION,
            Reason.KEY_PENDING_DESTRUCTION,
        ),
        ({"state": KeyState.DESTROYED}, Reason.KEY_DESTROYED, Reason.KEY_DESTROYED),
        (
            {"versions": (replace(ONE, state=KeyState.DISABLED), TWO)},
            Reason.KEY_VERSION_DISABLED,
            Reason.KEY_VERSION_DISABLED,
        ),
        ({"minimum_decrypt_version": 2}, Reason.KEY_VERSION_BELOW_MINIMUM, Reason.KEY_VERSION_BELOW_MINIMUM),
    ],
)
def test_what_is_taken_out_of_use_ends(bench: Bench, changes: dict[str, object], seal: Reason, open_: Reason) -> None:
    bench.change(**changes)
    bench.keyring.refresh()
    assert bench.renew(lease(SEAL, 1), lease(OPEN, 1)) == [ended(seal), ended(open_)]


def test_a_change_of_this_moment_is_seen_by_whoever_is_not_renewed(bench: Bench) -> None:
    bench.store.put("new")
    bench.change(versions=(ONE, TWO, KeyVersion(3, b"", NOW)))
    assert bench.renew(lease(SEAL, 1, "new"), lease(SEAL, 3), lease(OPEN, 4)) == [
        RENEWED,
        RENEWED,
        ended(Reason.KEY_VERSION_UNKNOWN),
    ]


def test_a_look_at_the_database_for_one_lease_decides_on_all(bench: Bench) -> None:
    bench.change(versions=(ONE, TWO), state=KeyState.DISABLED)
    assert bench.renew(lease(SEAL)) == [RENEWED]  # as it was known a moment ago
    found = bench.renew(lease(SEAL), lease(OPEN, 4))
    assert [each.outcome for each in found] == [LeaseOutcome.ENDED] * 2
    assert found[0] == ended(Reason.KEY_DISABLED)


def test_policy_decides_on_each_lease_by_its_use_context_and_declaration(bench: Bench) -> None:
    context, why = EncryptionContext.of({"patient": "P-1"}), AccessDeclaration("research", "")
    bench.policies.denies = lambda request: request.action is Action.DECRYPT and request.context == context
    sealing = DataKeyLease(SEAL, "ehr", 2, "", context, why)
    opening = DataKeyLease(OPEN, "ehr", 2, "", context, why)
    assert bench.renew(sealing, opening, lease(OPEN)) == [RENEWED, ended(Reason.ACCESS_DENIED), RENEWED]
    first = bench.policies.asked[0]
    assert (first.principal, first.action, first.tenant) == (WRITER, Action.GENERATE_DATA_KEY, "hospital")
    assert (first.context, first.declaration) == (context, why)


def test_unknown_and_forbidden_and_the_gateways_own_answer_alike_and_cost_one_look_a_call(bench: Bench) -> None:
    bench.policies.denies = lambda _request: True
    for names in (["ehr"] * 50, [f"unknown-{number}" for number in range(50)], ["kmsgw-own"] * 50):
        looks = bench.store.looks
        assert bench.renew(*(lease(SEAL, 1, name) for name in names)) == [ended(Reason.ACCESS_DENIED)] * 50
        assert bench.store.looks - looks == 1


def test_one_call_is_recorded_with_what_became_of_how_many(bench: Bench) -> None:
    bench.policies.denies = lambda request: request.action is Action.DECRYPT
    bench.renew(lease(SEAL), lease(SEAL), lease(SEAL, 1), lease(OPEN), lease(SEAL, 1, "unknown"))
    assert bench.grant.trail.facts["leases"] == {
        "ehr/2": {"seal renewed": 2, "open ACCESS_DENIED": 1},
        "ehr/1": {"seal superseded": 1},
        "unknown/1": {"seal ACCESS_DENIED": 1},
    }
    refused = bench.grant.trail.refused
    assert refused is not None
    assert (refused.action, refused.policies) == (Action.DECRYPT, frozenset({"some-policy"}))


def test_without_the_database_nothing_is_renewed(bench: Bench) -> None:
    bench.clock.sleep(2)
    bench.store.down = True
    with pytest.raises(StateUnavailable):
        bench.renew(lease(SEAL))


@pytest.mark.parametrize("number", [0, 501])
def test_a_call_has_1_to_500_leases(number: int) -> None:
    with pytest.raises(InvalidRequest):
        RenewDataKeyLeasesCommand((lease(SEAL),) * number)
