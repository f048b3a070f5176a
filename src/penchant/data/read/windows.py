"""Divide long signals into windows, such as days.

In: samples whose readings lie in one table. Out: one sample for each window with enough readings; the windows of one signal are a group.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float64

from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Finding, make_findings
from penchant.data.media.signals import KEY_NAMES, times_of, window_key
from penchant.data.read.tables import RawTable, read_table

HOUR = 3600.0
WINDOW_START = "window_start"
"""Column with the start of each window, in seconds as the signal's."""


@dataclass(frozen=True)
class Windows:
    """Windows of one signal with enough readings, in order.

    Attributes:
        start: (windows,) seconds since 1970, or from the start of the signal's clock.
        is_dated: They are seconds since 1970.
        num_sparse: Windows left out for too few readings.
    """

    start: Float64[np.ndarray, " windows"]
    is_dated: bool
    num_sparse: int


def find_windows(raw: RawTable, hours: float, min_share: float) -> Windows:
    """Return the windows of one signal; they start at multiples of their length, days therefore at midnight.

    Args:
        raw: Readings of one signal.
        hours: Length of a window.
        min_share: Readings that a window needs, as a share of those at the usual step.
    """
    at, is_dated = times_of(raw)
    at = np.sort(at[np.isfinite(at)])
    if len(at) < 2:
        return Windows(np.zeros(0), is_dated, len(at))
    length = hours * HOUR
    usual = max(float(np.median(np.diff(at))), 1e-9)
    number, count = np.unique(np.floor(at / length), return_counts=True)
    enough = count >= min_share * length / usual
    return Windows(number[enough] * length, is_dated, int((~enough).sum()))


def read_windows(path: Path, hours: float, min_share: float) -> dict[str, Windows]:
    """Return the windows of every signal of a table of readings, by its id.

    Raises:
        DataError: The table is missing, or has no column of ids.
    """
    raw = read_table(path)
    key = next((name for name in raw.table.columns if name.strip().lower() in KEY_NAMES), None)
    if key is None:
        raise DataError("The table has no column of ids.", where=str(path), fix=f"name it {', '.join(KEY_NAMES[:3])}")
    ids = raw.table[key].cast(pl.String).str.strip_chars()
    parts = raw.table.with_columns(ids.alias(key)).drop_nulls(key).partition_by(key, as_dict=True)
    return {str(one[0]): find_windows(raw.having(part.drop(key)), hours, min_share) for one, part in parts.items()}


def divided(
    table: pl.DataFrame, path: Path, signals: str, hours: float, min_share: float
) -> tuple[pl.DataFrame, list[Finding]]:
    """Return one row for each window of each sample, with its own `sample_id` and `signal`, and the whole signal as `group`.

    Args:
        table: `sample_id`, `label` and other columns; `group` where samples have one.
        path: Folder of the table of readings.
        signals: That table.
        hours: Length of a window.
        min_share: As in `find_windows`.

    Raises:
        DataError: No window has enough readings.
    """
    found = read_windows(path / signals, hours, min_share)
    rows = [
        (key, window_key(key, start, hours * HOUR), start)
        for key in table["sample_id"].to_list()
        if key in found
        for start in found[key].start.tolist()
    ]
    if not rows:
        raise DataError(
            f"No window of {hours:g} hours has enough readings.",
            where=f"{signals}: [data] window_hours",
            fix="lower window_min_share, or take shorter windows",
        )
    windows = pl.DataFrame(rows, schema=["whole", "window", WINDOW_START], orient="row")
    named = table if "group" in table.columns else table.with_columns(group="sample_id")
    joined = windows.join(named, left_on="whole", right_on="sample_id", how="left", maintain_order="left")
    signal = pl.format("{}#{}", pl.lit(signals), "window")
    joined = joined.with_columns(signal=signal).rename({"window": "sample_id"}).drop("whole")
    known = set(table["sample_id"])
    sparse = sum(one.num_sparse for key, one in found.items() if key in known)
    advice = message("windows with too few readings (`window_min_share`)")
    return joined, make_findings("samples.sparse_window", sparse, sparse + len(rows), "dropped", advice=advice)
