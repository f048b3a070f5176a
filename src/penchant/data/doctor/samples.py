"""Examine labelled samples: what there is of each class, what would leak, and what an honest split can tell.

In: `Samples`, best after cleaning, and the settings of the split. Out: a `SamplesDiagnosis` to print or to write as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int64
from scipy.stats import rankdata

from penchant.core.errors import DataError
from penchant.core.schema import Finding, Samples, SampleSplit
from penchant.core.seeds import generator
from penchant.data.clean.samples import content_keys
from penchant.data.doctor.survey import find_modalities, note_languages
from penchant.data.doctor.warnings import DataWarning, about_findings, finding_lines, most_harmful, warning_lines
from penchant.data.split.samples import SampleSplitConfig, split_samples

TELLS = 0.9
"""From this AUC on, a column alone tells the class: it is the label in another form, or made after it."""
HINTS = 0.65
"""From this AUC on, a column of few values (a source, a device) tells much of the class."""
FEW_VALUES = 20
FEW_TEST_UNITS = 100
FEW_GROUPS = 30
FEW_IN_CLASS = 50
"""Samples of a class below which its recall is known to within ±14 points only."""


@dataclass(frozen=True)
class ClassSize:
    """One class: its samples, its groups, and the share of its samples that has each modality."""

    name: str
    samples: int
    groups: int
    has: Mapping[str, float]


@dataclass(frozen=True)
class GroupSizes:
    """Groups (speakers, patients, authors).

    Attributes:
        count: Number of them.
        largest: Samples of the largest.
        median: Samples of the median group.
        one_class: Share of groups, of two samples or more, whose samples are all of one class.
    """

    count: int
    largest: int
    median: float
    one_class: float


@dataclass(frozen=True)
class TellingColumn:
    """A column that is not content and tells the class: the AUC of guessing by the share of each class at its values, one half from the other."""

    column: str
    auc: float
    values: int


@dataclass(frozen=True)
class HonestSplit:
    """What the split of the settings can tell.

    Attributes:
        kind: published, stratified or folds.
        train: Samples.
        validation: Samples.
        test: Samples; with folds, all.
        test_units: Independent units of the test: groups, or samples without groups.
        accuracy_within: Half of the width of the 95 % interval of an accuracy of .8, in points of 1.
        difference_seen: Least difference of two accuracies that such a test would usually show, where they disagree on a fifth.
        problem: Why there is no split; "" where there is one.
    """

    kind: str
    train: int
    validation: int
    test: int
    test_units: int
    accuracy_within: float
    difference_seen: float
    problem: str = ""


@dataclass(frozen=True)
class SamplesDiagnosis:
    """Report of `penchant doctor` on labelled samples."""

    samples: int
    classes: tuple[ClassSize, ...]
    groups: GroupSizes | None
    coverage: Mapping[str, float]
    text_length: tuple[float, ...]
    languages: Mapping[str, float]
    copies: int
    copies_across_groups: int
    telling: tuple[TellingColumn, ...]
    split: HonestSplit
    findings: tuple[Finding, ...]
    concerns: tuple[DataWarning, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values, for `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the report as text, the most harmful problem first."""
        return [*warning_lines(self.concerns), "", *_print_facts(self), *finding_lines(self.findings)]


def examine_samples(samples: Samples, config: SampleSplitConfig, seed: int) -> SamplesDiagnosis:
    """Return the diagnosis of labelled samples; findings of reading and cleaning are part of it."""
    modalities = {name: mask for name, (_, mask) in find_modalities(samples.catalog()).items()}
    groups = samples.table["group"] if "group" in samples.table.columns else None
    labels = samples.labels()
    classes = tuple(
        ClassSize(
            name,
            int((labels == k).sum()),
            int((labels == k).sum()) if groups is None else groups.filter(pl.Series(labels == k)).n_unique(),
            {modality: float(mask[labels == k].mean()) for modality, mask in modalities.items()},
        )
        for k, name in enumerate(samples.classes)
    )
    copies, across = _copies(samples, groups)
    split, checks = _honest(samples, config, seed)
    findings = (*samples.findings, *checks)
    texts = [samples.table[column].drop_nulls().str.len_chars() for column in samples.text_columns]
    lengths = np.concatenate([one.to_numpy() for one in texts]) if texts else np.zeros(0)
    found = SamplesDiagnosis(
        len(samples),
        classes,
        None if groups is None else _group_sizes(groups, labels),
        {modality: float(mask.mean()) for modality, mask in modalities.items()},
        tuple(float(v) for v in np.quantile(lengths, (0, 0.25, 0.5, 0.75, 0.95, 1))) if len(lengths) else (),
        note_languages(samples.catalog()),
        copies,
        across,
        tuple(_telling(samples, modalities, labels)),
        split,
        findings,
        (),
    )
    concerns = [*_about_leaks(found), *_about_sizes(found), *about_findings(findings)]
    return replace(found, concerns=tuple(most_harmful(concerns)))


