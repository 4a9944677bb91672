"""Calls that are worked out anew, beside OpenBao's: what kmsgw does where no call is like an earlier one.

In all other parts every call of a slice is the same bytes, and kmsgw answers those like earlier ones. Here its gateway
remembers none (`loadtests.bench.forgetful`).
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from loadtests.bench.duel import Plan, Result, Say, Side, compared, rounds
from loadtests.bench.forgetful import START_VARIABLE
from loadtests.bench.gateway import Gateway, GatewaySettings
from loadtests.bench.h2load import Generator
from loadtests.bench.openbao import OpenBao

_PROGRAM: Final = (sys.executable, "-m", "loadtests.bench.forgetful")
_PAIRS: Final = 3
_SECONDS: Final = 1.0
"""Slices are no longer than this, and fewer than in the duels: no demand rests on them."""


def compare(
    folder: Path, bao: OpenBao, settings: GatewaySettings, known: Sequence[Result], plan: Plan, cores: int, say: Say
) -> Iterator[Result]:
    """Measure the works of small values again, each server at the load of its duel in ``known``; yield one by one."""
    found = [each for each in known if each.work.small]
    if not found:
        return
    folder.mkdir(parents=True)
    environment = {START_VARIABLE: str(folder / "start")}
    gateway = Gateway.start(
        folder / "gateway", replace(settings, program=_PROGRAM, environment=environment), {"bench": "software"}
    )
    timing = replace(plan.slice, measured=min(_SECONDS, plan.slice.measured))
    plan = replace(plan, pairs=min(_PAIRS, plan.pairs), slice=timing)
    try:
        for each in found:
            sides = (
                Side(gateway, Generator(folder / "mine", *gateway.credentials_of(each.work), cores=cores)),
                Side(bao, Generator(folder / "theirs", *bao.client, cores=cores)),
            )
            for side in sides:
                side.contender.check(each.work)
            loads = (each.first.load, each.second.load)
            yield compared(each.work, loads, rounds(sides, each.work, loads, plan))
            say(f"{each.work.name}: measured without calls like earlier ones")
    finally:
        gateway.stop()
