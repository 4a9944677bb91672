"""Data keys: reused within their limits, found by all that they are bound to, forgotten with any change of the key."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kmsgw.envelope.binding import DataKeyHolder
from kmsgw.envelope.format import Envelope, Suite, bound_header, wrapped_data_key
from kmsgw.errors import DecryptionFailed, FailedPrecondition, Overloaded, ProviderUnavailable, Reason
from kmsgw.model.context import EMPTY_CONTEXT, EncryptionContext
from kmsgw.model.key import Key, KeyVersion
from kmsgw.operations.data_keys import CacheLimits, DataKeys
from kmsgw.operations.verb import Trail
from kmsgw.operations.waiting import WouldWait, become_impatient
from kmsgw.operations.wrap_allowance import StoredWraps
from kmsgw.providers.base import MaterialRef, ProviderDescription
from kmsgw.providers.places import GRACE_SECONDS, Places
from kmsgw.providers.software import SoftwareProvider
from tests.fakes.clock import SetClock
from tests.support.gateway import eventually

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PATIENT = EncryptionContext.of({"patient": "P-1001"})


class CountingProvider(SoftwareProvider):
    """The software provider, which counts its calls and can be slow or down."""

    def __init__(self) -> None:
        super().__init__("software", bytes(32))
        self.wraps = self.unwraps = 0
        self.pause = 0.0
        self.down = False
        self.begun = 0
        self.hold: threading.Event | None = None
        self.error: Exception | None = None
        self.meanwhile: Callable[[], None] | None = None

    def wrap(self, material: MaterialRef, data_key: bytes, aad: bytes) -> bytes:
        self._answer()
        self.wraps += 1
        return super().wrap(material, data_key, aad)

    def unwrap(self, material: MaterialRef, wrapped: bytes, aad: bytes) -> bytes:
        self._answer()
        self.unwraps += 1
        return super().unwrap(material, wrapped, aad)

    def _answer(self) -> None:
        self.begun += self.hold is not None
        assert self.hold is None or self.hold.wait(60)
        time.sleep(self.pause)
        if self.meanwhile is not None:
            self.meanwhile()
        if self.error is not None:
            raise self.error
        if self.down:
            raise ProviderUnavailable("down")


class Bench:
    """Data keys over one key, with a clock that stands still."""

    def __init__(self, places: Places | None = None, **limits: float) -> None:
        self.provider = CountingProvider()
        self.clock = SetClock()
        given = {"max_messages": 3, "max_bytes": 1000, "max_age_seconds": 60, "entries": 10, **limits}
        self.data_keys = DataKeys(
            {"software": self.provider},
            CacheLimits(
                int(given["max_messages"]), int(given["max_bytes"]), given["max_age_seconds"], int(given["entries"])
            ),
            places={"software": places} if places is not None else None,
            clock=self.clock,
        )
        material = self.provider.create("ehr", 1)
        self.key = Key("ehr", "hospital", "software", (KeyVersion(1, material, NOW),), NOW, NOW, revision=1)

    def an_envelope(self, suite: Suite = Suite.GATEWAY_SEALED, context: EncryptionContext = PATIENT) -> Envelope:
        made = self.data_keys.generate(self.key, context, suite.holder, Trail())
        if suite is Suite.WRAPPED_DATA_KEY:
            return wrapped_data_key("ehr", 1, made.wrapped)
        return Envelope(suite, "ehr", 1, made.wrapped, bound_header(suite, "ehr", bytes(32), bytes(32)))

    def unwrap(self, envelope: Envelope, context: EncryptionContext = PATIENT) -> bytes:
        return self.data_keys.unwrap(self.key, self.key.primary, envelope, context)


def test_a_data_key_is_reused_up_to_its_messages() -> None:
    bench = Bench()
    wrapped = [bench.data_keys.for_sealing(bench.key, PATIENT, 10, Trail()).wrapped for _ in range(7)]
    assert [wrapped.count(each) for each in dict.fromkeys(wrapped)] == [3, 3, 1]


def test_a_data_key_is_reused_up_to_its_bytes_and_its_age() -> None:
    bench = Bench()
    first = bench.data_keys.for_sealing(bench.key, PATIENT, 900, Trail())
    assert bench.data_keys.for_sealing(bench.key, PATIENT, 101, Trail()) is not first
    second = bench.data_keys.for_sealing(bench.key, PATIENT, 1, Trail())
    bench.clock.move(timedelta(seconds=60))
    assert bench.data_keys.for_sealing(bench.key, PATIENT, 1, Trail()) is not second


def test_a_message_larger_than_the_limit_gets_a_data_key_of_its_own() -> None:
    bench = Bench()
    made = bench.data_keys.for_sealing(bench.key, PATIENT, 5000, Trail())
    assert bench.data_keys.for_sealing(bench.key, PATIENT, 5000, Trail()).wrapped != made.wrapped


@pytest.mark.parametrize(
    ("sizes", "runs"),
    [([10] * 3, [3]), ([10] * 7, [3, 3, 1]), ([400, 400, 400], [2, 1]), ([5000, 10, 5000], [1, 1, 1]), ([], [])],
)
def test_many_messages_get_data_keys_within_the_same_limits(sizes: list[int], runs: list[int]) -> None:
    bench = Bench()
    trail = Trail()
    found = list(bench.data_keys.for_sealing_many(bench.key, PATIENT, sizes, trail))
    assert [count for _, count in found] == runs
    assert len({data_key.wrapped for data_key, _ in found}) == len(runs)
    assert trail.wraps == bench.provider.wraps


def test_what_many_messages_left_of_a_data_key_others_may_use() -> None:
    bench = Bench()
    ((first, _),) = bench.data_keys.for_sealing_many(bench.key, PATIENT, [10, 10], Trail())
    assert bench.data_keys.for_sealing(bench.key, PATIENT, 980, Trail()).wrapped == first.wrapped
    assert bench.data_keys.for_sealing(bench.key, PATIENT, 10, Trail()).wrapped != first.wrapped


def test_two_contexts_never_share_a_data_key() -> None:
    bench = Bench()
    one = bench.data_keys.for_sealing(bench.key, PATIENT, 1, Trail())
    other = bench.data_keys.for_sealing(bench.key, EMPTY_CONTEXT, 1, Trail())
    assert one.plaintext != other.plaintext


def test_generated_data_keys_are_never_handed_out_twice() -> None:
    bench = Bench()
    made = {bench.data_keys.generate(bench.key, PATIENT, DataKeyHolder.CLIENT, Trail()).plaintext for _ in range(50)}
    assert len(made) == 50


def test_an_unwrapped_data_key_is_found_again_until_it_is_old() -> None:
    bench = Bench()
    envelope = bench.an_envelope()
    assert bench.unwrap(envelope) == bench.unwrap(envelope)
    assert bench.provider.unwraps == 1
    bench.clock.move(timedelta(seconds=60))
    bench.unwrap(envelope)
    assert bench.provider.unwraps == 2


def test_a_cached_data_key_is_not_found_with_another_context_holder_or_wrapping() -> None:
    bench = Bench()
    envelope = bench.an_envelope()
    bench.unwrap(envelope)
    with pytest.raises(DecryptionFailed):
        bench.unwrap(envelope, EMPTY_CONTEXT)
    with pytest.raises(DecryptionFailed):
        bench.unwrap(wrapped_data_key("ehr", 1, envelope.wrapped))
    with pytest.raises(DecryptionFailed):
        bench.unwrap(replace(envelope, wrapped=envelope.wrapped[:-1] + bytes((envelope.wrapped[-1] ^ 1,))))


def test_a_key_that_was_moved_to_another_tenant_opens_nothing_of_what_it_protected() -> None:
    bench = Bench()
    envelope = bench.an_envelope()
    bench.key = replace(bench.key, tenant="billing")
    with pytest.raises(DecryptionFailed):
        bench.unwrap(envelope)


def test_a_client_sealed_envelope_and_its_wrapped_data_key_have_the_same_data_key() -> None:
    bench = Bench()
    envelope = bench.an_envelope(Suite.CLIENT_SEALED)
    assert bench.unwrap(envelope) == bench.unwrap(envelope.wrapped_data_key())


def test_what_did_not_open_is_not_cached() -> None:
    bench = Bench()
    envelope = replace(bench.an_envelope(), wrapped=bytes(60))
    for _ in range(2):
        with pytest.raises(DecryptionFailed):
            bench.unwrap(envelope)
    assert bench.provider.unwraps == 2


@pytest.mark.parametrize("forget", [True, False], ids=["by the listener", "by the revision"])
def test_any_change_of_the_key_forgets_its_data_keys(forget: bool) -> None:
    bench = Bench()
    envelope = bench.an_envelope()
    bench.unwrap(envelope)
    sealing = bench.data_keys.for_sealing(bench.key, PATIENT, 1, Trail())
    if forget:
        bench.data_keys.forget(frozenset({"ehr"}))
    else:
        bench.key = replace(bench.key, revision=2)
    bench.unwrap(envelope)
    assert bench.provider.unwraps == 2
    assert bench.data_keys.for_sealing(bench.key, PATIENT, 1, Trail()).wrapped != sealing.wrapped


def test_the_caches_are_bounded() -> None:
    bench = Bench(entries=2)
    envelopes = [bench.an_envelope() for _ in range(3)]
    for envelope in (*envelopes, envelopes[0]):
        bench.unwrap(envelope)
    assert bench.provider.unwraps == 4


def test_an_age_of_zero_turns_reuse_off() -> None:
    bench = Bench(max_age_seconds=0)
    envelope = bench.an_envelope()
    bench.unwrap(envelope)
    bench.unwrap(envelope)
    assert bench.provider.unwraps == 2
    assert (
        bench.data_keys.for_sealing(bench.key, PATIENT, 1, Trail()).wrapped
        != bench.data_keys.for_sealing(bench.key, PATIENT, 1, Trail()).wrapped
    )


def test_many_callers_who_miss_the_same_data_key_make_one_provider_call() -> None:
    bench = Bench()
    envelope = bench.an_envelope()
    bench.provider.pause = 0.2
    start = threading.Barrier(16)

    def miss() -> bytes:
        start.wait()
        return bench.unwrap(envelope)

    with ThreadPoolExecutor(16) as pool:
        found = {task.result() for task in [pool.submit(miss) for _ in range(16)]}
    assert len(found) == 1
    assert bench.provider.unwraps == 1


def test_who_waits_for_a_call_that_takes_long_wants_a_place_as_well() -> None:
    places = Places("software", 2)
    bench = Bench(places=places)
    envelope = bench.an_envelope()
    bench.provider.hold = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        leader = pool.submit(bench.unwrap, envelope)
        assert eventually(lambda: bench.provider.begun == 1)
        bench.clock.move(timedelta(seconds=GRACE_SECONDS))  # the call is out for long
        with places.place("a"), places.place("b"), pytest.raises(Overloaded):
            bench.unwrap(envelope)
        follower = pool.submit(bench.unwrap, envelope)
        assert eventually(lambda: places.taken == 1)
        bench.provider.hold.set()

        assert leader.result(60) == follower.result(60)
    assert bench.provider.unwraps == 1


def test_a_wrap_for_which_there_was_no_room_is_not_counted() -> None:
    bench, trail = Bench(), Trail()
    bench.provider.error = Overloaded("no place")

    with pytest.raises(Overloaded):
        bench.data_keys.generate(bench.key, PATIENT, DataKeyHolder.GATEWAY, trail)

    assert trail.wraps == 0


def test_a_failed_call_fails_for_all_who_wait_and_for_nobody_after() -> None:
    bench = Bench()
    envelope = bench.an_envelope()
    bench.provider.pause, bench.provider.down = 0.2, True
    start = threading.Barrier(4)

    def miss() -> bytes:
        start.wait()
        return bench.unwrap(envelope)

    with ThreadPoolExecutor(4) as pool:
        for task in [pool.submit(miss) for _ in range(4)]:
            with pytest.raises(ProviderUnavailable):
                task.result()
    bench.provider.down = False
    assert len(bench.unwrap(envelope)) == 32


def test_a_provider_that_is_not_configured_here_is_named() -> None:
    bench = Bench()
    bench.key = replace(bench.key, provider="elsewhere")
    with pytest.raises(FailedPrecondition) as refusal:
        bench.data_keys.for_sealing(bench.key, PATIENT, 1, Trail())
    assert refusal.value.reason is Reason.PROVIDER_UNKNOWN


def test_long_contexts_take_no_room_in_the_cache_and_share_no_data_key() -> None:
    bench = Bench()
    contexts = [EncryptionContext.of({"patient": "P" * 4000 + str(number)}) for number in range(2)]
    wrapped = [bench.data_keys.for_sealing(bench.key, each, 10, Trail()).wrapped for each in contexts * 2]
    assert wrapped[:2] == wrapped[2:]
    assert wrapped[0] != wrapped[1]
    assert all(len(place[3]) <= 64 for place in bench.data_keys._sealing)


def in_an_impatient_thread(work: Callable[[], object]) -> object:
    """Return what a thread that must not wait makes of something, or raise what it raises."""

    def run() -> object:
        become_impatient()
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


def test_a_provider_that_answers_from_memory_is_asked_by_a_thread_that_must_not_wait() -> None:
    bench = Bench()
    made = in_an_impatient_thread(
        lambda: bench.data_keys.generate(bench.key, PATIENT, DataKeyHolder.CLIENT, Trail()).wrapped
    )
    assert made
    assert bench.provider.wraps == 1


def test_any_other_provider_is_not_asked_there_and_no_wrap_is_counted() -> None:
    class Remote(CountingProvider):
        def describe(self) -> ProviderDescription:
            return replace(super().describe(), in_memory=False)

    provider, trail = Remote(), Trail()
    data_keys = DataKeys({"software": provider}, CacheLimits(3, 1000, 60, 10))
    with pytest.raises(WouldWait):
        in_an_impatient_thread(lambda: data_keys.generate(Bench().key, PATIENT, DataKeyHolder.CLIENT, trail))
    assert (provider.wraps, trail.wraps) == (0, 0)


def test_a_sum_of_wraps_that_has_to_be_read_first_is_not_waited_for_there() -> None:
    def read(_key_id: str, _version: int) -> int:
        raise AssertionError("the database was asked")

    bench, trail = Bench(), Trail()
    data_keys = DataKeys({"software": bench.provider}, CacheLimits(3, 1000, 60, 10), allowance=StoredWraps(read))
    with pytest.raises(WouldWait):
        in_an_impatient_thread(lambda: data_keys.generate(bench.key, PATIENT, DataKeyHolder.CLIENT, trail))
    assert (bench.provider.wraps, trail.wraps) == (0, 0)
