"""Read a dataset from any source: events, items, users.

In: a folder of files, a known format, or tables from Python. Out: a `Dataset`, not yet cleaned.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from penchant.core.config import Settings
from penchant.core.errors import DataError
from penchant.core.messages import message
from penchant.core.schema import (
    INTERACTION_SCHEMA,
    Catalog,
    Dataset,
    Finding,
    Interactions,
    Users,
    context_column,
    make_findings,
)
from penchant.data import SOURCES
from penchant.data.read.codes import as_categories, find_codes
from penchant.data.read.column_types import as_attributes, infer_column_types, split_lists
from penchant.data.read.columns import read_ids, read_numbers, read_parts, rename, require
from penchant.data.read.known_names import find_times, named_like
from penchant.data.read.partitions import is_parquet, read_partitions
from penchant.data.read.tables import RawTable, as_raw, find_file, read_table
from penchant.data.read.times import TIME, read_times

EVENT_FILES = ("interactions", "events", "ratings", "clicks")
ITEM_FILES = ("items", "catalog", "products", "movies")
USER_FILES = ("users",)
EVENT_CONTENT = ("text", "image", "audio")
"""The user's own text, picture or voice note."""


class DataConfig(Settings):
    """Location of the data, and the meaning of its columns."""

    format: str = "files"
    """"files" for your own tables, or a known layout: `penchant list sources`."""
    path: Path = Path()
    """Folder of the files (or the one file of events); relative to the settings file."""
    interactions: str | None = None
    """File of events, or folder of such files; None finds interactions.*, events.*, ratings.* or clicks.*."""
    items: str | None = None
    """File of items; None finds items.*, catalog.*, products.* or movies.*; without one, items are those of the events."""
    users: str | None = None
    """File of users; None finds users.*."""
    columns: dict[str, str] = {}
    """Standard names of the events' columns to those of the file: user_id, item_id, at, kind, value, text, image, audio, part."""
    time_format: str | None = None
    """Format of the events' times, as of `strptime` ("%d/%m/%Y %H:%M"); None recognises ISO 8601, numbers since 1970, Chinese dates, and day and month
    before the year, in the order in which every value is a date."""
    item_columns: dict[str, str] = {}
    """Standard names of the items' columns to those of the file: item_id, title."""
    user_columns: dict[str, str] = {}
    """Standard names of the users' columns to those of the file: user_id."""
    user_text: list[str] | None = None
    """Users' text columns, such as a bio; None takes those with long texts."""
    user_media: dict[str, str] | None = None
    """Modality to the users' column with a path below `media_folder`, such as an avatar; None infers it from file endings."""
    text: list[str] | None = None
    """Items' text columns; None takes the title and those with long texts."""
    media: dict[str, str] | None = None
    """Modality to the items' column with a path below `media_folder`; None infers it from file endings (.jpg, .ogg, ...)."""
    media_folder: str = ""
    """Folder of media, below `path`."""
    attributes: list[str] | None = None
    """Items' columns with categories or numbers; None takes numbers, lists, and text whose values repeat."""
    categories: list[str] | None = None
    """Items' attributes whose numbers are categories, such as the code of a product's variants; None takes whole numbers that repeat as codes
    do: a few items share one and are alike, and the next number says nothing. An empty list reads every number as a quantity."""
    lists: dict[str, str] = {}
    """Attribute to the separator of its values, for example genres = "|"."""
    context: list[str] = []
    """Events' columns that describe the request, not the item: device, place, whether a discount runs. A list may be asked for under such
    circumstances; a column that describes the chosen item would give the answer away."""
    since: datetime | None = None
    """Events before this moment are left out; of Parquet files with a column of dates or moments they are not even read. Without a zone it is in UTC."""
    until: datetime | None = None
    """The same for events from this moment on."""
    default_kind: str = "interaction"
    """Kind of events without one."""
    min_value: float | None = None
    """Events with a smaller value (rating), or with none, are left out."""
    min_interactions: int = Field(0, ge=0)
    """Users and items with fewer events are left out repeatedly, until no such user or item remains (k-core)."""


