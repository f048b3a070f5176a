"""Split events into train, validation and test without look-ahead.

In: interactions. Out: a `Split` whose parts share no row, with the results of its checks.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, Self

import polars as pl
from pydantic import Field, model_validator

from penchant.core.config import Settings
from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import Finding, Interactions, Split
from penchant.data.split.leakage import with_pairs_of
from penchant.data.tie_breaking import TIME_ORDER, tie_breaker

PARTS = ("train", "validation", "test")
BY_TIME = ("user_time", "last_out", "global_time", "rolling_time")
"""Splits that follow time."""
AFTER = "after"
"""Part of the events after a user's test event, which nothing reads (min_gap_hours)."""
BETWEEN = "between"
"""Part of the events between a user's validation event and test event (min_gap_hours)."""


class SplitConfig(Settings):
    """Split settings."""

    kind: Literal[
        "auto",
        "user_time",
        "last_out",
        "global_time",
        "rolling_time",
        "random",
        "cold_items",
        "cold_users",
        "published",
    ] = "auto"
    """user_time: the last part of each user. last_out: each user's last event. global_time: two instants for everyone. rolling_time: the same
    instants, and every later event is predicted from all that anybody did before it. random: a share of each user. cold_items: all events
    of some items. cold_users: all events of some users, of whom nothing is known but what they are (attributes, an avatar). published: the
    data's own `part` column. auto: published where there is one, else user_time, else (no times, or one for all) random."""
    test_share: float = Field(0.1, gt=0, lt=1)
    """Part of the events (of each user, of all, of the items, or of the users) that is test."""
    validation_share: float = Field(0.1, gt=0, lt=1)
    """The same for validation, which comes before test."""
    min_item_events: int = Field(5, ge=1)
    """cold_items draws among items with at least this many events."""
    min_user_events: int = Field(3, ge=3)
    """Users with fewer events, or instants where these are the unit, stay in train (user_time, last_out, random, cold_users)."""
    unit: Literal["event", "instant"] = "event"
    """What splits of each user's time (user_time, last_out) count: events, or instants with all their events, such as the invoices of a customer:
    last_out then holds out each user's last instant."""
    min_gap_hours: float = Field(0, ge=0)
    """Of last_out: a user's test event is the last one that came at least so long after the event before it; later ones are left out. Users
    without such an event stay in train. 0 takes the last event."""
    refits: int = Field(1, ge=1)
    """Of rolling_time: how often members are fitted during the test, at equal intervals from its start; 1 fits them at its start only. Between
    fits, members that read the moment observe the newer events of everybody."""
    max_requests: int | None = Field(20_000, ge=1)
    """Of rolling_time: requests in validation and in the test, evenly spaced over time; None takes every one."""
    request_time: Literal["auto", "known", "hidden"] = "auto"
    """known: a list is asked for at the time of the first held-out event of its user, and members may read what all users did before that
    moment. hidden: they know the time of the user's last event only. auto: known in splits by time (user_time, last_out, global_time,
    rolling_time)."""

    @model_validator(mode="after")
    def _leave_something_to_learn(self) -> Self:
        if self.test_share + self.validation_share >= 1:
            raise ValueError("test_share and validation_share together leave nothing to train on")
        return self

    @model_validator(mode="after")
    def _unit_is_used(self) -> Self:
        if self.unit == "instant" and self.kind not in ("user_time", "last_out"):
            raise ValueError('unit = "instant" needs kind = "user_time" or "last_out"')
        if self.unit == "instant" and self.min_gap_hours:
            raise ValueError('min_gap_hours counts events: leave it or unit = "instant" out')
        return self

    @model_validator(mode="after")
    def _belong_to_the_kind(self) -> Self:
        if self.min_gap_hours and self.kind != "last_out":
            raise ValueError(f'min_gap_hours is a setting of kind = "last_out", not of {self.kind!r}')
        for name in ("refits", "max_requests"):
            if name in self.model_fields_set and self.kind != "rolling_time":
                raise ValueError(f'{name} is a setting of kind = "rolling_time", not of {self.kind!r}')
        if self.kind == "rolling_time" and self.request_time == "hidden":
            raise ValueError('in kind = "rolling_time" the time of a request is known: leave request_time out')
        return self


