"""Inspect every media file once before training.

In: a column of media paths. Out: the same column with unusable files made null, and findings with the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import polars as pl

from penchant.core.config import Settings
from penchant.core.messages import message, unpacked
from penchant.core.schema import Finding, make_findings
from penchant.data.clean.duplicates import group_duplicates
from penchant.data.clean.media_facts import PictureReader, examine_files
from penchant.data.clean.texts import Owner
from penchant.data.media import MediaLimits


class InspectionConfig(Settings):
    """Settings of the inspection of media files."""

    blank_deviation: float = 2.0
    """A picture whose strongest colour channel varies less than this (standard deviation, of 255) is blank."""
    silence_loudness: float = -60.0
    """A sound below this many decibels (root mean square, 0 is full scale) is silent."""
    max_clipped: float = 0.01
    """A sound with a larger share of its samples at full scale counts as clipped."""
    workers: int = 0
    """Files opened at once; 0 means one for each processor core."""


@dataclass(frozen=True)
class Inspector:
    """Settings, cache and picture reader of an inspection.

    Attributes:
        limits: Of media files.
        config: Thresholds of blank, silent and clipped files.
        cache: Folder of facts by path, size and time of change; None stores nothing.
        pictures: Receives every decoded picture, so that it is decoded once.
    """

    limits: MediaLimits
    config: InspectionConfig
    cache: Path | None = None
    pictures: PictureReader | None = None


def inspect_media(
    table: pl.DataFrame, columns: Mapping[str, str], owner: Owner, root: Path | None, inspector: Inspector
) -> tuple[pl.DataFrame, list[Finding]]:
    """Open every file of media columns, and find those that can be used.

    Args:
        table: Rows with paths below `root`, null where there is none.
        columns: Modality ("image", "audio", "video", "mesh", "signal") to column; one the table lacks is skipped.
        owner: Name of a row in an example ("item 12").
        root: Folder no path may leave; None opens nothing.
        inspector: Limits, thresholds and cache.

    Returns:
        The table, null where a file cannot be used, and one finding for each check that found something.

    Raises:
        MissingExtraError: There are files, and what reads them is not installed.
    """
    findings: list[Finding] = []
    for modality, column in columns.items():
        if root is not None and column in table.columns:
            cells, about_column = inspect_column(table[column], owner, modality, root, inspector)
            table = table.with_columns(cells)
            findings += about_column
    return table, findings


def inspect_column(
    cells: pl.Series, owner: Owner, modality: str, root: Path, inspector: Inspector
) -> tuple[pl.Series, list[Finding]]:
    """Return one column as `inspect_media` does."""
    names = cells.drop_nulls().unique(maintain_order=True)
    facts, noticed = examine_files(
        names,
        modality,
        root=root,
        limits=inspector.limits,
        workers=inspector.config.workers,
        cache=inspector.cache,
        pictures=inspector.pictures,
    )
    facts = facts.with_columns(check=_failed_check(inspector.config), relative=names)
    rows = pl.DataFrame({"row": np.arange(len(cells)), "relative": cells})
    rows = rows.join(facts, on="relative", how="left", maintain_order="left")
    usable = rows.filter(pl.col("relative").is_not_null() & pl.col("check").is_null())
    findings = _refused(rows, owner, modality) + noticed
    if modality == "image":
        findings += _duplicates(usable, owner)
    elif modality == "audio":
        findings += _odd_sounds(usable, owner, inspector.limits, inspector.config)
    kept = rows.select(pl.when(pl.col("check").is_null()).then(pl.col("relative"))).to_series()
    return kept.alias(cells.name), findings


def _failed_check(config: InspectionConfig) -> pl.Expr:
    """Return the check that a file fails: of opening it, else blank or silent; null where it can be used."""
    return (
        pl.when(pl.col("check").is_not_null())
        .then(pl.col("check"))
        .when(pl.col("deviation") < config.blank_deviation)
        .then(pl.lit("blank"))
        .when(pl.col("loudness") < config.silence_loudness)
        .then(pl.lit("silent"))
    )


def _refused(rows: pl.DataFrame, owner: Owner, modality: str) -> list[Finding]:
    """Return one finding for each reason for which files cannot be used."""
    findings: list[Finding] = []
    for (check,), bad in sorted(rows.drop_nulls("check").partition_by("check", as_dict=True).items()):
        findings += make_findings(
            f"{modality}.{check}",
            bad.height,
            rows.height - rows["relative"].null_count(),
            "masked",
            examples=(
                message("{place}, {file}: {reason}", place=owner(row), file=name, reason=unpacked(detail))
                if detail
                else message("{place}, {file}", place=owner(row), file=name)
                for row, name, detail in bad.select("row", "relative", "detail").iter_rows()
            ),
            advice=_ADVICE[check],
            severity="warning",
        )
    return findings


_ADVICE = {
    "outside": message("name every file by a path below the media folder; nothing outside it is ever read"),
    "link": message(
        "a folder of media is a link that leads out of the media folder, and such links are not followed: set [data] media_folder to the folder that holds the real one (an absolute path may stand there), or copy the files"
    ),
    "missing": message("add the files, or leave the cells empty"),
    "unreadable": message(
        "convert the files: pictures to JPEG or PNG, sound to WAV, FLAC, Ogg or MP3, video to MP4, meshes to OBJ or PLY, signals to CSV"
    ),
    "truncated": message("copy the files again from their source"),
    "bomb": message(
        "shrink the files; only if you trust their source, raise `max_pixels`, `max_bytes` or `max_audio_bytes`"
    ),
    "small": message("find the real pictures: these are a pixel wide, as trackers are"),
    "blank": message("find the real pictures: these show a single colour"),
    "silent": message("find the real recordings: these are silent"),
    "short": message("find the real recordings, or lower `min_seconds`"),
}


def _odd_sounds(usable: pl.DataFrame, owner: Owner, limits: MediaLimits, config: InspectionConfig) -> list[Finding]:
    """Count clipped and overlong sounds, which are used all the same."""
    clipped = usable.filter(pl.col("clipped") > config.max_clipped)
    long = usable.filter(pl.col("seconds") > limits.max_seconds)
    return make_findings(
        "audio.clipped",
        clipped.height,
        usable.height,
        "kept",
        examples=(
            message("{place}, {file}: {share} at full scale", place=owner(row), file=name, share=f"{share:.1%}")
            for row, name, share in clipped.select("row", "relative", "clipped").iter_rows()
        ),
        advice=message("they were recorded too loud; record with less gain if you can"),
    ) + make_findings(
        "audio.long",
        long.height,
        usable.height,
        "kept",
        examples=(
            message("{place}, {file}: {seconds} s", place=owner(row), file=name, seconds=f"{seconds:.0f}")
            for row, name, seconds in long.select("row", "relative", "seconds").iter_rows()
        ),
        advice=message("only the first {most} s are used (`max_seconds`)", most=f"{limits.max_seconds:.0f}"),
    )


def _duplicates(usable: pl.DataFrame, owner: Owner) -> list[Finding]:
    """Count the rows whose picture is equal to another row's."""
    files = usable.unique("relative", maintain_order=True)
    if files.height == 0:
        return []
    thumbnails = np.frombuffer(b"".join(files["thumbnail"]), np.uint8).reshape(files.height, -1)
    groups = group_duplicates(files["hash"].to_numpy(), thumbnails)
    shown = usable.join(files.select("relative", group=pl.Series(groups)), on="relative", maintain_order="left")
    alike = (
        shown.group_by("group", maintain_order=True)
        .agg("row", "relative", size=pl.len())
        .filter(pl.col("size") > 1)
        .sort("size", descending=True, maintain_order=True)
    )
    largest = int(alike["size"][0]) if alike.height else 0
    advice = message("these items have equal pictures: check that they are different items")
    if largest >= 5:
        advice = message(
            "these items have equal pictures: check that they are different items; {rows} rows show one picture, perhaps a placeholder",
            rows=largest,
        )
    return make_findings(
        "image.duplicate",
        int(alike["size"].sum()),
        usable.height,
        "kept",
        examples=(
            message("{place}, {file}", place=_alike([*map(owner, rows[:3]), *["..."] * (len(rows) > 3)]), file=names[0])
            for rows, names in alike.select("row", "relative").iter_rows()
        ),
        advice=advice,
    )


def _alike(places: Sequence[str]) -> str:
    """Return the rows of one picture as a message: "item 0 = item 1"."""
    return reduce(lambda one, other: message("{one} = {other}", one=one, other=other), places)
