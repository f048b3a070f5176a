"""What each column of the tables is used for.

In: a clean data set, and the columns of each channel. Out: one `ColumnUse` for each column, those that nothing uses included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from penchant.core.schema import CONTEXT, Dataset, context_column

Channels = Mapping[str, Sequence[str]]
"""Name of a channel to the columns it reads."""
UNUSED = "not used"


@dataclass(frozen=True)
class ColumnUse:
    """What one column is used for.

    Attributes:
        table: "events", "items" or "users".
        column: Its name.
        uses: What for, in words; empty where nothing uses it.
    """

    table: str
    column: str
    uses: tuple[str, ...]


@dataclass(frozen=True)
class RunColumns:
    """The columns that a run reads, as its settings or their defaults name them.

    Attributes:
        items: Channels of the items.
        events: Channels of events.
        users: Channels of users.
        context: Circumstances that are read, columns and those that follow from the time.
        values: Whether values weigh events.
        reviews: Columns whose words or speech a classifier reads for the mood.
        split: Whether the column `part` makes the split.
        english_only: Whether an encoder of texts knows English alone.
    """

    items: Channels
    events: Channels
    users: Channels
    context: Sequence[str] = ()
    values: bool = False
    reviews: Sequence[str] = ()
    split: bool = True
    english_only: bool = True


def column_uses(dataset: Dataset, run: RunColumns) -> list[ColumnUse]:
    """Return what every column of the three tables is used for."""
    return [*_of_events(dataset, run), *_of_items(dataset, run), *_of_users(dataset, run)]


def use_lines(uses: Sequence[ColumnUse]) -> Iterator[str]:
    """Yield the uses as lines of text, those of each table together and the unused columns at its end."""
    for table in ("events", "items", "users"):
        own = [use for use in uses if use.table == table]
        if own:
            yield f"Columns of {table}"
            yield from (f"  {use.column}: {', '.join(use.uses)}" for use in own if use.uses)
            if unused := [use.column for use in own if not use.uses]:
                yield f"  {UNUSED}: {', '.join(unused)}"


def _of_events(dataset: Dataset, run: RunColumns) -> Iterator[ColumnUse]:
    table = dataset.interactions.table
    by_name = {
        "user_id": ("who",),
        "item_id": ("what",),
        "at": ("order", *(("circumstances",) if set(run.context) & {"hour", "weekday", "month"} else ())),
        "kind": ("weight of the event",),
        "value": ("weight of the event",) if run.values else (),
        "mood": ("weight of the event",),
        "part": ("split",) if run.split else (),
    }
    named = {context_column(name): name for name in run.context}
    for column in table.columns:
        if column.startswith("vector:") or table[column].null_count() == table.height:
            continue
        uses = by_name.get(column, _channels(run.events, column))
        if column.startswith(context_column("")):
            shown = column.removeprefix(context_column(""))
            yield ColumnUse("events", shown, (CONTEXT,) if column in named else ())
            continue
        yield ColumnUse("events", column, (*uses, *(("mood",) if column in run.reviews else ())))
    for finding in dataset.findings:
        if finding.check == "events.unused_columns":
            yield from (ColumnUse("events", name, ()) for one in finding.examples for name in one.split(", "))


def _of_items(dataset: Dataset, run: RunColumns) -> Iterator[ColumnUse]:
    catalog = dataset.catalog
    for column in catalog.table.columns:
        uses = ("what",) if column == "item_id" else _channels(run.items, column)
        if column == catalog.title_column:
            uses = ("name", *uses)
        if column in catalog.attribute_columns:
            uses = (*uses, "filters and interests")
        yield ColumnUse("items", column, uses)


def _of_users(dataset: Dataset, run: RunColumns) -> Iterator[ColumnUse]:
    if dataset.users is None:
        return
    for column in dataset.users.table.columns:
        uses = ("who",) if column == "user_id" else _channels(run.users, column)
        if not uses and column in dataset.users.attribute_columns:
            uses = ("comparisons in the report alone",)
        yield ColumnUse("users", column, uses)


def _channels(channels: Channels, column: str) -> tuple[str, ...]:
    return tuple(f"channel {name}" for name, columns in channels.items() if column in columns)
