"""The report: one HTML file that needs nothing else, for one run or several. Loops are never mixed in one section."""

from collections.abc import Sequence
from html import escape
from typing import Final

from loadtests.chart import Axis, Line, line_chart
from loadtests.conclusion import NOT_ANSWERED
from loadtests.histogram import LatencyHistogram
from loadtests.options import Loop
from loadtests.plan import ShapeName
from loadtests.results import Figures, Results, StageResult

_PERCENTILES: Final = (50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99)
_LOGARITHMIC_FROM: Final = 10.0
_STYLE: Final = """
:root { color-scheme: light dark; --text: #1b1f24; --soft: #5b6470; --line: #d9dee5; --back: #ffffff;
  --c0: #2a6fb0; --c1: #2a9d6f; --c2: #c77d0a; --c3: #b8324f; }
@media (prefers-color-scheme: dark) { :root { --text: #e8ebef; --soft: #a3adb9; --line: #37404b; --back: #14181d;
  --c0: #6db3f2; --c1: #5fd3a3; --c2: #f0b34d; --c3: #f2798f; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; } .grid { stroke: var(--line); }
.mark { stroke: var(--text); stroke-dasharray: 4 4; } .line { fill: none; stroke-width: 2; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); }
.line.c3 { stroke: var(--c3); } circle.c0 { fill: var(--c0); } circle.c1 { fill: var(--c1); }
circle.c2 { fill: var(--c2); } circle.c3 { fill: var(--c3); } .note { color: var(--soft); }
.verdict { padding: .1rem .5rem; border: 1px solid var(--line); border-radius: .3rem; display: inline-block; }
"""


def page(runs: Sequence[Results]) -> bytes:
    """Return the page."""
    sections = "".join(_section(run) for run in runs)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>kmsgw load test</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><h1>kmsgw load test</h1>{sections}</body></html>\n"
    ).encode()


def _section(run: Results) -> str:
    about = run.conditions
    parts = [
        f"<h2>{about.loop.value.capitalize()} loop, {about.shape.value}</h2>",
        f"<p>{_meaning(run)}</p>",
        f"<p>{escape(', '.join(about.users))}; processes: {len(about.processes)}; begun {escape(about.started)}.</p>",
        *(
            f'<p class="verdict">{"kept" if each.holds else "MISSED"}: {escape(each.text)}</p> '
            for each in run.verdicts
        ),
        _knee(run),
        _curves(run),
        _distribution(run),
        _stages(run),
        "<h3>By method</h3>",
        _table("method", [*run.methods.items(), ("all", run.measured)]),
        _failures(run),
    ]
    return "".join(parts)


def _meaning(run: Results) -> str:
    if run.conditions.loop is Loop.CLOSED:
        return (
            "Closed loop: each user waits for an answer before the next call; latency counts from the call. "
            "A slow gateway gets fewer calls, so these latencies say nothing of what arrives regardless."
        )
    return (
        "Open loop: calls are due at a constant rate, whatever the gateway does; latency counts from the moment that "
        "each was due. The generator's own delay is part of it, and the table says how much."
    )


def _knee(run: Results) -> str:
    if run.knee is None:
        return ""
    unit = _unit(run)
    if not run.knee.reached:
        return f"<p>No knee up to {run.knee.level} {unit}: more load still brought more throughput than waiting.</p>"
    return (
        f"<p><strong>Knee at {run.knee.level} {unit}</strong>, {run.knee.throughput:,.0f} answers a second. Up to it, "
        "more load brings more throughput than waiting; there throughput over mean latency is highest.</p>"
    )


def _unit(run: Results) -> str:
    return "users" if run.conditions.loop is Loop.CLOSED else "calls a second"


