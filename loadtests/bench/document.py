"""The outcome as JSON for programs: docs/benchmark.md names the fields."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict

from loadtests.bench.duel import Half, Result, Standing
from loadtests.bench.figures import Ratio, Slice
from loadtests.bench.outcome import Outcome
from loadtests.bench.scale import Scale
from loadtests.bench.verdict import Verdict, no_finding
from loadtests.bench.works import Work


def to_json(outcome: Outcome, verdicts: Sequence[Verdict]) -> str:
    """Return the outcome as JSON."""
    document = {
        "complete": not outcome.incomplete,
        "incomplete": list(outcome.incomplete),
        "conditions": asdict(outcome.conditions),
        "results": [_result(each) for each in outcome.results],
        "details": [_detail(each) for each in outcome.results],
        "not_built": [{"work": work, "why": why} for work, why in outcome.not_built],
        "anew": [{**_result(each), "cpu_ratio": asdict(each.cpu)} for each in outcome.anew],
        "providers": [
            {
                "work": each.work.name,
                "provider": each.provider,
                **_figures(each.work, each.standing.median),
                "ratio_to_software": asdict(each.ratio),
                "provider_calls_per_call": each.provider_calls_per_call,
                "cache_hit_rate": each.hit_rate,
                "shed_calls": each.standing.median.shed,
            }
            for each in outcome.providers
        ],
        "cold_misses": [asdict(each) for each in outcome.cold],
        "scale": _scale(outcome.scale) if outcome.scale is not None else None,
        "local": [asdict(each) for each in outcome.local],
        "no_finding": no_finding(outcome) or None,
        "verdicts": [asdict(each) for each in verdicts],
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
        "kmsgw": _figures(result.work, result.first.median),
        "openbao": _figures(result.work, result.second.median),
        "ratio": asdict(result.calls),
    }


def _detail(result: Result) -> dict[str, object]:
    return {
        "work": result.work.name,
        "items": result.work.items,
        "kmsgw": _standing(result.work, result.first),
        "openbao": _standing(result.work, result.second),
        "cpu_ratio": asdict(result.cpu),
        "half_load": _half(result.half) if result.half is not None else None,
    }


def _scale(scale: Scale) -> dict[str, object]:
    return {
        "keys": scale.keys,
        "policies": scale.policies,
        "start_s": scale.starts_s,
        "few_start_s": scale.few_starts_s,
        "works": [
            {
                "work": each.work.name,
                "many": _figures(each.work, each.first.median),
                "few": _figures(each.work, each.second.median),
                "ratio": asdict(each.calls),
            }
            for each in scale.results
        ],
    }


def _standing(work: Work, standing: Standing) -> dict[str, object]:
    return {
        "mb_per_s": standing.median.calls_per_s * work.megabytes,
        "load": str(standing.load),
        "generator_share": standing.median.generator_share,
        "server_share": standing.median.server_share,
        "other_share": standing.median.other_share,
        "shed_calls": standing.median.shed,
        "slices": [asdict(each) for each in standing.slices],
    }


def _figures(work: Work, each: Slice) -> dict[str, float]:
    return {
        "calls_per_s": each.calls_per_s,
        "items_per_s": each.calls_per_s * work.items,
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
