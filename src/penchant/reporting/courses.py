"""The page of courses over time.

In: courses, and what was measured. Out: one HTML file without script or network, a plot for each person; people are numbered, not named.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
from markupsafe import Markup, escape

from penchant.core.messages import Translator, message
from penchant.reporting.plots import course

NUM_TICKS = 6
SHOWN = 200
"""Plots on a page."""
STYLE = Markup("""
body { font: 15px/1.5 system-ui, sans-serif; max-width: 780px; margin: 2em auto; padding: 0 1em; color: #222; background: #fff; }
svg.course { width: 100%; height: auto; } .tick { font-size: 11px; fill: #666; } .grid { stroke: #e6e6e6; } .zero { stroke: #999; }
.band { fill: #3a6ea5; opacity: .18; } .curve { fill: none; stroke: #3a6ea5; stroke-width: 2; } .dot { fill: #3a6ea5; opacity: .6; }
.change { stroke: #8a5a00; stroke-dasharray: 5 4; stroke-width: 1.5; } .alarm { fill: #b3261e; }
h2 { font-size: 1em; margin: 1.5em 0 0; } pre { white-space: pre-wrap; }
""")


class PlottedCourse(Protocol):
    """What a plot needs of a course; see `classifiers.course.Course`."""

    @property
    def start(self) -> np.ndarray: ...
    @property
    def is_dated(self) -> bool: ...
    @property
    def probability(self) -> np.ndarray: ...
    @property
    def level(self) -> np.ndarray: ...
    @property
    def low(self) -> np.ndarray: ...
    @property
    def high(self) -> np.ndarray: ...
    @property
    def changes(self) -> tuple[int, ...]: ...
    @property
    def alarms(self) -> tuple[int, ...]: ...


def write_courses(
    courses: Sequence[PlottedCourse],
    titles: Sequence[str],
    lines: Sequence[str],
    notes: Sequence[str],
    file: Path,
    language: str = "en",
) -> None:
    """Write the page.

    Args:
        courses: Of people; those without a window are left out.
        titles: Of each, such as the class.
        lines: What was measured.
        notes: For the reader, such as that this is no diagnosis.
        file: Where.
        language: Of the page.
    """
    translate = Translator(language)
    heading = translate(message("Courses over time"))
    legend = translate(
        message(
            "Dots: the probability of each window. Line and band: the smoothed level with its 95 % interval. Dashed: a change point. "
            "Triangle: an early warning. A warning says that recordings changed, not why."
        )
    )
    body = Markup("<h1>{}</h1><p>{}</p>").format(heading, legend)
    body += Markup("").join(Markup("<p><strong>{}</strong></p>").format(translate(note)) for note in notes)
    body += Markup("<pre>{}</pre>").format("\n".join(lines)) if lines else Markup("")
    drawn = [(one, title) for one, title in zip(courses, titles, strict=True) if len(one.start)]
    for number, (one, title) in enumerate(drawn[:SHOWN], 1):
        body += Markup("<h2>{}. {}</h2>").format(number, title) + course_plot(one, title)
    page = Markup(
        '<!doctype html><html lang="{}"><meta charset="utf-8"><title>{}</title><style>{}</style><body>{}</body></html>'
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page.format(language, heading, STYLE, body), encoding="utf-8")


def course_plot(one: PlottedCourse, title: str) -> Markup:
    """Return the plot of one person."""
    places = np.unique(np.linspace(0, len(one.start) - 1, min(NUM_TICKS, len(one.start))).round().astype(int))
    ticks = [(float(one.start[p]), when(float(one.start[p]), one.is_dated)) for p in places]
    return course(
        one.start.tolist(),
        one.probability.tolist(),
        one.level.tolist(),
        list(zip(one.low.tolist(), one.high.tolist(), strict=True)),
        one.changes,
        one.alarms,
        ticks=ticks,
        alt=str(escape(title)),
    )


def when(seconds: float, is_dated: bool) -> str:
    """Return a time as a date, with the hour where it is not midnight; hours where there are no dates."""
    if not is_dated:
        return f"{seconds / 3600:g} h"
    date = datetime.fromtimestamp(seconds, UTC)
    return f"{date:%Y-%m-%d}" if seconds % 86_400 == 0 else f"{date:%Y-%m-%d %H:%M}"
