"""From whatever a platform has to the three tables.

In: a folder of files, a known format, or tables from Python. Out: a `Dataset`, not yet cleaned.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from penchant.core.config import Settings
from penchant.core.errors import DataError
from penchant.core.schema import INTERACTION_SCHEMA, Catalog, Dataset, Finding, Interactions, Users
from penchant.data import SOURCES
from penchant.data.tables import as_number, as_polars, as_time, clean_ids, find_file, read_table, rename

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
SOUND_ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".opus")
LONG_TEXT = 25
"""Columns whose texts are longer than this on average are read as content, shorter ones as categories."""
PART_NAMES = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}


class DataConfig(Settings):
    """Where the data is and what its columns mean."""

    format: str = "files"
    """"files" for your own tables, or a known layout: `penchant list sources`."""
    path: Path = Path()
    """Folder of the files; relative to the settings file."""
    interactions: str | None = None
    """File of events; None finds interactions.*, events.*, ratings.* or clicks.*."""
    items: str | None = None
    """File of items; None finds items.*, catalog.* or products.*; without one, items are what the events name."""
    users: str | None = None
    """File of users; None finds users.*."""
    columns: dict[str, str] = {}
    """Our names of the events' columns to yours: user_id, item_id, at, kind, value, text, image, audio, part."""
    item_columns: dict[str, str] = {}
    """Our names of the items' columns to yours: item_id, title."""
    user_columns: dict[str, str] = {}
    """Our names of the users' columns to yours: user_id."""
    text: list[str] | None = None
    """Items' columns with words; None takes the long ones."""
    media: dict[str, str] | None = None
    """Modality to the items' column with a path below `media_folder`; None goes by file endings."""
    media_folder: str = ""
    """Folder of media, below `path`."""
    attributes: list[str] | None = None
    """Items' columns with categories or numbers; None takes what is left."""
    lists: dict[str, str] = {}
    """Attribute to the separator of its values, for example genres = "|"."""
    default_kind: str = "interaction"
    """Kind of events that name none."""
    min_value: float | None = None
    """Events with a smaller value (rating) are left out."""
    min_interactions: int = 0
    """Users and items with fewer events are left out, again and again until none is left (k-core)."""


def read(config: DataConfig) -> Dataset:
    """Return the data of a run.

    Raises:
        DataError: A file or column is missing, a value has the wrong type, or events and items share no id.
    """
    dataset: Dataset = SOURCES.load(config.format)(config)
    return dataset


def read_files(config: DataConfig) -> Dataset:
    """Read a folder of CSV, TSV, Parquet or JSON-lines files."""
    if not config.path.exists():
        raise DataError(f"There is no folder {config.path.name!r}.", where=str(config.path), fix="correct [data] path")
    events = _named(config, config.interactions, ("interactions", "events", "ratings", "clicks"), "interactions")
    if events is None:
        raise DataError(
            "There is no file of events.", where=str(config.path), fix='name it: [data] interactions = "your_file.csv"'
        )
    items = _named(config, config.items, ("items", "catalog", "products"), "items")
    users = _named(config, config.users, ("users",), "users")
    return assemble(
        config,
        read_table(events),
        read_table(items) if items else None,
        read_table(users) if users else None,
        media_root=config.path / config.media_folder,
        names=(events.name, items.name if items else "items", users.name if users else "users"),
    )


def from_tables(interactions: Any, items: Any = None, users: Any = None, config: DataConfig | None = None) -> Dataset:
    """Return a dataset from pandas, Polars or Arrow tables, with the same settings as files."""
    config = config or DataConfig()
    return assemble(
        config,
        as_polars(interactions),
        None if items is None else as_polars(items),
        None if users is None else as_polars(users),
        media_root=config.path / config.media_folder,
    )


def assemble(
    config: DataConfig,
    interactions: pl.DataFrame,
    items: pl.DataFrame | None,
    users: pl.DataFrame | None,
    *,
    media_root: Path | None,
    names: tuple[str, str, str] = ("interactions", "items", "users"),
) -> Dataset:
    """Check raw tables and bind them to the nouns; every converter ends here."""
    events, findings = _interactions(config, interactions, names[0])
    catalog, notes = _catalog(config, items, events, media_root, names[1])
    findings += notes
    shared = events.select(pl.col("item_id").is_in(catalog.table["item_id"].implode()).sum()).item()
    if shared == 0:
        raise DataError(
            f"No event names an item of the catalog (events: {events['item_id'][0]!r}, items: {catalog.item_ids[0]!r}).",
            where=f"{names[0]} and {names[1]}, column item_id",
            fix="map the columns that hold the same ids in [data.columns] and [data.item_columns]",
        )
    events = _core(events, config.min_interactions)
    findings += _size_findings(events)
    people = None
    if users is not None:
        table, notes = clean_ids(rename(users, config.user_columns, ("user_id",), names[2]), "user_id", names[2])
        people = Users(table, tuple(c for c in table.columns if c != "user_id"))
        findings += notes
    return Dataset(catalog, Interactions(events), people, tuple(findings))


