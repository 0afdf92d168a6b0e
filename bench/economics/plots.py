"""Line plots as SVG: axes, ticks, a legend, nothing else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 760
_HEIGHT: Final = 420
_LEFT: Final = 70
_RIGHT: Final = 210  # for the legend
_TOP: Final = 40
_BOTTOM: Final = 50
_COLOURS: Final = (
    "#1b6ca8", "#c8442c", "#3d8b40", "#8a5fb0", "#b8860b", "#2a9d9d", "#d1739f",
    "#5b6770", "#9a6a43", "#6b8e23", "#4b4bc8", "#b03060", "#222222",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its name in the legend, and its points."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Lines over one pair of axes. `logarithmic`: the upright one is; then no value may be 0 or less."""

    title: str
    across: str
    upright: str
    lines: Sequence[Line]
    logarithmic: bool = False

    def svg(self) -> str:
        """The plot as a file. Raises ValueError if there is nothing to plot."""
        points = [point for line in self.lines for point in line.points]
        if not points:
            raise ValueError("a plot of no points")
        xs, ys = _Scale.of([x for x, _ in points], False), _Scale.of([y for _, y in points], self.logarithmic)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
            ' font-family="sans-serif" font-size="12">',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            _text(_LEFT, 22, self.title, size=15),
            _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, self.across, anchor="middle"),
            f'<g transform="rotate(-90 16 {_HEIGHT / 2})">'
            + _text(16, _HEIGHT / 2, self.upright, anchor="middle")
            + "</g>",
        ]
        for tick in xs.ticks:
            x = _across(xs, tick)
            parts += [
                _rule(x, _TOP, x, _HEIGHT - _BOTTOM),
                _text(x, _HEIGHT - 32, f"{tick:g}", anchor="middle"),
            ]
        for tick in ys.ticks:
            y = _upright(ys, tick)
            parts += [_rule(_LEFT, y, _WIDTH - _RIGHT, y), _text(_LEFT - 6, y + 4, f"{tick:g}", anchor="end")]
        for index, line in enumerate(self.lines):
            parts += _drawn(line, _stroke(index), _TOP + 10 + 18 * index, xs, ys)
        return "\n".join((*parts, "</svg>", ""))


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to 0…1, with round numbers to label."""

    low: float
    high: float
    logarithmic: bool
    ticks: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float], logarithmic: bool) -> "_Scale":
        low, high = min(values), max(values)
        if logarithmic:
            first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
            last = max(last, first + 1)
            return cls(first, last, True, tuple(10.0**power for power in range(first, last + 1)))
        step = _step(high - low or 1.0)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        last = max(last, first + 1)
        ticks = tuple(round(step * index, 10) for index in range(first, last + 1))
        return cls(ticks[0], ticks[-1], False, ticks)

    def place(self, value: float) -> float:
        """Where a value is."""
        return ((math.log10(value) if self.logarithmic else value) - self.low) / (self.high - self.low)


def _step(span: float) -> float:
    """A round number that fits some five to ten times into `span`."""
    power = 10.0 ** math.floor(math.log10(span / 5))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * 8 >= span)


def _across(scale: _Scale, value: float) -> float:
    return _LEFT + scale.place(value) * (_WIDTH - _LEFT - _RIGHT)


def _upright(scale: _Scale, value: float) -> float:
    return _HEIGHT - _BOTTOM - scale.place(value) * (_HEIGHT - _TOP - _BOTTOM)


def _stroke(index: int) -> str:
    """How a line is drawn: in a colour of its own, dashed where these are used up."""
    dashed = ' stroke-dasharray="5 3"' if index >= len(_COLOURS) else ""
    return f'stroke="{_COLOURS[index % len(_COLOURS)]}"{dashed}'


def _drawn(line: Line, stroke: str, legend_y: float, xs: _Scale, ys: _Scale) -> list[str]:
    path = " ".join(f"{_across(xs, x):.1f},{_upright(ys, y):.1f}" for x, y in line.points)
    x = _WIDTH - _RIGHT + 14
    return [
        f'<polyline points="{path}" fill="none" {stroke} stroke-width="1.8"/>',
        f'<line x1="{x}" y1="{legend_y}" x2="{x + 18}" y2="{legend_y}" {stroke} stroke-width="3"/>',
        _text(x + 24, legend_y + 4, line.name, size=11),
    ]


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#dddddd"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