def _curves(run: Results) -> str:
    if len(run.stages) < 2:
        return ""
    by_load = run.conditions.shape is ShapeName.STEP
    mark = None
    if by_load:
        levels = [stage.run.level for stage in run.stages]
        wide = max(levels) / min(levels) >= _LOGARITHMIC_FROM
        x = Axis(f"load, {_unit(run)}", lambda value: f"{value:,.0f}", logarithmic=wide)
        if run.knee is not None and run.knee.reached:
            mark = (float(run.knee.level), f"knee: {run.knee.level}")
    else:
        x = Axis("time, minutes:seconds", lambda value: f"{int(value) // 60}:{int(value) % 60:02}")
    where = [float(stage.run.level) if by_load else stage.run.start + stage.run.seconds / 2 for stage in run.stages]
    title = "by load" if by_load else "by time"
    latencies = Axis("milliseconds", _plain, logarithmic=True)
    return line_chart(f"Latency {title}", x, latencies, _percentile_lines(run.stages, where), mark) + line_chart(
        f"Throughput {title}",
        x,
        Axis("answers a second", lambda value: f"{value:,.0f}"),
        [Line("throughput", [(at, stage.throughput) for at, stage in zip(where, run.stages, strict=True)])],
        mark,
    )


def _percentile_lines(stages: Sequence[StageResult], where: Sequence[float]) -> list[Line]:
    rows = [(at, stage.figures) for at, stage in zip(where, stages, strict=True)]
    return [
        Line("p50", [(at, each.p50 * 1e3) for at, each in rows]),
        Line("p90", [(at, each.p90 * 1e3) for at, each in rows]),
        Line("p99", [(at, each.p99 * 1e3) for at, each in rows]),
        Line("p99.9", [(at, each.p999 * 1e3) for at, each in rows]),
    ]


def _distribution(run: Results) -> str:
    merged = LatencyHistogram()
    for encoded in run.histograms.values():
        merged.add(encoded)
    # A percentile of which less than one call is beyond would only repeat the longest.
    shown = [percent for percent in _PERCENTILES if merged.count * (100 - percent) / 100 >= 1]
    if len(shown) < 2:
        return ""
    points = [
        (100 / (100 - percent), each * 1e3) for percent, each in zip(shown, merged.percentiles(shown), strict=True)
    ]
    x = Axis("percentile of all measured calls", lambda value: f"{100 - 100 / value:.6g}", logarithmic=True)
    y = Axis("milliseconds", _plain, logarithmic=True)
    return line_chart("Distribution of latencies", x, y, [Line("all methods", points)])


def _stages(run: Results) -> str:
    if not run.stages:
        return ""
    is_open = run.conditions.loop is Loop.OPEN
    late = "<th>started late p99 ms</th>" if is_open else ""
    head = f"<tr><th>{_unit(run)}</th><th>seconds</th><th>answers/s</th>{_HEAD}{late}</tr>"
    rows = "".join(
        f"<tr><td>{stage.run.level}</td><td>{stage.run.seconds:.1f}</td><td>{stage.throughput:,.0f}</td>"
        f"{_cells(stage.figures)}{f'<td>{_ms(stage.lateness)}</td>' if is_open else ''}</tr>"
        for stage in run.stages
    )
    return f'<h3>By stage</h3><div class="wide"><table>{head}{rows}</table></div>'


_HEAD: Final = "".join(
    f"<th>{name}</th>" for name in ("calls", "failed", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms")
)


def _table(first: str, rows: Sequence[tuple[str, Figures]]) -> str:
    body = "".join(f"<tr><td>{escape(name)}</td>{_cells(each)}</tr>" for name, each in rows)
    return f'<div class="wide"><table><tr><th>{first}</th>{_HEAD}</tr>{body}</table></div>'


def _cells(each: Figures) -> str:
    numbers = "".join(f"<td>{_ms(value)}</td>" for value in (each.p50, each.p90, each.p99, each.p999, each.longest))
    return f"<td>{each.calls:,}</td><td>{each.failed:,}</td>{numbers}"


def _failures(run: Results) -> str:
    if not run.failures:
        return '<p class="note">No call failed.</p>'
    rows = "".join(f"<tr><td>{escape(why)}</td><td>{count:,}</td></tr>" for why, count in run.failures.items())
    note = (
        '<p class="note">NOT_ANSWERED: due, and without an answer when the run ended.</p>'
        if NOT_ANSWERED in run.failures
        else ""
    )
    head = "<h3>Failures, also while the load settled</h3>"
    return f"{head}<table><tr><th>reason</th><th>calls</th></tr>{rows}</table>{note}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f}"


def _plain(value: float) -> str:
    return f"{value:,.10g}" if value >= 0.01 else f"{value:g}"