def read(config: DataConfig) -> Dataset:
    """Return the data of a run, not yet cleaned.

    Raises:
        ConfigError: The format is unknown.
        DataError: A file or column is missing, a value has the wrong type, or events and items share no id.
    """
    if not config.path.exists():
        raise DataError(f"There is no folder {config.path.name!r}.", where=str(config.path), fix="correct [data] path")
    dataset: Dataset = SOURCES.load(config.format)(config)
    return dataset


def read_files(config: DataConfig) -> Dataset:
    """Read a folder of CSV, TSV, Parquet or JSON-lines files."""
    if config.path.is_file():
        config = config.model_copy(update={"path": config.path.parent, "interactions": config.path.name})
    events = _named(config, config.interactions, EVENT_FILES, "interactions")
    if events is None:
        raise DataError(
            "There is no file of events.", where=str(config.path), fix='name it: [data] interactions = "your_file.csv"'
        )
    items = _named(config, config.items, ITEM_FILES, "items")
    users = _named(config, config.users, USER_FILES, "users")
    return assemble(
        config,
        _read_events(config, events),
        read_table(items) if items else None,
        read_table(users) if users else None,
        media_root=config.path / config.media_folder,
    )


def read_catalog(config: DataConfig) -> Catalog:
    """Read the items alone; the converter of another format reads its events too, which then are not used.

    Raises:
        DataError: There is no file of items, or it cannot be read.
    """
    if config.format != "files":
        return read(config).catalog
    items = _named(config, config.items, ITEM_FILES, "items")
    if items is None:
        raise DataError(
            "There is no file of items.", where=str(config.path), fix='name it: [data] items = "your_file.csv"'
        )
    return _catalog(config, read_table(items), config.path / config.media_folder)[0]


def _read_events(config: DataConfig, path: Path) -> RawTable:
    """Return the table of events; of Parquet files the columns that are needed, and the rows in the span of time."""
    if not is_parquet(path):
        return read_table(path)
    mapped = config.columns
    standard = {*INTERACTION_SCHEMA, *EVENT_CONTENT, "part"}

    def needed(names: Collection[str]) -> Collection[str]:
        wanted = {*mapped.values(), *(standard - set(mapped)), *config.context}
        if not {mapped.get(name, name) for name in ("user_id", "item_id")} <= set(names):
            return names  # an error will name the nearest of them
        return {*wanted, *(named_like("at", names) if "at" not in names and "at" not in mapped else ())}

    return read_partitions(path, needed, mapped.get("at", "at"), config.since, config.until)


def from_tables(interactions: Any, items: Any = None, users: Any = None, config: DataConfig | None = None) -> Dataset:
    """Return a dataset from pandas, Polars or Arrow tables, with the same settings as files.

    Raises:
        DataError: As for files.
    """
    config = config or DataConfig()
    return assemble(
        config,
        as_raw(interactions, "interactions"),
        None if items is None else as_raw(items, "items"),
        None if users is None else as_raw(users, "users"),
        media_root=config.path / config.media_folder,
    )


def assemble(
    config: DataConfig,
    interactions: RawTable,
    items: RawTable | None,
    users: RawTable | None,
    *,
    media_root: Path | None,
) -> Dataset:
    """Check raw tables and return them as a `Dataset`; every converter ends here."""
    events, findings = _interactions(config, interactions)
    if items is None:
        catalog = Catalog(events.select(pl.col("item_id").unique().sort()), media_root=media_root)
    else:
        catalog, notes = _catalog(config, items, media_root)
        findings += notes
        _check_overlap(events, catalog, interactions.name, items.name)
    events, notes = _core(events, config.min_interactions)
    findings += notes + _size_findings(events)
    user_table = None
    if users is not None:
        user_table, notes = _users(config, users, media_root)
        findings += notes
    return Dataset(catalog, Interactions(events), user_table, tuple(findings))


