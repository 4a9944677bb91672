"""Charts as inline SVG: bars of two servers, and ratios pair by pair."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from loadtests.bench.figures import Ratio

_WIDTH: Final = 760.0
_LEFT: Final = 190.0
_RIGHT: Final = 90.0
_BAR: Final = 17.0
_GAP: Final = 14.0


@dataclass(frozen=True, slots=True)
class Bars:
    """A pair of values of one work: of kmsgw and of OpenBao."""

    name: str
    values: tuple[float, float]


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


@dataclass(frozen=True, slots=True)
class Dots:
    """Ratios of one work, pair by pair, and the one that is asked; 0 where none is."""

    name: str
    ratio: Ratio
    asked: float = 0.0


def ratio_chart(title: str, rows: Sequence[Dots]) -> str:
    """Return each pair as a dot, the median as a large one, on a logarithmic scale with a line at 1.

    What is asked stands as a mark across the row.
    """
    if not rows:
        return ""
    ends = [end for row in rows for end in (row.ratio.min, row.ratio.max, row.asked) if end > 0]
    least, most = min(0.5, *ends) / 1.1, max(2.0, *ends) * 1.1
    bottom = _BAR + len(rows) * (_BAR + _GAP)
    ticks = [each for each in (0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 8, 10, 15, 20, 30, 50) if least <= each <= most]
    parts = [
        f'<line class="{"one" if each == 1 else "grid"}" x1="{_along(each, least, most):.1f}" '
        f'x2="{_along(each, least, most):.1f}" y1="{_BAR:g}" y2="{bottom:.1f}"/>'
        + _text(_along(each, least, most), bottom + _BAR, f"{each:g}", "middle")
        for each in ticks
    ]
    for place, row in enumerate(rows):
        name, ratio = row.name, row.ratio
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
        if row.asked:
            asked = _along(row.asked, least, most)
            parts.append(
                f'<line class="asked" x1="{asked:.1f}" x2="{asked:.1f}" y1="{y - 9:.1f}" y2="{y + 9:.1f}">'
                f"<title>asked: {row.asked:g}</title></line>"
            )
        # At the edge, where no mark is in the way.
        parts.append(_text(_WIDTH - 8, y + 4, f"{ratio.median:.2f}", "end"))
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
