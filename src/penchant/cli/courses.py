"""The command that follows people over time.

In: a bundle trained on windows, and a table of readings. Out: the course of one person, or a line for each, and on request a page with plots.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penchant.cli.options import AsJson, UserId
from penchant.cli.printing import columns_table, out, print_answer, reported_errors
from penchant.core.errors import NotFoundError, nearest

if TYPE_CHECKING:
    from penchant.classifiers.course import Course


def course(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="Folder written by `penchant run` of a labelled task with [course]."),
    ],
    table: Annotated[Path, typer.Option(help="Readings: a column with the person's id, one with times, the channels.")],
    user: UserId = None,
    plot: Annotated[Path | None, typer.Option(help="Write the plots to this .html file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print how a person's recordings change over time: smoothed probability, change points, early warnings; no diagnosis."""
    from penchant.classifiers.bundle import TrainedClassifier
    from penchant.classifiers.course import read_courses
    from penchant.reporting.courses import write_courses

    with reported_errors(as_json):
        trained = TrainedClassifier.load(bundle)
        found = read_courses(trained, table)
        if user is not None:
            if user not in found:
                raise NotFoundError(f"There are no readings of {user!r}.", where=str(table), fix=nearest(user, found))
            found = {user: found[user]}
        notes = [str(note) for note in trained.facts.get("notes", ())]
        if plot is not None:
            write_courses(list(found.values()), list(found), [], notes, plot)
        if as_json:
            print_answer({"notes": notes, "courses": [one.as_dict() for one in found.values()]}, as_json)
        elif user is not None:
            _print_one(found[user])
        else:
            _print_all(found)
        if not as_json:
            typer.echo("\n".join([*notes, *([f"written {plot}"] if plot is not None else [])]))


def _print_one(one: Course) -> None:
    table = columns_table("window", "probability", "level", "95 %", "deviations", "")
    for t in range(len(one.start)):
        marks = (["change"] if t in one.changes else []) + (["early warning"] if t in one.alarms else [])
        score = "" if one.score[t] != one.score[t] else f"{one.score[t]:.1f}"
        table.add_row(*_cells(one, t), score, ", ".join(marks))
    out.print(table)
    threshold = "none: too few days to promise a rate" if one.threshold == float("inf") else f"{one.threshold:.1f}"
    typer.echo(f"early warning from {threshold} deviations above the person's own beginning")


def _print_all(found: dict[str, Course]) -> None:
    from penchant.reporting.courses import when

    table = columns_table("person", "windows", "last", "level", "95 %", "changes", "early warnings")
    for name, one in found.items():
        if len(one.start) == 0:
            table.add_row(name, "0", "", "", "", "", "")
            continue
        last = len(one.start) - 1
        _, _, level, band = _cells(one, last)
        at: list[Any] = [
            ", ".join(when(float(one.start[t]), one.is_dated) for t in rows) for rows in (one.changes, one.alarms)
        ]
        table.add_row(name, str(len(one.start)), when(float(one.start[last]), one.is_dated), level, band, *at)
    out.print(table)


def _cells(one: Course, t: int) -> tuple[str, str, str, str]:
    from penchant.reporting.courses import when

    return (
        when(float(one.start[t]), one.is_dated),
        f"{one.probability[t]:.2f}",
        f"{one.level[t]:.2f}",
        f"{one.low[t]:.2f} to {one.high[t]:.2f}",
    )
