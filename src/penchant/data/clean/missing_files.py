"""Columns of media of which no file can be used.

In: a column of paths and the folder they start from. Out: an error that names the column, the number of its files, their folder and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from penchant.core.errors import DataError
from penchant.data.clean.media_facts import locate

OF_FOLDER = frozenset(("missing", "outside", "link"))
"""Reasons that probably mean a wrong folder, not damaged files."""


def check_files(cells: pl.Series, modality: str, root: Path, leave_out: str) -> None:
    """Refuse a column of which no file is there; no file is opened, and where one is there the others are not looked for.

    Args:
        cells: Paths below `root`, null where there is none.
        modality: "image", "audio", "video", "mesh" or "signal".
        root: Folder no path may leave.
        leave_out: The other way to mend it, which leaves the column or the channel out.

    Raises:
        DataError: With the column, the number of files, the folder and the reasons.
    """
    names = [name for name in cells.cast(pl.String).drop_nulls() if name]
    reasons: Counter[str] = Counter()
    for name in names:
        found, facts = locate([name], root, modality)
        if found:
            return
        reasons[facts[0]["check"]] += 1
    if names:
        raise none_usable(cells, modality, root, reasons, leave_out)


def none_usable(
    cells: pl.Series, modality: str, root: Path | None, reasons: Mapping[str, int], leave_out: str
) -> DataError:
    """Return the error of a column none of whose files can be used; `reasons` are numbers of files by the check they failed."""
    why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
    known = cells.drop_nulls()
    damaged = OF_FOLDER.isdisjoint(reasons)
    return DataError(
        f"None of the {len(known):,} files in the column {cells.name!r} can be used as {modality}: {why}.",
        where=f"{root}, first file {known[0]!r}",
        fix=f"repair the files, or {leave_out}" if damaged else f"correct [data] media_folder or path, or {leave_out}",
    )


def without(column: str, media: Mapping[str, str], setting: str = "media") -> str:
    """Return how to leave a recognised column out; `media` is modality to column, `setting` that of [data] which names them."""
    others = ", ".join(f'{modality} = "{other}"' for modality, other in media.items() if other != column)
    return f"leave the column out: [data] {setting} = {{{others}}}"
