"""A gateway with very many keys and policies beside one with few: what a call costs in each, and how each starts."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from loadtests.bench.duel import Plan, Result, Say, Side, duel
from loadtests.bench.gateway import Gateway, GatewaySettings
from loadtests.bench.h2load import Generator
from loadtests.bench.population import add_keys, add_policies
from loadtests.bench.works import work_named

MANY_KEYS: Final = 100_000
MANY_POLICIES: Final = 1_000
FEW_KEYS: Final = 10

_WORKS: Final = ("encrypt-1KiB", "decrypt-1KiB")
_STARTS: Final = 3


@dataclass(frozen=True, slots=True)
class Scale:
    """Each work with many keys (first) and with few (second), and the seconds of starts until calls are answered."""

    keys: int
    policies: int
    results: Sequence[Result]
    starts_s: Sequence[float]
    few_starts_s: Sequence[float]

    @property
    def start_s(self) -> float:
        """The median start with many keys."""
        return statistics.median(self.starts_s)


def compare(folder: Path, settings: GatewaySettings, plan: Plan, cores: int, say: Say) -> Scale:
    """Start both gateways, several times each, and measure the works in alternating slices."""
    folder.mkdir(parents=True)
    few = Gateway.start(folder / "few", settings, {"bench": "software"})
    try:
        many = Gateway.start(folder / "many", settings, {"bench": "software"})
        try:
            return _compare(folder, few, many, settings, plan, cores, say)
        finally:
            many.stop()
    finally:
        few.stop()


def _compare(
    folder: Path, few: Gateway, many: Gateway, settings: GatewaySettings, plan: Plan, cores: int, say: Say
) -> Scale:
    many.stop()
    few.stop()
    add_keys(few.folder / "state.db", FEW_KEYS)
    add_keys(many.folder / "state.db", MANY_KEYS)
    add_policies(many.folder / "policies", MANY_POLICIES)
    # One by one, so that neither start shares the machine with the other gateway.
    few_starts: list[float] = []
    starts: list[float] = []
    for _ in range(min(_STARTS, plan.pairs)):
        for gateway, found in ((few, few_starts), (many, starts)):
            found.append(gateway.restart(settings))
            gateway.stop()
    few.restart(settings)
    many.restart(settings)
    say(f"start with {MANY_KEYS:,} keys and {MANY_POLICIES:,} policies: {statistics.median(starts):.2f} s")
    results: list[Result] = []
    plan = replace(plan, search=None)
    for name in _WORKS:
        work = work_named(name)
        sides = [
            Side(gateway, Generator(folder / "generator", *gateway.credentials_of(work), cores=cores))
            for gateway in (many, few)
        ]
        results.append(duel(sides[0], sides[1], work, plan, half=False, say=lambda _: None))
        say(f"{name}: measured with {MANY_KEYS:,} keys and with {FEW_KEYS}")
    return Scale(MANY_KEYS, MANY_POLICIES, results, starts, few_starts)
