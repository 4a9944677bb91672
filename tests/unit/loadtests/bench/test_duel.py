"""Two servers in turn: the choice of loads, the order of slices, and what ends a benchmark."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest

from loadtests.bench.contender import Target, WrongAnswerError
from loadtests.bench.duel import Plan, Side, best_load, choose, close_ones, duel, paced
from loadtests.bench.figures import Slice
from loadtests.bench.h2load import Generator, Load, Timing
from loadtests.bench.works import WORKS, Work, work_named
from tests.unit.loadtests.bench.examples import made_slice

PLAN = Plan(4, Timing(0.0, 1.0), None, Load(16))


class Server:
    """A contender that notes what is asked of it."""

    processes: Sequence[int] = ()

    def __init__(self, name: str, diary: list[str], protocols: Sequence[str] = ("h2",)) -> None:
        self.name = name
        self.diary = diary
        self.protocols = protocols
        self.counted: list[tuple[int, int]] = []
        self.shed = 0

    def target(self, work: Work) -> Target:
        return Target(f"https://{self.name}/{work.name}", b"", {}, self.protocols)

    def check(self, work: Work) -> None:
        self.diary.append(f"check {self.name}")

    def begin_count(self) -> None:
        self.diary.append(f"begin {self.name}")

    def check_count(self, work: Work, acknowledged: int, unanswered: int) -> int:
        self.counted.append((acknowledged, unanswered))
        return self.shed


class Press:
    """A generator that answers with given rates, by protocol and connections."""

    def __init__(self, rates: dict[tuple[str, int, int], float], failed: int = 0) -> None:
        self.rates = rates
        self.failed = failed

    def slice(self, contender: Server, target: Target, load: Load, timing: Timing) -> Slice:
        contender.diary.append(f"slice {contender.name}")
        rate = self.rates.get((load.protocol, load.clients, load.streams), 100.0)
        return replace(made_slice(calls=rate), failed=self.failed)


def side(server: Server, press: Press | None = None) -> Side:
    return Side(server, cast("Generator", press or Press({})))


def test_of_loads_that_are_alike_the_one_with_fewest_calls_in_flight_is_best() -> None:
    tried = [(Load(64), 1000.0), (Load(16), 980.0), (Load(8), 900.0)]

    assert choose(tried) == Load(16)


def tried_with(rates: dict[tuple[str, int, int], float], protocols: Sequence[str] = ("h2",)) -> tuple[Load, list[Load]]:
    """Return the best load of a server with these rates, and the loads that were tried."""
    loads: list[Load] = []

    class Noting(Press):
        def slice(self, contender: Server, target: Target, load: Load, timing: Timing) -> Slice:
            loads.append(load)
            return super().slice(contender, target, load, timing)

    return best_load(side(Server("a", [], protocols), Noting(rates)), WORKS[0], Timing(0.0, 0.1)), loads


@pytest.mark.parametrize(("clients", "between"), [(4, 8), (8, 8), (16, 8), (32, 32), (64, 128), (128, 128), (256, 128)])
def test_the_best_number_of_connections_is_found_also_at_the_edges(clients: int, between: int) -> None:
    best, loads = tried_with({("h2", between, 1): 400.0, ("h2", clients, 1): 500.0})

    assert best == Load(clients)
    assert len({load for load in loads if load.streams == 1}) == 5


def test_loads_close_to_the_best_are_tried_again_and_count_by_their_mean() -> None:
    class Lucky(Press):
        def slice(self, contender: Server, target: Target, load: Load, timing: Timing) -> Slice:
            contender.diary.append(f"{load.clients}x{load.streams}")
            # Once in a while a slice is fast.
            rate = {32: 500.0, 64: 480.0, 128: 460.0}.get(load.clients, 100.0)
            if load.clients == 32:
                rate = 500.0 if contender.diary.count("32x1") == 1 and load.streams == 1 else 300.0
            return made_slice(calls=rate)

    diary: list[str] = []

    best = best_load(side(Server("a", diary), Lucky({})), WORKS[0], Timing(0.0, 0.1))

    assert diary[-3:] == ["32x1", "64x1", "128x1"]
    assert best == Load(64)


def test_loads_far_from_the_best_are_not_tried_again() -> None:
    tried = {Load(8): 800.0, Load(16): 1000.0, Load(32): 950.0, Load(64): 940.0, Load(128): 930.0}

    assert close_ones(tried) == [Load(16), Load(32), Load(64)]
    assert close_ones({Load(8): 800.0, Load(16): 1000.0}) == [Load(16)]


def test_the_best_load_is_searched_over_every_protocol_of_the_server() -> None:
    diary: list[str] = []
    rates = {("http/1.1", 32, 1): 500.0, ("h2", 128, 1): 300.0, ("h2", 64, 1): 400.0}
    plan = Plan(1, PLAN.slice, Timing(0.0, 0.1), PLAN.load)

    found = duel(
        side(Server("a", diary), Press(rates)),
        side(Server("b", diary, ("h2", "http/1.1")), Press(rates)),
        WORKS[0],
        plan,
        half=False,
        say=diary.append,
    )

    assert found.first.load == Load(64)
    assert found.second.load == Load(32, protocol="http/1.1")
    assert found.calls.pairs == (0.8,)


def test_slices_alternate_and_the_first_of_a_pair_changes() -> None:
    diary: list[str] = []

    duel(side(Server("a", diary)), side(Server("b", diary)), WORKS[0], PLAN, half=False, say=lambda _: None)

    assert "".join(entry[-1] for entry in diary if entry.startswith("slice")) == "abbaabba"


def test_a_slice_is_checked_by_a_real_call_and_by_its_count() -> None:
    diary: list[str] = []
    first, second = Server("a", diary), Server("b", diary)

    duel(side(first), side(second), WORKS[0], Plan(1, PLAN.slice, None, PLAN.load), half=False, say=lambda _: None)

    assert diary[2:] == ["begin a", "begin b", "slice a", "check a", "slice b", "check b"]
    assert first.counted == [(100, 16)]


def test_a_call_that_failed_ends_the_benchmark() -> None:
    diary: list[str] = []
    with pytest.raises(WrongAnswerError, match="a encrypt-1KiB, 16 connections, h2: 3 calls failed"):
        duel(
            side(Server("a", diary), Press({}, 3)),
            side(Server("b", diary)),
            WORKS[0],
            PLAN,
            half=False,
            say=diary.append,
        )


def test_calls_that_were_shed_are_no_answers_and_do_not_end_the_benchmark() -> None:
    diary: list[str] = []
    first = Server("a", diary)
    first.shed = 20

    found = duel(side(first), side(Server("b", diary)), WORKS[0], PLAN, half=False, say=diary.append)

    assert found.calls.pairs == (0.8,) * 4
    assert found.cpu.median == pytest.approx(1.25)
    assert (found.first.median.shed, found.second.median.shed) == (80, 0)
    assert {each.acknowledged for each in found.first.slices} == {80}


def test_a_server_that_sheds_all_is_asked_again_for_longer_and_then_given_up() -> None:
    diary: list[str] = []
    first = Server("a", diary)
    first.shed = 10_000

    with pytest.raises(WrongAnswerError, match="no call was answered"):
        duel(side(first), side(Server("b", diary)), WORKS[0], PLAN, half=False, say=diary.append)


def test_at_half_load_both_get_half_of_the_second_servers_rate() -> None:
    diary: list[str] = []

    found = duel(side(Server("a", diary)), side(Server("b", diary)), WORKS[0], PLAN, half=True, say=lambda _: None)

    assert found.half is not None
    assert found.half.rate == 50.0
    assert found.half.p99.pairs == (1.0,) * 4


@pytest.mark.parametrize(("rate", "clients"), [(10.0, 8), (400.0, 8), (2200.0, 44)])
def test_a_paced_load_has_so_many_connections_that_each_sends_one_by_one(rate: float, clients: int) -> None:
    assert paced(rate, "h2").clients == clients
    assert paced(rate, "h2").rate / clients <= 50
    assert paced(rate, "http/1.1").streams == 1


def test_every_work_that_must_be_shown_is_there() -> None:
    asked = {work.name: (work.demand, work.aim) for work in WORKS if work.demand}

    assert asked == {
        "encrypt-1KiB": (2.0, 3.0),
        "decrypt-1KiB": (2.0, 3.0),
        "encrypt-64KiB": (8.0, 15.0),
        "decrypt-64KiB": (8.0, 15.0),
        "batch100-encrypt-1KiB": (8.0, 14.0),
        "batch100-decrypt-1KiB": (8.0, 14.0),
    }
    assert work_named("batch100-encrypt-1KiB").megabytes == pytest.approx(0.1024)
