"""Two servers in turn: what load suits each, short slices that alternate, and latency at a load that both can bear.

The machine's speed drifts within seconds. So the two slices of a pair follow each other, which comes first changes from
pair to pair, and ratios are made pair by pair.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from loadtests.bench.contender import Contender, WrongAnswerError
from loadtests.bench.figures import Ratio, Slice, middle
from loadtests.bench.h2load import Generator, Load, Timing
from loadtests.bench.works import Work

_CLOSED: Final = (4, 8, 16, 32, 64, 128, 256)
"""Connections, with a call in flight on each, that are tried for a server's best: every second, and neighbours."""

_WITH_STREAMS: Final = (32, 4)
"""Connections and streams of each that are tried besides."""

_AGAIN: Final = 3
_CLOSE: Final = 0.1
"""How many loads at most are tried a second time, and how far below the best their rates may be."""

_ALIKE: Final = 0.03
"""Loads whose rates differ by less are taken as alike: then the one with fewer calls in flight is better."""

_CALLS_OF_A_CONNECTION: Final = 50.0
"""At a given rate, calls a second of one connection: h2load's clock for them ticks each 10 ms."""

_FEWEST_CONNECTIONS: Final = 8

_LONGER: Final = (4, 8)
"""How many times as long a slice is that is repeated, since nothing was answered in it."""

_UNMEASURED_STREAMS: Final = 100

Say = Callable[[str], None]
"""Told how far the benchmark is."""


