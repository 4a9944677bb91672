"""Counting: every call once, in the right bucket, under labels that no caller can add to."""

import threading

import pytest

from kmsgw.errors import AccessDenied, MethodUnknown, ProviderUnavailable, ResourceExhausted
from kmsgw.telemetry.meters import (
    COUNT_BOUNDS,
    OTHER_METHOD,
    SECONDS_BOUNDS,
    AuditMeter,
    CallMeter,
    Distribution,
    ProviderMeter,
)

ENCRYPT = "/kmsgw.v1.CryptoService/Encrypt"


def test_a_value_is_in_the_first_bucket_whose_bound_it_does_not_pass() -> None:
    spread = Distribution()
    for value in (0.0, SECONDS_BOUNDS[0], SECONDS_BOUNDS[0] * 1.01, SECONDS_BOUNDS[-1], SECONDS_BOUNDS[-1] * 2):
        spread.add(value)
    counts, total = spread.read()
    assert (counts[0], counts[1], counts[-2], counts[-1]) == (2, 1, 1, 1)
    assert sum(counts) == 5
    assert total == pytest.approx(SECONDS_BOUNDS[0] * 2.01 + SECONDS_BOUNDS[-1] * 3)


@pytest.mark.parametrize("bounds", [SECONDS_BOUNDS, COUNT_BOUNDS])
def test_bounds_rise(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


def test_calls_are_told_apart_by_method_and_reason() -> None:
    meter = CallMeter(frozenset({ENCRYPT}))
    meter.ended(ENCRYPT, None, 0.001)
    meter.ended(ENCRYPT, None, 0.001)
    meter.ended(ENCRYPT, AccessDenied(), 0.001)
    meter.ended(ENCRYPT, ProviderUnavailable("down"), 0.001)
    found = {(kind.status, kind.reason, kind.outcome): sum(spread.counts) for kind, spread in meter.read().items()}
    assert found == {
        ("OK", "", "ok"): 2,
        ("PERMISSION_DENIED", "ACCESS_DENIED", "refused"): 1,
        ("UNAVAILABLE", "PROVIDER_UNAVAILABLE", "failed"): 1,
    }


def test_methods_that_there_are_not_share_one_name() -> None:
    meter = CallMeter(frozenset({ENCRYPT}))
    for number in range(100):
        meter.ended(f"/a/{number}", MethodUnknown("no"), 0.001)
        meter.ended(f"/a/{number}", None, 0.001)
    assert {kind.method for kind in meter.read()} == {OTHER_METHOD}
    assert len(meter.read()) == 2


def test_no_call_is_lost_between_threads() -> None:
    meter = CallMeter(frozenset({ENCRYPT}))

    def work() -> None:
        for _ in range(2000):
            meter.ended(ENCRYPT, None, 0.001)
            meter.ended(ENCRYPT, ResourceExhausted("no"), 0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(spread.counts) for spread in meter.read().values()] == [8000, 8000]


def test_a_provider_call_is_measured_however_it_ends() -> None:
    meter = ProviderMeter()
    with meter.calling("hsm", "wrap"):
        """Ends well."""
    with pytest.raises(ProviderUnavailable), meter.calling("hsm", "wrap"):
        raise ProviderUnavailable("down")
    with pytest.raises(ZeroDivisionError), meter.calling("hsm", "unwrap"):
        raise ZeroDivisionError
    assert {tuple(call): sum(spread.counts) for call, spread in meter.read().items()} == {
        ("hsm", "wrap", ""): 1,
        ("hsm", "wrap", "PROVIDER_UNAVAILABLE"): 1,
        ("hsm", "unwrap", "INTERNAL"): 1,
    }


def test_groups_of_entries_are_counted_with_flush_and_lag() -> None:
    meter = AuditMeter()
    meter.flushed(3, 0.001, 0.002)
    meter.flushed(1, 0.001, 0.5)
    entries, flush, lag = meter.read()
    assert entries.total == 4
    assert flush.total == pytest.approx(0.002)
    assert lag.total == pytest.approx(0.502)
