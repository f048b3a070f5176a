"""What each column of the tables is used for.

In: a clean data set, and the columns of each channel. Out: one `ColumnUse` for each column, those that nothing uses included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from penchant.core.messages import message
from penchant.core.schema import Dataset, context_column

Channels = Mapping[str, Sequence[str]]
"""Name of a channel to the columns it reads."""
WHO, WHAT, WEIGHT = message("which user"), message("which item"), message("weight of the event")
CIRCUMSTANCES = message("circumstances")


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
    titles = {
        "events": message("Columns of events"),
        "items": message("Columns of items"),
        "users": message("Columns of users"),
    }
    for table, title in titles.items():
        own = [use for use in uses if use.table == table]
        if own:
            yield title
            yield from (message("  {column}: {uses}", column=use.column, uses=use.uses) for use in own if use.uses)
            if unused := tuple(use.column for use in own if not use.uses):
                yield message("  not used: {columns}", columns=unused)


def _of_events(dataset: Dataset, run: RunColumns) -> Iterator[ColumnUse]:
    table = dataset.interactions.table
    by_name = {
        "user_id": (WHO,),
        "item_id": (WHAT,),
        "at": (message("order"), *((CIRCUMSTANCES,) if set(run.context) & {"hour", "weekday", "month"} else ())),
        "kind": (WEIGHT,),
        "value": (WEIGHT,) if run.values else (),
        "mood": (WEIGHT,),
        "part": (message("split"),) if run.split else (),
    }
    named = {context_column(name): name for name in run.context}
    for column in table.columns:
        if column.startswith("vector:") or table[column].null_count() == table.height:
            continue
        uses = by_name.get(column, _channels(run.events, column))
        if column.startswith(context_column("")):
            shown = column.removeprefix(context_column(""))
            yield ColumnUse("events", shown, (CIRCUMSTANCES,) if column in named else ())
            continue
        yield ColumnUse("events", column, (*uses, *((message("mood"),) if column in run.reviews else ())))
    for finding in dataset.findings:
        if finding.check == "events.unused_columns":
            yield from (ColumnUse("events", name, ()) for one in finding.examples for name in one.split(", "))


def _of_items(dataset: Dataset, run: RunColumns) -> Iterator[ColumnUse]:
    catalog = dataset.catalog
    for column in catalog.table.columns:
        uses = (WHAT,) if column == "item_id" else _channels(run.items, column)
        if column == catalog.title_column:
            uses = (message("name"), *uses)
        if column in catalog.attribute_columns:
            uses = (*uses, message("filters and interests"))
        yield ColumnUse("items", column, uses)


def _of_users(dataset: Dataset, run: RunColumns) -> Iterator[ColumnUse]:
    if dataset.users is None:
        return
    for column in dataset.users.table.columns:
        uses = (WHO,) if column == "user_id" else _channels(run.users, column)
        if not uses and column in dataset.users.attribute_columns:
            uses = (message("comparisons in the report alone"),)
        yield ColumnUse("users", column, uses)


def _channels(channels: Channels, column: str) -> tuple[str, ...]:
    return tuple(message("channel {name}", name=name) for name, columns in channels.items() if column in columns)
