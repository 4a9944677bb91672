"""Charts of a report as inline SVG: columns over time, stacked, and bars. Each has its figures in a table beside it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from kmsgw.reading.markup import shown

SERIES: Final = 7
"""Colours that there are; what is more is put together."""

_WIDTH: Final = 960.0
_LEFT: Final = 64.0
_TOP: Final = 12.0
_HEIGHT: Final = 220.0
_BOTTOM: Final = 34.0
_BAR: Final = 22.0
_NAMES: Final = 230.0
_VALUES: Final = 90.0
_GRID: Final = 4
_LABELS: Final = 8
_LONGEST_NAME: Final = 34


def columns(
    name: str,
    title: str,
    steps: Sequence[datetime],
    step: timedelta,
    series: Mapping[str, Sequence[int]],
    *,
    colour: int = 0,
) -> str:
    """Return stacked columns, one a step, with at most `SERIES` series, from that colour on.

    `name` is unique on the page.
    """
    totals = [sum(values) for values in zip(*series.values(), strict=True)] or [0]
    highest = _round_up(max(totals))
    room = (_WIDTH - _LEFT) / max(1, len(steps))
    parts = [_scale(highest)]
    tops = [0.0] * len(steps)
    for place, (label, values) in enumerate(series.items(), colour):
        for at, value in enumerate(values):
            if not value:
                continue
            tall = value / highest * _HEIGHT
            tops[at] += tall
            parts.append(
                f'<rect class="s{place}" x="{_LEFT + at * room + room * 0.1:.1f}" '
                f'y="{_TOP + _HEIGHT - tops[at]:.1f}" width="{room * 0.8:.1f}" height="{tall:.1f}">'
                f"<title>{shown(label)}, {_moment(steps[at], step)}: {value:,}</title></rect>"
            )
    every = max(1, -(-len(steps) // _LABELS))
    parts += [
        f'<text x="{_LEFT + at * room + room * 0.5:.1f}" y="{_TOP + _HEIGHT + 18:g}" text-anchor="middle">'
        f"{_moment(steps[at], step)}</text>"
        for at in range(0, len(steps), every)
    ]
    legend = "".join(
        f'<li><span class="key s{place}"></span>{shown(label)}</li>' for place, label in enumerate(series, colour)
    )
    described = f"{title}; the table below has the same figures."
    return _figure(name, title, described, parts, _TOP + _HEIGHT + _BOTTOM, f'<ul class="legend">{legend}</ul>')


def bars(name: str, title: str, values: Sequence[tuple[str, int]], *, colour: int = 0) -> str:
    """Return a bar for each name, to one scale. `name` is unique on the page."""
    longest = max((value for _, value in values), default=0) or 1
    parts: list[str] = []
    for place, (label, value) in enumerate(values):
        y = _TOP + place * (_BAR + 6)
        wide = max(1.0, (_WIDTH - _NAMES - _VALUES) * value / longest)
        short = label if len(label) <= _LONGEST_NAME else f"{label[: _LONGEST_NAME - 1]}…"
        parts.append(
            f'<text x="{_NAMES - 10:g}" y="{y + 16:.1f}" text-anchor="end">{shown(short)}</text>'
            f'<rect class="s{colour}" x="{_NAMES:g}" y="{y:.1f}" width="{wide:.1f}" height="{_BAR:g}">'
            f"<title>{shown(label)}: {value:,}</title></rect>"
            f'<text x="{_NAMES + wide + 8:.1f}" y="{y + 16:.1f}">{value:,}</text>'
        )
    described = f"{title}; the table below has the same figures."
    return _figure(name, title, described, parts, 2 * _TOP + len(values) * (_BAR + 6))


def gathered(rows: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    """Return at most `SERIES` series: the largest, and the sum of all others as the last."""
    names = list(rows)
    if len(names) <= SERIES:
        return {name: rows[name] for name in names}
    kept, rest = names[: SERIES - 1], names[SERIES - 1 :]
    others = [sum(values) for values in zip(*(rows[name] for name in rest), strict=True)]
    return {**{name: rows[name] for name in kept}, f"{len(rest)} others": others}


def _scale(highest: int) -> str:
    lines: list[str] = []
    for number in range(_GRID + 1):
        y = _TOP + _HEIGHT * (1 - number / _GRID)
        lines.append(
            f'<line class="grid" x1="{_LEFT:g}" x2="{_WIDTH:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 8:g}" y="{y + 4:.1f}" text-anchor="end">{_short(highest * number / _GRID)}</text>'
        )
    return "".join(lines)


def _round_up(value: int) -> int:
    """Return a round number from `value` on that can be cut in four."""
    top = 4
    while top < value:
        for factor in (2, 2.5, 2):
            if top >= value:
                break
            top = int(top * factor)
    return top


def _short(value: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            scaled = value / (1e3 if unit == "k" else limit)
            return f"{scaled:.3g}{unit}"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _moment(time: datetime, step: timedelta) -> str:
    return f"{time:%d %b %Y}" if step >= timedelta(days=1) else f"{time:%d %b %H:%M}"


def _figure(name: str, title: str, described: str, parts: Sequence[str], height: float, legend: str = "") -> str:
    return (
        f"<figure><figcaption>{shown(title)}</figcaption>{legend}"
        f'<svg viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{shown(title)}</title><desc id="{name}-d">{shown(described)}</desc>'
        f"{''.join(parts)}</svg></figure>"
    )
