"""Item cards.

In: rows of a recommender. Out: cards with a title, whether there is a picture and a sound, and one line of facts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from penchant.recommender.recommender import Recommender
from penchant.studio.media import media_name

MAX_FACTS = 2


@dataclass(frozen=True)
class ItemCard:
    """One item.

    Attributes:
        item_id: Its id.
        title: Its title.
        has_picture: Whether `/studio/picture` has something to show.
        has_sound: Whether `/studio/sound` has something to play.
        facts: A category, a number.
    """

    item_id: str
    title: str
    has_picture: bool
    has_sound: bool
    facts: tuple[str, ...] = ()


def cards(recommender: Recommender, rows: Iterable[int]) -> list[ItemCard]:
    """Return the cards of rows; an item added later is assumed to have media, as only a request for them shows."""
    return [card(recommender, int(row)) for row in rows]


def card(recommender: Recommender, row: int) -> ItemCard:
    """Return one item's card."""
    item_id = recommender.lookup.items.ids[row]
    is_grown = item_id in recommender.added
    columns = recommender.catalog.media_columns
    return ItemCard(
        item_id,
        recommender.lookup.titles[row],
        "image" in columns and (is_grown or media_name(recommender, row, "image") is not None),
        "audio" in columns and (is_grown or media_name(recommender, row, "audio") is not None),
        _facts(recommender, row),
    )


def _facts(recommender: Recommender, row: int) -> tuple[str, ...]:
    catalog = recommender.catalog
    values = [display_value(catalog.table[column][row], 60) for column in catalog.attribute_columns[:MAX_FACTS]]
    return tuple(text for text in values if text)


def display_value(value: object, max_characters: int) -> str:
    """Return a value of the catalog as text for a page, "" for none."""
    if value is None:
        return ""
    if isinstance(value, pl.Series):
        value = ", ".join(str(v) for v in value.to_list())
    elif isinstance(value, float):
        value = f"{value:,.4g}" if value != int(value) or abs(value) >= 1e15 else f"{int(value)}"
    text = str(value)
    return text if len(text) <= max_characters else f"{text[: max_characters - 1]}…"
