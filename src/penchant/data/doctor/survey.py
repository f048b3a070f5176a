"""Statistics of a data set: size, content coverage, distribution of events.

In: a `Dataset`. Out: counts, spans and shares, for the doctor's report and warnings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float64

from penchant.core.schema import Catalog, Dataset
from penchant.data.clean.normalisation import language

MAX_VALUES = 10
"""Values of a category listed in the coverage, the most frequent first."""
_MAX_CATEGORIES = 200
_SAMPLE_TEXTS = 2000


@dataclass(frozen=True)
class DatasetSizes:
    """Counts and spans. Quantiles are the 0, 25, 50, 75, 95 and 100 per cent points."""

    users: int
    items: int
    events: int
    density: float
    events_per_user: tuple[float, ...]
    events_per_item: tuple[float, ...]
    first_at: str | None
    last_at: str | None
    days: float


@dataclass(frozen=True)
class ContentCoverage:
    """Number of items with one modality.

    Attributes:
        modality: "text", "image", ...
        columns: Columns of the modality.
        items: Share of items that have it.
        events: Share of events whose item has it.
        by_category: Attribute to its most frequent values: number of items, share of them that has the modality.
    """

    modality: str
    columns: tuple[str, ...]
    items: float
    events: float
    by_category: Mapping[str, Mapping[str, tuple[int, float]]]


@dataclass(frozen=True)
class PopularityProfile:
    """Distribution of events over items.

    Attributes:
        gini: 0 when every item of the catalog has the same number, near 1 when one has them all.
        top_percent: Share of events that fall on the most popular 1 % of items.
        untouched: Items of the catalog without any event.
        untouched_bare: Of those, the ones without any content either: no model can recommend them.
    """

    gini: float
    top_percent: float
    untouched: int
    untouched_bare: int


def count_by_item(catalog: Catalog, events: pl.DataFrame) -> Float64[np.ndarray, " items"]:
    """Return (items,) the number of events of each item of the catalog."""
    counts = events.group_by("item_id").len()
    rows = catalog.table.select("item_id").join(counts, on="item_id", how="left", maintain_order="left")
    return rows["len"].fill_null(0).to_numpy().astype(np.float64)


def measure(dataset: Dataset, counts: Float64[np.ndarray, " items"]) -> DatasetSizes:
    """Return the sizes; `counts` is from `count_by_item`."""
    events = dataset.interactions.table
    per_user = events.group_by("user_id").len()["len"].to_numpy()
    users, items = len(per_user), len(dataset.catalog)
    first, last = events["at"].min(), events["at"].max()
    return DatasetSizes(
        users=users,
        items=items,
        events=events.height,
        density=events.select("user_id", "item_id").n_unique() / max(users * items, 1) if events.height else 0.0,
        events_per_user=_quantiles(per_user),
        events_per_item=_quantiles(counts),
        first_at=_iso(first),
        last_at=_iso(last),
        days=(last - first).total_seconds() / 86400 if first is not None else 0.0,  # type: ignore[operator, union-attr]
    )


def _quantiles(values: np.ndarray) -> tuple[float, ...]:
    if len(values) == 0:
        return ()
    return tuple(float(value) for value in np.quantile(values, (0, 0.25, 0.5, 0.75, 0.95, 1)))


def _iso(at: Any) -> str | None:
    return None if at is None else at.isoformat()


def find_modalities(catalog: Catalog) -> dict[str, tuple[tuple[str, ...], Bool[np.ndarray, " items"]]]:
    """Return each modality with its columns and (items,) whether an item has it; any one text column is text."""
    found: dict[str, tuple[str, ...]] = {"text": catalog.text_columns} if catalog.text_columns else {}
    found |= {modality: (column,) for modality, column in catalog.media_columns.items()}
    return {
        modality: (
            columns,
            catalog.table.select(pl.any_horizontal(pl.col(columns).is_not_null())).to_series().to_numpy(),
        )
        for modality, columns in found.items()
    }


def cover(
    catalog: Catalog,
    counts: Float64[np.ndarray, " items"],
    modality: str,
    columns: tuple[str, ...],
    has: Bool[np.ndarray, " items"],
) -> ContentCoverage:
    """Return the coverage of one modality: of all items, of all events, of each frequent category."""
    table = catalog.table.with_columns(pl.Series("?has", has))
    by_category = {}
    for name in catalog.attribute_columns:
        kind = table.schema[name]
        if kind not in {pl.String, pl.List(pl.String)}:
            continue
        column = table.explode(name) if kind == pl.List(pl.String) else table
        values = (
            column.drop_nulls(name)
            .group_by(name)
            .agg(items=pl.len(), share=pl.col("?has").mean())
            .sort("items", name, descending=[True, False])
        )
        if 1 < values.height <= _MAX_CATEGORIES:
            by_category[name] = {value: (number, share) for value, number, share in values.head(MAX_VALUES).iter_rows()}
    items = float(has.mean()) if len(has) else 0.0
    return ContentCoverage(modality, columns, items, float(counts[has].sum() / max(counts.sum(), 1)), by_category)


def concentrate(counts: Float64[np.ndarray, " items"], has: list[Bool[np.ndarray, " items"]]) -> PopularityProfile:
    """Return the Gini coefficient, the share of the top items, and the numbers of items without events."""
    ordered = np.sort(counts)
    total, number = max(ordered.sum(), 1.0), max(len(ordered), 1)
    gini = float(((2 * np.arange(1, len(ordered) + 1) - number - 1) * ordered).sum() / (total * number))
    top = float(ordered[::-1][: max(1, round(number / 100))].sum() / total)
    untouched = counts == 0
    bare = untouched & ~np.any(has, axis=0) if has else untouched
    return PopularityProfile(gini, top, int(untouched.sum()), int(bare.sum()))


def note_languages(catalog: Catalog) -> dict[str, float]:
    """Return the share of each script among an even sample of texts."""
    texts = [text for name in catalog.text_columns for text in catalog.table[name].drop_nulls()]
    if not texts:
        return {}
    sample = texts[:: -(-len(texts) // _SAMPLE_TEXTS)]
    names, numbers = np.unique([language(text) for text in sample], return_counts=True)
    return {str(names[i]): float(numbers[i] / len(sample)) for i in np.argsort(-numbers, kind="stable")}