def _interactions(config: DataConfig, raw: RawTable) -> tuple[pl.DataFrame, list[Finding]]:
    """Bring events to the columns of `INTERACTION_SCHEMA`; cells are read before rows are dropped, so rows keep their numbers."""
    raw = rename(raw, config.columns, ("user_id", "item_id"), "data.columns")
    findings = list(raw.findings)
    columns: dict[str, pl.Series | pl.Expr] = {}
    for column in ("user_id", "item_id"):
        columns[column], notes = read_ids(raw, column)
        findings += notes
    columns |= {"at": pl.lit(None, TIME), "value": pl.lit(None, pl.Float32)}
    raw, notes = _recognised_times(config, raw)
    findings += notes
    if "at" in raw.table.columns:
        columns["at"], notes = read_times(raw, "at", config.time_format)
        findings += notes
    if "value" in raw.table.columns:
        columns["value"] = read_numbers(raw, "value")
    default = pl.lit(config.default_kind.strip().lower())
    columns["kind"] = default
    if "kind" in raw.table.columns:
        kind = pl.col("kind").cast(pl.String).str.strip_chars().str.to_lowercase()
        columns["kind"] = pl.when(kind != "").then(kind).otherwise(default)
    columns |= {name: pl.col(name).cast(pl.String) for name in EVENT_CONTENT if name in raw.table.columns}
    if "part" in raw.table.columns:
        columns["part"] = read_parts(raw, "part")
    for name in config.context:
        require(raw, name, "[data] context")
        columns[context_column(name)] = pl.col(name).cast(pl.String)
    unused = [name for name in raw.table.columns if name not in columns and name not in config.context]
    unused += raw.unread
    findings += _unused_columns("events", unused, raw)
    ordered = [*INTERACTION_SCHEMA, *(name for name in columns if name not in INTERACTION_SCHEMA)]
    events = raw.table.with_columns(**columns).select(ordered)
    return _known_events(config, raw, events, findings)


def _recognised_times(config: DataConfig, raw: RawTable) -> tuple[RawTable, list[Finding]]:
    """Take a column of times that is called `date` or the like, where none is mapped: without times, nothing is known about what came last."""
    taken = {"user_id", "item_id", "kind", "value", *EVENT_CONTENT, *config.context}
    if "at" in raw.table.columns or (found := find_times(raw, taken)) is None:
        return raw, []
    advice = message(
        "this column was read as the time of the events, by its name and values; to say it yourself: [data.columns] at"
    )
    finding = Finding("events.recognised_time", 1, len(raw.table.columns), "kept", (found,), advice)
    return raw.having(raw.table.rename({found: "at"})), [finding]


def _known_events(
    config: DataConfig, raw: RawTable, events: pl.DataFrame, findings: list[Finding]
) -> tuple[pl.DataFrame, list[Finding]]:
    """Leave out events without user or item, and of too small a value."""
    total = events.height + raw.num_unread
    events, notes = _with_id(events, raw, "user_id", "item_id")
    findings += notes
    events, notes = _in_span(config, events, raw.num_unread)
    findings += notes
    if config.min_value is not None:
        before = events.height
        # to Polars NaN is larger than any number
        events = events.filter(pl.col("value").fill_nan(None) >= config.min_value)
        advice = message("value below {least} or missing", least=f"{config.min_value:g}")
        findings += make_findings("events.low_value", before - events.height, before, "dropped", advice=advice)
    if events.height == 0:
        raise DataError(
            f"None of {total:,} events is left.", where=raw.name, fix="check data.min_value and the columns' mapping"
        )
    unknown = events["at"].null_count()
    if unknown:
        advice = (
            message("no event has a time: only random, cold_items and published splits work")
            if unknown == events.height
            else message("an event without a time counts as its user's oldest")
        )
        findings += make_findings("events.no_time", unknown, events.height, "kept", examples=(raw.name,), advice=advice)
    return events, findings


