"""A provider that hangs: what is refused, how soon, and how it comes back."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from kmsgw.errors import DecryptionFailed, Overloaded, ProviderUnavailable
from kmsgw.providers.base import DestroysMaterial, MaterialRef, ProviderDescription, ProviderKind
from kmsgw.providers.circuit import LATE_LIMIT, LATE_SECONDS, OPEN_SECONDS, Circuit
from kmsgw.providers.guarded import GuardedProvider, guard
from kmsgw.providers.places import GRACE_SECONDS, Places, SharedPlaces
from tests.support.gateway import eventually

MATERIAL = MaterialRef("ehr", 1, b"")


@dataclass
class Hands:
    """A clock whose hands a test moves."""

    time: float = 100.0

    def monotonic(self) -> float:
        return self.time


@dataclass
class Provider:
    """Answers, hangs, fails late or soon, as it is told."""

    clock: Hands
    hangs: threading.Event = field(default_factory=threading.Event)
    takes: float = 0.0
    fails: Exception | None = None
    calls: int = 0

    def __post_init__(self) -> None:
        self.hangs.set()

    def describe(self) -> ProviderDescription:
        return ProviderDescription("p", ProviderKind.SOFTWARE, "", development_only=True)

    def create(self, key_id: str, version: int) -> bytes:
        return b""

    def wrap(self, material: MaterialRef, data_key: bytes, aad: bytes) -> bytes:
        self.calls += 1
        assert self.hangs.wait(60)
        self.clock.time += self.takes
        if self.fails is not None:
            raise self.fails
        return b"wrapped"

    def unwrap(self, material: MaterialRef, wrapped: bytes, aad: bytes) -> bytes:
        return self.wrap(material, b"", aad)

    def probe(self) -> None:
        self.wrap(MATERIAL, b"", b"")

    def close(self) -> None: ...


class Destroyer(Provider):
    def destroy(self, material: MaterialRef) -> None:
        self.wrap(material, b"", b"")


class Bench:
    def __init__(self, most: int = 4) -> None:
        self.clock = Hands()
        self.inner = Provider(self.clock)
        self.places = Places("p", most, clock=self.clock)  # type: ignore[arg-type]
        self.callers = threading.local()
        self.guarded = self.behind(self.inner)
        self.threads = ThreadPoolExecutor(16)

    def behind(self, inner: Provider) -> GuardedProvider:
        return guard(inner, self.places, lambda: getattr(self.callers, "name", ""), self.clock)  # type: ignore[arg-type]

    def call(self, caller: str = "ehr") -> bytes:
        self.callers.name = caller
        return self.guarded.wrap(MATERIAL, b"", b"")

    def begin(self, caller: str = "ehr") -> "Future[bytes]":
        return self.threads.submit(self.call, caller)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.inner.hangs.set()
    made.threads.shutdown()


def hang(bench: Bench, *callers: str) -> "list[Future[bytes]]":
    bench.inner.hangs.clear()
    begun = [bench.begin(caller) for caller in callers]
    assert eventually(lambda: bench.inner.calls == len(callers))
    return begun


def test_a_provider_that_hangs_holds_its_places_and_the_rest_is_refused_at_once(bench: Bench) -> None:
    begun = hang(bench, "a", "a", "b", "b")
    bench.clock.time += GRACE_SECONDS

    with pytest.raises(Overloaded) as refusal:
        bench.call("c")
    assert refusal.value.retry_after

    bench.inner.hangs.set()
    assert {each.result(60) for each in begun} == {b"wrapped"}
    assert bench.call("c") == b"wrapped"
    assert bench.places.taken == 0


def test_providers_that_hang_leave_a_place_to_each_that_does_not() -> None:
    shared = SharedPlaces(3)
    first, second, third = (Places(name, 3, shared=shared) for name in ("first", "second", "third"))
    with ExitStack() as stack:
        for caller in "abc":
            stack.enter_context(first.place(caller))
        stack.enter_context(second.place("a"))
        stack.enter_context(second.place("b"))

        with third.place("a"):
            assert (first.taken, second.taken, third.taken, shared.taken) == (3, 2, 1, 3)

    assert shared.taken == 0


def test_at_a_slow_provider_one_caller_takes_half_of_the_places(bench: Bench) -> None:
    hang(bench, "flooder", "flooder")
    bench.clock.time += GRACE_SECONDS

    with pytest.raises(Overloaded):
        bench.call("flooder")
    honest = bench.begin("honest")
    assert eventually(lambda: bench.inner.calls == 3)
    bench.inner.hangs.set()
    assert honest.result(60) == b"wrapped"


def test_at_a_lively_provider_who_finds_no_place_waits_for_one(bench: Bench) -> None:
    hang(bench, "a", "a", "b", "b")

    late = bench.begin("c")
    bench.inner.hangs.set()

    assert late.result(60) == b"wrapped"


def test_calls_that_fail_late_open_the_circuit_and_the_provider_is_left_alone(bench: Bench) -> None:
    bench.inner.fails, bench.inner.takes = ProviderUnavailable("late"), LATE_SECONDS
    for _ in range(LATE_LIMIT):
        with pytest.raises(ProviderUnavailable, match="late"):
            bench.call()

    with pytest.raises(ProviderUnavailable, match="left alone") as refusal:
        bench.call()

    assert bench.inner.calls == LATE_LIMIT
    assert refusal.value.retry_after == pytest.approx(OPEN_SECONDS)


def test_after_a_while_one_call_tries_and_closes_it(bench: Bench) -> None:
    bench.inner.fails, bench.inner.takes = ProviderUnavailable("late"), LATE_SECONDS
    for _ in range(LATE_LIMIT):
        with pytest.raises(ProviderUnavailable):
            bench.call()
    bench.inner.fails, bench.inner.takes = None, 0.0
    bench.clock.time += OPEN_SECONDS

    assert bench.call() == b"wrapped"
    assert bench.call() == b"wrapped"


def test_a_trial_that_fails_late_opens_it_again() -> None:
    circuit = Circuit()
    for _ in range(LATE_LIMIT):
        circuit.failed_late(10.0)
    assert circuit.ask(10.5) == pytest.approx(0.5)
    assert circuit.ask(11.0) == 0.0
    assert circuit.ask(11.0) == pytest.approx(OPEN_SECONDS)

    circuit.failed_late(14.0)

    assert circuit.ask(14.5) == pytest.approx(0.5)
    circuit.answered()
    assert circuit.ask(14.5) == 0.0


def test_a_probe_that_succeeds_closes_it(bench: Bench) -> None:
    bench.inner.fails, bench.inner.takes = ProviderUnavailable("late"), LATE_SECONDS
    for _ in range(LATE_LIMIT):
        with pytest.raises(ProviderUnavailable):
            bench.guarded.probe()
    with pytest.raises(ProviderUnavailable, match="left alone"):
        bench.call()

    bench.inner.fails, bench.inner.takes = None, 0.0
    bench.guarded.probe()

    assert bench.call() == b"wrapped"


@pytest.mark.parametrize("error", [ProviderUnavailable("soon"), DecryptionFailed()])
def test_what_fails_soon_or_by_a_rule_does_not_open_it(bench: Bench, error: Exception) -> None:
    bench.inner.fails = error
    if isinstance(error, DecryptionFailed):
        bench.inner.takes = LATE_SECONDS

    for _ in range(3 * LATE_LIMIT):
        with pytest.raises(type(error)):
            bench.call()

    assert bench.inner.calls == 3 * LATE_LIMIT


def test_a_guarded_provider_can_what_the_provider_can(bench: Bench) -> None:
    destroyer = bench.behind(Destroyer(bench.clock))

    able: object = destroyer
    assert isinstance(able, DestroysMaterial)
    able.destroy(MATERIAL)
    assert not hasattr(destroyer, "destroy_key")
    assert not hasattr(destroyer, "import_material")
    assert not hasattr(bench.guarded, "destroy")