def _group_sizes(groups: pl.Series, labels: Int64[np.ndarray, " samples"]) -> GroupSizes:
    each = (
        pl.DataFrame({"group": groups, "label": pl.Series(labels)})
        .drop_nulls("group")
        .group_by("group")
        .agg(size=pl.len(), classes=pl.col("label").n_unique())
    )
    several = each.filter(pl.col("size") > 1)
    sizes = each["size"].to_numpy()
    pure = float((several["classes"] == 1).mean() or 0.0) if several.height else 0.0  # type: ignore[arg-type]
    return GroupSizes(each.height, int(sizes.max(initial=0)), float(np.median(sizes)) if len(sizes) else 0.0, pure)


def _copies(samples: Samples, groups: pl.Series | None) -> tuple[int, int]:
    """Return how many samples repeat another's content, letters and digits alone compared, and how many of these that of another group."""
    keys = content_keys(samples).str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}\x1f]+", " ").str.strip_chars()
    keys = pl.select(pl.when(keys.str.contains(r"[\p{L}\p{N}]")).then(keys)).to_series()
    table = pl.DataFrame(
        {"key": keys, "group": groups if groups is not None else pl.Series([None] * len(samples), dtype=pl.String)}
    )
    each = table.drop_nulls("key").group_by("key").agg(size=pl.len(), groups=pl.col("group").n_unique())
    again = each.filter(pl.col("size") > 1)
    across = again.filter(pl.col("groups") > 1)
    return int(again["size"].sum()), int(across["size"].sum()) if groups is not None else 0


def _honest(samples: Samples, config: SampleSplitConfig, seed: int) -> tuple[HonestSplit, tuple[Finding, ...]]:
    try:
        parts = split_samples(samples, config, seed)
    except DataError as error:
        return HonestSplit("none", 0, 0, 0, 0, float("nan"), float("nan"), f"{error.message} {error.fix}"), ()
    test = np.arange(len(samples)) if config.folds else parts.test
    units = _units(samples, test)
    within = 1.96 * float(np.sqrt(0.8 * 0.2 / max(units, 1)))
    seen = 2.8 * float(np.sqrt(0.2 / max(units, 1)))
    kind = f"{config.folds} folds" if config.folds else parts.kind
    return HonestSplit(kind, len(parts.train), len(parts.validation), len(test), units, within, seen), _checks(parts)


def _checks(parts: SampleSplit) -> tuple[Finding, ...]:
    return tuple(finding for finding in parts.checks if finding.count)


def _units(samples: Samples, rows: Int64[np.ndarray, " rows"]) -> int:
    if "group" not in samples.table.columns:
        return len(rows)
    group = samples.table["group"][rows]
    return group.drop_nulls().n_unique() + group.null_count()


