"""Local encryption: one call for however many want a data key, and the gateway's word on how long it serves."""

import asyncio
import copy
import os
import pickle
import threading
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from kmsgw.client import (
    AccessDenied,
    DataKeyLimits,
    DeadlineExceeded,
    DecryptionFailed,
    EnvelopeMalformed,
    InvalidRequest,
    LocalEncryption,
    Reason,
    Unauthenticated,
    Unavailable,
)
from kmsgw.client.local.data_key_cache import REPLACED, ROUND
from kmsgw.client.local.origin import SHORTEST_LIFE
from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.envelope.aead import seal_value
from kmsgw.envelope.format import Suite, wrapped_data_key
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.v1 import crypto_service_pb2 as wire
from tests.fakes.clock import SetClock
from tests.fakes.lending_gateway import LIMITS, LendingGateway

CONTEXT = {"patient": "P-1", "kind": "observation"}
Drive = Callable[[LendingGateway, Callable[[Any], Any]], Any]


@pytest.fixture
def lender() -> LendingGateway:
    return LendingGateway()


@pytest.fixture(params=["threads", "asyncio"])
def drive(request: pytest.FixtureRequest) -> Drive:
    """Run a generator that yields what a flavour answers, and is sent the result: the same test for both."""
    if request.param == "threads":
        return _drive_blocking
    return _drive_async


def _drive_blocking(lender: LendingGateway, steps: Callable[[Any], Generator[Any, Any, None]], **options: Any) -> None:
    with lender.local(**options) as local:
        running, sent = steps(local), None
        while True:
            try:
                sent = running.send(sent)
            except StopIteration:
                return


def _drive_async(lender: LendingGateway, steps: Callable[[Any], Generator[Any, Any, None]], **options: Any) -> None:
    async def run() -> None:
        async with lender.async_local(**options) as local:
            running, sent = steps(local), None
            while True:
                try:
                    wanted = running.send(sent)
                except StopIteration:
                    return
                try:
                    sent = await wanted
                except Exception as error:  # noqa: BLE001 - handed to the test, which expects it
                    try:
                        sent = await running.throw(error)
                    except StopIteration:
                        return

    asyncio.run(run())


def test_many_values_cost_one_call_each_way(lender: LendingGateway, drive: Drive) -> None:
    def steps(local: Any) -> Generator[Any, Any, None]:
        envelopes: list[bytes] = []
        for number in range(20):
            envelope = yield local.seal("ehr", b"%d" % number, CONTEXT)
            envelopes.append(envelope)
        for number, envelope in enumerate(envelopes):
            assert (yield local.open(envelope, CONTEXT)) == b"%d" % number

    drive(lender, steps)
    assert lender.counts == {"GenerateDataKey": 1, "Decrypt": 1}


def test_what_was_handed_out_to_seal_opens_nothing_before_policy_is_asked(lender: LendingGateway) -> None:
    with lender.local() as local:
        envelope = local.seal("ehr", b"value", CONTEXT)
        lender.refusal = AccessDenied()
        with pytest.raises(AccessDenied):
            local.open(envelope, CONTEXT)
        assert local.seal("ehr", b"value", CONTEXT)


def test_a_context_is_the_same_in_whatever_order_and_form(lender: LendingGateway) -> None:
    with lender.local() as local:
        envelope = local.seal("ehr", b"value", CONTEXT)
        local.seal("ehr", b"value", dict(reversed(CONTEXT.items())))
        local.seal("ehr", b"value", EncryptionContext.of(CONTEXT))
        local.open(envelope, EncryptionContext.of(CONTEXT))
        local.open(envelope, CONTEXT)
    assert lender.counts == {"GenerateDataKey": 1, "Decrypt": 1}


