"""Plots as inline SVG.

In: means, intervals, shares, curves. Out: safe markup; colours come from the page's style sheet by class name.
Row plots place marks in per cent of the width, so text keeps its size on a narrow screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from penchant.metrics.interest import Curve, Reliability
from penchant.metrics.intervals import Difference, Interval
from penchant.reporting.number_format import number

ROW = 26
"""Height of one row of a row plot, pixels."""

GAP = 6.5
"""How far a row's grid runs past it, so that the rows of a table join into one grid."""

SIDE = 300
"""Width and height of a square plot, in its own units."""

WIDE = 720
"""Width of a plot over time, in the same units."""

LEFT, BELOW, REST = 48, 40, 12
"""Room beside a square plot for the numbers and the name of an axis, and on the sides that have none."""


@dataclass(frozen=True)
class PlotScale:
    """A number line from `low` to `high` with round ticks."""

    low: float
    high: float
    step: float

    @classmethod
    def over(cls, values: Iterable[float], *, num_ticks: int = 4) -> PlotScale:
        """Return the scale that holds all values and 0, its ends on round numbers."""
        known = [v for v in values if math.isfinite(v)]
        low, high = min([0.0, *known]), max([0.0, *known])
        raw = (high - low or 1.0) / num_ticks
        unit = 10.0 ** math.floor(math.log10(raw))
        step = unit * next(m for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)
        return cls(math.floor(low / step + 1e-9) * step, (math.ceil(high / step - 1e-9) or 1) * step, step)

    @classmethod
    def around(cls, values: Iterable[float], *, num_ticks: int = 4) -> PlotScale:
        """Return the scale that holds all values, and 0 only where it lies among them."""
        known = [v for v in values if math.isfinite(v)] or [0.0]
        low, span = min(known), max(known) - min(known)
        moved = cls.over([0.0, span or abs(low) or 1.0], num_ticks=num_ticks)
        start = math.floor(low / moved.step + 1e-9) * moved.step
        end = math.ceil(max(known) / moved.step - 1e-9) * moved.step
        return cls(start, max(end, start + moved.step), moved.step)

    def at(self, value: float) -> float:
        """Return the position of a value in per cent of the width."""
        return 100.0 * (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return the values with a label."""
        return [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]

    def label(self, value: float) -> str:
        """Return a tick's number, with no more decimals than the step needs."""
        digits = next((d for d in range(6) if abs(round(self.step, d) - self.step) < self.step * 1e-6), 6)
        return number(value, digits)


def bar(scale: PlotScale, value: Interval, kind: str) -> Markup:
    """Return one row: a bar to the mean and a whisker over the interval. `kind` is a class: "ours", "baseline", ..."""
    if math.isnan(value.mean):
        return _track(scale, Markup(""))
    start, end = scale.at(min(0.0, value.mean)), scale.at(max(0.0, value.mean))
    body = _tag("rect", x=_pc(start), y=6, width=_pc(end - start), height=ROW - 12, rx=2, class_=f"bar {kind}")
    return _track(scale, body + _whisker(scale, value, "over"))


def dots(scale: PlotScale, values: Sequence[tuple[Interval | Difference, str]]) -> Markup:
    """Return one row: for each value a whisker and a dot; the last is drawn on top."""
    marks = Markup("")
    values = [(value, kind) for value, kind in values if not math.isnan(value.mean)]
    if len(values) > 1:
        places = [scale.at(value.mean) for value, _ in values]
        marks += _line(_pc(min(places)), ROW / 2, _pc(max(places)), ROW / 2, "link")
    for value, kind in values:
        marks += _whisker(scale, value, kind)
        marks += _tag("circle", cx=_pc(scale.at(value.mean)), cy=ROW / 2, r=4.5, class_=f"dot {kind}")
    return _track(scale, marks)


def axis(scale: PlotScale) -> Markup:
    """Return the numbers under a row plot."""
    labels = Markup("").join(
        _tag("text", escape(scale.label(t)), x=_pc(scale.at(t)), y=14, text_anchor="middle", class_="tick")
        for t in scale.ticks()
    )
    return _svg(labels, height=18)


def stacked(parts: Sequence[tuple[float, str]]) -> Markup:
    """Return one row: shares of a whole (0 to 1 together) side by side, each with a class; 2 pixels of page between them."""
    marks, start = Markup(""), 0.0
    for share, kind in parts:
        if share > 0:
            marks += _tag(
                "rect", x=_pc(100 * start), y=6, width=_pc(100 * share), height=ROW - 12, class_=f"part {kind}"
            )
        start += share
    return _svg(marks, height=ROW)


def curves(lines: Sequence[tuple[Curve, str]], *, x: str, y: str, alt: str, diagonal: bool = False) -> Markup:
    """Return a square plot of curves over 0 to 1; the last is drawn on top.

    Args:
        lines: Each curve with its class.
        x: Name of the horizontal axis.
        y: Name of the vertical axis.
        alt: Alternative text.
        diagonal: Whether to draw the diagonal of random scores (or of perfect calibration).
    """
    marks = _frame(x, y)
    if diagonal:
        marks += _line(_sx(0), _sy(0), _sx(1), _sy(1), "diagonal")
    for curve, kind in lines:
        path = " ".join(f"{_sx(a):.1f},{_sy(b):.1f}" for a, b in zip(curve.x, curve.y, strict=True))
        marks += _tag("polyline", points=path, class_=f"curve {kind}")
    return _square(marks, alt)


def calibration(lines: Sequence[tuple[Reliability, str]], *, x: str, y: str, alt: str) -> Markup:
    """Return a square plot of predicted probability against true share; a dot grows with its number of pairs."""
    marks = _frame(x, y) + _line(_sx(0), _sy(0), _sx(1), _sy(1), "diagonal")
    for found, kind in lines:
        places = [(_sx(p), _sy(s)) for p, s in zip(found.probability, found.share, strict=True)]
        marks += _tag("polyline", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in places), class_=f"curve {kind}")
        largest = max(found.count, default=1)
        for (a, b), pairs in zip(places, found.count, strict=True):
            radius = 2 + 5 * math.sqrt(pairs / largest)
            marks += _tag("circle", cx=round(a, 1), cy=round(b, 1), r=round(radius, 1), class_=f"dot {kind}")
    return _square(marks, alt)