def _telling(
    samples: Samples, modalities: Mapping[str, np.ndarray], labels: Int64[np.ndarray, " samples"]
) -> Iterator[TellingColumn]:
    """Yield the columns beside label and content, and the presence of a modality, that tell the class."""
    content = {*samples.text_columns, *samples.media_columns.values(), "sample_id", "label", "part"}
    columns: dict[str, pl.Series] = {name: samples.table[name] for name in samples.table.columns if name not in content}
    columns |= {f"whether there is {name}": pl.Series(mask) for name, mask in modalities.items() if not mask.all()}
    columns["order of the rows"] = pl.Series(np.arange(len(labels)) * FEW_VALUES // max(len(labels), 1))
    for name, values in columns.items():
        if isinstance(values.dtype, (pl.List, pl.Struct)):
            continue
        if values.dtype.is_numeric() and values.n_unique() > 4 * FEW_VALUES:
            values = (values.rank("ordinal") * FEW_VALUES // max(values.count(), 1)).fill_null(-1)
        number = values.cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1
        area = _area(number, labels)
        if area >= HINTS:
            yield TellingColumn(name, area, int(number.max()) + 1)


def _area(value: Int64[np.ndarray, " samples"], labels: Int64[np.ndarray, " samples"]) -> float:
    """Return the mean AUC over classes of guessing one half of the samples by the share of each class at their value in the other half."""
    half = generator(0, "doctor.halves").permutation(len(value)) % 2
    areas = []
    for k in np.unique(labels):
        own = (labels == k).astype(np.float64)
        for number in (0, 1):
            seen, asked = half != number, half == number
            count = np.bincount(value[seen], minlength=int(value.max()) + 1)
            total = np.bincount(value[seen], own[seen], minlength=int(value.max()) + 1)
            share = ((total + own[seen].mean()) / (count + 1))[value[asked]]
            order, truth = rankdata(share), own[asked] == 1
            if truth.any() and not truth.all():
                pairs = truth.sum() * (~truth).sum()
                areas.append((order[truth].sum() - truth.sum() * (truth.sum() + 1) / 2) / pairs)
    return float(np.mean(areas)) if areas else 0.5


def _about_leaks(found: SamplesDiagnosis) -> Iterator[DataWarning]:
    total = max(found.samples, 1)
    for column in found.telling:
        if column.auc >= TELLS:
            what = f"{column.column!r} alone tells the class (AUC {column.auc:.2f})."
            yield DataWarning(column.auc, what, "never take it as content; find out how the labels were made")
        elif column.values <= FEW_VALUES and column.column != "group":
            what = (
                f"{column.column!r} alone reaches AUC {column.auc:.2f}: a model may recognise it instead of the class."
            )
            fix = (
                "shuffle the rows before you cut them"
                if column.column == "order of the rows"
                else f'set [evaluation] within = "{column.column}"'
            )
            yield DataWarning(0.8 * (2 * column.auc - 1), what, fix)
    if found.copies_across_groups:
        yield DataWarning(
            0.5 + found.copies_across_groups / total,
            f"{found.copies_across_groups:,} samples are copies of samples of other groups: the split by group does not separate them.",
            "keep one of each, or give copies one group",
        )
    elif found.copies:
        yield DataWarning(
            0.5 * found.copies / total,
            f"{found.copies:,} samples are copies but for case and punctuation.",
            "keep one of each; exact copies stay on one side of the split, near copies do not",
        )


def _about_sizes(found: SamplesDiagnosis) -> Iterator[DataWarning]:
    split = found.split
    if split.problem:
        yield DataWarning(
            1.0, f"No honest split is possible: {split.problem}", "bring more samples or groups of every class"
        )
    if found.groups is None and not split.problem:
        yield DataWarning(
            0.1, "There is no column of groups.", "if one person gave several samples, map who: [data.columns] group"
        )
    elif found.groups is not None and found.groups.count < FEW_GROUPS:
        yield DataWarning(
            0.6,
            f"There are {found.groups.count} groups: so many independent samples count, not {found.samples:,}.",
            "bring more groups; until then set split.folds and split.repeats, and read the intervals",
        )
    if 0 < split.test_units < FEW_TEST_UNITS:
        yield DataWarning(
            0.5,
            f"The test has {split.test_units} independent units: an accuracy of .8 is known to within ±{split.accuracy_within:.2f}.",
            "set split.folds = 5, so that every sample is tested once",
        )
    small = [one for one in found.classes if one.samples < FEW_IN_CLASS]
    if small:
        names = ", ".join(f"{one.name} ({one.samples})" for one in small[:5])
        yield DataWarning(
            0.4, f"Classes with few samples: {names}.", "bring more of them, or join them with another class"
        )
    counts = sorted(one.samples for one in found.classes)
    if counts[-1] > 5 * counts[0]:
        yield DataWarning(
            0.3,
            f"The commonest class has {counts[-1] / max(counts[0], 1):.0f} times the samples of the rarest.",
            'read macro F1, and compare [fit.imbalance] weights = "balanced" on validation',
        )
    for modality, share in found.coverage.items():
        if share < 0.98:
            yield DataWarning(
                0.3 * (1 - share), f"{1 - share:.0%} of the samples have no {modality}.", "add the missing ones"
            )


def _print_facts(found: SamplesDiagnosis) -> Iterator[str]:
    yield f"{found.samples:,} samples of {len(found.classes)} classes"
    for one in found.classes:
        groups = f", {one.groups:,} groups" if found.groups is not None else ""
        has = "".join(f", {name} {share:.0%}" for name, share in one.has.items())
        yield f"  {one.name}: {one.samples:,} ({one.samples / max(found.samples, 1):.1%}){groups}{has}"
    if found.groups is not None:
        sizes = found.groups
        yield (
            f"{sizes.count:,} groups: median {sizes.median:g} samples, largest {sizes.largest:,}; of those with several, "
            f"{sizes.one_class:.0%} are of one class"
        )
    if found.text_length:
        points = found.text_length
        yield f"characters per text: least {points[0]:,.0f}, half {points[2]:,.0f}, 95 % {points[4]:,.0f}, most {points[5]:,.0f}"
    if found.languages:
        yield "languages by script: " + ", ".join(f"{name} {share:.0%}" for name, share in found.languages.items())
    yield f"copies but for case and punctuation: {found.copies:,}, of which with another group: {found.copies_across_groups:,}"
    for column in found.telling:
        yield f"{column.column!r} alone: AUC {column.auc:.3f} ({column.values:,} values)"
    split = found.split
    if not split.problem:
        yield f"split ({split.kind}): train {split.train:,}, validation {split.validation:,}, test {split.test:,}, {split.test_units:,} independent units"
        yield (
            f"  it can tell: an accuracy of .8 to within ±{split.accuracy_within:.3f}; two classifiers that disagree on a fifth of the samples "
            f"from a difference of {split.difference_seen:.3f} on"
        )
