"""Examine a data set: its statistics and its most harmful problems.

In: a `Dataset` and, if there is one, its `Split`. Out: a `Diagnosis` to print or to write as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from penchant.core.messages import CHANNELS, message
from penchant.core.schema import Dataset, Finding, Split
from penchant.data.doctor.columns import ColumnUse, RunColumns, column_uses, use_lines
from penchant.data.doctor.survey import (
    ContentCoverage,
    DatasetSizes,
    PopularityProfile,
    concentrate,
    count_by_item,
    cover,
    find_modalities,
    measure,
    note_languages,
)
from penchant.data.doctor.warnings import DataWarning, finding_lines, rank_warnings, warning_lines
from penchant.data.event_weights import HistoriesConfig, KindUse, kind_uses, unknown_kinds
from penchant.data.split.leakage import LeakageReport, LeakingColumn, TimeTies, find_leaks, find_outcomes, find_ties


@dataclass(frozen=True)
class Diagnosis:
    """Report of `penchant doctor`."""

    sizes: DatasetSizes
    coverage: tuple[ContentCoverage, ...]
    popularity: PopularityProfile
    languages: Mapping[str, float]
    ties: TimeTies
    outcomes: tuple[LeakingColumn, ...]
    leaks: LeakageReport | None
    findings: tuple[Finding, ...]
    concerns: tuple[DataWarning, ...]
    columns: tuple[ColumnUse, ...] = ()
    kinds: tuple[KindUse, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, for `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the report as text, the most harmful problem first."""
        columns = ["", *use_lines(self.columns)] if self.columns else []
        kinds = ["", *kind_lines(self.kinds)] if self.kinds else []
        return [*warning_lines(self.concerns), "", *_print_facts(self), *kinds, *columns, *finding_lines(self.findings)]


def kind_lines(kinds: Sequence[KindUse]) -> Iterator[str]:
    """Yield the kinds of event with their weights as lines of text."""
    yield message("Kinds of event, and what each event weighs")
    for use in kinds:
        given = {"kind": use.kind, "events": f"{use.events:,}", "weight": f"{use.weight:+g}"}
        if use.is_known:
            yield message("  {kind}: {events} events, {weight}", **given)
        elif use.suggestion:
            guess = repr(use.suggestion)
            yield message("  {kind}: {events} events, {weight}  not known: did you mean {guess}?", **given, guess=guess)
        else:
            yield message("  {kind}: {events} events, {weight}  not known", **given)


def examine(
    dataset: Dataset,
    split: Split | None = None,
    run: RunColumns | None = None,
    histories: HistoriesConfig | None = None,
) -> Diagnosis:
    """Return the diagnosis of a data set, best after cleaning: its findings are part of it.

    Args:
        dataset: Its findings are part of the diagnosis.
        split: Its leaks are examined; None examines none.
        run: The columns that a run reads; None says nothing about the use of columns.
        histories: Weights of the kinds of event, which are then listed; None lists none.
    """
    events, catalog = dataset.interactions.table, dataset.catalog
    counts = count_by_item(catalog, events)
    has = find_modalities(catalog)
    sizes = measure(dataset, counts)
    coverage = tuple(cover(catalog, counts, modality, columns, mask) for modality, (columns, mask) in has.items())
    popularity = concentrate(counts, [mask for _, mask in has.values()])
    languages = note_languages(catalog)
    ties = find_ties(events)
    outcomes = tuple(find_outcomes(dataset))
    leaks = None if split is None else find_leaks(split)
    kinds = () if histories is None else tuple(kind_uses(events, histories))
    unknown = () if histories is None else tuple(unknown_kinds(events, histories))
    findings = dataset.findings + unknown + (() if split is None else split.checks)
    uses = () if run is None else tuple(column_uses(dataset, run))
    concerns = rank_warnings(
        sizes=sizes,
        coverage=coverage,
        popularity=popularity,
        languages=languages if run is None or run.english_only else {},
        ties=ties,
        outcomes=outcomes,
        leaks=leaks,
        findings=findings,
        split_kind=None if split is None else split.kind,
    )
    return Diagnosis(
        sizes, coverage, popularity, languages, ties, outcomes, leaks, findings, tuple(concerns), uses, kinds
    )


def _print_facts(diagnosis: Diagnosis) -> Iterator[str]:
    sizes, popularity, ties = diagnosis.sizes, diagnosis.popularity, diagnosis.ties
    yield message(
        "{users} users, {items} items, {events} events (density {density})",
        users=f"{sizes.users:,}",
        items=f"{sizes.items:,}",
        events=f"{sizes.events:,}",
        density=f"{sizes.density:.3%}",
    )
    if sizes.first_at is not None and sizes.last_at is not None:
        yield message(
            "from {first} to {last} ({days} days); {untimed} without a time",
            first=sizes.first_at[:10],
            last=sizes.last_at[:10],
            days=f"{sizes.days:,.0f}",
            untimed=f"{ties.untimed:.1%}",
        )
    for noun, points in ((message("user"), sizes.events_per_user), (message("item"), sizes.events_per_item)):
        if points:
            names = ("least", "quarter", "half", "three_quarters", "most_but_twentieth", "most")
            yield message(
                "events per {noun}: least {least}, quarter {quarter}, half {half}, three quarters {three_quarters}, 95 % {most_but_twentieth}, "
                "most {most}",
                noun=noun,
                **{name: f"{point:,.0f}" for name, point in zip(names, points, strict=True)},
            )
    yield message(
        "popularity: Gini {gini}, top 1 % of items hold {share} of events",
        gini=f"{popularity.gini:.2f}",
        share=f"{popularity.top_percent:.1%}",
    )
    yield message(
        "items without events: {count}, of which without content: {bare}",
        count=f"{popularity.untouched:,}",
        bare=f"{popularity.untouched_bare:,}",
    )
    for covered in diagnosis.coverage:
        yield message(
            "{modality} ({columns}): {items} of items, {events} of events",
            modality=CHANNELS.get(covered.modality, covered.modality),
            columns=", ".join(covered.columns),
            items=f"{covered.items:.1%}",
            events=f"{covered.events:.1%}",
        )
        yield from _print_gaps(covered)
    if diagnosis.languages:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in diagnosis.languages.items())
        yield message("languages by script: {shares}", shares=shares)
    yield message(
        "ties: the last two events of {last} of users share a time; rows of {sorted} are sorted by item",
        last=f"{ties.last_two:.1%}",
        sorted=f"{ties.file_order:.1%}",
    )
    if diagnosis.leaks is not None:
        leaks = diagnosis.leaks
        yield message(
            "split: {early} of test events break its order, {ahead} lie before the last training event; {rows} rows and {pairs} pairs are in two "
            "parts",
            early=f"{leaks.early:.1%}",
            ahead=f"{leaks.ahead:.0%}",
            rows=f"{leaks.same_rows:,}",
            pairs=f"{leaks.same_pairs:,}",
        )


def _print_gaps(covered: ContentCoverage) -> Iterator[str]:
    """Name the categories where the modality is rarer than elsewhere."""
    for attribute, values in covered.by_category.items():
        gaps = sorted((share, value) for value, (number, share) in values.items() if number >= 10)
        if gaps and gaps[0][0] < covered.items - 0.1:
            rarest = ", ".join(f"{value} {share:.0%}" for share, value in gaps[:3])
            yield message("  rarest by {attribute}: {values}", attribute=attribute, values=rarest)
