"""Evaluate recommenders on the test, once.

In: `FittedRecommenders`, the test's histories and truth. Out: `ReportData`: leaderboard, ablation, slices, interest, examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float32, Int64
from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.core.environment import hardware, versions
from penchant.core.messages import channel_names, message
from penchant.core.schema import Catalog, Content, Dataset, Histories, Split
from penchant.core.spacing import evenly_spaced
from penchant.experiment.fit import OURS, WITHOUT_BANDS, FittedRecommenders, HoldOut, LeaderboardEntry
from penchant.experiment.interest import evaluate_interest
from penchant.experiment.interest_changes import rank_noticing
from penchant.experiment.pool import RefittedPool
from penchant.experiment.prices import calibrated_attribute, option_prices
from penchant.explanation.attribution import attribute
from penchant.fusion.late import EnsembleWeights, last_times
from penchant.metrics.ablation import Arm, GroupGain, ablate, gains_by_group
from penchant.metrics.beyond_accuracy import BeyondAccuracy, attribute_vectors, beyond_accuracy
from penchant.metrics.comparison import Cost, compare
from penchant.metrics.intervals import MIN_USERS, BootstrapMeans, Interval
from penchant.metrics.option_prices import Prices
from penchant.metrics.ranking import measure
from penchant.metrics.slices import (
    HISTORY_EDGES,
    POPULARITY_EDGES,
    GroupLabels,
    Slice,
    presence_labels,
    slice_items,
    slice_users,
)
from penchant.models.channels import FUSED
from penchant.models.ensemble import blocked_items, top_k
from penchant.recommender.ranking import POOL
from penchant.reporting.first_screen import TIME_SINCE
from penchant.reporting.report import (
    USER,
    ChannelCoverage,
    ReportData,
    ShownItem,
    UserExample,
    WeightBand,
    user_label,
)

IDEAL_BATCH = 2000
"""Users whose true probabilities are held at once."""
HOUR = 3_600_000_000
"""Microseconds."""
GAPS = (message("same instant"), message("within an hour"), message("within a day"), message("over a day"))
"""Time between a user's last known event and the true one."""
GAP_ENDS = (0, HOUR, 24 * HOUR)
"""The longest gap of every group but the last."""
Ideal = Callable[[Sequence[str], Int64[np.ndarray, " users"], Sequence[str]], Float32[np.ndarray, "users items"]]
"""Users, when each is asked and items, to the true probability of each choice: known for generated data only."""
VERSIONS = ("penchant", "numpy", "scipy", "polars", "scikit-learn")