def course(
    at: Sequence[float],
    dots_at: Sequence[float],
    level: Sequence[float],
    band: Sequence[tuple[float, float]],
    changes: Sequence[int],
    alarms: Sequence[int],
    *,
    ticks: Sequence[tuple[float, str]],
    alt: str,
) -> Markup:
    """Return a wide plot of probabilities over time: a dot for each window, the level with its band, changes as lines, alarms as triangles.

    Args:
        at: (windows,) times, rising.
        dots_at: (windows,) probability of each window.
        level: (windows,) smoothed probability.
        band: (windows,) lower and upper end about the level.
        changes: Numbers of windows.
        alarms: Numbers of windows.
        ticks: Times with their labels.
        alt: Alternative text.
    """
    first, last = at[0], at[-1]

    def across(time: float) -> float:
        return LEFT + (time - first) / ((last - first) or 1.0) * (WIDE - LEFT - REST)

    marks = Markup("")
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        marks += _line(LEFT, _sy(value), WIDE - REST, _sy(value), "zero" if value == 0 else "grid")
        marks += _tag("text", escape(f"{value:g}"), x=LEFT - 7, y=_sy(value) + 4, text_anchor="end", class_="tick")
    for time, label in ticks:
        anchor = "end" if time == last else "middle"  # inside the plot
        marks += _tag("text", escape(label), x=round(across(time), 1), y=_sy(0) + 17, text_anchor=anchor, class_="tick")
    upper = [f"{across(t):.1f},{_sy(high):.1f}" for t, (_, high) in zip(at, band, strict=True)]
    lower = [f"{across(t):.1f},{_sy(low):.1f}" for t, (low, _) in zip(at, band, strict=True)]
    marks += _tag("polygon", points=" ".join([*upper, *reversed(lower)]), class_="band")
    marks += _tag(
        "polyline",
        points=" ".join(f"{across(t):.1f},{_sy(p):.1f}" for t, p in zip(at, level, strict=True)),
        class_="curve",
    )
    for row in changes:
        place = round((across(at[row - 1]) + across(at[row])) / 2, 1)
        marks += _line(place, _sy(0), place, _sy(1), "change")
    for time, value in zip(at, dots_at, strict=True):
        marks += _tag("circle", cx=round(across(time), 1), cy=round(_sy(value), 1), r=2.5, class_="dot")
    for row in alarms:
        x, y = across(at[row]), _sy(1)
        marks += _tag(
            "polygon", points=f"{x - 6:.1f},{y - 9:.1f} {x + 6:.1f},{y - 9:.1f} {x:.1f},{y:.1f}", class_="alarm"
        )
    return _tag("svg", marks, viewBox=f"0 0 {WIDE} {SIDE}", role="img", aria_label=alt, class_="course")


