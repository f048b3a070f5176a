"""Guess what the tables of a folder are: events, items and users, and what their columns mean.

In: a folder of tables, or the one table of events. Out: a `Guess`, from which `starting_settings` writes the settings of a first run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from penchant.core.errors import DataError
from penchant.core.schema import Finding
from penchant.data.media.limits import MEDIA_ENDINGS
from penchant.data.read.column_types import infer_column_types
from penchant.data.read.known_names import find_times, named_like
from penchant.data.read.tables import SUFFIXES, RawTable, read_table
from penchant.data.read.times import AMBIGUOUS, read_times

SAMPLE = 2000
"""Distinct ids of events that are looked for in other tables."""
MIN_SHARED, MIN_UNIQUE = 0.3, 0.9
"""A table describes items (or users) where a column of nearly unique values holds at least this share of the events' ids."""
MAX_KINDS = 30
LIST_MARKS = ("|", "、", ";")
MIN_LISTS = 0.2
"""Share of cells with a mark between values from which on a column holds lists."""
MAX_FOLDERS = 200
LOOKED_AT = 50
DAY_FIRST = "%d/%m/%Y"


@dataclass(frozen=True)
class GuessedTable:
    """One table and what its columns are taken for.

    Attributes:
        file: Where it is.
        rows: Number of rows.
        columns: Standard names to its own names.
        unused: Columns that nothing reads unless they are named; those of events with few values first.
        findings: Of reading: encoding, separator, short rows.
    """

    file: Path
    rows: int
    columns: Mapping[str, str]
    unused: Sequence[str] = ()
    findings: Sequence[Finding] = ()


@dataclass(frozen=True)
class Guess:
    """What a folder of tables is taken for.

    Attributes:
        folder: Of the tables.
        events: The table of events.
        items: The table of items, if there is one.
        users: The table of users, if there is one.
        others: Files that are none of these.
        kinds: Kinds of event to their number, the most frequent first; empty where there is no such column, or too many.
        has_values: Whether events have ratings.
        time_example: A value of the column of times and what it is read as; None without times.
        time_format: Where no value says whether the day or the month is first: the format that was supposed.
        lists: Items' columns to the mark between their values.
        media_folder: Folder, below the tables', that paths of media start from; None where the tables name no media.
        missing_media: Columns of media whose files were not found.
        text: Items' columns of text.
        media: Modality to the items' column of paths.
        attributes: Items' columns of categories and numbers.
    """

    folder: Path
    events: GuessedTable
    items: GuessedTable | None = None
    users: GuessedTable | None = None
    others: Sequence[Path] = ()
    kinds: Mapping[str, int] = field(default_factory=dict)
    has_values: bool = False
    time_example: tuple[str, str] | None = None
    time_format: str | None = None
    lists: Mapping[str, str] = field(default_factory=dict)
    media_folder: str | None = None
    missing_media: Sequence[str] = ()
    text: Sequence[str] = ()
    media: Mapping[str, str] = field(default_factory=dict)
    attributes: Sequence[str] = ()


def guess(data: Path) -> Guess:
    """Return what the tables of a folder, or a file of events, are taken for.

    Raises:
        DataError: There is no table, one cannot be read, or none has users and items.
    """
    tables = _read_all(data)
    file, user, item = _find_events(tables)
    raw = tables.pop(file)
    items = _describing(tables, raw.table, item, "item_id")
    items_raw = None if items is None else tables.pop(items.file)
    users = _describing(tables, raw.table, user, "user_id")
    if users is not None:
        tables.pop(users.file)
    columns, example, form = _event_columns(raw, user, item)
    unused = few_values_first(raw.table, [name for name in raw.table.columns if name not in columns.values()])
    kind = columns.get("kind")
    counts = raw.table[kind].drop_nulls().str.strip_chars().str.to_lowercase().value_counts(sort=True) if kind else None
    folder = data if data.is_dir() else data.parent
    guessed = Guess(
        folder,
        GuessedTable(file, raw.table.height, columns, unused, raw.findings),
        items,
        users,
        others=tuple(tables),
        kinds={} if counts is None else dict(counts.iter_rows()),
        has_values="value" in columns,
        time_example=example,
        time_format=form,
    )
    return guessed if items is None or items_raw is None else replace(guessed, **_contents(items_raw, items, folder))


def _read_all(data: Path) -> dict[Path, RawTable]:
    if not data.exists():
        raise DataError(f"There is no {data.name!r}.", where=str(data), fix="give the folder of your tables")
    files = [data]
    if data.is_dir():
        files = sorted(p for p in data.iterdir() if p.is_file() and p.name.lower().endswith(SUFFIXES))
    if not files:
        fix = f"put your tables there, as files that end in one of {', '.join(SUFFIXES)}"
        raise DataError("The folder holds no table.", where=str(data), fix=fix)
    return {file: as_text(read_table(file)) for file in files}