def test_each_key_context_and_declaration_has_a_data_key_of_its_own(lender: LendingGateway) -> None:
    with lender.local(AccessDeclaration("care", "")) as local:
        for _ in range(2):
            local.seal("ehr", b"x", CONTEXT)
            local.seal("alias/ehr", b"x", CONTEXT)
            local.seal("ehr", b"x", {"patient": "P-2"})
            local.seal("ehr", b"x")
            local.seal("ehr", b"x", CONTEXT, purpose="research")
            local.seal("ehr", b"x", CONTEXT, end_user="dr-exemple")
    assert lender.counts == {"GenerateDataKey": 6}
    assert [call.declaration.purpose for call in lender.calls] == ["care"] * 4 + ["research", "care"]


def test_another_context_never_finds_a_data_key_that_was_unwrapped_for_one(lender: LendingGateway) -> None:
    with lender.local() as local:
        envelope = local.seal("ehr", b"value", CONTEXT)
        assert local.open(envelope, CONTEXT) == b"value"
        with pytest.raises(DecryptionFailed):
            local.open(envelope, {"patient": "P-2"})
        local.open(envelope, CONTEXT, expected_key="ehr")
    assert lender.counts["Decrypt"] == 3


def test_what_the_gateway_sealed_is_opened_by_the_gateway(lender: LendingGateway, drive: Drive) -> None:
    envelope = seal_value(
        bytes(32),
        b"value",
        EncryptionContext.of(CONTEXT),
        key_id="ehr",
        key_version=1,
        wrapped=b"w" * 60,
        suite=Suite.GATEWAY_SEALED,
    )

    def steps(local: Any) -> Generator[Any, Any, None]:
        assert (yield local.open(envelope, CONTEXT)) == b"opened by the gateway"

    drive(lender, steps)
    assert lender.calls[0].envelope == envelope


@pytest.mark.parametrize(
    "envelope", [b"", b"KMGW", wrapped_data_key("ehr", 1, b"w" * 60).encode(), b"KMGW\x01\x03\x03ehr" + b"x" * 80]
)
def test_what_is_no_envelope_with_a_payload_is_refused_without_a_call(lender: LendingGateway, envelope: bytes) -> None:
    with lender.local() as local, pytest.raises(EnvelopeMalformed):
        local.open(envelope)
    assert not lender.calls


@pytest.mark.parametrize(
    ("data", "context"),
    [("text", CONTEXT), (b"x", {"patient": 1}), (b"x", {1: "P-1", "b": "c"}), (b"x", {"": "P-1"}), (b"x", "text")],
)
def test_what_can_not_be_sealed_is_refused_without_a_call(lender: LendingGateway, data: Any, context: Any) -> None:
    with lender.local() as local, pytest.raises(InvalidRequest):
        local.seal("ehr", data, context)
    assert not lender.calls


def test_however_many_threads_miss_at_once_one_call_goes_out(lender: LendingGateway) -> None:
    lender.gate = threading.Event()
    with lender.local() as local, ThreadPoolExecutor(24) as pool:
        sealing = [pool.submit(local.seal, "ehr", b"%d" % number, CONTEXT) for number in range(24)]
        lender.gate.set()
        envelopes = [each.result(60) for each in sealing]
        lender.gate = threading.Event()
        opening = [pool.submit(local.open, envelope, CONTEXT) for envelope in envelopes]
        lender.gate.set()
        assert [each.result(60) for each in opening] == [b"%d" % number for number in range(24)]
    assert lender.counts == {"GenerateDataKey": 1, "Decrypt": 1}


