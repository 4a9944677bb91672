"""The outcome as text: tables for a terminal."""

from collections.abc import Iterator, Sequence

from loadtests.bench.duel import Result, Standing
from loadtests.bench.figures import Ratio
from loadtests.bench.local import LocalResult
from loadtests.bench.outcome import Outcome
from loadtests.bench.providers import ColdMisses
from loadtests.bench.scale import Scale
from loadtests.bench.verdict import Verdict, no_finding
from loadtests.bench.works import Work

HEAD = ("calls/s", "items/s", "MB/s", "p50 ms", "p99 ms", "CPU-s/1000", "RSS MB", "generator", "others")
"""Heads of the figures of `cells`."""

ANEW_HEAD = "each call worked out anew"
ANEW_RATIOS = ("kmsgw/OpenBao", "spread", "CPU a call")
"""Heads of `anew_rows`, around `HEAD`."""

PROVIDER_HEAD = ("work", "provider")
SCALE_HEAD = ("work", "keys")
LOCAL_HEAD = ("in process", "bytes", "items/s", "MB/s", "to the first", "spread", "memory MB")
VERDICT_HEAD = ("demand", "asked", "aim", "found", "")
"""Heads of the other tables."""

FEW = 10.0
"""Items a second that are shown with decimals."""

HALF_HEAD = (
    *("half of OpenBao's most", "calls/s", "kmsgw p99 ms", "at calls/s", "OpenBao p99 ms", "at calls/s"),
    *("ratio", "spread", "asked"),
)
"""Heads of `half_rows`."""


def text(outcome: Outcome, verdicts: Sequence[Verdict]) -> str:
    """Return all tables."""
    return "\n".join((*outcome.conditions.text, "", *_sections(outcome, verdicts))) + "\n"


def _sections(outcome: Outcome, verdicts: Sequence[Verdict]) -> Iterator[str]:
    for each in outcome.incomplete:
        yield f"{each}\n"
    if outcome.disturbed:
        yield f"{outcome.disturbed}\n"
    yield aligned([("work", "server", *HEAD), *_rows(outcome.results)])
    yield aligned([("ratio kmsgw/OpenBao", "median", "spread", "asked", "aim"), *ratios(outcome.results)])
    halves = list(half_rows(outcome.results))
    if halves:
        yield aligned([HALF_HEAD, *halves])
    if outcome.anew:
        yield aligned([(ANEW_HEAD, "server", *HEAD, *ANEW_RATIOS), *anew_rows(outcome.anew)])
    for work, why in outcome.not_built:
        yield f"NOT BUILT, NOT MEASURED: {work}: {why}\n"
    yield from _provider_sections(outcome)
    if outcome.scale is not None:
        yield aligned([(*SCALE_HEAD, *HEAD, "many/few", "spread"), *scale_rows(outcome.scale)])
        yield start_text(outcome.scale) + "\n"
    if outcome.local:
        yield aligned([LOCAL_HEAD, *local_rows(outcome.local)])
    if why := no_finding(outcome):
        yield f"{why}\n"
    yield aligned([VERDICT_HEAD, *verdict_rows(verdicts)])


def _provider_sections(outcome: Outcome) -> Iterator[str]:
    if outcome.providers:
        yield aligned([(*PROVIDER_HEAD, *HEAD, "to software", "spread", "cache hits"), *provider_rows(outcome)])
    for cold in outcome.cold:
        yield cold_text(cold) + "\n"


def cells(work: Work, standing: Standing) -> tuple[str, ...]:
    """Return the figures of a server as texts, in the order of `HEAD`."""
    each = standing.median
    return (
        f"{each.calls_per_s:,.0f}",
        f"{each.calls_per_s * work.items:,.0f}",
        f"{each.calls_per_s * work.megabytes:,.1f}",
        f"{each.p50_ms:.2f}",
        f"{each.p99_ms:.2f}",
        f"{each.cpu_s_per_1000:.3f}",
        f"{each.rss_mb:,.0f}",
        f"{each.generator_share:.0%}",
        f"{each.other_share:.0%}",
    )


