"""Clean the tables of a dataset, and count everything repaired, masked, dropped or observed.

In: a `Dataset` as it was read. Out: the same `Dataset`, clean, with one `Finding` for each check that found something.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from penchant.core.config import Settings
from penchant.core.messages import message
from penchant.core.schema import Catalog, Dataset, Finding, Interactions, Users, make_findings
from penchant.data.clean.events import EventCleaningConfig, clean_events
from penchant.data.clean.inspection import InspectionConfig, Inspector, inspect_media
from penchant.data.clean.media_facts import PictureReader
from penchant.data.clean.texts import clean_text, duplicate_texts, normalise_categories
from penchant.data.media import MediaLimits

EVENT_MEDIA = ("image", "audio")


class CleanConfig(Settings):
    """Cleaning settings."""

    events: EventCleaningConfig = EventCleaningConfig()
    """Which events are dropped."""
    min_text_length: int = 20
    """Shorter texts are not compared with each other: items often share a short title."""
    max_event_media: int = 20_000
    """Pictures and voice notes of events are opened before training only if there are at most this many."""
    media: InspectionConfig = InspectionConfig()
    """What counts as a blank picture or a silent sound."""


def clean(
    dataset: Dataset,
    config: CleanConfig,
    limits: MediaLimits,
    *,
    cache: Path | None = None,
    pictures: PictureReader | None = None,
    now: datetime | None = None,
) -> Dataset:
    """Return the data set without damage; its findings follow those of reading.

    Args:
        dataset: As read.
        config: Cleaning settings.
        limits: Of media files.
        cache: Folder of the facts of inspected media files.
        pictures: Receives every decoded picture of an item, so that it is decoded once.
        now: Events later than a day after this are impossible; None takes the current time.

    Raises:
        DataError: No event refers to an item of the catalog.
        MissingExtraError: There is sound, and the extra `audio` is not installed.
    """
    inspector = Inspector(limits, config.media, cache, pictures)
    catalog, about_items = _clean_catalog(dataset.catalog, config, inspector)
    users, about_users = _clean_users(dataset.users, replace(inspector, pictures=None))
    table, about_events = clean_events(
        dataset.interactions.table, catalog, users, config.events, now=now or datetime.now(UTC)
    )
    table, about_content = _clean_event_content(table, catalog, config, replace(inspector, pictures=None))
    findings = (*dataset.findings, *about_items, *about_users, *about_events, *about_content)
    return Dataset(catalog, Interactions(table), users, findings)


def cleaned_catalog(
    catalog: Catalog, config: CleanConfig, limits: MediaLimits, *, cache: Path | None = None
) -> Catalog:
    """Return the items of a data set without damage: texts repaired, files that cannot be read left out."""
    return _clean_catalog(catalog, config, Inspector(limits, config.media, cache, None))[0]


def _clean_catalog(catalog: Catalog, config: CleanConfig, inspector: Inspector) -> tuple[Catalog, list[Finding]]:
    """Repair texts, then open every file."""
    table, findings = _one_row_each(catalog.table, "item")
    ids = table["item_id"]

    def owner(row: int) -> str:
        return message("item {id}", id=ids[row])

    title = () if catalog.title_column is None else (catalog.title_column,)
    texts = list(dict.fromkeys((*title, *catalog.text_columns)))
    table, about_text = clean_text(table, texts, owner)
    table = normalise_categories(table, [name for name in catalog.attribute_columns if name not in texts])
    findings += about_text + duplicate_texts(table, texts, config.min_text_length)
    table, about_media = inspect_media(table, catalog.media_columns, owner, catalog.media_root, inspector)
    findings += about_media
    return replace(catalog, table=table), findings


def _clean_users(users: Users | None, inspector: Inspector) -> tuple[Users | None, list[Finding]]:
    if users is None:
        return None, []
    table, findings = _one_row_each(users.table, "user")
    ids = table["user_id"]

    def owner(row: int) -> str:
        return message("user {id}", id=ids[row])

    table, about_text = clean_text(table, list(users.text_columns), owner)
    table = normalise_categories(table, users.attribute_columns)
    table, about_media = inspect_media(table, users.media_columns, owner, users.media_root, inspector)
    about = [replace(finding, check=f"users.{finding.check}") for finding in (*about_text, *about_media)]
    return replace(users, table=table), findings + about


def _one_row_each(table: pl.DataFrame, noun: str) -> tuple[pl.DataFrame, list[Finding]]:
    """Keep the first row of each id."""
    key = f"{noun}_id"
    again = ~table[key].is_first_distinct()
    findings = make_findings(
        f"{noun}s.duplicate",
        int(again.sum()),
        table.height,
        "dropped",
        examples=(f"{noun} {value}" for value in table[key].filter(again)),
        advice=message("keep one row for each {key}; the first was taken", key=key),
    )
    return table.filter(~again), findings


def _clean_event_content(
    table: pl.DataFrame, catalog: Catalog, config: CleanConfig, inspector: Inspector
) -> tuple[pl.DataFrame, list[Finding]]:
    """Repair the users' own texts, and open their pictures and voice notes up to a maximum number."""
    findings: list[Finding] = []
    pairs = table.select("user_id", "item_id")

    def owner(row: int) -> str:
        user, item = pairs.row(row)
        return message("user {user} on item {item}", user=user, item=item)

    if "text" in table.columns:
        table, findings = clean_text(table, ["text"], owner)
    columns = {m: m for m in EVENT_MEDIA if m in table.columns}
    few = {m: m for m in columns if table[m].drop_nulls().n_unique() <= config.max_event_media}
    table, about_media = inspect_media(table, few, owner, catalog.media_root, inspector)
    findings += about_media
    return table, [replace(finding, check=f"events.{finding.check}") for finding in findings]
