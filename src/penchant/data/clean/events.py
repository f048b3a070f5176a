"""Clean events: duplicates, impossible times, automated users.

In: the table of events and the catalog. Out: the events to learn from, and findings about the others.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

import polars as pl

from penchant.core.config import Settings
from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import MAX_EXAMPLES, Catalog, Finding, Users, make_findings


class EventCleaningConfig(Settings):
    """Cleaning settings of events."""

    earliest: datetime = datetime(1990, 1, 1, tzinfo=UTC)
    """An event before this has an impossible time: its time becomes unknown."""
    duplicate_events: Literal["drop", "keep"] = "drop"
    """Events of one user with the same item, time and kind; the last one stays."""
    repeats: Literal["keep", "drop"] = "keep"
    """Later events of one user with the same item and kind; "drop" leaves the first, for what a user chooses for the first time. Events without
    a time, and those of a published split, stay."""
    inhuman_users: Literal["drop", "keep"] = "drop"
    """Automated users. One of them can weigh as much as thousands of users in co-occurrences, and the bounds below are far beyond
    any human user; with a published split they are always kept."""
    max_times_p99: float = 50.0
    """A user with more than this many times the events of the 99th percentile is automated."""
    max_events_per_minute: int = 120
    """A user with more events than this in each of three minutes is automated (one full minute may be an import)."""


def clean_events(
    events: pl.DataFrame, catalog: Catalog, users: Users | None, config: EventCleaningConfig, *, now: datetime
) -> tuple[pl.DataFrame, list[Finding]]:
    """Drop invalid, duplicate and automated events; events with an impossible time stay, with their time unknown.

    Args:
        events: `Interactions.table`.
        catalog: Items that events may refer to.
        users: Users with attributes, if a table of them exists.
        config: Cleaning settings.
        now: Events later than a day after this are impossible (clocks differ by time zones).

    Raises:
        DataError: No event refers to an item of the catalog.
    """
    findings: list[Finding] = []
    events = _note(findings, _unknown_items(events, catalog))
    events = _note(findings, _not_numbers(events))
    events = _note(findings, _impossible_times(events, config, now + timedelta(days=1)))
    events = _note(findings, _duplicate_events(events, config))
    events = _note(findings, _repeats(events, config))
    events = _note(findings, _inhuman_users(events, config))
    return events, findings + _unknown_users(events, users)


def _note(findings: list[Finding], checked: tuple[pl.DataFrame, list[Finding]]) -> pl.DataFrame:
    findings += checked[1]
    return checked[0]


def _unknown_items(events: pl.DataFrame, catalog: Catalog) -> tuple[pl.DataFrame, list[Finding]]:
    known = events["item_id"].is_in(catalog.table["item_id"].implode()).fill_null(False)
    if events.height and not known.any():
        raise DataError(
            f"No event refers to an item of the catalog: events name {events['item_id'][0]!r}, items {_first(catalog)!r}.",
            where="interactions, item_id",
            fix="map the column whose values are the same in both tables",
        )
    ids = events["item_id"].filter(~known)
    findings = make_findings(
        "events.unknown_item",
        len(ids),
        events.height,
        "dropped",
        examples=(message("item {id}", id=repr(value)) for value in ids.unique(maintain_order=True)),
        advice=message("add these items to the catalog; a row with only its id is enough"),
        severity="warning",
    )
    return events.filter(known), findings


def _first(catalog: Catalog) -> str:
    return str(catalog.table["item_id"][0]) if len(catalog) else ""


def _not_numbers(events: pl.DataFrame) -> tuple[pl.DataFrame, list[Finding]]:
    """Mask values that are NaN or infinite."""
    wrong = (~events["value"].is_finite()).fill_null(False)
    findings = make_findings(
        "events.not_a_number",
        int(wrong.sum()),
        events.height,
        "masked",
        examples=_examples(events.filter(wrong)),
        advice=message("their value is now unknown; the event still counts"),
    )
    return events.with_columns(value=pl.when(~wrong).then("value")), findings


def _impossible_times(
    events: pl.DataFrame, config: EventCleaningConfig, latest: datetime
) -> tuple[pl.DataFrame, list[Finding]]:
    """Mask impossible times; the event itself is valid and stays."""
    wrong = ((events["at"] < config.earliest) | (events["at"] > latest)).fill_null(False)
    most = 2 * wrong.sum() > events.height
    findings = make_findings(
        "events.impossible_time",
        int(wrong.sum()),
        events.height,
        "masked",
        examples=_examples(events.filter(wrong)),
        advice=message(
            "most times are impossible: the column that is read as `at` holds no times (a price, a position in a sequence); map another one, or none"
        )
        if most
        else message("their time is now unknown; correct it at the source, or set `earliest` if they are that old"),
        severity="error" if most else "warning",
    )
    return events.with_columns(at=pl.when(~wrong).then("at")), findings


def _duplicate_events(events: pl.DataFrame, config: EventCleaningConfig) -> tuple[pl.DataFrame, list[Finding]]:
    """Merge events of equal user, item, time and kind; those without a time may be repeats, so they are only counted."""
    key = ["user_id", "item_id", "at", "kind", *(["part"] if "part" in events.columns else [])]
    again = ~events.select(first=pl.struct(key).is_last_distinct())["first"]
    timed = again & events["at"].is_not_null()
    untimed = again & events["at"].is_null()
    drop = config.duplicate_events == "drop"
    findings = make_findings(
        "events.duplicate",
        int(timed.sum()),
        events.height,
        "dropped" if drop else "kept",
        examples=_examples(events.filter(timed)),
        advice=message("the last of each stays") if drop else message("they count more than once"),
    )
    findings += make_findings(
        "events.duplicate_untimed",
        int(untimed.sum()),
        events.height,
        "kept",
        examples=_examples(events.filter(untimed)),
        advice=message("without times, repeats and copies look the same: give the events times"),
    )
    return events.filter(~timed) if drop else events, findings


def _repeats(events: pl.DataFrame, config: EventCleaningConfig) -> tuple[pl.DataFrame, list[Finding]]:
    """Leave the first event of each user, item and kind where the settings ask for it."""
    if config.repeats == "keep" or "part" in events.columns:
        return events, []
    # of several at the first instant the first row stays: duplicates of one instant are dropped before unless they are wanted
    rank = pl.col("at").rank("ordinal").over("user_id", "item_id", "kind")
    later = events.select(later=(rank > 1).fill_null(False))["later"]
    findings = make_findings(
        "events.repeat",
        int(later.sum()),
        events.height,
        "dropped",
        examples=_examples(events.filter(later)),
        advice=message("the first event of each user, item and kind stays"),
    )
    return events.filter(~later), findings


def _inhuman_users(events: pl.DataFrame, config: EventCleaningConfig) -> tuple[pl.DataFrame, list[Finding]]:
    counts = events.group_by("user_id").len("events")
    if counts.height == 0:
        return events, []
    bound = config.max_times_p99 * float(counts["events"].quantile(0.99) or 0.0)
    minutes = events.drop_nulls("at").group_by("user_id", pl.col("at").dt.truncate("1m")).len()
    crowded = minutes.filter(pl.col("len") > config.max_events_per_minute).group_by("user_id").len("minutes")
    fast = crowded.filter(pl.col("minutes") >= 3)["user_id"]
    automated = counts.filter((pl.col("events") > bound) | pl.col("user_id").is_in(fast.implode()))
    automated = automated.sort("events", "user_id", descending=[True, False])
    drop = config.inhuman_users == "drop" and "part" not in events.columns
    findings = make_findings(
        "events.inhuman_user",
        automated.height,
        counts.height,
        "dropped" if drop else "kept",
        examples=(
            message("user {user}: {count} events", user=user, count=count) for user, count in automated.iter_rows()
        ),
        advice=message("set `inhuman_users` = 'keep' if these are human users")
        if drop
        else message("each weighs as much as thousands of users: set `inhuman_users` = 'drop'"),
        severity="warning",
    )
    return events.filter(~pl.col("user_id").is_in(automated["user_id"].implode())) if drop else events, findings


def _unknown_users(events: pl.DataFrame, users: Users | None) -> list[Finding]:
    """Count users without a row in the users table; they stay, since models need histories only."""
    if users is None:
        return []
    ids = events["user_id"].unique(maintain_order=True)
    unknown = ids.filter(~ids.is_in(users.table["user_id"].implode()))
    return make_findings(
        "events.unknown_user",
        len(unknown),
        len(ids),
        "kept",
        examples=(message("user {id}", id=repr(value)) for value in unknown),
        advice=message("they have no attributes; add them to the users table where known"),
    )


def _examples(events: pl.DataFrame) -> list[str]:
    rows = events.head(MAX_EXAMPLES).select("user_id", "item_id", "at").iter_rows()
    return [
        message("user {user}, item {item}", user=user, item=item)
        if at is None
        else message("user {user}, item {item}, {at}", user=user, item=item, at=f"{at:%Y-%m-%d %H:%M:%S}")
        for user, item, at in rows
    ]