def as_text(raw: RawTable) -> RawTable:
    """Return a table whose ids and kinds can be compared as text, whatever the file holds them as."""
    whole = [name for name, kind in raw.table.schema.items() if kind.is_integer()]
    return raw.having(raw.table.with_columns(pl.col(whole).cast(pl.String))) if whole else raw


def _find_events(tables: Mapping[Path, RawTable]) -> tuple[Path, str, str]:
    """Return the file of events and its columns of users and items: by their names, else by ids that other tables list."""
    found: list[tuple[bool, int, Path, str, str]] = []
    for file, raw in tables.items():
        users, items = named_like("user_id", raw.table.columns), named_like("item_id", raw.table.columns)
        others = [raw_ for name, raw_ in tables.items() if name != file]
        keys = [c for c in raw.table.columns if c not in (*users, *items) and _is_listed(raw.table[c], others)]
        user, item = (
            next(iter(users or (keys if items else [])), None),
            next(iter(items or (keys if users else [])), None),
        )
        if user is not None and item is not None:
            repeats = raw.table[user].n_unique() < MIN_UNIQUE * raw.table.height
            found.append((repeats, raw.table.height, file, user, item))
    if not found:
        shown = "; ".join(f"{file.name}: {', '.join(raw.table.columns)}" for file, raw in tables.items())
        raise DataError(
            f"No table has a column of users and one of items by a known name ({shown}).",
            where=str(next(iter(tables)).parent),
            fix="rename the two columns to user_id and item_id, or name them in a file of settings: docs/own-data.md. Of labelled samples, name the column of classes label: docs/tasks.md",
        )
    _, _, file, user, item = max(found, key=lambda one: one[:2])
    return file, user, item


def _is_listed(ids: pl.Series, others: Sequence[RawTable]) -> bool:
    """Return whether another table has a column of nearly unique values that holds many of these ids."""
    return any(_key(raw.table, ids, ()) is not None for raw in others)


def _key(table: pl.DataFrame, ids: pl.Series, preferred: Sequence[str]) -> str | None:
    """Return the column of nearly unique values that holds most of some ids, of equals a preferred one; None where it holds few."""
    known = ids.cast(pl.String).drop_nulls().str.strip_chars().unique(maintain_order=True).head(SAMPLE)
    shares: dict[str, float] = {}
    for column in (*preferred, *(c for c in table.columns if c not in preferred)):
        if table[column].dtype != pl.String:
            continue
        values = table[column].drop_nulls().str.strip_chars()
        if len(values) and values.n_unique() >= MIN_UNIQUE * table.height:
            shares[column] = _share(known, values)
    best = max(shares, key=lambda column: shares[column], default=None)
    return best if best is not None and shares[best] >= MIN_SHARED else None


def _share(ids: pl.Series, known: pl.Series) -> float:
    """Return how many of some ids are known."""
    return int(ids.is_in(known.implode()).sum()) / max(len(ids), 1)


def _describing(tables: Mapping[Path, RawTable], events: pl.DataFrame, column: str, noun: str) -> GuessedTable | None:
    """Return the table that describes the items, or users, of the events."""
    other = "user_id" if noun == "item_id" else "item_id"
    found: list[tuple[bool, float, GuessedTable]] = []
    for file, raw in tables.items():
        named = named_like(noun, raw.table.columns)
        key = _key(raw.table, events[column], named)
        if key is None or (key not in named and named_like(other, [key])):
            continue
        columns = {noun: key}
        if noun == "item_id" and (titles := [c for c in named_like("title", raw.table.columns) if c != key]):
            columns["title"] = titles[0]
        share = _share(events[column].cast(pl.String), raw.table[key])
        guessed = GuessedTable(file, raw.table.height, columns, (), raw.findings)
        found.append((key in named, share, guessed))
    return max(found, key=lambda one: one[:2])[2] if found else None


def few_values_first(table: pl.DataFrame, names: Iterable[str]) -> list[str]:
    """Order columns by their number of values: a circumstance such as the device, and a column to compare within, have few; those of one value
    say nothing and come last.
    """
    names = list(names)
    count = {name: table[name].n_unique() for name in names}
    return sorted(names, key=lambda name: (count[name] < 2, count[name]))


