"""Line charts as SVG: panels above one another that share the horizontal axis.

For the curve of a training run: a few hundred points a line, numbers on both axes, marks where a stage begins. The
text is plain SVG 1.1 that browsers and image viewers draw as it is, with nothing to install. It draws no dates, no
logarithmic axes and no error bars.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")
"""Told apart by colour-blind eyes too (Okabe and Ito 2008)."""
WIDTH, PANEL_HEIGHT = 760, 210
_LEFT, _RIGHT, _TOP, _GAP, _BOTTOM = 64, 20, 64, 52, 48
_MOST_POINTS = 600
"""Points drawn of one line; a longer one is drawn by the means of equal shares of it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its name in the legend, and points (x, y) by rising x. Points that are not finite are left out."""

    name: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    """Draw the points too, for a line of few of them."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. `limits` holds the vertical axis; None fits it to the points."""

    title: str
    lines: Sequence[Line]
    limits: tuple[float, float] | None = None
    percent: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A dashed vertical line through all panels, with a word above the first."""

    x: float
    label: str


def draw(title: str, panels: Sequence[Panel], *, x_label: str = "", marks: Sequence[Mark] = ()) -> str:
    """The chart as the text of an SVG file. Panels without a point are drawn empty."""
    panels = [
        Panel(
            panel.title,
            [Line(line.name, _thinned(line.points), line.dots) for line in panel.lines],
            panel.limits,
            panel.percent,
        )
        for panel in panels
    ]
    xs = [x for panel in panels for line in panel.lines for x, _ in line.points] + [mark.x for mark in marks]
    x_axis = _Axis.over(xs, fit=True)
    height = _TOP + len(panels) * PANEL_HEIGHT + (len(panels) - 1) * _GAP + _BOTTOM
    body = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            'font-family="system-ui, sans-serif" font-size="12" fill="#333">'
        ),
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="26" font-size="16" font-weight="600">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        top = _TOP + number * (PANEL_HEIGHT + _GAP)
        body += _panel(panel, top, x_axis, marks, label_marks=number == 0, label_x=number == len(panels) - 1)
    body.append(
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2:.0f}" y="{height - 10}" text-anchor="middle">{escape(x_label)}</text>'
    )
    body.append("</svg>")
    return "\n".join(body) + "\n"


@dataclass(frozen=True, slots=True)
class _Axis:
    """A range of values with round ticks. `at` gives a value's share of the range."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(cls, values: Iterable[float], *, fit: bool = False) -> _Axis:
        """The range of some values: to the values themselves where `fit`, else to the ticks around them."""
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        if high - low <= 1e-9 * max(abs(low), abs(high)):  # all but one value: a range around it that floats can tell
            around = max(0.5, abs(low) / 10)
            low, high = (low - around, high + around) if not fit else (low, high + around)
        raw = (high - low) / 5
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * (1 - 1e-9))
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        ticks = tuple(step * index for index in range(first, last + 1))
        if not fit:
            return cls(ticks[0], ticks[-1], ticks)
        slack = (high - low) * 1e-9
        return cls(low, high, tuple(tick for tick in ticks if low - slack <= tick <= high + slack))

    def at(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def _panel(
    panel: Panel, top: float, x_axis: _Axis, marks: Sequence[Mark], *, label_marks: bool, label_x: bool
) -> list[str]:
    bottom, right = top + PANEL_HEIGHT, WIDTH - _RIGHT
    values = panel.limits or [y for line in panel.lines for _, y in line.points]
    y_axis = _Axis.over(values)

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + x_axis.at(x) * (right - _LEFT), bottom - y_axis.at(min(max(y, y_axis.low), y_axis.high)) * (
            bottom - top
        )

    made = [f'<text x="{_LEFT}" y="{top - 8}" font-weight="600">{escape(panel.title)}</text>']
    for tick in y_axis.ticks:
        _, y = place(x_axis.low, tick)
        made.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#e4e4e4"/>')
        label = f"{tick:.0%}" if panel.percent else f"{tick:.6g}"
        made.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#666">{label}</text>')
    for tick in x_axis.ticks if label_x else ():
        x, _ = place(tick, y_axis.low)
        made.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="#666">{tick:,.6g}</text>')
    for mark in marks:
        x, _ = place(mark.x, y_axis.low)
        made.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="#999" stroke-dasharray="3 4"/>')
        if label_marks:
            made.append(f'<text x="{x + 3:.1f}" y="{top + 12}" font-size="10" fill="#777">{escape(mark.label)}</text>')
    made.append(f'<line x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="#888"/>')
    for number, line in enumerate(panel.lines):
        colour = COLOURS[number % len(COLOURS)]
        places = [place(x, y) for x, y in line.points]
        if places:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            made.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        if line.dots:
            made += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in places]
    made += _legend(panel, top, right)
    return made


def _legend(panel: Panel, top: float, right: float) -> list[str]:
    """Names from the right edge leftwards, on the line of the title; a letter is taken for 6.6 units wide."""
    made: list[str] = []
    for number, line in reversed(list(enumerate(panel.lines))):
        colour = COLOURS[number % len(COLOURS)]
        right -= 6.6 * len(line.name)
        made.append(f'<text x="{right:.1f}" y="{top - 8}">{escape(line.name)}</text>')
        made.append(
            f'<line x1="{right - 22:.1f}" y1="{top - 12}" x2="{right - 5:.1f}" y2="{top - 12}" stroke="{colour}" '
            'stroke-width="3"/>'
        )
        right -= 36
    return made


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(finite) <= _MOST_POINTS:
        return finite
    bounds = [len(finite) * index // _MOST_POINTS for index in range(_MOST_POINTS + 1)]
    shares = [finite[start:end] for start, end in itertools.pairwise(bounds)]
    return [(sum(x for x, _ in share) / len(share), sum(y for _, y in share) / len(share)) for share in shares]
