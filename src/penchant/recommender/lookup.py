"""Items by id, by attribute value and by number, each table computed once.

In: a catalog and its topics. Out: rows of the catalog.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Float64, Int64

from penchant.core.errors import NotFoundError, nearest
from penchant.core.messages import LANGUAGES
from penchant.core.schema import Catalog, Vocabulary
from penchant.explanation.topics import Topics
from penchant.language.evidence import CatalogNames

ITEM, TOPIC, TITLE = "item", "topic", "title"
"""Names that are used like an attribute: the item itself, its topic and, for groups, its title."""
MAX_COMPARED = 5000
"""Ids that an unknown id is compared with for a suggestion."""


@dataclass(frozen=True)
class CatalogLookup:
    """Rows of one catalog by name.

    Attributes:
        catalog: Items.
        topics: Content groups; they are looked up like an attribute.
    """

    catalog: Catalog
    topics: Topics

    @cached_property
    def items(self) -> Vocabulary:
        return Vocabulary(self.catalog.item_ids)

    @cached_property
    def titles(self) -> list[str]:
        return self.catalog.titles()

    @cached_property
    def facets(self) -> dict[str, dict[str, Int64[np.ndarray, " rows"]]]:
        """Attribute to value to the rows that have it."""
        found = {}
        for column, table in self.catalog.categories().items():
            groups = table.group_by("value", maintain_order=True).agg("row")
            found[column] = {value: np.array(rows, np.int64) for value, rows in groups.iter_rows()}
        labels = self.topics.labels
        found[TOPIC] = {name: np.flatnonzero(labels == t) for t, name in enumerate(self.topics.names)}
        return found

    @cached_property
    def names(self) -> CatalogNames:
        """Every title, and every value of an attribute or a topic in all its languages."""
        values = {value for facet in self.facets.values() for value in facet}
        topics = {self.topics.shown(name, language) for name in self.topics.names for language in LANGUAGES}
        return CatalogNames(self.titles, values | topics)

    @cached_property
    def numbers(self) -> dict[str, Float64[np.ndarray, " items"]]:
        """Numeric column to its values, NaN where an item has none."""
        table = self.catalog.table
        return {
            c: table[c].cast(pl.Float64).fill_null(float("nan")).to_numpy()
            for c in table.columns
            if table[c].dtype.is_numeric()
        }

    def shown(self, name: str, value: str, language: str) -> str:
        """Return the value of an attribute as a reader sees it: a topic by its name in the reader's language."""
        return self.topics.shown(value, language) if name == TOPIC else value

    def row(self, item_id: str) -> int:
        """Return an item's row.

        Raises:
            NotFoundError: There is no such item.
        """
        if item_id not in self.items:
            fix = nearest(item_id, self.items.ids[:MAX_COMPARED], "Name an item of the catalog.")
            raise NotFoundError(f"There is no item {item_id!r}.", where="the catalog", fix=fix)
        return self.items.index(item_id)

    def rows(self, item_ids: Sequence[str]) -> Int64[np.ndarray, " known"]:
        """Return the rows of those items that exist."""
        return np.array([self.items.index(i) for i in item_ids if i in self.items], np.int64)

    def rows_with(self, name: str, value: str) -> Int64[np.ndarray, " rows"]:
        """Return the items that have a value of an attribute; no rows for an unknown value.

        Raises:
            NotFoundError: There is no such attribute.
        """
        if name == ITEM:
            return self.rows([value])
        return self._values(name).get(value, np.zeros(0, np.int64))

    @cached_property
    def _groups(self) -> dict[str, list[tuple[str, ...]]]:
        return {}  # filled by `groups`: few attributes are ever asked for

    def groups(self, name: str) -> list[tuple[str, ...]]:
        """Return the values of an attribute, or the title, of every item; () where it has none.

        Raises:
            NotFoundError: There is no such attribute.
        """
        if name not in self._groups:
            if name == TITLE:
                self._groups[name] = [(title,) for title in self.titles]
            else:
                found: list[list[str]] = [[] for _ in range(len(self.catalog))]
                for value, rows in self._values(name).items():
                    for row in rows:
                        found[row].append(value)
                self._groups[name] = [tuple(values) for values in found]
        return self._groups[name]

    @cached_property
    def _kinds(self) -> dict[str, Float32[np.ndarray, "items kinds"]]:
        return {}  # filled by `kinds`

    def kinds(self, name: str) -> Float32[np.ndarray, "items kinds"]:
        """Return the part of each value of an attribute in every item: rows sum to 1, or to 0 where an item has none.

        Raises:
            NotFoundError: There is no such attribute.
        """
        if name not in self._kinds:
            values = self._values(name)
            marks = np.zeros((len(self.catalog), len(values)), np.float32)
            for column, rows in enumerate(values.values()):
                marks[rows, column] = 1.0
            self._kinds[name] = marks / np.maximum(marks.sum(1, keepdims=True), 1.0)
        return self._kinds[name]

    def _values(self, name: str) -> dict[str, Int64[np.ndarray, " rows"]]:
        if name not in self.facets:
            raise NotFoundError(
                f"There is no attribute {name!r}.", where="the catalog", fix=nearest(name, [*self.facets, ITEM])
            )
        return self.facets[name]

    def number(self, name: str) -> Float64[np.ndarray, " items"]:
        """Return a number of every item, NaN where it has none.

        Raises:
            NotFoundError: There is no such number.
        """
        if name not in self.numbers:
            fix = nearest(name, self.numbers) if self.numbers else "leave at_least and at_most out"
            raise NotFoundError(f"There is no number {name!r}.", where="the catalog", fix=fix)
        return self.numbers[name]

    def mask(self, rows: Int64[np.ndarray, " rows"]) -> Bool[np.ndarray, " items"]:
        """Return the mask of some rows."""
        found = np.zeros(len(self.catalog), bool)
        found[rows] = True
        return found
