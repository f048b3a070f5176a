"""Evaluate recommenders on the test, once.

In: `FittedRecommenders`, the test's histories and truth. Out: `ReportData`: league, ablation, slices, yes-or-no, examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from penchant.core.config import Settings
from penchant.core.environment import hardware, versions
from penchant.core.messages import channel_names, message
from penchant.core.schema import Catalog, Content, Dataset, Recommendations, Split, Users
from penchant.experiment.interest import evaluate_interest
from penchant.experiment.fit import OURS, FittedRecommenders, HoldOut, LeaderboardEntry
from penchant.explanation.attribution import attribute
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.ablation import Arm, GroupGain, ablate, gains_by_group
from penchant.metrics.beyond_accuracy import BeyondAccuracy, attribute_vectors, beyond_accuracy
from penchant.metrics.comparison import Cost, compare
from penchant.metrics.ranking import measure
from penchant.metrics.slices import (
    GroupLabels,
    Slice,
    history_labels,
    popularity_labels,
    presence_labels,
    slice_items,
    slice_users,
)
from penchant.reporting.report import ChannelCoverage, ReportData, ShownItem, UserExample, WeightBand

VERSIONS = ("penchant", "numpy", "scipy", "polars", "scikit-learn")


class EvaluationConfig(Settings):
    """Evaluation settings."""

    ks: list[int] = [5, 10, 20, 50]
    """Lengths of lists."""
    cutoff: int = 20
    """The length that decides."""
    max_users: int | None = None
    """Test users, evenly spaced; None takes all."""
    max_pairs: int = 40_000
    """Pairs for the yes-or-no question."""
    examples: int = 4
    """Users shown with their recommendations."""
    group: str | None = None
    """Column of users by which the worth of each modality is split."""
    language: str = "en"
    """Of the report: en or zh."""


@dataclass(frozen=True)
class EvaluationResults:
    """Per-user metrics and lists on the test.

    Attributes:
        tables: Row name to per-user metrics.
        lists: Row name to ranked lists.
    """

    tables: Mapping[str, pl.DataFrame]
    lists: Mapping[str, Recommendations]


def assess(
    trained: FittedRecommenders,
    validation: HoldOut,
    test: HoldOut,
    dataset: Dataset,
    split: Split,
    content: Content,
    config: EvaluationConfig,
    *,
    name: str,
    seed: int,
) -> ReportData:
    """Return everything a sceptic would ask, measured on the test.

    Args:
        trained: Members and rows.
        validation: Train histories and what came next, for thresholds.
        test: Histories before the test, and the test.
        dataset: For names and pictures.
        split: For sizes and checks.
        content: Channels.
        config: What to measure.
        name: Of the run.
        seed: Of the run.
    """
    test = _chosen(test, config.max_users)
    assessed = _rank(trained, test, config)
    arms = _arms(trained, assessed)
    shown_metric = f"ndcg@{config.cutoff}"
    roles = {row.name: row.role for row in trained.rows if row.role != "ablation"}
    leaderboard = compare(
        {n: assessed.tables[n] for n in roles},
        roles,
        metric=shown_metric,
        validation={n: v for n, v in trained.validation.items() if n != OURS},
        costs={row.name: _cost(row, trained, len(test.histories)) for row in trained.rows},
    )
    catalog = dataset.catalog
    return ReportData(
        name=name,
        created_at=datetime.now(UTC),
        seed=seed,
        language=config.language,
        hardware=hardware(),
        versions=versions(VERSIONS),
        protocol=_protocol(split, test, config),
        sizes=_sizes(dataset, split, test),
        findings=(*dataset.findings, *split.checks),
        coverage=tuple(_coverage(content)),
        leaderboard=leaderboard,
        ablation=ablate(arms, metric=shown_metric) if len(arms) > 2 else None,
        group_gains=tuple(_group_gains(arms, dataset.users, test, config)),
        slices=tuple(_slices(assessed, leaderboard.best_baseline, test, split, catalog, content, config)),
        classified=tuple(
            evaluate_interest(trained, validation, test, dataset.users, max_pairs=config.max_pairs, seed=seed)
        ),
        variety=tuple(_variety(trained, assessed, split, catalog, content, config)),
        weights=dict(trained.ours.weights),
        bands=tuple(_bands(trained.ours.weights)),
        examples=tuple(_examples(trained, assessed.lists[OURS], test, catalog, content, config)),
    )


def _bands(weights: EnsembleWeights) -> Iterator[WeightBand]:
    ends = (0, *weights.starts, None)
    for first, end, own in zip(ends[:-1], ends[1:], weights.bands, strict=False):
        yield WeightBand(first or 0, None if end is None else end - 1, own)


def _chosen(test: HoldOut, limit: int | None) -> HoldOut:
    """Keep users with something to find, evenly spaced where there are too many."""
    users = np.flatnonzero(np.bincount(test.truth.user_index(), test.truth.weight > 0, len(test.truth)) > 0)
    if limit is not None and len(users) > limit:
        users = users[np.linspace(0, len(users) - 1, limit).astype(np.int64)]
    return replace(test, histories=test.histories.take(users), truth=test.truth.take(users))


def _rank(trained: FittedRecommenders, test: HoldOut, config: EvaluationConfig) -> EvaluationResults:
    rows = {row.name: row.weights for row in trained.rows}
    lists = trained.pool.rank(rows, test.histories, max(config.ks), candidates=test.candidates)
    tables = {name: measure(found, test.truth, ks=config.ks) for name, found in lists.items()}
    return EvaluationResults(tables, lists)


def _cost(row: LeaderboardEntry, trained: FittedRecommenders, num_users: int) -> Cost:
    fit = sum(trained.seconds[name] for name in row.weights)
    score = sum(trained.pool.seconds.get(name, 0.0) for name in row.weights)
    return Cost(fit, 1000 * score / max(num_users, 1))


def _arms(trained: FittedRecommenders, assessed: EvaluationResults) -> list[Arm]:
    users = next(iter(assessed.tables.values())).height
    arms = {row.uses: row for row in trained.rows if row.uses}  # of two that use the same, the one without networks
    return [Arm(row.uses, assessed.tables[row.name], _cost(row, trained, users)) for row in arms.values()]


def _group_gains(arms: list[Arm], users: Users | None, test: HoldOut, config: EvaluationConfig) -> list[GroupGain]:
    if config.group is None or users is None or config.group not in users.table.columns or len(arms) < 3:
        return []
    ids = test.histories.user_ids
    known = pl.DataFrame({"user_id": ids}).join(users.table, on="user_id", how="left", maintain_order="left")
    return gains_by_group(arms, GroupLabels.of(known[config.group]), user_ids=ids, metric=f"ndcg@{config.cutoff}")


def _slices(
    assessed: EvaluationResults,
    baseline: str,
    test: HoldOut,
    split: Split,
    catalog: Catalog,
    content: Content,
    config: EvaluationConfig,
) -> list[Slice]:
    ids = test.histories.user_ids
    found = slice_users(
        assessed.tables[OURS],
        assessed.tables[baseline],
        {message("history length"): history_labels(test.histories.lengths())},
        user_ids=ids,
        metric=f"recall@{config.cutoff}",
    )
    labels: dict[str, GroupLabels] = {
        message("popularity of the true item"): popularity_labels(_popularity(split, catalog))
    }
    labels |= {
        message("{channels} of the true item", channels=channel_names([name])): presence_labels(e)
        for name, e in content.channels.items()
        if not e.present.all()
    }
    ours, other = (assessed.lists[n].item_index for n in (OURS, baseline))
    return found + slice_items(ours, other, test.truth, labels, k=config.cutoff)


def _popularity(split: Split, catalog: Catalog) -> np.ndarray:
    counts = pl.concat([split.train.table, split.validation.table])["item_id"].value_counts()
    table = catalog.table.select("item_id").join(counts, on="item_id", how="left", maintain_order="left")
    return table["count"].fill_null(0).to_numpy().astype(np.int64)


def _variety(
    trained: FittedRecommenders,
    assessed: EvaluationResults,
    split: Split,
    catalog: Catalog,
    content: Content,
    config: EvaluationConfig,
) -> list[BeyondAccuracy]:
    categories = [c for c in catalog.attribute_columns if not catalog.table[c].dtype.is_numeric()]
    vectors: Any = attribute_vectors([catalog.table[c] for c in categories]) if categories else None
    if vectors is None and content.fused is not None:
        vectors = content.fused.unit()
    popularity, users = _popularity(split, catalog), split.train.table["user_id"].n_unique()
    names = [OURS, *(row.name for row in trained.rows if row.role == "baseline")]
    return [
        beyond_accuracy(
            n, assessed.lists[n].item_index, config.cutoff, popularity=popularity, num_users=users, vectors=vectors
        )
        for n in names
    ]


def _protocol(split: Split, test: HoldOut, config: EvaluationConfig) -> tuple[str, ...]:
    pool = (
        message("the whole catalog")
        if test.candidates is None
        else message("the {count} held-out items", count=f"{int(test.candidates.sum()):,}")
    )
    return (
        message(
            "Split: {kind}. Lists rank {pool} without what the user already touched; no sampled candidates.",
            kind=split.kind,
            pool=pool,
        ),
        message(
            "Settings, members' weights, the best baseline and thresholds were chosen on validation; the test was ranked once."
        ),
        message(
            "Baselines were tuned on the same validation users. Intervals are 95 % paired bootstraps over users; {k} items decide.",
            k=config.cutoff,
        ),
        message("An ablation arm is fitted without the modalities it lacks."),
    )


def _sizes(dataset: Dataset, split: Split, test: HoldOut) -> dict[str, int]:
    return {
        "users": dataset.interactions.table["user_id"].n_unique(),
        "items": len(dataset.catalog),
        "interactions": len(dataset.interactions),
        "train": len(split.train),
        "validation": len(split.validation),
        "test": len(split.test),
        "test_users": len(test.histories),
    }


def _coverage(content: Content) -> list[ChannelCoverage]:
    return [
        ChannelCoverage(name, e.modality, len(e.present), int(e.present.sum()), int((e.usable & ~e.present).sum()))
        for name, e in content.channels.items()
    ]


def _examples(
    trained: FittedRecommenders,
    lists: Recommendations,
    test: HoldOut,
    catalog: Catalog,
    content: Content,
    config: EvaluationConfig,
) -> list[UserExample]:
    """Show a few users with middling histories, chosen by their place in the list, not by how well they did."""
    lengths = test.histories.lengths()
    middling = np.flatnonzero((lengths >= np.quantile(lengths, 0.3)) & (lengths <= np.quantile(lengths, 0.8)))
    users = middling[np.linspace(0, len(middling) - 1, min(config.examples, len(middling))).astype(np.int64)]
    ensemble, titles = trained.ensemble(content), catalog.titles()
    found = []
    for user in users:
        history, truth = test.histories.rows(user, user + 1), test.truth.rows(user, user + 1)
        wanted = set(truth.item_index[truth.weight > 0])
        past = tuple(_shown(catalog, titles, int(row)) for row in history.item_index[-8:])
        rows = lists.item_index[user][:8]
        rows = rows[rows >= 0]
        reasons = [reason.text(titles) for reason in attribute(ensemble, history, rows).reasons()]
        best = [
            replace(_shown(catalog, titles, int(row)), reason=reason, score=float(score), is_hit=row in wanted)
            for row, score, reason in zip(rows, lists.score[user], reasons, strict=False)
        ]
        found.append(UserExample(history.user_ids[0], past, tuple(best)))
    return found


def _shown(catalog: Catalog, titles: list[str], row: int) -> ShownItem:
    def media(modality: str) -> Path | None:
        column = catalog.media_columns.get(modality)
        path = catalog.table[column][row] if column and catalog.media_root else None
        return catalog.media_root / path if path and catalog.media_root else None

    return ShownItem(titles[row], picture=media("image"), sound=media("audio"))
