"""Split labelled samples: every class in every part, no group in two parts.

In: `Samples`. Out: `SampleSplit`; for small sets, several of them, in which each sample is in test once per repeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

import numpy as np
import polars as pl
from jaxtyping import Int64
from pydantic import Field, model_validator

from penchant.core.config import Settings
from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Finding, Samples, SampleSplit
from penchant.core.seeds import generator
from penchant.data.clean.samples import content_keys

PARTS = (message("train"), message("validation"), message("test"))


class SampleSplitConfig(Settings):
    """Split settings of labelled samples."""

    kind: Literal["auto", "published", "stratified"] = "auto"
    """published: the data's own `part`; without validation in it, some of train. stratified: drawn, each class by its share.
    auto: published where there is one."""
    test_share: float = Field(0.2, gt=0, lt=1)
    """Part of the samples that is test."""
    validation_share: float = Field(0.15, gt=0, lt=1)
    """The same for validation, on which settings and thresholds are chosen."""
    folds: int = Field(0, ge=0)
    """For small sets: number of cross-validation folds; 0 divides once."""
    repeats: int = Field(1, ge=1)
    """Number of times the folds are drawn."""

    @model_validator(mode="after")
    def _leave_something_to_learn(self) -> Self:
        if self.test_share + self.validation_share >= 1:
            raise ValueError("test_share and validation_share together leave nothing to train on")
        if self.folds == 1:
            raise ValueError("one fold would leave nothing to train on: set 2 or more, or 0")
        return self


def split_samples(samples: Samples, config: SampleSplitConfig, seed: int) -> SampleSplit:
    """Divide the samples once; the result depends on ids, labels, groups and the seed, not on the order of rows.

    A group is never divided, and without groups, samples of equal content are not.

    Raises:
        DataError: A published split without a `part` column, or a part that came out empty or without any class but one.
    """
    has_parts = "part" in samples.table.columns
    if config.kind == "published" and not has_parts:
        raise DataError(
            "There is no `part` column, a published split needs it.",
            where="samples: part",
            fix='map it in [data.columns] (part = "split"), or set split.kind = "stratified"',
        )
    if has_parts and config.kind != "stratified":
        return _checked(samples, "published", _published(samples, config, seed))
    shares = (1 - config.test_share - config.validation_share, config.validation_share, config.test_share)
    return _checked(samples, "stratified", _draw(_units(samples), shares, generator(seed, "samples.split")))


def fold_samples(samples: Samples, config: SampleSplitConfig, seed: int) -> Iterator[SampleSplit]:
    """Yield `folds` times `repeats` divisions; within a repeat every sample is in test once.

    A published split is not looked at: its test part stays a test part only in `split_samples`.

    Raises:
        DataError: Fewer groups than folds in a class, or a part without any class but one.
    """
    units = _units(samples)
    fewest = units.group_by("stratum").len().sort("len", "stratum").row(0)
    if fewest[1] < config.folds:
        raise DataError(
            f"The class {samples.classes[fewest[0]]!r} has {fewest[1]} independent samples, too few for {config.folds} folds.",
            where="split.folds",
            fix=f"set split.folds = {max(2, fewest[1])} or fewer, or bring more samples of that class",
        )
    for repeat in range(config.repeats):
        rng = generator(seed, f"samples.fold {repeat}")
        fold = _deal(units, config.folds, rng)
        for number in range(config.folds):
            is_test = fold == number
            share = config.validation_share
            rest = _draw(units.filter(~is_test), (1 - share, share, 0.0), rng)
            rest[2] = _rows(units.filter(is_test))
            yield _checked(samples, "fold", rest)


def sample_units(samples: Samples) -> Int64[np.ndarray, " samples"]:
    """Return the independent unit of each sample: its group, or without groups its content; the rows of one unit are never divided."""
    units = _units(samples)
    found = np.zeros(len(samples), np.int64)
    for number, rows in enumerate(units["row"].to_list()):
        found[rows] = number
    return found


def _units(samples: Samples) -> pl.DataFrame:
    """Return groups that must not be divided, in an order independent of rows: key, rows, and the most frequent label."""
    table = samples.table.select("sample_id").with_columns(
        label=pl.Series(samples.labels()), row=pl.Series(np.arange(len(samples)))
    )
    group = samples.table["group"] if "group" in samples.table.columns else content_keys(samples)
    key = pl.when(pl.Series(group).is_not_null()).then("g" + pl.Series(group)).otherwise("s" + pl.col("sample_id"))
    counted = table.with_columns(unit=key)
    most = counted.group_by("unit", "label").len().sort("len", "label", descending=[True, False])
    strata = most.group_by("unit", maintain_order=True).agg(stratum=pl.col("label").first())
    return counted.group_by("unit").agg("row", size=pl.len()).join(strata, on="unit").sort("unit")


def _shuffled(units: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return units.with_columns(draw=pl.Series(rng.random(units.height))).sort("stratum", "draw")


def _draw(
    units: pl.DataFrame, shares: tuple[float, float, float], rng: np.random.Generator
) -> list[Int64[np.ndarray, " rows"]]:
    """Cut each stratum, shuffled, at its shares of samples; with three units or more, no part is empty."""
    shuffled = _shuffled(units, rng)
    middle = (pl.col("size").cum_sum() - pl.col("size") / 2).over("stratum") / pl.col("size").sum().over("stratum")
    rank, count = pl.int_range(pl.len()).over("stratum"), pl.len().over("stratum")
    later_parts = [number for number in (2, 1) if shares[number] > 0]  # test takes the first unit, validation the next
    part = pl.when(middle < shares[2]).then(2).when(middle < shares[2] + shares[1]).then(1).otherwise(0)
    for place, number in enumerate(later_parts):
        part = pl.when((rank == place) & (count > len(later_parts))).then(number).otherwise(part)
    last = (rank == count - 1) & (count > len(later_parts))
    parted = shuffled.with_columns(part=pl.when(last).then(0).otherwise(part))
    return [_rows(parted.filter(pl.col("part") == number)) for number in range(3)]


def _deal(units: pl.DataFrame, folds: int, rng: np.random.Generator) -> Int64[np.ndarray, " units"]:
    """Return the fold of each unit: units in stratified random order are assigned to folds in turn."""
    dealt = _shuffled(units.with_row_index("place"), rng).with_columns(fold=pl.int_range(pl.len()) % folds)
    return dealt.sort("place")["fold"].to_numpy()


def _rows(units: pl.DataFrame) -> Int64[np.ndarray, " rows"]:
    return np.sort(units["row"].explode(empty_as_null=True).drop_nulls().to_numpy().astype(np.int64))


def _published(samples: Samples, config: SampleSplitConfig, seed: int) -> list[Int64[np.ndarray, " rows"]]:
    part = samples.table["part"]
    rows = [np.flatnonzero((part == name).to_numpy()) for name in PARTS]
    if len(rows[1]) == 0:
        share = config.validation_share
        drawn = _draw(_units(samples.take(rows[0])), (1 - share, share, 0.0), generator(seed, "samples.split"))
        rows[:2] = [rows[0][drawn[0]], rows[0][drawn[1]]]
    return rows


def _checked(samples: Samples, kind: str, rows: list[Int64[np.ndarray, " rows"]]) -> SampleSplit:
    """Refuse parts with fewer than two classes, and verify that the parts are separate."""
    labels = samples.labels()
    for name, chosen in zip(PARTS, rows, strict=True):
        if len(np.unique(labels[chosen])) < 2:
            raise DataError(
                f"The {name} part has {len(chosen):,} samples of {len(np.unique(labels[chosen]))} class(es), at least 2 are needed.",
                where="samples: part" if kind == "published" else f"split.kind = {kind!r}",
                fix=f'mark samples of every class as {name}, or set split.kind = "stratified"'
                if kind == "published"
                else "bring more samples of every class, or more groups; a group is never divided",
            )
    checks = [_absent(samples, name, labels, chosen) for name, chosen in zip(PARTS, rows, strict=True)]
    if "group" in samples.table.columns:
        advice = message("groups (speakers, patients, authors) that are in two parts")
        checks.append(_shared("split.shared_group", samples.table["group"], rows, advice))
    advice = message("samples of test or validation whose content is in train too, so they were seen")
    checks.append(_shared("split.shared_content", content_keys(samples), rows, advice))
    return SampleSplit(kind, rows[0], rows[1], rows[2], tuple(checks))


def _absent(samples: Samples, part: str, labels: np.ndarray, rows: np.ndarray) -> Finding:
    """Count the classes that a part lacks: these are not measured there."""
    absent = [name for number, name in enumerate(samples.classes) if number not in set(labels[rows].tolist())]
    advice = (
        message(
            "classes without a sample in {part}: they are not measured there; bring more of them",
            part=part,
        )
        if absent
        else message("every class is in {part}", part=part)
    )
    return Finding(
        f"split.absent_class.{part}",
        len(absent),
        len(samples.classes),
        "kept",
        tuple(absent[:5]),
        advice,
        "warning" if absent else "info",
    )


def _shared(check: str, keys: pl.Series, rows: list[Int64[np.ndarray, " rows"]], advice: str) -> Finding:
    """Count rows of later parts whose key is in train."""
    learnt = keys[rows[0]].drop_nulls().unique()
    later = keys[np.concatenate(rows[1:])]
    again = later.is_in(learnt.implode()).fill_null(False)
    examples = tuple(str(value)[:60] for value in later.filter(again).head(3))
    count = int(again.sum())
    return Finding(check, count, len(later), "kept", examples, advice, "warning" if count else "info")
