"""A user whose id can be searched for in files, in the shop's bundle and in its report.

In: the bundle's folder. Out: the same with `USER` in the place of u1; and the files that hold given words.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from penchant.core.schema import Finding
from penchant.recommender.recommender import Recommender
from penchant.reporting.report import ReportData, ShownItem, UserExample, user_label, write_report

USER = "anna@shop.example"
SEEN = "a tune that only anna heard"


def with_named_user(folder: Path, written: Path) -> Path:
    """Save the bundle with `USER` in the place of u1, and with a report whose example is this user.

    Args:
        folder: Of the bundle; it is replaced.
        written: Where the report is written first, as a run does.
    """
    bundle = Recommender.load(folder)
    assert bundle.fitted is not None
    for histories in (bundle.histories, bundle.fitted):
        histories.user_ids[histories.user_ids.index("u1")] = USER
    example = UserExample(user_label(0), (ShownItem(SEEN),), (ShownItem("another tune"),))
    named = Finding("events.duplicate", 1, 9, "dropped", (f"user {USER}, item i1",))
    write_report(ReportData("shop", datetime.now(UTC), seed=1, examples=(example,), findings=(named,)), written)
    bundle.save(folder, report=written)
    return folder


def grep(folder: Path, *words: str) -> list[Path]:
    """Return the files below a folder that hold one of the words, Parquet files decompressed."""
    found = []
    for file in (p for p in folder.rglob("*") if p.is_file()):
        raw = file.read_bytes()
        if file.suffix == ".parquet":
            raw = pl.read_parquet(file).write_json().encode()
        if any(word.encode() in raw for word in words):
            found.append(file)
    return found
