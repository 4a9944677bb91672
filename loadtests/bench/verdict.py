"""What the project asks of itself, line by line: what was measured, and whether that reaches it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from loadtests.bench.delayed import PROVIDER
from loadtests.bench.figures import Ratio, Slice
from loadtests.bench.files import SDK_FILE
from loadtests.bench.local import AWS, SDK, SMALL, LocalResult
from loadtests.bench.outcome import DISTURBED, Outcome
from loadtests.bench.works import WORKS

PAIRS: Final = 5
"""Pairs that a median needs to count."""

CPU_ASKED: Final = 0.5
"""CPU a call over OpenBao's at most, for small values."""

_CPU_AIM: Final = 0.3
_P99: Final = (0.5, 0.2)
_LOCAL_ITEMS: Final = 100_000.0
_LOCAL_TO_AWS: Final = 20.0
_FILE_TO_RAW: Final = 0.6
_FILE_MEMORY_MB: Final = 32.0
_ALIKE: Final = 0.9
_START_SECONDS: Final = 3.0
_QUICK: Final = "software"


class Finding(StrEnum):
    """Whether a demand is met. `NONE` where the figures are too few or too doubtful to tell."""

    REACHED = "reached"
    NOT_REACHED = "NOT REACHED"
    NOT_MEASURED = "NOT MEASURED"
    NONE = "NO FINDING"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One demand. ``aim`` is what would be better still, empty where none; ``detail`` says what was found."""

    demand: str
    asked: str
    aim: str
    detail: str
    finding: Finding


def verdicts(outcome: Outcome) -> list[Verdict]:
    """Return the verdict on every demand, also on those that were not measured."""
    found = [*_peers(outcome), *_half(outcome), *_local(outcome), *_provider(outcome), *_scale(outcome)]
    return [_open(each) for each in found] if no_finding(outcome) else found


def no_finding(outcome: Outcome) -> str:
    """Return in a sentence why a run gives no finding at all; empty where it does."""
    if outcome.conditions.pairs < PAIRS:
        pairs = "1 pair" if outcome.conditions.pairs == 1 else f"{outcome.conditions.pairs} pairs"
        return f"NO FINDING: {pairs} of slices; a median that counts needs {PAIRS}."
    if outcome.disturbed:
        return "NO FINDING: the machine did something else meanwhile."
    return ""


def all_reached(outcome: Outcome) -> bool:
    """Tell whether every demand is reached, by medians of enough pairs on a machine that did nothing else."""
    return all(each.finding is Finding.REACHED for each in verdicts(outcome))


def _peers(outcome: Outcome) -> Iterator[Verdict]:
    found = {each.work.name: each for each in outcome.results}
    for work in WORKS:
        if work.demand:
            what = "items/s" if work.batched else "calls/s"
            ratio = found[work.name].calls if work.name in found else None
            yield _at_least(f"{work.name}, {what} over OpenBao's", work.demand, ratio, work.aim)
    for work in WORKS:
        if work.small:
            ratio = found[work.name].cpu if work.name in found else None
            yield _at_most(f"{work.name}, CPU a call over OpenBao's", CPU_ASKED, _CPU_AIM, ratio)


def _half(outcome: Outcome) -> Iterator[Verdict]:
    found = {each.work.name: each.half for each in outcome.results}
    for work in WORKS:
        if work.small:
            half = found.get(work.name)
            demand = f"{work.name}, p99 at half of OpenBao's highest load, over OpenBao's"
            made = _at_most(demand, *_P99, half.p99 if half else None)
            yield _doubted(made, half.first, half.second) if half else made


def _local(outcome: Outcome) -> Iterator[Verdict]:
    sdk, aws = _library(outcome, SDK, SMALL), _library(outcome, AWS, SMALL)
    rate = sdk.items_per_s if sdk else None
    yield _judged(
        "SDK, local envelopes of 1 KiB a second on one core",
        f">= {_LOCAL_ITEMS:,.0f}",
        None if rate is None else f"{rate:,.0f}",
        rate is not None and rate >= _LOCAL_ITEMS,
    )
    yield _at_least("the same over the AWS Encryption SDK's", _LOCAL_TO_AWS, _over(sdk, aws))
    file = _library(outcome, SDK_FILE)
    made = _at_least("SDK, a large file over raw AES-256-GCM", _FILE_TO_RAW, file.ratio if file else None)
    yield made if file is None else _with_detail(made, f"{file.item_bytes:,} bytes")
    grown = file.grown_mb if file else None
    yield _judged(
        "SDK, memory that a large file takes",
        f"<= {_FILE_MEMORY_MB:g} MB",
        None if grown is None else f"{grown:.1f} MB",
        grown is not None and grown <= _FILE_MEMORY_MB,
    )


def _provider(outcome: Outcome) -> Iterator[Verdict]:
    for work in WORKS:
        if work.small:
            slow = next((each for each in outcome.providers if (each.provider, each.work) == (PROVIDER, work)), None)
            made = _at_least(
                f"{work.name}, provider of 2 ms over the software one", _ALIKE, slow.ratio if slow else None
            )
            hits = slow.hit_rate if slow else None
            made = made if hits is None else _with_detail(made, f"{hits:.2%} cache hits")
            software = next((each for each in outcome.providers if (each.provider, each.work) == (_QUICK, work)), None)
            yield _doubted(made, *(each.standing.median for each in (slow, software) if each))
    for cold in outcome.cold:
        yield _judged(
            f"{cold.work}, provider calls for one cold data key",
            f"<= {cold.workers}, one a worker",
            f"{cold.provider_calls} for {cold.callers} callers at once",
            0 < cold.provider_calls <= cold.workers,
        )
    if not outcome.cold:
        yield _judged("provider calls for one cold data key", "one a worker", None, reached=False)


def _scale(outcome: Outcome) -> Iterator[Verdict]:
    scale = outcome.scale
    found = {each.work: each for each in scale.results} if scale else {}
    for work in WORKS:
        if work.small:
            demand = f"{work.name}, 100,000 keys and 1,000 policies over 10 and few"
            result = found.get(work)
            made = _at_least(demand, _ALIKE, result.calls if result else None)
            yield _doubted(made, result.first.median, result.second.median) if result else made
    yield _judged(
        "start with them until calls are answered",
        f"< {_START_SECONDS:g} s",
        f"{scale.start_s:.2f} s" if scale else None,
        scale is not None and scale.start_s < _START_SECONDS,
    )


def _library(outcome: Outcome, name: str, item_bytes: int | None = None) -> LocalResult | None:
    return next(
        (
            each
            for each in outcome.local
            if each.library == name and not each.missing and item_bytes in {None, each.item_bytes}
        ),
        None,
    )


def _over(first: LocalResult | None, second: LocalResult | None) -> Ratio | None:
    """Return the ratio of two libraries, pair by pair: that of each over the first of all is known."""
    if first is None or second is None or first.ratio is None or second.ratio is None:
        return None
    return Ratio.of(list(zip(first.ratio.pairs, second.ratio.pairs, strict=True)))


def _at_least(demand: str, asked: float, ratio: Ratio | None, aim: float = 0.0) -> Verdict:
    reached = ratio is not None and ratio.median >= asked
    return _judged(demand, f">= {asked:g}", _spread(ratio), reached, f"{aim:g}" if aim else "")


def _at_most(demand: str, asked: float, aim: float, ratio: Ratio | None) -> Verdict:
    return _judged(demand, f"<= {asked:g}", _spread(ratio), ratio is not None and ratio.median <= asked, f"{aim:g}")


def _spread(ratio: Ratio | None) -> str | None:
    return None if ratio is None else f"{ratio.median:.2f} ({ratio.min:.2f} to {ratio.max:.2f})"


def _judged(demand: str, asked: str, detail: str | None, reached: bool, aim: str = "") -> Verdict:
    if detail is None:
        return Verdict(demand, asked, aim, "", Finding.NOT_MEASURED)
    return Verdict(demand, asked, aim, detail, Finding.REACHED if reached else Finding.NOT_REACHED)


def _open(verdict: Verdict) -> Verdict:
    return verdict if verdict.finding is Finding.NOT_MEASURED else replace(verdict, finding=Finding.NONE)


def _doubted(verdict: Verdict, *slices: Slice) -> Verdict:
    """Leave open what rests on slices in which something else used the machine, or calls were shed.

    What was shed was answered at once, or late: it tells nothing of how long an answer takes.
    """
    others = max((each.other_share for each in slices), default=0.0)
    shed = sum(each.shed for each in slices)
    if others > DISTURBED:
        verdict = _open(_with_detail(verdict, f"others used {others:.0%}"))
    return _open(_with_detail(verdict, f"{shed:,} calls were shed")) if shed else verdict


def _with_detail(verdict: Verdict, more: str) -> Verdict:
    return replace(verdict, detail=f"{verdict.detail}, {more}")