def epochs(values: Sequence[float], best: int, *, x: str, y: str, alt: str) -> Markup:
    """Return a square plot of one number for each epoch, from 1; the epoch that was kept has a dot."""
    scale = PlotScale.around(values)
    last = max(len(values), 2)
    places = [(_sx(epoch / (last - 1)), _sy(scale.at(value) / 100)) for epoch, value in enumerate(values)]
    marks = Markup("")
    for tick in scale.ticks():
        height = round(_sy(scale.at(tick) / 100), 1)
        marks += _line(_sx(0), height, _sx(1), height, "grid")
        marks += _tag("text", escape(scale.label(tick)), x=_sx(0) - 7, y=height + 4, text_anchor="end", class_="tick")
    for epoch in sorted({0, last // 2, last - 1}):
        place = round(_sx(epoch / (last - 1)), 1)
        marks += _tag("text", escape(str(epoch + 1)), x=place, y=_sy(0) + 15, text_anchor="middle", class_="tick")
    marks += _names(x, y)
    marks += _tag("polyline", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in places), class_="curve ours")
    if 0 <= best < len(places):
        marks += _tag("circle", cx=round(places[best][0], 1), cy=round(places[best][1], 1), r=4.5, class_="dot ours")
    return _square(marks, alt)


def places(points: Sequence[Sequence[float]], groups: Sequence[int], *, alt: str) -> Markup:
    """Return a square of points between 0 and 1, each with the class of its group, "g0" for the first; others, -1, lie below."""
    marks, room = Markup(""), SIDE - 16
    for (a, b), group in sorted(zip(points, groups, strict=True), key=lambda pair: pair[1] >= 0):
        kind = f"point g{group}" if group >= 0 else "point"
        marks += _tag("circle", cx=round(8 + room * a, 1), cy=round(8 + room * (1 - b), 1), r=2.6, class_=kind)
    return _square(marks, alt)


def scatter(values: Sequence[tuple[float, float]], kinds: Sequence[str], *, x: str, y: str, alt: str) -> Markup:
    """Return a wide plot of points with a number line from 0 on each axis; the last of equal places is drawn on top.

    Args:
        values: Horizontal and vertical place of each point.
        kinds: Class of each.
        x: Name of the horizontal axis.
        y: Name of the vertical axis.
        alt: Alternative text.
    """
    across, up = PlotScale.over([a for a, _ in values], num_ticks=6), PlotScale.over([b for _, b in values])

    def place(value: float) -> float:
        return round(LEFT + across.at(value) / 100 * (WIDE - LEFT - REST), 1)

    def height(value: float) -> float:
        return round(_sy(up.at(value) / 100), 1)

    marks = Markup("")
    for tick in across.ticks():
        marks += _line(place(tick), _sy(0), place(tick), _sy(1), "zero" if tick == 0 else "grid")
        label = escape(across.label(tick))
        marks += _tag("text", label, x=place(tick), y=_sy(0) + 15, text_anchor="middle", class_="tick")
    for tick in up.ticks():
        marks += _line(LEFT, height(tick), WIDE - REST, height(tick), "zero" if tick == 0 else "grid")
        label = escape(up.label(tick))
        marks += _tag("text", label, x=LEFT - 7, y=height(tick) + 4, text_anchor="end", class_="tick")
    marks += _tag("text", escape(x), x=(LEFT + WIDE - REST) / 2, y=SIDE - 3, text_anchor="middle", class_="name")
    turn = f"rotate(-90 11 {_sy(0.5)})"
    marks += _tag("text", escape(y), x=11, y=_sy(0.5), transform=turn, text_anchor="middle", class_="name")
    for (a, b), kind in zip(values, kinds, strict=True):
        marks += _tag("circle", cx=place(a), cy=height(b), r=5, class_=f"dot {kind}")
    return _tag("svg", marks, viewBox=f"0 0 {WIDE} {SIDE}", role="img", aria_label=alt, class_="course")


def _track(scale: PlotScale, marks: Markup) -> Markup:
    """Return one row with its grid; the line of 0 is stronger."""
    grid = Markup("").join(
        _line(_pc(scale.at(t)), -GAP, _pc(scale.at(t)), ROW + GAP, "zero" if abs(t) < scale.step * 1e-6 else "grid")
        for t in scale.ticks()
    )
    return _svg(grid + marks, height=ROW)


def _whisker(scale: PlotScale, value: Interval | Difference, kind: str) -> Markup:
    if math.isnan(value.low) or math.isnan(value.high):
        return Markup("")
    low, high, middle = _pc(scale.at(value.low)), _pc(scale.at(value.high)), ROW / 2
    css = f"whisker {kind}"
    ends = _line(low, middle - 4, low, middle + 4, css) + _line(high, middle - 4, high, middle + 4, css)
    return _line(low, middle, high, middle, css) + ends


def _frame(x: str, y: str) -> Markup:
    """Return the grid, numbers and names of a square plot's axes, both from 0 to 1."""
    marks = Markup("")
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        css, label = "zero" if tick == 0 else "grid", escape(f"{tick:g}")
        marks += _line(_sx(tick), _sy(0), _sx(tick), _sy(1), css) + _line(_sx(0), _sy(tick), _sx(1), _sy(tick), css)
        marks += _tag("text", label, x=_sx(tick), y=_sy(0) + 15, text_anchor="middle", class_="tick")
        marks += _tag("text", label, x=_sx(0) - 7, y=_sy(tick) + 4, text_anchor="end", class_="tick")
    return marks + _names(x, y)


def _names(x: str, y: str) -> Markup:
    """Return the names of a square plot's axes."""
    turn = f"rotate(-90 11 {_sy(0.5)})"
    across = _tag("text", escape(x), x=_sx(0.5), y=SIDE - 3, text_anchor="middle", class_="name")
    return across + _tag("text", escape(y), x=11, y=_sy(0.5), transform=turn, text_anchor="middle", class_="name")


def _square(marks: Markup, alt: str) -> Markup:
    return _tag("svg", marks, viewBox=f"0 0 {SIDE} {SIDE}", role="img", aria_label=alt, class_="square")


def _svg(marks: Markup, *, height: int) -> Markup:
    """Return a row plot; hidden from screen readers, since the numbers stand in the same table row."""
    return _tag("svg", marks, width="100%", height=height, aria_hidden="true", class_="track")


def _sx(value: float) -> float:
    return LEFT + value * (SIDE - LEFT - REST)


def _sy(value: float) -> float:
    return SIDE - BELOW - value * (SIDE - BELOW - REST)


def _line(x1: float | str, y1: float, x2: float | str, y2: float, css: str) -> Markup:
    return _tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=css)


def _pc(value: float) -> str:
    return f"{value:.2f}%"


def _tag(name: str, inside: Markup | None = None, **attributes: object) -> Markup:
    """Return one element; `class_` and `text_anchor` become `class` and `text-anchor`, values are escaped."""
    pairs = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-") if key != "viewBox" else key, value)
        for key, value in attributes.items()
    )
    return Markup("<{}{}>{}</{}>").format(name, pairs, inside or Markup(""), name)