class EvaluationConfig(Settings):
    """Evaluation settings."""

    ks: list[int] = [5, 10, 20, 50]
    """Lengths of lists."""
    cutoff: int = 20
    """The length whose NDCG decides."""
    max_users: int | None = None
    """Test users, evenly spaced; of a rolling split, requests; None takes all."""
    max_pairs: int = 40_000
    """Pairs for the yes-or-no question."""
    examples: int = 4
    """Users shown with their recommendations."""
    group: str | None = None
    """Column of users by which the value of each modality is split."""
    language: str = "en"
    """Of the report: en or zh."""
    price_users: int = Field(300, ge=0)
    """Test users, evenly spaced, on whom the price of diversity and calibration is measured; 0 leaves it out."""
    calibrate_by: str | None = None
    """The attribute whose mix calibration keeps on the report; None takes the first one with 2 to 200 values."""
    provider: str | None = None
    """The attribute that names who provides an item, such as a brand: the report shows its exposure."""


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
    times_ranked: int = 1,
    refit: bool = True,
    encoding: Mapping[str, float] | None = None,
    ideal: Ideal | None = None,
) -> ReportData:
    """Return all results of the report, measured on the test.

    Args:
        trained: Members and entries.
        validation: Train histories and what came next, for thresholds.
        test: Histories before the test, and the test.
        dataset: For names and pictures.
        split: For sizes and checks.
        content: Channels.
        config: What to measure.
        name: Of the run.
        seed: Of the run.
        times_ranked: How often this test was ranked from the run's cache folder, this time included.
        refit: Whether members learned from validation too, not from train alone.
        encoding: Channel to the seconds it took to encode it, NaN where that was not measured.
        ideal: True probabilities of the choices, for the ceiling; None where nobody knows them.
    """
    measured = _TestResults(trained, sampled_test(test, config.max_users), dataset, split, content, config, encoding)
    roles = {row.name: row.role for row in trained.rows if row.role != "ablation"}
    leaderboard = compare(
        {n: measured.tables[n] for n in roles},
        roles,
        metric=measured.metric,
        validation={n: v for n, v in trained.validation.items() if n != OURS},
        costs={row.name: measured.cost(row) for row in trained.rows},
    )
    arms = measured.arms()
    weights = trained.ours.weights
    return ReportData(
        name=name,
        created_at=datetime.now(UTC),
        seed=seed,
        language=config.language,
        hardware=hardware(),
        versions=versions(VERSIONS),
        protocol=(
            *_protocol(
                split,
                measured.test,
                config,
                fits=len(trained.pool.starts) if isinstance(trained.pool, RefittedPool) else 0,
                times_ranked=times_ranked,
                refit=refit,
            ),
            *_left_out(trained.left_out),
            trained.weighting.describe(),
        ),
        pool=_pool(measured.test),
        sizes=measured.sizes(),
        findings=(*dataset.findings, *split.checks),
        coverage=tuple(
            ChannelCoverage(n, e.modality, len(e.present), int(e.present.sum()), int((e.usable & ~e.present).sum()))
            for n, e in content.channels.items()
        ),
        leaderboard=leaderboard,
        ablation=ablate(arms, metric=measured.metric) if len(arms) > 2 else None,
        group_gains=tuple(measured.group_gains(arms)),
        slices=tuple(measured.slices(leaderboard.best_baseline)),
        classified=tuple(
            evaluate_interest(
                trained,
                validation,
                _spaced(test.answered(), config.max_users),  # a user who dislikes all says no
                dataset.users,
                max_pairs=config.max_pairs,
                seed=seed,
            )
        ),
        variety=tuple(measured.variety()),
        prices=measured.prices(),
        ceiling={} if ideal is None else measured.ceiling(ideal),
        encoding=dict(encoding or {}),
        by_request=measured.by_request(),
        test_mark=measured.mark(),
        weights=dict(weights),
        bands=tuple(_bands(weights)),
        examples=tuple(measured.examples()),
    )


def _bands(weights: EnsembleWeights) -> Iterator[WeightBand]:
    ends = (0 if weights.by == "length" else -1, *weights.starts, None)
    for first, end, own in zip(ends[:-1], ends[1:], weights.bands, strict=False):
        yield WeightBand(first or 0, None if end is None else end - 1, own, weights.by)


def example_users(test: HoldOut, count: int) -> Int64[np.ndarray, " chosen"]:
    """Return rows of users with middling histories, chosen by their place in the list, not by how well they did."""
    lengths = test.histories.lengths()
    middling = np.flatnonzero((lengths >= np.quantile(lengths, 0.3)) & (lengths <= np.quantile(lengths, 0.8)))
    return evenly_spaced(middling, count)


def sampled_test(test: HoldOut, limit: int | None) -> HoldOut:
    """Keep users (requests of a rolling split) who have a true item, evenly spaced where there are more than the limit."""
    return _spaced(test.liked(), limit)


def _spaced(test: HoldOut, limit: int | None) -> HoldOut:
    if limit is None or len(test.histories) <= limit:
        return test
    return test.take(evenly_spaced(np.arange(len(test.histories)), limit))