def split(interactions: Interactions, config: SplitConfig, seed: int) -> Split:
    """Divide the events; the result depends on the events and the seed, not on the order of rows.

    Events of one user at one instant are divided in a seeded random order. An event without a time counts as its user's oldest.

    Raises:
        DataError: A split by time without times, a published one without `part`, or a part that came out empty.
    """
    table = interactions.table
    kind = _resolve(table, config.kind)
    cold: dict[str, tuple[str, ...]] = {"validation": (), "test": ()}
    if kind == "published":
        parted = table
    elif kind == "cold_items":
        cold = _draw(table, "item", config, seed)
        parted = table.with_columns(part=_part_of("item_id", cold))
    elif kind == "cold_users":
        parted = table.with_columns(part=_part_of("user_id", _draw(table, "user", config, seed)))
    elif kind in ("global_time", "rolling_time"):
        parted = table.with_columns(part=_part_by_instant(table, config))
    else:
        order = ("tie", "kind", "value") if kind == "random" else TIME_ORDER
        ordered = table.with_columns(tie=tie_breaker(seed)).sort("user_id", *order, nulls_last=False)
        cut = _part_by_gap(config) if config.min_gap_hours else _part_by_rank(config, one=kind == "last_out")
        parted = ordered.with_columns(part=cut).drop("tie")
    train, validation, test, between, after = (
        Interactions(parted.filter(pl.col("part") == part).drop("part")) for part in (*PARTS, BETWEEN, AFTER)
    )
    for name, part in zip(PARTS, (train, validation, test), strict=True):
        if len(part) == 0:
            raise _too_few(table, name, kind, config)
    known = pl.concat([train.table, validation.table, between.table])
    checks = (*_checks(known, train.table, validation.table, test.table, kind), *_unknown_times(table, kind))
    if kind == "rolling_time":
        checks += (_repeats(table, train.table.height),)
    if config.min_gap_hours:
        advice = message("events after the test event of their user: neither known nor asked for")
        checks += (Finding("split.after_test", len(after), len(table), "dropped", advice=advice),)
    return Split(kind, train, validation, test, cold["test"], cold["validation"], checks, between)


def _resolve(table: pl.DataFrame, kind: str) -> str:
    """Return the kind that "auto" stands for, and refuse an impossible one."""
    if kind == "published" and "part" not in table.columns:
        raise DataError(
            "There is no `part` column, a published split needs it.",
            where="interactions: part",
            fix='map it in [data.columns] (part = "split"), or choose another split.kind',
        )
    instants = table["at"].drop_nulls()
    one = len(instants) == 0 or instants.min() == instants.max()
    if kind == "auto":
        return "published" if "part" in table.columns else "random" if one else "user_time"
    if kind in BY_TIME and one:
        state = f"all have the time {instants[0]:%Y-%m-%d %H:%M:%S}" if len(instants) else "have no time"
        raise DataError(
            f"The events {state}; a {kind} split needs times that differ.",
            where="interactions: at",
            fix='map the time column in [data.columns], or set split.kind = "random"',
        )
    return kind


def _part_by_rank(config: SplitConfig, *, one: bool) -> pl.Expr:
    """Count each user's events, or instants, from the last, and cut; the rows are in order."""
    count, from_end = pl.len().over("user_id"), pl.int_range(pl.len(), 0, -1).over("user_id")
    if config.unit == "instant":
        from_end = pl.col("at").dt.epoch("us").fill_null(0).rank("dense", descending=True).over("user_id")
        count = from_end.max().over("user_id")
    num_test = pl.lit(1) if one else (count * config.test_share).round().clip(1)
    num_held = num_test + (pl.lit(1) if one else (count * config.validation_share).round().clip(1))
    return (
        pl.when(count < config.min_user_events)
        .then(pl.lit("train"))
        .when(from_end <= num_test)
        .then(pl.lit("test"))
        .when(from_end <= num_held)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )


