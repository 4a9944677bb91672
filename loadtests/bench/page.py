"""The outcome as one HTML page that needs nothing else: what is asked, charts as inline SVG, and the tables."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final

from loadtests.bench import table
from loadtests.bench.charts import Bars, Dots, bar_chart, ratio_chart
from loadtests.bench.duel import Result
from loadtests.bench.outcome import Outcome
from loadtests.bench.verdict import CPU_ASKED, Finding, Verdict, no_finding

_STYLE: Final = """
:root { color-scheme: light dark; --text: #1b1f24; --soft: #5b6470; --line: #e2e6ec; --back: #f6f7f9; --card: #ffffff;
  --c0: #2a6fb0; --c1: #b9791a; --good: #1f7a4d; --bad: #b3362b; --none: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --text: #e8ebef; --soft: #a3adb9; --line: #2f3742; --back: #12161b;
  --card: #1a2027; --c0: #6db3f2; --c1: #f0b34d; --good: #5fc794; --bad: #f08a80; --none: #9aa4b0; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); margin: 0; }
main { max-width: 76rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
.lead { color: var(--soft); margin: 0 0 1.25rem; } .note { color: var(--soft); margin: 0 0 .75rem; }
.figures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); }
.card, figure { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem 1.1rem;
  margin: 0; overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem; margin-bottom: 1rem; }
