"""What a data set is like, and what in it would hurt most.

In: a `Dataset` and, if there is one, its `Split`. Out: a `Diagnosis` to print or to write as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from penchant.core.schema import Catalog, Dataset, Finding, Split
from penchant.data.concerns import Concern, rank_concerns
from penchant.data.leakage import Leaks, Outcome, Ties, find_leaks, find_outcomes, find_ties
from penchant.data.normalisation import language

MAX_VALUES = 10
"""Values of a category listed in the coverage, the most frequent first."""
_MAX_CATEGORIES = 200
_SAMPLE_TEXTS = 2000


@dataclass(frozen=True)
class Sizes:
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
class Coverage:
    """How many items one modality reaches.

    Attributes:
        modality: "text", "image", ...
        columns: Where it stands.
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
class Popularity:
    """How unequally events fall on items.

    Attributes:
        gini: 0 when every item of the catalog has the same number, near 1 when one has them all.
        top_percent: Share of events that fall on the most touched 1 % of items.
        untouched: Items of the catalog without any event.
        untouched_bare: Of those, the ones without any content either: nothing can recommend them.
    """

    gini: float
    top_percent: float
    untouched: int
    untouched_bare: int


@dataclass(frozen=True)
class Diagnosis:
    """Everything `penchant doctor` says."""

    sizes: Sizes
    coverage: tuple[Coverage, ...]
    popularity: Popularity
    languages: Mapping[str, float]
    ties: Ties
    outcomes: tuple[Outcome, ...]
    leaks: Leaks | None
    findings: tuple[Finding, ...]
    concerns: tuple[Concern, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, for `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return what a person reads, the most harmful first."""
        return [*_print_concerns(self), "", *_print_facts(self), *_print_findings(self)]


def examine(dataset: Dataset, split: Split | None = None) -> Diagnosis:
    """Return the diagnosis of a data set, best after cleaning: its findings are part of it."""
    events, catalog = dataset.interactions.table, dataset.catalog
    counts = _count_by_item(catalog, events)
    has = _modalities(catalog)
    sizes = _measure(dataset, counts)
    coverage = tuple(_cover(catalog, counts, modality, columns, mask) for modality, (columns, mask) in has.items())
    popularity = _concentration(counts, [mask for _, mask in has.values()])
    languages = _languages(catalog)
    ties = find_ties(events)
    outcomes = tuple(find_outcomes(dataset))
    leaks = None if split is None else find_leaks(split)
    findings = dataset.findings + (() if split is None else split.checks)
    concerns = rank_concerns(
        sizes=sizes,
        coverage=coverage,
        popularity=popularity,
        languages=languages,
        ties=ties,
        outcomes=outcomes,
        leaks=leaks,
        findings=findings,
    )
    return Diagnosis(sizes, coverage, popularity, languages, ties, outcomes, leaks, findings, tuple(concerns))


def _count_by_item(catalog: Catalog, events: pl.DataFrame) -> np.ndarray:
    """Return (items,) the number of events of each item of the catalog."""
    counts = events.group_by("item_id").len()
    rows = catalog.table.select("item_id").join(counts, on="item_id", how="left", maintain_order="left")
    return rows["len"].fill_null(0).to_numpy().astype(np.float64)


def _measure(dataset: Dataset, counts: np.ndarray) -> Sizes:
    events = dataset.interactions.table
    per_user = events.group_by("user_id").len()["len"].to_numpy()
    users, items = len(per_user), len(dataset.catalog)
    first, last = events["at"].min(), events["at"].max()
    return Sizes(
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


def _modalities(catalog: Catalog) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
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


def _cover(catalog: Catalog, counts: np.ndarray, modality: str, columns: tuple[str, ...], has: np.ndarray) -> Coverage:
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
    return Coverage(modality, columns, items, float(counts[has].sum() / max(counts.sum(), 1)), by_category)


def _concentration(counts: np.ndarray, has: list[np.ndarray]) -> Popularity:
    """Return the Gini coefficient and who else stands at the ends."""
    ordered = np.sort(counts)
    total, number = max(ordered.sum(), 1.0), max(len(ordered), 1)
    gini = float(((2 * np.arange(1, len(ordered) + 1) - number - 1) * ordered).sum() / (total * number))
    top = float(ordered[::-1][: max(1, round(number / 100))].sum() / total)
    untouched = counts == 0
    bare = untouched & ~np.any(has, axis=0) if has else untouched
    return Popularity(gini, top, int(untouched.sum()), int(bare.sum()))


def _languages(catalog: Catalog) -> dict[str, float]:
    """Return the share of each script among an even sample of texts."""
    texts = [text for name in catalog.text_columns for text in catalog.table[name].drop_nulls()]
    if not texts:
        return {}
    sample = texts[:: -(-len(texts) // _SAMPLE_TEXTS)]
    names, numbers = np.unique([language(text) for text in sample], return_counts=True)
    return {str(names[i]): float(numbers[i] / len(sample)) for i in np.argsort(-numbers, kind="stable")}


def _print_concerns(diagnosis: Diagnosis) -> Iterator[str]:
    if not diagnosis.concerns:
        yield "Nothing here would hurt."
        return
    yield "What would hurt most"
    for number, concern in enumerate(diagnosis.concerns, 1):
        yield f"  {number}. {concern.what}"
        yield f"     fix: {concern.fix}"


def _print_facts(diagnosis: Diagnosis) -> Iterator[str]:
    sizes, popularity, ties = diagnosis.sizes, diagnosis.popularity, diagnosis.ties
    yield f"{sizes.users:,} users, {sizes.items:,} items, {sizes.events:,} events (density {sizes.density:.3%})"
    if sizes.first_at is not None and sizes.last_at is not None:
        yield f"from {sizes.first_at[:10]} to {sizes.last_at[:10]} ({sizes.days:,.0f} days); {ties.untimed:.1%} without a time"
    for noun, points in (("user", sizes.events_per_user), ("item", sizes.events_per_item)):
        if points:
            yield (
                f"events per {noun}: least {points[0]:,.0f}, quarter {points[1]:,.0f}, half {points[2]:,.0f}, "
                f"three quarters {points[3]:,.0f}, 95 % {points[4]:,.0f}, most {points[5]:,.0f}"
            )
    yield f"popularity: Gini {popularity.gini:.2f}, top 1 % of items hold {popularity.top_percent:.1%} of events"
    yield f"items nobody touched: {popularity.untouched:,}, of which without content: {popularity.untouched_bare:,}"
    for cover in diagnosis.coverage:
        yield f"{cover.modality} ({', '.join(cover.columns)}): {cover.items:.1%} of items, {cover.events:.1%} of events"
        yield from _print_gaps(cover)
    if diagnosis.languages:
        yield "languages by script: " + ", ".join(f"{name} {share:.0%}" for name, share in diagnosis.languages.items())
    yield f"ties: the last two events of {ties.last_two:.1%} of users share a time; rows of {ties.file_order:.1%} are sorted by item"
    if diagnosis.leaks is not None:
        leaks = diagnosis.leaks
        yield (
            f"split: {leaks.early:.1%} of test events lie before the end of training, "
            f"{leaks.same_rows:,} rows and {leaks.same_pairs:,} pairs stand in two parts"
        )


def _print_gaps(cover: Coverage) -> Iterator[str]:
    """Name the categories where the modality is rarer than elsewhere."""
    for attribute, values in cover.by_category.items():
        gaps = sorted((share, value) for value, (number, share) in values.items() if number >= 10)
        if gaps and gaps[0][0] < cover.items - 0.1:
            yield f"  rarest by {attribute}: " + ", ".join(f"{value} {share:.0%}" for share, value in gaps[:3])


def _print_findings(diagnosis: Diagnosis) -> Iterator[str]:
    shown = [finding for finding in diagnosis.findings if finding.count]
    if not shown:
        return
    yield ""
    yield "Noticed"
    for finding in shown:
        yield f"  {finding.check}: {finding.count:,} of {finding.total:,} {finding.action}; {finding.advice}"
        yield from (f"    {example}" for example in finding.examples[:3])