def _in_span(config: DataConfig, events: pl.DataFrame, unread: int) -> tuple[pl.DataFrame, list[Finding]]:
    """Leave out events outside `since` and `until`, those without a time among them; `unread` were left in the file."""
    if config.since is None and config.until is None:
        return events, []
    first, last = (
        None if moment is None else moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        for moment in (config.since, config.until)
    )
    kept = events.filter(
        pl.col("at").is_between(
            first or datetime.min.replace(tzinfo=UTC), last or datetime.max.replace(tzinfo=UTC), "left"
        )
    )
    left_out = unread + events.height - kept.height
    advice = message("outside the span of time that the settings name (data.since, data.until)")
    return kept, make_findings("events.outside_span", left_out, unread + events.height, "dropped", advice=advice)


def _unused_columns(noun: str, columns: list[str], raw: RawTable) -> list[Finding]:
    """Return a finding about the columns that nothing reads."""
    advice = message(
        "nothing reads these columns; map those that mean something in [data.columns], and circumstances of the request in [data] context"
    )
    total = len(raw.table.columns) + len(raw.unread)
    examples = (", ".join(columns),)
    return make_findings(f"{noun}.unused_columns", len(columns), total, "kept", examples=examples, advice=advice)


def _with_id(table: pl.DataFrame, raw: RawTable, *columns: str) -> tuple[pl.DataFrame, list[Finding]]:
    """Drop rows without an id."""
    known = table.select(pl.all_horizontal(pl.col(column).is_not_null() for column in columns)).to_series()
    rows = (~known).arg_true().head(5).to_list()
    findings = make_findings(
        "ids.missing",
        table.height - int(known.sum()),
        table.height,
        "dropped",
        examples=(raw.place(row, " or ".join(columns)) for row in rows),
        advice=message("every row needs an id"),
        severity="warning",
    )
    return table.filter(known), findings


def _catalog(config: DataConfig, raw: RawTable, media_root: Path | None) -> tuple[Catalog, list[Finding]]:
    """Assign item columns to their types; those not named are inferred."""
    raw = rename(raw, config.item_columns, ("item_id",), "data.item_columns")
    named = {
        "text": config.text or (),
        "media": (config.media or {}).values(),
        "attributes": config.attributes or (),
        "categories": config.categories or (),
        "lists": config.lists,
    }
    for setting, columns in named.items():
        for column in columns:
            require(raw, column, f"[data] {setting}")
    ids, notes = read_ids(raw, "item_id")
    table, more = _with_id(raw.table.with_columns(item_id=ids), raw, "item_id")
    if table.height == 0:
        raise DataError("No item has an id.", where=raw.name, fix="map it: [data.item_columns] item_id")
    table = split_lists(table, config.lists)
    title = "title" if "title" in table.columns else None
    roles = infer_column_types(table, config.text, config.media, config.attributes, title)
    table = as_attributes(table, [name for name in roles.attributes if name not in roles.text])
    found = find_codes(table, roles.attributes, roles.text)
    table = as_categories(table, found if config.categories is None else config.categories)
    codes = _code_findings(found, config.categories, len(table.columns))
    catalog = Catalog(
        table.select("item_id", pl.exclude("item_id")), title, roles.text, roles.media, roles.attributes, media_root
    )
    return catalog, [*raw.findings, *notes, *more, *roles.findings, *codes]


def _code_findings(found: Sequence[str], categories: Sequence[str] | None, total: int) -> list[Finding]:
    """Name the columns that are read as categories, or, where the settings decide, those they leave as quantities."""
    if categories is None:
        advice = message(
            "whole numbers that repeat as codes do are read as categories; [data] categories = [] reads them as quantities"
        )
    else:
        found = [column for column in found if column not in categories]
        advice = message("whole numbers that repeat as codes do are read as quantities; name them in [data] categories")
    return make_findings("items.codes", len(found), total, "kept", examples=found, advice=advice)