def _event_columns(raw: RawTable, user: str, item: str) -> tuple[dict[str, str], tuple[str, str] | None, str | None]:
    """Return the columns of events by standard name, an example of a time, and its format where the order of day and month was supposed."""
    table, columns = raw.table, {"user_id": user, "item_id": item}
    example = form = None
    if (at := find_times(raw, (user, item))) is not None:
        columns["at"] = at
        known = raw.having(table.filter(pl.col(at).is_not_null()))
        try:
            times, _ = read_times(known, at)
        except DataError as error:
            if AMBIGUOUS not in error.message:
                raise
            form = _with_clock(DAY_FIRST, known.table[at])
            times, _ = read_times(known, at, form)
        example = (str(known.table[at][0]), f"{times[0]:%Y-%m-%d %H:%M}")
    for standard in ("kind", "value", "text"):
        for column in named_like(standard, (c for c in table.columns if c not in columns.values())):
            if _fits(standard, table[column]):
                columns[standard] = column
                break
    for column in table.columns:
        modality = _modality(table[column])
        if modality in ("image", "audio") and modality not in columns and column not in columns.values():
            columns[modality] = column
    return columns, example, form


def _with_clock(form: str, values: pl.Series) -> str:
    """Return a format of dates with the time of day that the first value has, and its mark between day and month."""
    first = str(values[0]).strip()
    date, _, clock = first.partition(" ")
    form = form.replace("/", "-") if "-" in date else form
    form = form.replace("%Y", "%y") if len(date.replace("-", "/").split("/")[-1]) == 2 else form
    half = clock[-2:].upper() in ("AM", "PM")
    hours = {0: "", 1: "%H:%M", 2: "%H:%M:%S"}[min(clock.count(":"), 2)]
    return f"{form} {hours.replace('%H', '%I') + ' %p' if half else hours}".strip()


def _fits(standard: str, values: pl.Series) -> bool:
    """Return whether the values of a column can be kinds of event, ratings, or texts."""
    known = values.drop_nulls()
    if not len(known):
        return False
    numbers = known.cast(pl.Float64, strict=False).count() == len(known)
    if standard == "value":
        return numbers
    if standard == "kind":
        return known.dtype == pl.String and not numbers and known.n_unique() <= MAX_KINDS
    return known.dtype == pl.String and not numbers


def _modality(values: pl.Series) -> str | None:
    if values.dtype != pl.String:
        return None
    first = values.drop_nulls().head(LOOKED_AT).str.to_lowercase()
    for modality, endings in MEDIA_ENDINGS.items():
        if (
            modality != "signal"
            and len(first)
            and sum(int(first.str.ends_with(e).sum()) for e in endings) > 0.8 * len(first)
        ):
            return modality
    return None


def _contents(raw: RawTable, items: GuessedTable, folder: Path) -> dict[str, Any]:
    """Return what the items' columns are taken for, and where their media are."""
    own = {theirs: ours for ours, theirs in items.columns.items()}
    table = raw.table.drop([c for c in raw.table.columns if c in items.columns and c not in own]).rename(own)
    roles = infer_column_types(table, None, None, None, "title" if "title" in items.columns else None)
    used = {"item_id", "title", *roles.text, *roles.media.values(), *roles.attributes}
    lists = {c: mark for c in roles.attributes if (mark := _list_mark(table[c])) is not None}
    found = {"text": roles.text, "media": roles.media, "attributes": roles.attributes, "lists": lists}
    if roles.media:
        home, missing = folder_of_media(folder, table.select(roles.media.values()))
        found |= {"media_folder": home or ".", "missing_media": missing}
    unused = [c for c in table.columns if c not in used]
    return {**found, "items": replace(items, unused=unused)}


def folder_of_media(folder: Path, columns: pl.DataFrame) -> tuple[str, tuple[str, ...]]:
    """Return where the paths of some columns start, below a folder ("" is the folder itself), and the columns of which no file is there."""
    paths = {name: columns[name].drop_nulls().head(LOOKED_AT).to_list() for name in columns.columns}
    home = max(_folders(folder), key=lambda place: sum((place / path).is_file() for p in paths.values() for path in p))
    missing = tuple(name for name, p in paths.items() if not any((home / path).is_file() for path in p))
    return "" if home == folder else home.relative_to(folder).as_posix(), missing


def _folders(folder: Path) -> list[Path]:
    """Return a folder and those in it, two levels deep, the outermost first."""
    inner = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    below = [p for place in inner for p in sorted(place.iterdir()) if p.is_dir()]
    return [folder, *inner, *below][:MAX_FOLDERS]


def _list_mark(values: pl.Series) -> str | None:
    """Return the mark between several values of one cell; None where cells hold one value."""
    known = values.drop_nulls()
    if known.dtype != pl.String or not len(known):
        return None
    return next(
        (m for m in LIST_MARKS if int(known.str.contains(m, literal=True).sum()) >= MIN_LISTS * len(known)), None
    )