def _part_by_gap(config: SplitConfig) -> pl.Expr:
    """Hold out each user's last event that came after a long gap, and the one like it before that; the rows are in order."""
    number = pl.int_range(pl.len()).over("user_id")
    gap = (pl.col("at") - pl.col("at").shift()).over("user_id").dt.total_microseconds()
    long = (gap >= round(config.min_gap_hours * 3_600_000_000)) & (pl.len().over("user_id") >= config.min_user_events)
    test = pl.when(long).then(number).max().over("user_id")
    held = pl.when(long & (number < test)).then(number).max().over("user_id")
    return (
        pl.when(test.is_null())
        .then(pl.lit("train"))
        .when(number > test)
        .then(pl.lit(AFTER))
        .when(number == test)
        .then(pl.lit("test"))
        .when(number == held)
        .then(pl.lit("validation"))
        .when(number > held)
        .then(pl.lit(BETWEEN))
        .otherwise(pl.lit("train"))
    )


def _part_by_instant(table: pl.DataFrame, config: SplitConfig) -> pl.Expr:
    """Cut at two instants, so that the shares are close to the settings; events of one instant stay together."""
    at = table["at"].drop_nulls().dt.epoch("us")
    test_after = at.quantile(1 - config.test_share, "nearest")
    held_after = at.quantile(1 - config.test_share - config.validation_share, "nearest")
    instant = pl.col("at").dt.epoch("us")
    return (
        pl.when(instant > test_after)
        .then(pl.lit("test"))
        .when(instant > held_after)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train"))
    )


def _draw(
    table: pl.DataFrame, of: Literal["item", "user"], config: SplitConfig, seed: int
) -> dict[str, tuple[str, ...]]:
    """Draw the items or users of validation and test among those that have enough events."""
    key, setting = f"{of}_id", f"min_{of}_events"
    least = getattr(config, setting)
    often = table.group_by(key).len().filter(pl.col("len") >= least)
    drawn = often.with_columns(draw=pl.col(key).hash(seed)).sort("draw", key)[key].to_list()
    if len(drawn) < 3:
        raise DataError(
            f"{len(drawn)} {of}s have {least} events or more: too few to draw from.",
            where=f"split.{setting}",
            fix="lower it, bring more events, or choose another split.kind",
        )
    num_test = max(1, round(len(drawn) * config.test_share))
    num_held = num_test + max(1, round(len(drawn) * config.validation_share))
    return {"test": tuple(sorted(drawn[:num_test])), "validation": tuple(sorted(drawn[num_test:num_held]))}


def _part_of(column: str, drawn: dict[str, tuple[str, ...]]) -> pl.Expr:
    part_of = {value: part for part, values in drawn.items() for value in values}
    return pl.col(column).replace_strict(part_of, default="train", return_dtype=pl.String)


def _too_few(table: pl.DataFrame, part: str, kind: str, config: SplitConfig) -> DataError:
    if config.min_gap_hours:
        return DataError(
            f"The {part} part is empty: too few users have an event at least {config.min_gap_hours:g} hours after the one before it.",
            where="split.min_gap_hours",
            fix="lower it, or set it to 0 to hold out each user's last event",
        )
    place = {"published": "interactions: part"}.get(kind, f"split.kind = {kind!r}")
    fix = "bring more events, enlarge split.test_share and split.validation_share, or choose another split.kind"
    if kind == "published":
        fix = f'mark some rows as {part}, or choose another split.kind ("user_time", "random")'
    return DataError(
        f"The {part} part is empty: {len(table):,} events of {table['user_id'].n_unique():,} users are too few to divide.",
        where=place,
        fix=fix,
    )