def _interactions(config: DataConfig, raw: pl.DataFrame, where: str) -> tuple[pl.DataFrame, list[Finding]]:
    """Bring events to the columns of `INTERACTION_SCHEMA`."""
    table = rename(raw, config.columns, ("user_id", "item_id"), where)
    findings = []
    for column in ("user_id", "item_id"):
        table, notes = clean_ids(table, column, where)
        findings += notes
    at = (
        as_time(table["at"], where)
        if "at" in table.columns
        else pl.Series("at", [None] * len(table), pl.Datetime("us", "UTC"))
    )
    value = (
        as_number(table["value"], where)
        if "value" in table.columns
        else pl.Series("value", [None] * len(table), pl.Float32)
    )
    kind = (
        pl.col("kind").cast(pl.String).fill_null(config.default_kind)
        if "kind" in table.columns
        else pl.lit(config.default_kind)
    )
    extra = [c for c in ("text", "image", "audio", "part") if c in table.columns]
    events = table.with_columns(at.alias("at"), value.alias("value"), kind.alias("kind")).select(
        [*INTERACTION_SCHEMA, *extra]
    )
    if "part" in extra:
        events = _parts(events, where)
    if config.min_value is not None:
        kept = events.filter(pl.col("value") >= config.min_value)
        low = len(events) - len(kept)
        findings.append(
            Finding(
                "events.low_value", low, len(events), "dropped", advice=f"value below {config.min_value:g} or missing"
            )
        )
        events = kept
    if events.height == 0:
        raise DataError("No event is left.", where=where, fix="check data.min_value and the columns' mapping")
    return events, findings


def _parts(events: pl.DataFrame, where: str) -> pl.DataFrame:
    lower = events["part"].cast(pl.String).str.to_lowercase()
    unknown = set(lower.unique().to_list()) - set(PART_NAMES)
    if unknown:
        raise DataError(
            f"The part {sorted(map(str, unknown))[0]!r} is unknown.",
            where=f"{where}, column part",
            fix="use train, validation and test",
        )
    return events.with_columns(lower.replace_strict(PART_NAMES).alias("part"))


def _catalog(
    config: DataConfig, raw: pl.DataFrame | None, events: pl.DataFrame, media_root: Path | None, where: str
) -> tuple[Catalog, list[Finding]]:
    """Bind item columns to their roles, guessing the roles nobody named."""
    if raw is None:
        return Catalog(events.select(pl.col("item_id").unique().sort())), []
    table, findings = clean_ids(rename(raw, config.item_columns, ("item_id",), where), "item_id", where)
    for column in {*(config.text or []), *(config.attributes or []), *(config.media or {}).values(), *config.lists}:
        rename(table, {column: column}, (), where)
    for column, separator in config.lists.items():
        table = table.with_columns(
            pl.col(column).cast(pl.String).str.split(separator).list.eval(pl.element().str.strip_chars())
        )
    media = dict(config.media) if config.media is not None else _media_columns(table)
    title = "title" if "title" in table.columns else None
    free = [
        c
        for c in table.columns
        if c not in {"item_id", *media.values(), *(config.text or []), *(config.attributes or [])}
    ]
    text = list(config.text) if config.text is not None else [c for c in free if _is_long_text(table[c]) or c == title]
    attributes = (
        config.attributes if config.attributes is not None else [c for c in free if c not in text and c != title]
    )
    guessed = [f"text: {', '.join(text)}"] * (config.text is None) + [f"media: {media}"] * (
        config.media is None and bool(media)
    )
    if guessed:
        findings.append(
            Finding(
                "items.roles",
                len(guessed),
                len(table.columns),
                "kept",
                tuple(guessed),
                "guessed; name them in [data] to be sure",
            )
        )
    return Catalog(table, title, tuple(text), media, tuple(attributes), media_root), findings


def _media_columns(table: pl.DataFrame) -> dict[str, str]:
    """Find the columns whose values end like pictures or sound."""
    found: dict[str, str] = {}
    for column in table.columns:
        if table[column].dtype != pl.String:
            continue
        ending = table[column].drop_nulls().head(100).str.to_lowercase()
        for modality, endings in (("image", PICTURE_ENDINGS), ("audio", SOUND_ENDINGS)):
            share = sum(ending.str.ends_with(e).sum() for e in endings) / max(len(ending), 1)
            if share > 0.8 and modality not in found:
                found[modality] = column
    return found


def _is_long_text(values: pl.Series) -> bool:
    if values.dtype != pl.String or values.null_count() == len(values):
        return False
    mean = values.drop_nulls().str.len_bytes().mean()
    return isinstance(mean, float) and mean > LONG_TEXT and values.n_unique() > len(values) / 4


def _core(events: pl.DataFrame, least: int) -> pl.DataFrame:
    """Drop users and items with fewer than `least` events until none is left."""
    while least > 1:
        kept = events.filter((pl.len().over("user_id") >= least) & (pl.len().over("item_id") >= least))
        if len(kept) == len(events):
            break
        events = kept
    if events.height == 0:
        raise DataError(f"No user or item has {least} events.", where="data.min_interactions", fix="lower it")
    return events


def _size_findings(events: pl.DataFrame) -> list[Finding]:
    """Note what makes learning hopeless."""
    findings = []
    if events["user_id"].n_unique() == 1:
        findings.append(
            Finding(
                "events.one_user",
                1,
                1,
                "kept",
                advice="with one user there is nobody to learn from",
                severity="warning",
            )
        )
    if events["item_id"].n_unique() == 1:
        raise DataError(
            "All events name one item.", where="interactions: item_id", fix="map the column that tells items apart"
        )
    known = events["at"].drop_nulls()
    if len(known) > 1 and known.min() == known.max():
        findings.append(
            Finding(
                "events.one_instant",
                len(known),
                len(events),
                "kept",
                advice="all times are equal: a split by time is a random one",
                severity="warning",
            )
        )
    return findings


def _named(config: DataConfig, name: str | None, defaults: tuple[str, ...], noun: str) -> Path | None:
    if name is None:
        return find_file(config.path, defaults)
    path = config.path / name
    if not path.exists():
        raise DataError(f"There is no file {name!r}.", where=str(config.path), fix=f"correct [data] {noun}")
    return path
