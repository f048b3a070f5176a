"""Train, validation and test, without a look ahead.

In: interactions. Out: a `Split` whose parts share no row, with what was checked.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from penchant.core.config import Settings
from penchant.core.errors import DataError
from penchant.core.schema import Finding, Interactions, Split
from penchant.data.histories import tie_breaker

PARTS = ("train", "validation", "test")


class Config(Settings):
    """How the events are divided."""

    kind: Literal["auto", "user_time", "last_out", "global_time", "random", "cold_items", "published"] = "auto"
    """user_time: the last part of each user. last_out: each user's last event. global_time: two instants for everyone.
    random: a share of each user. cold_items: all events of some items. published: the data's own `part` column.
    auto: published where there is one, else user_time, else (no times) random."""
    test_share: float = 0.1
    """Part of the events (of each user, of all, or of the items) that is test."""
    validation_share: float = 0.1
    """The same for validation, which comes before test."""
    min_item_events: int = 5
    """cold_items draws among items with at least this many events."""
    min_user_events: int = 3
    """Users with fewer events stay in train."""


def split(interactions: Interactions, config: Config, seed: int) -> Split:
    """Divide the events; the result depends on the events and the seed, not on the order of rows.

    Raises:
        DataError: A split by time without times, a published one without `part`, or a part that came out empty.
    """
    table = interactions.table
    kind = _resolve(table, config.kind)
    if kind in ("user_time", "last_out", "global_time") and table["at"].null_count() == len(table):
        raise DataError(
            f"The events have no time, a {kind} split needs it.",
            where="interactions: at",
            fix='map the time column in [data.columns], or set split.kind = "random"',
        )
    cold: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    if kind == "published":
        parted = table
    elif kind == "cold_items":
        parted, cold = _cold_items(table, config, seed)
    elif kind == "global_time":
        parted = _global_time(table, config)
    else:
        parted = _per_user(table, config, kind, seed)
    parts = [Interactions(parted.filter(pl.col("part") == part).drop("part")) for part in PARTS]
    for name, part in zip(PARTS, parts, strict=True):
        if len(part) == 0:
            raise DataError(
                f"The {name} part is empty: {len(table):,} events of {table['user_id'].n_unique():,} users are too few to divide.",
                where=f"split.kind = {kind!r}",
                fix="bring more events, enlarge split.test_share and split.validation_share, or choose another split.kind",
            )
    return Split(kind, parts[0], parts[1], parts[2], cold[1], cold[0], tuple(_checks(parts, kind)))


def _resolve(table: pl.DataFrame, kind: str) -> str:
    if kind == "published" and "part" not in table.columns:
        raise DataError(
            "There is no `part` column, a published split needs it.",
            where="interactions: part",
            fix='map it in [data.columns] (part = "split"), or choose another split.kind',
        )
    if kind != "auto":
        return kind
    if "part" in table.columns:
        return "published"
    return "random" if table["at"].null_count() == len(table) else "user_time"


def _per_user(table: pl.DataFrame, config: Config, kind: str, seed: int) -> pl.DataFrame:
    """Number each user's events from the newest (or at random), and cut."""
    order = ["tie"] if kind == "random" else ["at", "tie"]
    one = kind == "last_out"
    count = pl.len().over("user_id")
    num_test = pl.lit(1) if one else (count * config.test_share).round().clip(1)
    num_held = num_test + (pl.lit(1) if one else (count * config.validation_share).round().clip(1))
    from_end = pl.int_range(pl.len(), 0, -1).over("user_id")
    part = (
        pl.when(count < config.min_user_events)
        .then(pl.lit("train"))
        .when(from_end <= num_test)
        .then(pl.lit("test"))
        .when(from_end <= num_held)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )
    ordered = table.with_columns(tie=tie_breaker(seed)).sort("user_id", *order)
    return ordered.with_columns(part=part).drop("tie")


def _global_time(table: pl.DataFrame, config: Config) -> pl.DataFrame:
    """Cut at two instants, so that the shares are as asked."""
    known = table.filter(pl.col("at").is_not_null())
    at = known["at"].dt.epoch("us")
    test_from = at.quantile(1 - config.test_share, "nearest")
    held_from = at.quantile(1 - config.test_share - config.validation_share, "nearest")
    instant = pl.col("at").dt.epoch("us")
    part = (
        pl.when(instant > test_from)
        .then(pl.lit("test"))
        .when(instant > held_from)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )
    return known.with_columns(part=part)


def _cold_items(
    table: pl.DataFrame, config: Config, seed: int
) -> tuple[pl.DataFrame, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Draw items; every event of theirs leaves train."""
    often = table.group_by("item_id").len().filter(pl.col("len") >= config.min_item_events)
    drawn = often.with_columns(draw=pl.col("item_id").hash(seed)).sort("draw")["item_id"].to_list()
    num_test = max(1, round(len(drawn) * config.test_share))
    num_validation = max(1, round(len(drawn) * config.validation_share))
    test, validation = drawn[:num_test], drawn[num_test : num_test + num_validation]
    part = (
        pl.when(pl.col("item_id").is_in(test))
        .then(pl.lit("test"))
        .when(pl.col("item_id").is_in(validation))
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )
    return table.with_columns(part=part), (tuple(sorted(validation)), tuple(sorted(test)))


def _checks(parts: list[Interactions], kind: str) -> list[Finding]:
    """Verify what a sceptic would ask."""
    train, validation, test = (part.table for part in parts)
    known = pl.concat([train, validation]).select("user_id", "item_id").unique()
    again = test.join(known, on=["user_id", "item_id"], how="semi").height
    met = set(train["user_id"].unique())
    strangers = len(set(test["user_id"].unique()) - met)
    num_users = test["user_id"].n_unique()
    found = [
        Finding(
            "split.repeated_pair",
            again,
            len(test),
            "kept",
            advice="a repeat of an earlier choice is not recommended again, so it counts as missed",
        ),
        Finding("split.unknown_user", strangers, num_users, "kept", advice="scored from an empty history"),
    ]
    if kind in ("user_time", "last_out"):
        found.append(_boundary_ties(train, validation, test))
    return found


def _boundary_ties(train: pl.DataFrame, validation: pl.DataFrame, test: pl.DataFrame) -> Finding:
    """Count users whose first test event shares its instant with an event before it."""
    before = pl.concat([train, validation]).group_by("user_id").agg(last=pl.col("at").max())
    first = test.group_by("user_id").agg(first=pl.col("at").min()).join(before, on="user_id")
    tied = first.filter(pl.col("first") == pl.col("last")).height
    early = first.filter(pl.col("first") < pl.col("last")).height
    if early:
        raise AssertionError(f"{early} users have a test event before their last training event")
    return Finding(
        "split.boundary_tie", tied, first.height, "kept", advice="decided by a seeded random order, never by file order"
    )
