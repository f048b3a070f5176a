"""The command that puts two runs side by side.

In: two folders written by `penchant run`. Out: their metrics with the difference, and what else differs, on stdout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penchant.cli.learning import compare_versions
from penchant.cli.options import AsJson, Database, StateFolder
from penchant.cli.printing import columns_table, out, print_answer, reported_errors
from penchant.cli.speaking import spoken_language


def compare(
    first: Annotated[
        Path, typer.Argument(help="Folder written by `penchant run`, or BUNDLE@NUMBER: one of its versions.")
    ],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    database: Database = None,
    folder: StateFolder = None,
    as_json: AsJson = False,
) -> None:
    """Print two recommenders side by side: the second minus the first, list by list where both were measured on the same test.

    Two versions of one bundle are compared on the events that came to the service's store after both.
    """
    from penchant.core.messages import Translator
    from penchant.reporting import number_format
    from penchant.reporting.labels import metric_label
    from penchant.reporting.report import as_json as plain
    from penchant.reporting.run_comparison import compare_runs
    from penchant.reporting.written import WrittenReport

    versions = _version(first), _version(second)
    with reported_errors(as_json):
        if versions[0] is not None and versions[1] is not None:
            compare_versions(versions[0], versions[1], database, folder, as_json)
            return
        translate = Translator(spoken_language())
        found = compare_runs(WrittenReport.beside(first), WrittenReport.beside(second), translate)
        if as_json:
            print_answer(plain(found), as_json)
            return
        names = found.names if len(set(found.names)) > 1 else (str(first), str(second))
        table = columns_table("", *names, translate("second minus first"))
        for pair in found.metrics:
            table.add_row(
                metric_label(translate, pair.metric),
                *map(number_format.interval, pair.scores),
                found.said(pair, translate),
            )
        for label, one, other in found.facts:
            table.add_row(label, one, other, "" if one == other else "≠")
        out.print(table)
        out.print(translate(found.note), markup=False)


def _version(named: Path) -> tuple[Path, int] | None:
    """Return the bundle and the number of BUNDLE@NUMBER; None for a folder."""
    name, mark, number = named.name.rpartition("@")
    return (named.with_name(name), int(number)) if mark and name and number.isdecimal() and not named.exists() else None