class _TestResults:
    """The ranked lists and per-user metrics of every entry on the test, and the parts of the report made from them."""

    def __init__(
        self,
        trained: FittedRecommenders,
        test: HoldOut,
        dataset: Dataset,
        split: Split,
        content: Content,
        config: EvaluationConfig,
        encoding: Mapping[str, float] | None = None,
    ) -> None:
        self.encoding = encoding or {}
        self.trained, self.test, self.dataset, self.split = trained, test, dataset, split
        self.content, self.config, self.metric = content, config, f"ndcg@{config.cutoff}"
        rows = {row.name: row.weights for row in trained.rows}
        # whatever is compared with ours or an arm: else a difference is partly that one of the two notices changes
        notices = {row.name for row in trained.rows if row.uses or row.name in (OURS, WITHOUT_BANDS)}
        self.lists = rank_noticing(
            trained.pool,
            trained.change,
            notices,
            rows,
            test.histories,
            max(config.ks),
            candidates=test.candidates,
            tie_order=test.tie_order,
        )
        self.tables = {name: measure(ranked, test.truth, ks=config.ks) for name, ranked in self.lists.items()}
        self.popularity = _counts(pl.concat([part.table for part in split.before_test]), dataset.catalog)

    def cost(self, row: LeaderboardEntry) -> Cost:
        fit = sum(self.trained.seconds[name] for name in row.weights)
        score = sum(self.trained.pool.seconds.get(name, 0.0) for name in row.weights)
        encoded = sum(self.encoding.get(channel, 0.0) for channel in self._channels_of(row))
        return Cost(fit, 1000 * score / max(len(self.test.histories), 1), encoded)

    def _channels_of(self, row: LeaderboardEntry) -> set[str]:
        """Return the channels that must be encoded for a row: those of its modalities, else those its members read."""
        if row.uses:
            items = {name for name, e in self.content.channels.items() if e.modality in row.uses}
            return items | {name for name in self.content.user_channels if name in row.uses}
        found: set[str] = set()
        for name in row.weights:
            reads = self.trained.pool.members[name].channels(self.content)
            found |= set(self.content.channels) if FUSED in reads else set(reads)
        return found

    def ceiling(self, ideal: Ideal) -> dict[str, Interval]:
        """Return every metric of lists that are ranked by the true probability of each choice, on the same users."""
        histories, truth, tables = self.test.histories, self.test.truth, []
        first = truth.at[truth.offsets[:-1]]  # of every user: the test holds those with a true item
        ids = self.dataset.catalog.item_ids
        for start in range(0, len(histories), IDEAL_BATCH):
            rows = np.arange(start, min(start + IDEAL_BATCH, len(histories)))
            part = histories.take(rows)
            scores = np.array(ideal(part.user_ids, first[rows], ids))
            scores[blocked_items(part, self.test.candidates)] = -np.inf
            ranked = top_k(scores, max(self.config.ks), part.user_ids, self.test.tie_order)
            tables.append(measure(ranked, truth.take(rows), ks=self.config.ks))
        table = pl.concat(tables)
        metrics = [name for name in table.columns if name != "user_id"]
        means = BootstrapMeans(table.select(metrics).to_numpy().astype(np.float64), users=table["user_id"])
        return {metric: means.interval(column) for column, metric in enumerate(metrics)}

    def by_request(self) -> pl.DataFrame:
        """Return the metrics of each of our lists, and a number instead of the user's id."""
        number = pl.col("user_id").rank("dense").cast(pl.Int32)
        return self.tables[OURS].with_columns(number.alias(USER)).drop("user_id")

    def mark(self) -> str:
        """Return a hash of the requests and their true items: equal in two runs that were measured on the same test."""
        truth, ids = self.test.truth, self.dataset.catalog.item_ids
        rows = zip(truth.user_index().tolist(), truth.item_index.tolist(), truth.weight.tolist(), strict=True)
        said = [f"{truth.user_ids[user]}\t{ids[item]}\t{weight > 0}" for user, item, weight in rows]
        return fingerprint("\n".join(said).encode())

    def arms(self) -> list[Arm]:
        arms = {row.uses: row for row in self.trained.rows if row.uses}  # of two that use the same, the later one
        return [Arm(row.uses, self.tables[row.name], self.cost(row)) for row in arms.values()]

    def sizes(self) -> dict[str, int]:
        dataset, split = self.dataset, self.split
        return {
            "users": dataset.interactions.table["user_id"].n_unique(),
            "items": len(dataset.catalog),
            "interactions": len(dataset.interactions),
            "train": len(split.train),
            "validation": len(split.validation),
            "test": len(split.test),
            "test_users": len(set(self.test.histories.user_ids)),
            **({"requests": len(self.test.histories)} if split.kind == "rolling_time" else {}),
        }

    def group_gains(self, arms: list[Arm]) -> list[GroupGain]:
        group, users, ids = self.config.group, self.dataset.users, self.test.histories.user_ids
        if group is None or users is None or group not in users.table.columns or len(arms) < 3:
            return []
        joined = pl.DataFrame({"user_id": ids}).join(users.table, on="user_id", how="left", maintain_order="left")
        return gains_by_group(arms, GroupLabels.of(joined[group]), metric=self.metric)

    def slices(self, baseline: str) -> list[Slice]:
        histories, cutoff = self.test.histories, self.config.cutoff
        of_users = slice_users(
            self.tables[OURS],
            self.tables[baseline],
            {message("history length"): GroupLabels.binned(histories.lengths(), HISTORY_EDGES)},
            metric=f"recall@{cutoff}",
        )
        if histories.requested_at is not None and histories.requested_at.any():
            of_users += slice_users(
                self.tables[OURS],
                self.tables[baseline],
                {TIME_SINCE: gap_labels(histories, self.test.truth)},
                metric=self.metric,
            )
        labels: dict[str, GroupLabels] = {
            message("popularity of the true item"): GroupLabels.binned(self.popularity, POPULARITY_EDGES),
            **{
                message("{channels} of the true item", channels=channel_names([name])): presence_labels(e)
                for name, e in self.content.channels.items()
                if not e.present.all()
            },
        }
        ours, other = (self.lists[name].item_index for name in (OURS, baseline))
        return of_users + slice_items(ours, other, self.test.truth, labels, k=cutoff)

    def variety(self) -> list[BeyondAccuracy]:
        catalog, fused = self.dataset.catalog, self.content.fused
        categories = [c for c in catalog.attribute_columns if not catalog.table[c].dtype.is_numeric()]
        vectors: Any = attribute_vectors([catalog.table[c] for c in categories]) if categories else None
        if vectors is None and fused is not None:
            vectors = fused.unit()
        touched = pl.concat([part.table for part in self.split.before_test]).select("user_id", "item_id").unique()
        names = [OURS, *(row.name for row in self.trained.rows if row.role == "baseline")]
        return [
            beyond_accuracy(
                name,
                self.lists[name].item_index,
                self.config.cutoff,
                popularity=_counts(touched, catalog),
                num_users=touched["user_id"].n_unique(),
                vectors=vectors,
            )
            for name in names
        ]

    def prices(self) -> Prices | None:
        """Return what ranking options cost on some of the users; None where they are left out or cannot be measured."""
        catalog, k = self.dataset.catalog, self.config.cutoff
        attribute = calibrated_attribute(catalog, self.config.calibrate_by)
        test = _spaced(self.test, self.config.price_users)
        if not self.config.price_users or len(test.histories) < MIN_USERS or len(catalog) <= k:
            return None
        weights = {OURS: self.trained.ours.weights}
        ranked = rank_noticing(
            self.trained.pool,
            self.trained.change,
            {OURS},
            weights,
            test.histories,
            k * POOL,
            candidates=test.candidates,
            tie_order=test.tie_order,
        )[OURS]
        counts = np.tile(self.popularity.astype(np.float32), (len(test.histories), 1))
        counts[blocked_items(test.histories, test.candidates)] = -np.inf
        popular = top_k(counts, k, test.histories.user_ids, test.tie_order).item_index
        provider = calibrated_attribute(catalog, self.config.provider) if self.config.provider else ""
        fused = self.content.fused
        histories, truth = test.histories, test.truth
        names = {"attribute": attribute, "provider": provider}
        return option_prices(ranked, popular, histories, truth, catalog, fused, k=k, **names)

    def examples(self) -> list[UserExample]:
        """Return the examples: what they did, and what they are recommended."""
        test, catalog, lists = self.test, self.dataset.catalog, self.lists[OURS]
        users, titles, examples = example_users(test, self.config.examples), catalog.titles(), []
        for number, user in enumerate(users):
            history, truth = test.histories.rows(user, user + 1), test.truth.rows(user, user + 1)
            ensemble = self.trained.ensemble(self.content, at=int(history.requests()[0]))
            true_items = set(truth.item_index[truth.weight > 0])
            past = tuple(_shown(catalog, titles, int(row)) for row in history.item_index[-8:])
            rows = lists.item_index[user][:8]
            rows = rows[rows >= 0]
            reasons = [reason.text(titles) for reason in attribute(ensemble, history, rows).reasons()]
            best = [
                replace(_shown(catalog, titles, int(row)), reason=reason, score=float(score), is_hit=row in true_items)
                for row, score, reason in zip(rows, lists.score[user], reasons, strict=False)
            ]
            examples.append(UserExample(user_label(number), past, tuple(best)))
        return examples