@dataclass(frozen=True, slots=True)
class Side:
    """A server, and the generator that has a certificate for it."""

    contender: Contender
    generator: Generator


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often. ``search`` times a load that is tried; without it, and for providers, `load` is taken."""

    pairs: int
    slice: Timing
    search: Timing | None
    load: Load


@dataclass(frozen=True, slots=True)
class Standing:
    """What a server reached at a load: the medians over its slices."""

    load: Load
    median: Slice
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class Half:
    """Latencies at half of the highest rate of the second server, calls coming in regardless of the answers."""

    rate: float
    first: Slice
    second: Slice
    p99: Ratio


@dataclass(frozen=True, slots=True)
class Result:
    """A work: both servers at their best, ratios of the first over the second."""

    work: Work
    first: Standing
    second: Standing
    calls: Ratio
    cpu: Ratio
    half: Half | None


def best_load(side: Side, work: Work, timing: Timing) -> Load:
    """Try loads and return the one with the most calls a second; of loads alike the one with fewest in flight.

    Each is tried once, and those that come close to the best again: one slice alone may have been a lucky one.
    """
    target = side.contender.target(work)

    def rate(load: Load) -> float:
        found = side.generator.slice(side.contender, target, load, timing)
        _require_success(side, work, load, found)
        return found.calls_per_s

    tried: dict[Load, float] = {}
    for protocol in target.protocols:
        tried |= _tried(protocol, rate)
    for load in close_ones(tried):
        tried[load] = (tried[load] + rate(load)) / 2
    return choose(list(tried.items()))


def _tried(protocol: str, rate: Callable[[Load], float]) -> dict[Load, float]:
    """Return the rates of some loads: few connections, some and many, then the neighbours of the best of these."""
    tried = {load: rate(load) for load in (Load(clients, 1, protocol) for clients in _CLOSED[1::2])}
    best = _CLOSED.index(max(tried, key=tried.__getitem__).clients)
    for clients in (_CLOSED[best - 1], _CLOSED[best + 1]):
        load = Load(clients, 1, protocol)
        tried[load] = rate(load)
    if protocol == "h2":  # HTTP/1.1 has no streams
        load = Load(*_WITH_STREAMS, protocol)
        tried[load] = rate(load)
    return tried


def close_ones(tried: Mapping[Load, float]) -> list[Load]:
    """Return the loads to try again, the best first: three at most, and none that is far from the best."""
    ordered = sorted(tried, key=tried.__getitem__, reverse=True)[:_AGAIN]
    return [load for load in ordered if tried[load] >= tried[ordered[0]] * (1 - _CLOSE)]


def choose(tried: Sequence[tuple[Load, float]]) -> Load:
    """Return the load of the highest rate, or the one with fewest calls in flight of those that come close to it."""
    most = max(rate for _, rate in tried)
    return min((load for load, rate in tried if rate >= most * (1 - _ALIKE)), key=lambda load: load.in_flight)


def duel(first: Side, second: Side, work: Work, plan: Plan, *, half: bool, say: Say) -> Result:
    """Measure a work with both servers."""
    sides = (first, second)
    for side in sides:
        side.contender.check(work)
    loads: list[Load] = []
    for side in sides:
        loads.append(best_load(side, work, plan.search) if plan.search is not None else plan.load)
        say(f"{work.name}: {side.contender.name} is at its best with {loads[-1]}")
    found = compared(work, loads, rounds(sides, work, loads, plan))
    return replace(found, half=_at_half(sides, work, found.second, plan)) if half else found


def compared(work: Work, loads: Sequence[Load], found: Sequence[Sequence[Slice]]) -> Result:
    """Return what the slices of both servers, pair by pair, come to; without latencies at half load."""
    first, second = (Standing(load, middle(slices), tuple(slices)) for load, slices in zip(loads, found, strict=True))
    pairs = list(zip(*found, strict=True))
    return Result(
        work,
        first,
        second,
        Ratio.of([(mine.calls_per_s, theirs.calls_per_s) for mine, theirs in pairs]),
        Ratio.of([(mine.cpu_s_per_1000, theirs.cpu_s_per_1000) for mine, theirs in pairs]),
        None,
    )


def _at_half(sides: Sequence[Side], work: Work, highest: Standing, plan: Plan) -> Half:
    rate = highest.median.calls_per_s / 2
    loads = [paced(rate, protocol) for protocol in ("h2", highest.load.protocol)]
    found = rounds(sides, work, loads, plan)
    pairs = list(zip(*found, strict=True))
    return Half(
        rate, middle(found[0]), middle(found[1]), Ratio.of([(mine.p99_ms, theirs.p99_ms) for mine, theirs in pairs])
    )


def paced(rate: float, protocol: str) -> Load:
    """Return a load of so many calls a second, over so many connections that each sends them one by one."""
    clients = max(_FEWEST_CONNECTIONS, math.ceil(rate / _CALLS_OF_A_CONNECTION))
    return Load(clients, _UNMEASURED_STREAMS if protocol == "h2" else 1, protocol, rate=rate)


def rounds(sides: Sequence[Side], work: Work, loads: Sequence[Load], plan: Plan) -> list[list[Slice]]:
    """Return the checked slices of each side, pair by pair."""
    found: list[list[Slice]] = [[] for _ in sides]
    for side in sides:
        side.contender.begin_count()
    for number in range(plan.pairs):
        places = range(len(sides))
        for place in places if number % 2 == 0 else reversed(places):
            found[place].append(measured(sides[place], work, loads[place], plan.slice))
    return found


def measured(side: Side, work: Work, load: Load, timing: Timing) -> Slice:
    """Return a slice whose answers were checked. Raises `WrongAnswerError`. Counting must have begun.

    Calls that were shed are taken out of it. One in which nothing was answered is repeated, and longer: the machine
    had no time for the server.
    """
    contender = side.contender
    for times in (1, *_LONGER):
        longer = replace(timing, measured=timing.measured * times)
        found = side.generator.slice(contender, contender.target(work), load, longer)
        _require_success(side, work, load, found)
        shed = contender.check_count(work, found.acknowledged, found.failed + load.in_flight)
        found = found.without(shed, longer.measured)
        contender.check(work)
        if found.calls_per_s:
            return found
    raise WrongAnswerError(f"{contender.name} {work.name}, {load}: no call was answered")


def _require_success(side: Side, work: Work, load: Load, found: Slice) -> None:
    if found.failed:
        raise WrongAnswerError(f"{side.contender.name} {work.name}, {load}: {found.failed} calls failed")