def test_however_many_tasks_miss_at_once_one_call_goes_out_though_the_first_is_cancelled(
    lender: LendingGateway,
) -> None:
    lender.gate = threading.Event()

    async def run() -> None:
        assert lender.gate is not None
        async with lender.async_local() as local:
            tasks = [asyncio.create_task(local.seal("ehr", b"x", CONTEXT)) for _ in range(24)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            tasks[0].cancel()
            lender.gate.set()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert all(isinstance(answer, bytes) for answer in answers[1:])

    asyncio.run(run())
    assert lender.counts == {"GenerateDataKey": 1}


def test_threads_that_wait_for_a_refused_call_are_refused_too_and_the_next_asks_again(lender: LendingGateway) -> None:
    lender.gate, lender.refusal = threading.Event(), AccessDenied()
    with lender.local() as local, ThreadPoolExecutor(8) as pool:
        sealing = [pool.submit(local.seal, "ehr", b"x", CONTEXT) for _ in range(8)]
        while len(local._flights) == 0:
            pass
        lender.gate.set()
        assert all(isinstance(each.exception(60), AccessDenied) for each in sealing)
        lender.refusal = None
        assert local.seal("ehr", b"x", CONTEXT)


def test_who_has_less_time_does_not_take_it_from_the_others(lender: LendingGateway) -> None:
    lender.clock, lender.gate = SYSTEM_CLOCK, threading.Event()
    with lender.local() as local, ThreadPoolExecutor(2) as pool:
        patient = pool.submit(local.seal, "ehr", b"x", CONTEXT)
        while len(local._flights) == 0:
            pass
        with pytest.raises(DeadlineExceeded):
            local.seal("ehr", b"x", CONTEXT, timeout=0.01)
        lender.gate.set()
        assert patient.result(60)


def test_a_client_may_narrow_limits_and_not_widen_them(lender: LendingGateway) -> None:
    lender.limits = DataKeyLimits(max_messages=2, max_bytes=1000, max_age_seconds=300.0, lease_seconds=30.0)
    with lender.local(limits=DataKeyLimits(max_messages=1000)) as local:
        for _ in range(4):
            local.seal("ehr", b"x")
        with pytest.raises(InvalidRequest) as caught:
            local.seal("ehr", bytes(1001))
        assert caught.value.reason is Reason.PLAINTEXT_TOO_LARGE
    assert lender.counts["GenerateDataKey"] >= 2
    before = lender.counts["GenerateDataKey"]
    with lender.local(limits=DataKeyLimits(max_messages=1)) as local:
        for _ in range(3):
            local.seal("ehr", b"x")
    assert lender.counts["GenerateDataKey"] - before >= 3


@pytest.mark.parametrize(
    "limits",
    [
        None,
        DataKeyLimits(100, 1000, max_age_seconds=0.0, lease_seconds=30.0),
        DataKeyLimits(100, 1000, max_age_seconds=300.0, lease_seconds=0.0),
    ],
    ids=["an older gateway says nothing", "no age", "no lease"],
)
def test_a_data_key_that_may_not_be_kept_is_for_one_value(
    lender: LendingGateway, drive: Drive, limits: DataKeyLimits | None
) -> None:
    lender.limits = limits

    def steps(local: Any) -> Generator[Any, Any, None]:
        first = yield local.seal("ehr", b"first", CONTEXT)
        yield local.seal("ehr", b"second", CONTEXT)
        assert (yield local.open(first, CONTEXT)) == b"first"

    drive(lender, steps)
    assert lender.counts == {"GenerateDataKey": 2, "Decrypt": 1}


def moved(lender: LendingGateway, seconds: float) -> None:
    assert isinstance(lender.clock, SetClock)
    lender.clock.move(timedelta(seconds=seconds))


@pytest.fixture
def local(lender: LendingGateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalEncryption]:
    """Local encryption without its thread: the test calls `_tend` in its place."""
    monkeypatch.setattr(LocalEncryption, "_keep", lambda _self: None)
    with lender.local() as made:
        yield made


def test_a_lease_is_renewed_for_as_long_as_the_data_key_is_used_and_not_beyond_its_age(
    lender: LendingGateway, local: LocalEncryption
) -> None:
    for _ in range(20 * 5):
        local.seal("ehr", b"x", CONTEXT)
        moved(lender, 4)
        local._tend()
    # 400 seconds: its age is at most 300, and it is replaced before that, by one call.
    assert 2 <= lender.counts["GenerateDataKey"] <= 4
    assert lender.counts["RenewDataKeyLeases"] >= 20


def test_a_data_key_that_is_not_used_is_let_go(lender: LendingGateway, local: LocalEncryption) -> None:
    local.seal("ehr", b"x", CONTEXT)
    for _ in range(30):
        moved(lender, 4)
        local._tend()
    assert len(local._cache) == 0
    assert lender.counts["RenewDataKeyLeases"] <= 2


def test_many_leases_are_renewed_in_one_call(lender: LendingGateway, local: LocalEncryption) -> None:
    for number in range(1200):
        local.seal("ehr", b"x", {"patient": f"P-{number}"})
    envelope = local.seal("ehr", b"x", CONTEXT)
    for purpose in ("care", "research"):
        local.open(envelope, CONTEXT, purpose=purpose)
    local._cache.hurry()
    moved(lender, 29)
    local._tend()
    renewals = [call for call in lender.calls if hasattr(call, "leases")]
    assert [len(call.leases) for call in renewals] == [500, 500, 203]


def test_a_lease_names_the_alias_by_which_its_data_key_was_asked_for_or_expected(
    lender: LendingGateway, local: LocalEncryption
) -> None:
    for name in ("ehr", "alias/ehr"):
        local.open(local.seal(name, b"x", CONTEXT), CONTEXT, expected_key=name)
    moved(lender, 29)
    local._tend()
    (renewal,) = (call for call in lender.calls if hasattr(call, "leases"))
    assert [(lease.use, lease.alias) for lease in renewal.leases] == [
        (wire.DATA_KEY_USE_SEAL, ""),
        (wire.DATA_KEY_USE_OPEN, ""),
        (wire.DATA_KEY_USE_SEAL, "alias/ehr"),
        (wire.DATA_KEY_USE_OPEN, "alias/ehr"),
    ]


def test_data_keys_whose_leases_are_alike_share_one(lender: LendingGateway, local: LocalEncryption) -> None:
    envelopes = []
    for _ in range(5):
        envelopes.append(local.seal("ehr", b"x", CONTEXT))
        local._cache.clear()
    for envelope in envelopes:
        local.open(envelope, CONTEXT)
    moved(lender, 29)
    local._tend()
    (renewal,) = (call for call in lender.calls if hasattr(call, "leases"))
    assert len(renewal.leases) == 1
    for envelope in envelopes:
        local.open(envelope, CONTEXT)
    assert lender.counts["Decrypt"] == 5


@pytest.mark.parametrize("reason", [Reason.KEY_DISABLED, Reason.ACCESS_DENIED, Reason.KEY_PENDING_DESTRUCTION])
def test_a_lease_that_the_gateway_ends_takes_the_data_key_at_once(
    lender: LendingGateway, local: LocalEncryption, reason: Reason
) -> None:
    envelope = local.seal("ehr", b"x", CONTEXT)
    local.open(envelope, CONTEXT)
    kept = list(local._cache.held.values())
    lender.ended, lender.refusal = reason, None
    moved(lender, 29)
    local._tend()
    assert [bytes(each._material) for each in kept] == [bytes(64)] * 2
    lender.refusal = AccessDenied()
    with pytest.raises(AccessDenied):
        local.seal("ehr", b"x", CONTEXT)
    with pytest.raises(AccessDenied):
        local.open(envelope, CONTEXT)


def test_after_a_rotation_the_next_round_brings_the_new_version(lender: LendingGateway, local: LocalEncryption) -> None:
    old = local.seal("ehr", b"x", CONTEXT)
    lender.version = 2
    moved(lender, 15)
    local._tend()
    local._tend()
    sealed = local.seal("ehr", b"x", CONTEXT)
    assert (version_of(old), version_of(sealed)) == (1, 2)
    assert lender.counts == {"GenerateDataKey": 2, "RenewDataKeyLeases": 1}


def version_of(envelope: bytes) -> int:
    return int.from_bytes(envelope[74:78])


def test_without_the_gateway_data_keys_serve_until_their_leases_end_and_no_longer(
    lender: LendingGateway, local: LocalEncryption
) -> None:
    local.seal("ehr", b"x", CONTEXT)
    lender.refusal = Unavailable("no gateway")
    for _ in range(29):
        moved(lender, 1)
        local._tend()
        local.seal("ehr", b"x", CONTEXT)
    moved(lender, 1)
    with pytest.raises(Unavailable):
        local.seal("ehr", b"x", CONTEXT)
    lender.refusal = None
    assert local.seal("ehr", b"x", CONTEXT)
    assert 3 <= lender.counts["RenewDataKeyLeases"] <= 20


def test_a_certificate_that_is_refused_ends_all_leases(lender: LendingGateway, local: LocalEncryption) -> None:
    local.seal("ehr", b"x", CONTEXT)
    lender.refusal = Unauthenticated("revoked")
    moved(lender, 15)
    local._tend()
    assert len(local._cache) == 0


def test_a_data_key_that_runs_low_is_replaced_before_it_is_used_up(
    lender: LendingGateway, local: LocalEncryption
) -> None:
    lender.limits = DataKeyLimits(max_messages=80, max_bytes=10**6, max_age_seconds=300.0, lease_seconds=30.0)
    for _ in range(75):
        local.seal("ehr", b"x", CONTEXT)
    assert local._tend() > 0
    assert lender.counts == {"GenerateDataKey": 2}


def test_the_least_used_data_keys_go_where_there_is_no_room(lender: LendingGateway) -> None:
    with lender.local(entries=10) as local:
        for number in range(50):
            local.seal("ehr", b"x", {"patient": f"P-{number}"})
            local.seal("ehr", b"x", CONTEXT)
        assert len(local._cache) == 10
    assert lender.counts["GenerateDataKey"] == 51


def test_processes_that_start_together_neither_renew_nor_replace_together() -> None:
    rounds, ends, replaced = [], [], []
    for _ in range(200):
        lender = LendingGateway()
        local = lender.local()
        local.seal("ehr", b"x", CONTEXT)
        (loan,) = local._cache._loans.values()
        rounds.append(local._cache.next_round)
        ends.append(loan.held.dies_at)
        replaced.append(loan.replace_at)
        local.close()
    assert min(rounds) >= LIMITS.lease_seconds * ROUND[0]
    assert max(rounds) <= LIMITS.lease_seconds * ROUND[1]
    assert min(ends) >= LIMITS.max_age_seconds * SHORTEST_LIFE
    assert max(ends) <= LIMITS.max_age_seconds
    assert max(replaced) < LIMITS.max_age_seconds * REPLACED[1] + 1e-9
    # Over half of the span that chance has, which 200 draws miss with a probability below 10^-40.
    for drawn, span in ((rounds, 0.3 * 30), (ends, 0.25 * 300), (replaced, (0.9 - 0.6 * 0.75) * 300)):
        assert max(drawn) - min(drawn) > span / 2


def test_a_closed_one_holds_no_data_key_and_fetches_none(lender: LendingGateway, drive: Drive) -> None:
    kept: list[Any] = []

    def steps(local: Any) -> Generator[Any, Any, None]:
        yield local.seal("ehr", b"x", CONTEXT)
        kept.extend([local, *local._cache.held.values()])

    drive(lender, steps)
    assert bytes(kept[1]._material) == bytes(64)
    local = kept[0]
    again = local.seal if isinstance(local, LocalEncryption) else lambda *given: asyncio.run(local.seal(*given))
    with pytest.raises(Unavailable, match="closed"):
        again("ehr", b"x", CONTEXT)
    assert lender.counts == {"GenerateDataKey": 1}


def test_it_says_nothing_of_keys_and_is_neither_pickled_nor_copied(lender: LendingGateway) -> None:
    with lender.local() as local:
        local.seal("ehr", b"x", CONTEXT)
        assert repr(local) == "LocalEncryption('in-memory:1', 1 data keys)"
        for copied in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="stay in the process"):
                copied(local)


def test_a_child_process_inherits_no_data_key(lender: LendingGateway) -> None:
    with lender.local() as local:
        local.seal("ehr", b"x", CONTEXT)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that threads are running: it is what is tested
            child = os.fork()
        if child == 0:
            os._exit(len(local._cache) + len(local._held))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(local._cache) == 1
