"""The leaderboard: recommenders compared with paired intervals.

In: one table of per-user metrics for each recommender, its role, its cost. Out: a `Leaderboard`: intervals, and differences from the best baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import polars as pl
from jaxtyping import Float64

from penchant.core.errors import DataError
from penchant.metrics.intervals import BootstrapMeans, Difference, Interval, IntervalConfig

ROLES = ("ours", "member", "ablation", "baseline")


@dataclass(frozen=True)
class Cost:
    """Cost of one recommender.

    Attributes:
        seconds: To learn, once.
        milliseconds: To score one user.
        encoding: Seconds to encode the content it reads, once; NaN where some of that was not measured.
    """

    seconds: float
    milliseconds: float
    encoding: float = 0.0

    @property
    def once(self) -> float:
        """Seconds to encode and learn, as far as they were measured."""
        return self.seconds + (0.0 if math.isnan(self.encoding) else self.encoding)


@dataclass(frozen=True)
class LeaderboardRow:
    """One recommender of the leaderboard.

    Attributes:
        name: The recommender.
        role: "ours", "member", "ablation" or "baseline".
        scores: Metric to mean with interval.
        differences: Metric to difference from the best baseline; empty for that baseline itself.
        cost: None where it was not measured.
    """

    name: str
    role: str
    scores: Mapping[str, Interval]
    differences: Mapping[str, Difference] = field(default_factory=dict)
    cost: Cost | None = None


@dataclass(frozen=True)
class Leaderboard:
    """All recommenders on the same users, best first.

    Attributes:
        metric: The one that decides the order and the headline.
        metrics: All columns.
        best_baseline: Name of the baseline the others are compared with.
        chosen_on: "validation", or "test" where no validation scores were given (which favours the baseline).
        num_users: Users with a true item.
        rows: Best mean of `metric` first.
        num_requests: Lists that were ranked; more than users in a rolling split, where a mean is over requests.
        strongest: The baseline with the highest mean on the test.
        to_strongest: Ours minus that baseline, which chance favours, since it is the highest of several; None where it is `best_baseline`.
    """

    metric: str
    metrics: tuple[str, ...]
    best_baseline: str
    chosen_on: str
    num_users: int
    rows: tuple[LeaderboardRow, ...]
    num_requests: int = 0
    strongest: str = ""
    to_strongest: Difference | None = None

    @property
    def ours(self) -> LeaderboardRow | None:
        """The first row whose role is "ours"."""
        return next((row for row in self.rows if row.role == "ours"), None)

    def row(self, name: str) -> LeaderboardRow:
        """Return one row by name."""
        return next(row for row in self.rows if row.name == name)


def compare(
    results: Mapping[str, pl.DataFrame],
    roles: Mapping[str, str],
    *,
    metric: str,
    validation: Mapping[str, float] | None = None,
    costs: Mapping[str, Cost] | None = None,
    config: IntervalConfig | None = None,
) -> Leaderboard:
    """Return the leaderboard.

    Intervals and outcomes of one metric allow for the number of recommenders of one role that are compared (Holm): ours against the best
    baseline is not charged for our own members.

    Args:
        results: Name to the table of `measure`; every table has the same users.
        roles: Name to one of `ROLES`; at least one baseline.
        metric: Which column decides.
        validation: Name to the same metric on validation, to choose the best baseline without looking at the test.
        costs: Name to cost.
        config: How intervals are made.

    Raises:
        DataError: There is no baseline, a table lacks the metric, or two tables are not of the same users.
    """
    names, metrics = list(results), shared_metrics(results, metric)
    baselines = [name for name in names if roles[name] == "baseline"]
    if not baselines:
        raise DataError(
            "There is no baseline to compare with.",
            where="evaluation, comparison",
            fix="evaluate at least popularity beside your recommenders",
        )
    users = results[names[0]]["user_id"]
    means = BootstrapMeans(np.hstack([per_user(results, name, metrics) for name in names]), config, users=users)
    column = {(name, m): i for i, (name, m) in enumerate((n, m) for n in names for m in metrics)}
    scores = {name: {m: means.interval(column[name, m]) for m in metrics} for name in names}
    by_validation = {name: validation[name] for name in baselines if name in validation} if validation else {}
    chosen_on = "validation" if len(by_validation) == len(baselines) else "test"
    best = max(baselines, key=lambda n: by_validation[n] if chosen_on == "validation" else scores[n][metric].mean)
    differences: dict[str, dict[str, Difference]] = {name: {} for name in names}
    for m, role in product(metrics, ROLES):
        peers = [name for name in names if name != best and roles[name] == role]
        found = means.differences([(column[name, m], column[best, m]) for name in peers])
        for name, difference in zip(peers, found, strict=True):
            differences[name][m] = difference
    rows = [LeaderboardRow(n, roles[n], scores[n], differences[n], (costs or {}).get(n)) for n in names]
    rows.sort(key=lambda row: -row.scores[metric].mean)
    strongest = next(row.name for row in rows if row.role == "baseline")
    ours = next((row.name for row in rows if row.role == "ours"), None)
    is_other = ours is not None and strongest != best
    to_strongest = means.difference(column[ours, metric], column[strongest, metric]) if is_other and ours else None
    return Leaderboard(
        metric, metrics, best, chosen_on, users.n_unique(), tuple(rows), len(users), strongest, to_strongest
    )


def shared_metrics(tables: Mapping[str, pl.DataFrame], metric: str) -> tuple[str, ...]:
    """Return the columns all tables share.

    Raises:
        DataError: A table lacks the deciding metric, or two tables are not of the same users.
    """
    first = next(iter(tables.values()))
    for name, table in tables.items():
        if metric not in table.columns:
            raise DataError(
                f"There is no column {metric!r}.",
                where=f"evaluation, the table of {name!r}",
                fix="measure it: name the metric and its k",
            )
        if not table["user_id"].equals(first["user_id"]):
            raise DataError(
                f"The table of {name!r} is of other users, or in another order.",
                where="evaluation, comparison",
                fix="measure every recommender on the same truth",
            )
    shared = [c for c in first.columns if c != "user_id" and all(c in t.columns for t in tables.values())]
    return tuple(shared)


def per_user(
    tables: Mapping[str, pl.DataFrame], name: str, metrics: Sequence[str]
) -> Float64[np.ndarray, "users metrics"]:
    """Return chosen columns of one table."""
    return tables[name].select(metrics).to_numpy().astype(np.float64)