def ratios(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of ratios: rates, and CPU a call."""
    for each in results:
        asked = (f">= {each.work.demand:g}", f"{each.work.aim:g}") if each.work.demand else ("", "")
        yield (f"{each.work.name}, calls/s", *ratio_cells(each.calls), *asked)
        yield (
            f"{each.work.name}, CPU a call",
            *ratio_cells(each.cpu),
            *(("<= 0.5", "0.3") if each.work.small else ("", "")),
        )


def half_rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of latencies at half load."""
    for each in results:
        if each.half is not None:
            yield (
                each.work.name,
                f"{each.half.rate:,.0f}",
                f"{each.half.first.p99_ms:.2f}",
                f"{each.half.first.calls_per_s:,.0f}",
                f"{each.half.second.p99_ms:.2f}",
                f"{each.half.second.calls_per_s:,.0f}",
                *ratio_cells(each.half.p99),
                "<= 0.5",
            )


def anew_rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of works without calls like earlier ones."""
    for each in results:
        ratios = (*ratio_cells(each.calls), f"{each.cpu.median:.2f}")
        yield (each.work.name, "kmsgw", *cells(each.work, each.first), *ratios)
        yield ("", "OpenBao", *cells(each.work, each.second), "", "", "")


def provider_rows(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    """Yield the rows of providers."""
    for each in outcome.providers:
        hits = each.hit_rate
        yield (
            each.work.name,
            each.provider,
            *cells(each.work, each.standing),
            *ratio_cells(each.ratio),
            "" if hits is None else f"{hits:.2%}",
        )


def local_rows(results: Sequence[LocalResult]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of libraries in one process."""
    for each in results:
        figures = (
            f"{each.items_per_s:,.3g}" if each.items_per_s < FEW else f"{each.items_per_s:,.0f}",
            f"{each.mb_per_s:,.0f}",
        )
        yield (
            each.library,
            f"{each.item_bytes:,}",
            *((each.missing, "") if each.missing else figures),
            *(ratio_cells(each.ratio) if each.ratio else ("", "")),
            "" if each.grown_mb is None else f"{each.grown_mb:.1f}",
        )


def scale_rows(scale: Scale) -> Iterator[tuple[str, ...]]:
    """Yield the rows of works with many keys and policies, and with few."""
    for each in scale.results:
        yield (each.work.name, "many", *cells(each.work, each.first), *ratio_cells(each.calls))
        yield ("", "few", *cells(each.work, each.second), "", "")


def start_text(scale: Scale) -> str:
    """Return in a sentence how long a start takes."""
    many, few = (", ".join(f"{each:.2f}" for each in starts) for starts in (scale.starts_s, scale.few_starts_s))
    return (
        f"Start until calls are answered, with {scale.keys:,} keys and {scale.policies:,} policies: {many} s; "
        f"with few: {few} s."
    )


def cold_text(cold: ColdMisses) -> str:
    """Return in a sentence what a cold data key costs."""
    return (
        f"Cold, {cold.work}: {cold.callers} callers at once, {cold.workers} workers: "
        f"{cold.provider_calls} calls of the slow provider."
    )


def verdict_rows(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of what is asked and whether it is reached."""
    for each in verdicts:
        yield (each.demand, each.asked, each.aim, each.detail, each.finding.value)


def ratio_cells(ratio: Ratio) -> tuple[str, str]:
    """Return median and spread as texts."""
    return f"{ratio.median:.2f}", f"{ratio.min:.2f} to {ratio.max:.2f}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text with columns: the first to the left, the others to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        + "\n"
        for row in rows
    )


def _rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    for each in results:
        yield (each.work.name, "kmsgw", *cells(each.work, each.first))
        yield ("", "OpenBao", *cells(each.work, each.second))