def _users(config: DataConfig, raw: RawTable, media_root: Path | None) -> tuple[Users, list[Finding]]:
    """Every column of the users that is neither text nor media is an attribute."""
    raw = rename(raw, config.user_columns, ("user_id",), "data.user_columns")
    for setting, columns in (("user_text", config.user_text or ()), ("user_media", (config.user_media or {}).values())):
        for column in columns:
            require(raw, column, f"[data] {setting}")
    ids, notes = read_ids(raw, "user_id")
    table, more = _with_id(raw.table.with_columns(user_id=ids), raw, "user_id")
    types = infer_column_types(table.drop("user_id"), config.user_text, config.user_media, (), None)
    content = {*types.text, *types.media.values()}
    names = [name for name in table.columns if name != "user_id" and name not in content]
    users = Users(as_attributes(table, names), tuple(names), types.text, types.media, media_root)
    return users, [*raw.findings, *notes, *more, *_roles_of_users(users)]


def _roles_of_users(users: Users) -> list[Finding]:
    """Return a finding about the types that the users' columns were taken for."""
    places = (f"{column} ({modality})" for modality, column in users.media_columns.items())
    roles = (
        message("text: {columns}", columns=", ".join(users.text_columns)),
        message("media: {columns}", columns=", ".join(places)),
        message("attributes: {columns}", columns=", ".join(users.attribute_columns)),
    )
    named = tuple(role for role in roles if role.values["columns"])
    advice = message("types of the users' columns; to set them, name them in [data] user_text and user_media")
    return make_findings("users.roles", len(named), len(users.table.columns), "kept", examples=named, advice=advice)


def _check_overlap(events: pl.DataFrame, catalog: Catalog, events_name: str, items_name: str) -> None:
    if not events["item_id"].is_in(catalog.table["item_id"].implode()).any():
        raise DataError(
            f"No event names an item of the catalog (events: {events['item_id'][0]!r}, items: {catalog.item_ids[0]!r}).",
            where=f"{events_name} and {items_name}, column item_id",
            fix="map the columns that hold the same ids in [data.columns] and [data.item_columns]",
        )


def _core(events: pl.DataFrame, least: int) -> tuple[pl.DataFrame, list[Finding]]:
    """Drop users and items with fewer than `least` events until none is left."""
    total = events.height
    while least > 1 and events.height:
        kept = events.filter((pl.len().over("user_id") >= least) & (pl.len().over("item_id") >= least))
        if kept.height == events.height:
            break
        events = kept
    if events.height == 0:
        raise DataError(
            f"No users and items are left that have {least} events each.", where="data.min_interactions", fix="lower it"
        )
    advice = message("their user or item has fewer than {least} events (min_interactions)", least=least)
    return events, make_findings("events.core", total - events.height, total, "dropped", advice=advice)


def _size_findings(events: pl.DataFrame) -> list[Finding]:
    """Note what makes learning hard, and stop where nothing can be learned."""
    if events["item_id"].n_unique() == 1:
        raise DataError(
            f"All events name one item, {events['item_id'][0]!r}: there is nothing to choose from.",
            where="interactions, column item_id",
            fix="map the column that tells items apart",
        )
    findings: list[Finding] = []
    if events["user_id"].n_unique() == 1:
        findings += make_findings(
            "events.one_user",
            1,
            1,
            "kept",
            examples=(message("user {id}", id=repr(events["user_id"][0])),),
            advice=message(
                "with one user there are no other users to learn from; map the column that tells users apart"
            ),
            severity="warning",
        )
    known = events["at"].drop_nulls()
    if len(known) > 1 and known.min() == known.max():
        findings += make_findings(
            "events.one_instant",
            len(known),
            events.height,
            "kept",
            examples=(f"{known[0]:%Y-%m-%d %H:%M:%S}",),
            advice=message(
                "all times are equal, so no split by time is possible: choose a random, cold_items or published one"
            ),
            severity="warning",
        )
    return findings


def _named(config: DataConfig, name: str | None, defaults: tuple[str, ...], noun: str) -> Path | None:
    if name is None:
        return find_file(config.path, defaults)
    path = config.path / name
    if not path.exists():
        raise DataError(f"There is no file {name!r}.", where=str(config.path), fix=f"correct [data] {noun}")
    return path