def _counts(events: pl.DataFrame, catalog: Catalog) -> Int64[np.ndarray, " items"]:
    """Return the number of rows of each item of the catalog."""
    counts = events["item_id"].value_counts()
    items = catalog.table.select("item_id").join(counts, on="item_id", how="left", maintain_order="left")
    return items["count"].fill_null(0).to_numpy().astype(np.int64)


def _pool(test: HoldOut) -> str:
    """Return what the lists were ranked from."""
    if test.candidates is None:
        return message("the whole catalog")
    return message("the {count} held-out items", count=f"{int(test.candidates.sum()):,}")


def _protocol(
    split: Split, test: HoldOut, config: EvaluationConfig, *, fits: int = 0, times_ranked: int = 1, refit: bool = True
) -> tuple[str, ...]:
    """Return how it was measured; `fits` is the number of fits within a rolling test, 0 in other splits, `refit` that of `look_ahead`."""
    said = [
        message(
            "Split: {kind}. Lists rank {pool} without what the user already touched; no sampled candidates.",
            kind=split.kind,
            pool=_pool(test),
        )
    ]
    if fits:
        said.append(
            message(
                "Every later event is predicted from all that anybody did before it; events of one user at one instant are one request, and "
                "a mean is over requests. Fits of the members within the test, at equal intervals from its start: {count}.",
                count=fits,
            )
        )
    said.append(
        message(
            "Settings, members' weights, the best baseline and thresholds were chosen on validation; this run ranked the test once."
        )
    )
    if times_ranked > 1:
        said.append(
            message(
                "Runs with this cache folder have ranked this test {count} times, this one included: a choice among them would be a choice "
                "on the test.",
                count=times_ranked,
            )
        )
    if ahead := look_ahead(split, test, refit=refit):
        said.append(
            message(
                "This split looks ahead: on average, {share} of the events that members learned from came after the test event of the user "
                "they were asked about.",
                share=f"{ahead:.0%}",
            )
        )
    said.append(
        message(
            "Baselines were tuned on the same validation users. A user to whom a recommender gives equal scores is recommended the most "
            "popular items, whatever the recommender. Intervals are 95 % paired bootstraps over users; {k} items decide.",
            k=config.cutoff,
        )
    )
    return (*said, message("An ablation arm is fitted without the modalities it lacks."))