.tile b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
p.card, details.card { margin: 0 0 1rem; }
.warning { border-color: var(--bad); } .warning strong { color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
th:first-child, td:first-child { text-align: left; white-space: normal; } th { color: var(--soft); font-weight: 600; }
.good, .bad, .none { font-weight: 600; } .good { color: var(--good); } .bad { color: var(--bad); }
.none { color: var(--none); }
figcaption { font-weight: 600; margin-bottom: .5rem; } svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--text); font-size: 14px; }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .grid { stroke: var(--line); }
.range { stroke: var(--c0); stroke-width: 2; } .one { stroke: var(--soft); }
.asked { stroke: var(--bad); stroke-width: 3; }
summary { cursor: pointer; color: var(--soft); } details p { margin: .4rem 0; }
"""
_CLASSES: Final = {
    Finding.REACHED: "good",
    Finding.NOT_REACHED: "bad",
    Finding.NOT_MEASURED: "none",
    Finding.NONE: "none",
}


def page(outcome: Outcome, verdicts: Sequence[Verdict]) -> bytes:
    """Return the page."""
    body = "".join(_sections(outcome, verdicts))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>kmsgw beside OpenBao</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{body}</main></body></html>\n"
    ).encode()


def _sections(outcome: Outcome, verdicts: Sequence[Verdict]) -> Iterator[str]:
    about = outcome.conditions
    yield "<h1>kmsgw beside OpenBao</h1>"
    yield f'<p class="lead">{escape(about.machine)}, {about.cores} cores, {escape(about.began)}</p>'
    yield from _tiles(outcome, verdicts)
    yield from _warnings(outcome)
    lines = "".join(f"<p>{escape(line)}</p>" for line in about.text)
    yield f'<details class="card"><summary>How it was measured</summary>{lines}</details>'
    yield "<h2>What is asked</h2>" + _verdict_table(verdicts)
    yield from _peers(outcome)
    yield from _halves(outcome.results)
    yield from _anew(outcome.anew)
    yield from _providers(outcome)
    yield from _scale(outcome)
    if outcome.local:
        yield "<h2>In process, one core</h2>"
        yield html_table([table.LOCAL_HEAD, *table.local_rows(outcome.local)])


def _tiles(outcome: Outcome, verdicts: Sequence[Verdict]) -> Iterator[str]:
    reached = sum(each.finding is Finding.REACHED for each in verdicts)
    tiles = [(f"{reached} of {len(verdicts)}", "demands reached")]
    tiles += [(f"{each.calls.median:.1f} ×", f"OpenBao's calls, {each.work.name}") for each in outcome.results]
    made = "".join(
        f'<div class="card tile"><b>{escape(figure)}</b><span>{escape(text)}</span></div>' for figure, text in tiles
    )
    yield f'<div class="tiles">{made}</div>'


def _warnings(outcome: Outcome) -> Iterator[str]:
    for each in (*outcome.incomplete, outcome.disturbed, no_finding(outcome)):
        if each:
            yield f'<p class="card warning"><strong>{escape(each)}</strong></p>'
    for work, why in outcome.not_built:
        said = f"<strong>Not built, not measured:</strong> {escape(work)}: {escape(why)}"
        yield f'<p class="card warning">{said}</p>'


def _verdict_table(verdicts: Sequence[Verdict]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.VERDICT_HEAD)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in (each.demand, each.asked, each.aim, each.detail))
        + f'<td class="{_CLASSES[each.finding]}">{escape(each.finding.value.lower())}</td></tr>'
        for each in verdicts
    )
    return f'<div class="card"><table><tr>{head}</tr>{body}</table></div>'


def _peers(outcome: Outcome) -> Iterator[str]:
    results = outcome.results
    if not results:
        return
    yield "<h2>Ratios, pair by pair</h2>"
    yield '<p class="note">A dot is a pair of slices, the large one the median, the mark across what is asked.</p>'
    calls = [Dots(each.work.name, each.calls, each.work.demand) for each in results]
    cpu = [Dots(each.work.name, each.cpu, CPU_ASKED if each.work.small else 0.0) for each in results]
    yield '<div class="figures">'
    yield ratio_chart("Calls a second, kmsgw over OpenBao; more is better", calls)
    yield ratio_chart("CPU a call, kmsgw over OpenBao; less is better", cpu)
    yield "</div><h2>Figures</h2>"
    yield '<p class="note">Bars of one work are to scale with each other.</p><div class="figures">'
    for title, pick in _CHARTS:
        yield bar_chart(title, [Bars(each.work.name, pick(each)) for each in results])
    rows = [
        (name, server, *table.cells(each.work, standing))
        for each in results
        for name, server, standing in ((each.work.name, "kmsgw", each.first), ("", "OpenBao", each.second))
    ]
    yield "</div><p></p>" + html_table([("work", "server", *table.HEAD), *rows])


def _halves(results: Sequence[Result]) -> Iterator[str]:
    found = [(each.work.name, each.half) for each in results if each.half is not None]
    if not found:
        return
    yield "<h2>Latency at half of OpenBao's highest load</h2>"
    yield '<p class="note">Calls are sent at that rate, whatever the servers do.</p>'
    yield bar_chart("p99, milliseconds", [Bars(name, (half.first.p99_ms, half.second.p99_ms)) for name, half in found])
    yield "<p></p>" + html_table([table.HALF_HEAD, *table.half_rows(results)])


def _anew(results: Sequence[Result]) -> Iterator[str]:
    if not results:
        return
    yield "<h2>Each call worked out anew</h2>"
    yield (
        '<p class="note">In all other parts every call of a slice is the same bytes, and kmsgw answers it like an '
        "earlier one. Here it remembers none: each walks every stage. OpenBao is the same.</p>"
    )
    head = (table.ANEW_HEAD, "server", *table.HEAD, *table.ANEW_RATIOS)
    yield html_table([head, *table.anew_rows(results)])


def _providers(outcome: Outcome) -> Iterator[str]:
    if outcome.providers:
        yield "<h2>Key providers</h2>"
        head = (*table.PROVIDER_HEAD, *table.HEAD, "to software", "spread", "cache hits")
        yield html_table([head, *table.provider_rows(outcome)])
    for cold in outcome.cold:
        yield f"<p>{escape(table.cold_text(cold))}</p>"


def _scale(outcome: Outcome) -> Iterator[str]:
    if outcome.scale is not None:
        yield "<h2>Many keys and policies</h2>"
        yield html_table([(*table.SCALE_HEAD, *table.HEAD, "many/few", "spread"), *table.scale_rows(outcome.scale)])
        yield f"<p>{escape(table.start_text(outcome.scale))}</p>"


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
    (
        "Resident memory, MB",
        lambda each: (each.first.median.rss_mb, each.second.median.rss_mb),
    ),
)


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first row is its head."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f'<div class="card"><table><tr>{head}</tr>{body}</table></div>'
