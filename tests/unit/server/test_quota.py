"""Quotas: what passes, what is refused, and when the refused are told to come back."""

from datetime import timedelta

import pytest

from kmsgw.errors import Overloaded, Reason
from kmsgw.model.access import Principal, PrincipalKind
from kmsgw.server.quota import LONGEST_WAIT, SHORTEST_WAIT, Account, Ceiling, Limits, Override, Quotas, Rate
from tests.fakes.clock import SetClock

EIGHT = Rate(8.0, 1024.0, 2.0)


def principal(name: str = "ehr", *roles: str) -> Principal:
    return Principal(name, PrincipalKind.SERVICE, "hospital", frozenset(roles))


def passes(account: Account, now: float, *, calls: int = 1, size: int = 0) -> bool:
    return account.take(now, calls, size) == 0.0


def test_a_full_bucket_gives_a_burst_and_then_its_rate() -> None:
    account = Account(EIGHT)

    assert [passes(account, 0.0) for _ in range(18)] == [True] * 17 + [False]
    assert [passes(account, 1.0) for _ in range(9)] == [True] * 8 + [False]
    assert [passes(account, 100.0) for _ in range(18)] == [True] * 17 + [False]


def test_bytes_are_limited_as_calls_are() -> None:
    account = Account(EIGHT)

    assert passes(account, 0.0, size=2049)
    assert not passes(account, 0.0)
    assert passes(account, 0.001)


def test_what_costs_more_than_a_bucket_passes_once_and_its_debt_is_paid_off() -> None:
    account = Account(EIGHT)

    assert passes(account, 0.0, calls=100)
    assert not passes(account, 10.49)
    assert passes(account, 10.5)


def test_a_refusal_costs_nothing() -> None:
    account = Account(EIGHT)
    assert passes(account, 0.0, calls=17)

    assert not any(passes(account, 0.0) for _ in range(1000))
    assert passes(account, 0.125)


def test_the_refused_are_told_to_come_back_one_after_the_other() -> None:
    account = Account(EIGHT)
    assert passes(account, 0.0, calls=17)

    waits = [account.take(0.0, 1, 0) for _ in range(100)]

    assert waits[:3] == [0.25, 0.375, 0.5]
    assert max(waits) == LONGEST_WAIT


def test_nobody_is_told_to_come_back_at_once() -> None:
    account = Account(Rate(1e6, 1e9, 1.0))
    account.charge(0.0, 1_000_001, 0)

    assert account.take(0.0, 1, 0) == SHORTEST_WAIT


def test_a_charge_never_refuses_and_tells_the_debt() -> None:
    account = Account(EIGHT)

    assert account.charge(0.0, 16, 0) == 0.0
    assert account.charge(0.0, 16, 0) == 2.0
    assert account.charge(0.0, -16, 0) == 0.0


def test_principals_have_accounts_of_their_own() -> None:
    quotas = Quotas(Limits(EIGHT), SetClock())
    for _ in range(17):
        quotas.take(principal("flooder"))
    with pytest.raises(Overloaded) as refusal:
        quotas.take(principal("flooder"))

    quotas.take(principal("honest"))
    assert refusal.value.reason is Reason.QUOTA_EXCEEDED
    assert refusal.value.retry_after == 0.25


def test_the_items_of_a_batch_are_charged_to_its_principal() -> None:
    clock = SetClock()
    quotas = Quotas(Limits(EIGHT), clock)
    quotas.take(principal())
    quotas.charge(principal(), 999, 0)

    with pytest.raises(Overloaded):
        quotas.take(principal())
    clock.move(timedelta(seconds=123))
    quotas.take(principal())


def test_the_first_override_that_holds_counts() -> None:
    slow, quick = Rate(1.0, 1.0, 1.0), Rate(1e3, 1e3, 1.0)
    limits = Limits(
        EIGHT,
        (
            Override(frozenset({"batch"}), frozenset(), quick),
            Override(frozenset(), frozenset({"reader"}), slow),
            Override(frozenset({"ehr"}), frozenset(), quick),
        ),
    )

    assert limits.rate_of(principal("batch", "reader")) is quick
    assert limits.rate_of(principal("ehr", "reader")) is slow
    assert limits.rate_of(principal("ehr", "writer")) is quick
    assert limits.rate_of(principal("lab", "writer")) is EIGHT


def test_other_limits_hold_at_once() -> None:
    quotas = Quotas(Limits(EIGHT), SetClock())
    quotas.take(principal(), 1000)

    quotas.replace(Limits(Rate(1.0, 1e3, 1.0)))

    quotas.take(principal(), 2)
    with pytest.raises(Overloaded):
        quotas.take(principal())


def test_each_worker_gives_its_part() -> None:
    assert EIGHT.part(4) == Rate(2.0, 256.0, 2.0)


def test_a_ceiling_keeps_room_for_others() -> None:
    ceiling = Ceiling("calls that wait for a thread", 3, 2)
    ceiling.enter("flooder")
    ceiling.enter("flooder")

    with pytest.raises(Overloaded, match="This principal has too many calls that wait for a thread"):
        ceiling.enter("flooder")
    ceiling.enter("honest")
    with pytest.raises(Overloaded, match="The gateway has too many"):
        ceiling.enter("late")
    ceiling.leave("flooder")
    ceiling.enter("late")