def look_ahead(split: Split, test: HoldOut, *, refit: bool = True) -> float:
    """Return the mean share of the events that members learned from, of all users, that came after the request; 0 where times are not known.

    A request is at the time of the first true event. Events without a time count as earlier. Without `refit` members learned from train alone.
    """
    if split.kind in ("random", "cold_items", "cold_users"):
        return 0.0
    known = pl.concat([part.table for part in (split.before_test if refit else (split.train,))])["at"]
    times = np.sort(known.drop_nulls().dt.epoch("us").to_numpy())
    asked = test.truth.at[test.truth.offsets[:-1][test.truth.lengths() > 0]]
    if not len(times) or not len(asked):
        return 0.0
    later = len(times) - np.searchsorted(times, asked, side="right")
    return float(np.where(asked > 0, later, 0).mean()) / len(known)


def gap_labels(histories: Histories, truth: Histories) -> GroupLabels:
    """Return how long before the true event each user's last known event was; no group where one has no time, or a place in an order."""
    last, asked = last_times(histories), np.zeros(len(histories), np.int64)
    chose = truth.lengths() > 0
    asked[chose] = truth.at[truth.offsets[:-1][chose]]
    gap = asked - last
    code = np.searchsorted(GAP_ENDS, gap, side="left")
    return GroupLabels(GAPS, np.where((last > 0) & (asked > 0) & (gap >= 0), code, -1))


def _left_out(names: tuple[str, ...]) -> Iterator[str]:
    if names:
        yield message(
            "New items have no events, so only members that read content are fitted; {names}, and baselines that read events alone, would list "
            "them in a random order.",
            names=", ".join(names),
        )


def _shown(catalog: Catalog, titles: list[str], row: int) -> ShownItem:
    def media(modality: str) -> Path | None:
        column = catalog.media_columns.get(modality)
        path = catalog.table[column][row] if column and catalog.media_root else None
        return catalog.media_root / path if path and catalog.media_root else None

    return ShownItem(titles[row], picture=media("image"), sound=media("audio"), item_id=catalog.item_ids[row])
