"""The outcome as one HTML page that needs nothing else: bars as inline SVG, and the tables under them."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from loadtests.bench import table
from loadtests.bench.duel import Result
from loadtests.bench.figures import Ratio
from loadtests.bench.outcome import Outcome

_STYLE: Final = """
:root { color-scheme: light dark; --text: #1b1f24; --soft: #5b6470; --line: #d9dee5; --back: #ffffff;
  --c0: #2a6fb0; --c1: #b9791a; }
@media (prefers-color-scheme: dark) { :root { --text: #e8ebef; --soft: #a3adb9; --line: #37404b; --back: #14181d;
  --c0: #6db3f2; --c1: #f0b34d; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg text { fill: var(--text); font-size: 12px; } svg .soft { fill: var(--soft); }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .note { color: var(--soft); }
.grid { stroke: var(--line); } .range { stroke: var(--c0); stroke-width: 2; } .one { stroke: var(--text); }
"""
_WIDTH: Final = 760.0
_LEFT: Final = 170.0
_RIGHT: Final = 90.0
_BAR: Final = 15.0
_GAP: Final = 14.0


@dataclass(frozen=True, slots=True)
class Bars:
    """A pair of values of one work: of kmsgw and of OpenBao."""

    name: str
    values: tuple[float, float]


def page(outcome: Outcome) -> bytes:
    """Return the page."""
    about = "".join(f"<p>{escape(line)}</p>" for line in outcome.conditions.text)
    body = "".join(_sections(outcome))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>kmsgw beside OpenBao</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>kmsgw beside OpenBao</h1>{about}{body}</body></html>\n"
    ).encode()


def _sections(outcome: Outcome) -> Iterator[str]:
    results = outcome.results
    if outcome.disturbed:
        yield f"<p><strong>{escape(outcome.disturbed)}</strong></p>"
    for work, why in outcome.not_built:
        yield f"<p><strong>Not built, not measured:</strong> {escape(work)}: {escape(why)}</p>"
    yield "<h2>Ratios, pair by pair</h2>"
    yield ratio_chart("Calls a second, kmsgw over OpenBao; more is better", results, lambda each: each.calls)
    yield ratio_chart("CPU a call, kmsgw over OpenBao; less is better", results, lambda each: each.cpu)
    yield html_table([("work", "median", "spread", "asked", "aim"), *table.ratios(results)])
    yield '<h2>Figures</h2><p class="note">Bars of one work are to scale with each other.</p>'
    for title, pick in _CHARTS:
        yield bar_chart(title, [Bars(each.work.name, pick(each)) for each in results])
    rows = [
        (name, server, *table.cells(each.work, standing))
        for each in results
        for name, server, standing in ((each.work.name, "kmsgw", each.first), ("", "OpenBao", each.second))
    ]
    yield html_table([("work", "server", *table.HEAD), *rows])
    yield from _halves(results)
    if outcome.providers:
        yield "<h2>Key providers</h2>"
        head = ("work", "provider", *table.HEAD, "to software", "spread", "provider calls")
        yield html_table([head, *table.provider_rows(outcome)])
    for cold in outcome.cold:
        yield (
            f"<p>Cold, {escape(cold.work)}: {cold.callers} callers at once, {cold.workers} workers: "
            f"{cold.provider_calls} calls of the slow provider.</p>"
        )
    if outcome.local:
        yield "<h2>In process, one core</h2>"
        yield html_table(
            [("library", "bytes", "items/s", "MB/s", "to the first", "spread"), *table.local_rows(outcome.local)]
        )


def _halves(results: Sequence[Result]) -> Iterator[str]:
    found = [(each.work.name, each.half) for each in results if each.half is not None]
    if not found:
        return
    yield "<h2>Latency at half of OpenBao's highest load</h2>"
    yield '<p class="note">Calls are sent at that rate, whatever the servers do.</p>'
    yield bar_chart("p99, milliseconds", [Bars(name, (half.first.p99_ms, half.second.p99_ms)) for name, half in found])
    yield html_table([table.HALF_HEAD, *table.half_rows(results)])


_CHARTS: Final[Sequence[tuple[str, Callable[[Result], tuple[float, float]]]]] = (
    (
        "Calls a second",
        lambda each: (each.first.median.calls_per_s, each.second.median.calls_per_s),
    ),
    (
        "CPU seconds of a thousand calls",
        lambda each: (each.first.median.cpu_s_per_1000, each.second.median.cpu_s_per_1000),
    ),
    (
        "p99 at saturation, milliseconds",
        lambda each: (each.first.median.p99_ms, each.second.median.p99_ms),
    ),
)


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first row is its head."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def bar_chart(title: str, rows: Sequence[Bars]) -> str:
    """Return pairs of bars, of kmsgw and OpenBao. Each pair has a scale of its own: works differ by magnitudes."""
    if not rows:
        return ""
    parts: list[str] = [_legend()]
    top = 2 * _BAR
    for row in rows:
        parts.append(_text(_LEFT - 8, top + _BAR + 4, row.name, "end"))
        longest = max(*row.values) or 1.0
        for place, value in enumerate(row.values):
            width = max(1.0, (_WIDTH - _LEFT - _RIGHT) * value / longest)
            y = top + place * _BAR
            parts.append(
                f'<rect class="c{place}" x="{_LEFT:g}" y="{y:.1f}" width="{width:.1f}" height="{_BAR - 3:g}"/>'
            )
            parts.append(_text(_LEFT + width + 6, y + _BAR - 5, _short(value), "start"))
        top += 2 * _BAR + _GAP
    return _figure(title, parts, top)


def ratio_chart(title: str, results: Sequence[Result], pick: Callable[[Result], Ratio]) -> str:
    """Return each pair as a dot, the median as a large one, on a logarithmic scale with a line at 1."""
    found = [(each.work.name, pick(each)) for each in results]
    if not found:
        return ""
    ends = [end for _, ratio in found for end in (ratio.min, ratio.max)]
    least, most = min(0.5, *ends) / 1.1, max(2.0, *ends) * 1.1
    bottom = _BAR + len(found) * (_BAR + _GAP)
    ticks = [each for each in (0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 8, 10, 15, 20, 30, 50) if least <= each <= most]
    parts = [
        f'<line class="{"one" if each == 1 else "grid"}" x1="{_along(each, least, most):.1f}" '
        f'x2="{_along(each, least, most):.1f}" y1="{_BAR:g}" y2="{bottom:.1f}"/>'
        + _text(_along(each, least, most), bottom + _BAR, f"{each:g}", "middle")
        for each in ticks
    ]
    for place, (name, ratio) in enumerate(found):
        y = _BAR + _GAP + place * (_BAR + _GAP)
        low, high = (_along(each, least, most) for each in (ratio.min, ratio.max))
        parts.append(_text(_LEFT - 8, y + 4, name, "end"))
        parts.append(f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts += [
            f'<circle class="c0" cx="{_along(each, least, most):.1f}" cy="{y:.1f}" r="2.5"/>' for each in ratio.pairs
        ]
        at = _along(ratio.median, least, most)
        parts.append(
            f'<circle class="c0" cx="{at:.1f}" cy="{y:.1f}" r="6"><title>{escape(f"{name}: {ratio.median:.2f}")}'
            "</title></circle>"
        )
        parts.append(_text(high + 10, y + 4, f"{ratio.median:.2f}", "start"))
    return _figure(title, parts, bottom + 2 * _BAR)


def _along(value: float, least: float, most: float) -> float:
    share = math.log(value / least) / math.log(most / least) if most > least else 1.0
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _legend() -> str:
    return (
        f'<rect class="c0" x="{_LEFT:g}" y="4" width="10" height="10"/>'
        + _text(_LEFT + 15, 13, "kmsgw", "start")
        + f'<rect class="c1" x="{_LEFT + 80:g}" y="4" width="10" height="10"/>'
        + _text(_LEFT + 95, 13, "OpenBao", "start")
    )


def _figure(title: str, parts: Sequence[str], height: float) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {_WIDTH:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