def _checks(
    known: pl.DataFrame, train: pl.DataFrame, validation: pl.DataFrame, test: pl.DataFrame, kind: str
) -> list[Finding]:
    """Verify that the parts are separate; `known` is all that is known at the test."""
    pair, event = ["user_id", "item_id"], ["user_id", "item_id", "at", "kind"]
    known = with_pairs_of(known.select(event), test)
    again = test.select(pair).join(known, on=pair, how="semi").height
    same = test.select(event).join(known, on=event, how="semi", nulls_equal=True).height
    unknown_users = (
        test.select("user_id").unique().join(train.select("user_id").unique(), on="user_id", how="anti").height
    )
    num_users = test["user_id"].n_unique()
    timed = test["at"].null_count() < test.height
    checks = [
        Finding(
            "split.shared_event",
            same,
            test.height,
            "kept",
            advice=message("no test event is in an earlier part")
            if same == 0
            else message("test events that are in an earlier part too, so they were seen; remove duplicates")
            if timed
            else message(
                "same user, item and kind as in an earlier part; without times, repeats and copies look the same"
            ),
            severity="warning" if same and timed else "info",
        ),
        Finding(
            "split.repeated_pair",
            again,
            test.height,
            "kept",
            advice=message("a repeat of an earlier choice is not recommended again, so it counts as missed"),
        ),
        Finding("split.unknown_user", unknown_users, num_users, "kept", advice=message("scored from an empty history")),
    ]
    if kind in ("user_time", "last_out"):
        checks += _user_boundaries(train, validation, test)
    elif kind in ("global_time", "rolling_time"):
        checks.append(_instants(train, validation, test))
    if kind == "rolling_time":  # its own check counts repeats, those within the test included
        checks = [one for one in checks if one.check != "split.repeated_pair"]
    return checks


def _repeats(table: pl.DataFrame, learned: int) -> Finding:
    """Count the events after training whose item their user already had: they are no requests of a rolling split."""
    at = pl.col("at").dt.epoch("us").fill_null(0)
    events = table.select(at=at, first=at.min().over("user_id", "item_id")).sort("at")
    later = events.tail(table.height - learned)
    advice = message(
        "a repeat of an earlier choice: it is not recommended again and not asked for, but it is known afterwards"
    )
    return Finding(
        "split.repeated_pair", later.filter(pl.col("at") > pl.col("first")).height, later.height, "kept", advice=advice
    )


def _user_boundaries(train: pl.DataFrame, validation: pl.DataFrame, test: pl.DataFrame) -> list[Finding]:
    """Verify that each user's time runs forward, and count those whose cut fell between events of one instant."""
    learnt = train.group_by("user_id").agg(learnt_last=pl.col("at").max())
    held = validation.group_by("user_id").agg(held_first=pl.col("at").min(), held_last=pl.col("at").max())
    users = test.group_by("user_id").agg(test_first=pl.col("at").min())
    users = users.join(held, on="user_id").join(learnt, on="user_id")
    early = (pl.col("held_first") < pl.col("learnt_last")) | (pl.col("test_first") < pl.col("held_last"))
    tied = (pl.col("held_first") == pl.col("learnt_last")) | (pl.col("test_first") == pl.col("held_last"))
    backward, ties = users.select(early.sum().alias("early"), tied.sum().alias("tied")).row(0)
    return [
        _forward(backward, users.height, message("users")),
        Finding(
            "split.boundary_tie",
            ties,
            users.height,
            "kept",
            advice=message(
                "users whose cut fell between events of one instant: decided by a seeded random order, never by file order"
            ),
        ),
    ]


def _instants(train: pl.DataFrame, validation: pl.DataFrame, test: pl.DataFrame) -> Finding:
    """Verify that each part ends before the next begins."""
    spans = [
        table.select(first=pl.col("at").dt.epoch("us").min(), last=pl.col("at").dt.epoch("us").max()).row(0)
        for table in (train, validation, test)
    ]
    backward = sum(before[1] is not None and before[1] >= after[0] for before, after in pairwise(spans))
    return _forward(backward, 2, message("cuts"))


def _forward(backward: int, total: int, noun: str) -> Finding:
    advice = (
        message("time runs forward for all {noun}", noun=noun)
        if backward == 0
        else message("{noun} whose test lies before their training", noun=noun)
    )
    return Finding("split.backward", backward, total, "kept", advice=advice, severity="error" if backward else "info")


def _unknown_times(table: pl.DataFrame, kind: str) -> list[Finding]:
    unknown = table["at"].null_count()
    if kind not in BY_TIME or unknown == 0:
        return []
    advice = message(
        "events without a time count as the oldest: they are learned from unless a user has hardly any others"
    )
    return [Finding("split.no_time", unknown, table.height, "kept", advice=advice)]
