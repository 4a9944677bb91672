"""Line charts as inline SVG. Colours are CSS variables of the page; nothing is fetched from anywhere."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 760.0
_HEIGHT: Final = 300.0
_LEFT: Final = 64.0
_RIGHT: Final = 84.0
_TOP: Final = 22.0
_BOTTOM: Final = 44.0
_LABEL_DISTANCE: Final = 14.0


@dataclass(frozen=True, slots=True)
class Line:
    """A named line through points. Where y is 0 or less on a logarithmic axis, the point is left out."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its title, how its values are written, and where its ticks are (None: chosen by the values)."""

    title: str
    text: Callable[[float], str]
    logarithmic: bool = False
    ticks: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values between `low` and `high` to pixels between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool

    def __call__(self, value: float) -> float:
        low, high, at = (math.log(each) if self.logarithmic else each for each in (self.low, self.high, value))
        return self.start + (at - low) / ((high - low) or 1.0) * (self.end - self.start)


def line_chart(title: str, x: Axis, y: Axis, lines: Sequence[Line], mark: tuple[float, str] | None = None) -> str:
    """Return a chart as an SVG element. `mark` is a vertical line: its x and what is written at it."""
    drawn = [Line(line.name, [p for p in line.points if p[1] > 0 or not y.logarithmic]) for line in lines]
    values = [point for line in drawn for point in line.points]
    if not values:
        return ""
    horizontal = [point[0] for point in values] + ([mark[0]] if mark else [])
    vertical = [point[1] for point in values]
    y_ticks = y.ticks or _ticks(min(vertical), max(vertical), logarithmic=y.logarithmic)
    x_ticks = x.ticks or sorted(set(horizontal))
    to_x = _Scale(min(horizontal), max(horizontal), _LEFT, _WIDTH - _RIGHT, x.logarithmic)
    to_y = _Scale(min(y_ticks), max(y_ticks), _HEIGHT - _BOTTOM, _TOP, y.logarithmic)
    parts = [
        *(_y_tick(to_y(tick), y.text(tick)) for tick in y_ticks),
        *(_x_tick(to_x(tick), x.text(tick)) for tick in _thinned(x_ticks, to_x)),
        _text(_LEFT, 12, y.title, "start"),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x.title, "middle"),
        *([_mark(to_x(mark[0]), mark[1])] if mark else []),
        *(_path(line, number, to_x, to_y, x, y) for number, line in enumerate(drawn)),
        *_names(drawn, to_y),
    ]
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def _ticks(low: float, high: float, *, logarithmic: bool) -> list[float]:
    if logarithmic:
        bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
        ticks = [factor * 10.0**power for power in range(bottom, top + 1) for factor in (1, 2, 5)]
        first = max(tick for tick in ticks if tick <= low)
        last = min((tick for tick in ticks if tick >= high), default=ticks[-1])
        return [tick for tick in ticks if first <= tick <= last] if last > first else [first, 10 * first]
    step = 10.0 ** math.floor(math.log10(high or 1.0))
    step = next(each for each in (step / 5, step / 2, step, 2 * step) if high / each <= 6)
    return [number * step for number in range(math.ceil(high / step - 1e-9) + 1)]


def _thinned(ticks: Sequence[float], to_x: _Scale) -> list[float]:
    """Leave out ticks whose texts would overlap."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or to_x(tick) - to_x(kept[-1]) >= 42:
            kept.append(tick)
    return kept


def _y_tick(at: float, text: str) -> str:
    line = f'<line class="grid" x1="{_LEFT:g}" x2="{_WIDTH - _RIGHT:g}" y1="{at:.1f}" y2="{at:.1f}"/>'
    return line + _text(_LEFT - 8, at + 4, text, "end")


def _x_tick(at: float, text: str) -> str:
    return _text(at, _HEIGHT - _BOTTOM + 18, text, "middle")


def _mark(at: float, text: str) -> str:
    line = f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP:g}" y2="{_HEIGHT - _BOTTOM:g}"/>'
    right = at > (_LEFT + _WIDTH - _RIGHT) / 2
    return line + _text(at - 6 if right else at + 6, _TOP + 10, text, "end" if right else "start")


def _path(line: Line, number: int, to_x: _Scale, to_y: _Scale, x: Axis, y: Axis) -> str:
    spots = [(to_x(across), to_y(up)) for across, up in line.points]
    path = " ".join(f"{across:.1f},{up:.1f}" for across, up in spots)
    dots = "".join(
        f'<circle class="c{number}" cx="{spot[0]:.1f}" cy="{spot[1]:.1f}" r="4">'
        f"<title>{escape(f'{line.name} at {x.text(point[0])}: {y.text(point[1])}')}</title></circle>"
        for spot, point in zip(spots, line.points, strict=True)
    )
    return f'<polyline class="line c{number}" points="{path}"/>{dots}'


def _names(lines: Sequence[Line], to_y: _Scale) -> list[str]:
    """Write each line's name at its end, apart enough to be read."""
    ends = sorted((to_y(line.points[-1][1]), line.name) for line in lines if line.points)
    texts: list[str] = []
    last = -math.inf
    for at, name in ends:
        last = max(at, last + _LABEL_DISTANCE)
        texts.append(_text(_WIDTH - _RIGHT + 10, last + 4, name, "start"))
    return texts


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
