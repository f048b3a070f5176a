"""Steps of a run as functions: divide a table of events, measure lists of any origin, compare models of one's own.

In: pandas, Polars or Arrow tables, or prepared data and unfitted models. Out: Polars tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from polars import selectors

from penchant.core.errors import ConfigError, DataError
from penchant.core.schema import Histories, Recommendations, Split, Vocabulary
from penchant.data.read.sources import DataConfig, from_tables
from penchant.data.read.tables import as_raw
from penchant.data.split.interactions import SplitConfig
from penchant.data.split.interactions import split as split_events
from penchant.metrics import ranking
from penchant.metrics.intervals import BootstrapMeans, IntervalConfig
from penchant.models.member import Member
from penchant.pipelines.recommendation import Prepared, times_ranked

PAIR = ("user_id", "item_id")


def split(
    interactions: Any, kind: str = "auto", *, seed: int = 0, columns: Mapping[str, str] | None = None, **settings: Any
) -> Split:
    """Divide a table of events into train, validation and test, without look-ahead.

    `parts.train.table`, `parts.validation.table` and `parts.test.table` are Polars tables; `parts.checks` says what was verified.

    Args:
        interactions: `user_id`, `item_id`, and where there are such `at`, `kind`, `value`; a pandas, Polars or Arrow table.
        kind: "user_time", "last_out", "global_time", "rolling_time", "random", "cold_items", "cold_users", "published" or "auto"; see
            `SplitConfig`.
        seed: Of draws and of the order of ties; equal seeds give equal parts.
        columns: Our names of columns with those of the table, where they differ.
        settings: Other settings of `SplitConfig`, such as `test_share`.

    Raises:
        DataError: The table cannot be read, or is too small to divide.
        ConfigError: A setting does not exist or has no valid value.
    """
    config = SplitConfig.read({"kind": kind, **settings}, where="split")
    data = DataConfig.read({"columns": dict(columns or {})}, where="split")
    return split_events(from_tables(interactions, config=data).interactions, config, seed)


def measure(
    lists: Any, truth: Any, *, ks: Sequence[int] = (5, 10, 20, 50), metrics: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return `user_id` and one column for each metric and k ("ndcg@10"), one row for each user of the truth; lists may be any library's.

    A user without a list has 0. Items of a history must be left out of the lists beforehand, if they are to be.

    Args:
        lists: `user_id`, `item_id`, and `rank` (1 is best) or `score` (higher is better); without both, the order of rows. What has
            no number there stands last.
        truth: `user_id`, `item_id`: what each user chose later.
        ks: Cut-offs. A list shorter than k counts as it is.
        metrics: recall, precision, hit_rate, ndcg, mrr, map, or what a package adds; None takes all.

    Raises:
        DataError: A column is missing, or a list holds an item twice.
        ConfigError: A metric is unknown.
    """
    ranked, chosen = _pairs(lists, "lists"), _pairs(truth, "truth")
    ranked = ranked.with_columns(selectors.float().fill_nan(None))  # NaN sorts as the largest number
    if "rank" in ranked.columns:
        ranked = ranked.sort("rank", nulls_last=True, maintain_order=True)
    elif "score" in ranked.columns:
        ranked = ranked.sort("score", descending=True, nulls_last=True, maintain_order=True)
    users = Vocabulary(chosen["user_id"].unique().sort())
    items = Vocabulary(pl.concat([ranked["item_id"], chosen["item_id"]]).unique().sort())
    ranked = ranked.with_columns(user=pl.Series(users.indices(ranked["user_id"]))).filter(pl.col("user") >= 0)
    ranked = ranked.with_columns(place=pl.int_range(pl.len()).over("user")).filter(pl.col("place") < max(ks))
    index = np.full((len(users), max(ks)), ranking.PAD, np.int32)
    index[ranked["user"].to_numpy(), ranked["place"].to_numpy()] = items.indices(ranked["item_id"])
    found = Recommendations(users.ids, index, np.where(index == ranking.PAD, -np.inf, 0).astype(np.float32))
    return ranking.measure(found, _truth(chosen, users, items), ks=ks, metrics=metrics)


def compare(
    data: Prepared, models: Mapping[str, Member], *, on: str = "validation", k: int = 10, seed: int = 0
) -> pl.DataFrame:
    """Fit models on prepared data and return how they rank it, the best first.

    For each model: mean of NDCG and recall with a 95 % interval over users, and the difference in NDCG from the first model, paired by user,
    corrected for the number of models (Holm). `outcome` is "not distinguishable" where the interval of the difference holds 0.

    Args:
        data: Of `penchant.prepare`.
        models: Name to unfitted model; the first one is what the others are compared with.
        on: "validation", where models are chosen; "test" once the choice is made: the run's report counts how often a test was ranked.
        k: Length of the lists.
        seed: Of the resampled users.

    Raises:
        ConfigError: `on` is neither, there is no model, or the split is "rolling_time", which only a whole run measures.
    """
    if on not in ("validation", "test"):
        raise ConfigError(f"There is no part {on!r}.", where="compare(on=...)", fix='give "validation" or "test"')
    if data.parts.kind == "rolling_time":
        raise ConfigError(
            "A rolling split has a fit for every stretch of time.",
            where="compare()",
            fix='call penchant.run, or prepare the data with split = {"kind": "global_time"}',
        )
    if not models:
        raise ConfigError("There is no model.", where="compare(models=...)", fix='give {"EASE": EASE()}')
    part = data.validation if on == "validation" else data.test
    if on == "test":
        times_ranked(data.config.cache / "ranked", data.parts.test)
    names = [f"ndcg@{k}", f"recall@{k}"]
    tables = {}
    for name, model in models.items():
        fitted = model.fit(part.train, data.content)
        lists = fitted.recommend(part.histories, k, candidates=part.candidates, tie_order=part.tie_order)
        tables[name] = ranking.measure(lists, part.truth, ks=(k,), metrics=["ndcg", "recall"])
    means = BootstrapMeans(
        np.hstack([table.select(names).to_numpy() for table in tables.values()]), IntervalConfig(seed=seed)
    )
    gaps = means.differences([(2 * place, 0) for place in range(1, len(tables))])
    rows = []
    for place, name in enumerate(tables):
        row: dict[str, Any] = {"model": name}
        for column, metric in enumerate(names):
            interval = means.interval(2 * place + column)
            row |= {metric: interval.mean, f"{metric} low": interval.low, f"{metric} high": interval.high}
        gap = gaps[place - 1] if place else None
        row |= {
            "difference": gap.mean if gap else None,
            "difference low": gap.low if gap else None,
            "difference high": gap.high if gap else None,
            "outcome": gap.outcome if gap else "compared with",
        }
        rows.append(row)
    return pl.DataFrame(rows).sort(names[0], descending=True)


def _pairs(table: Any, name: str) -> pl.DataFrame:
    """Return a table with ids as text."""
    found = as_raw(table, name).table
    for column in PAIR:
        if column not in found.columns:
            raise DataError(
                f"There is no column {column!r}; there is {', '.join(found.columns)}.",
                where=name,
                fix=f"rename the column that holds it to {column}",
            )
    return found.with_columns(pl.col(PAIR).cast(pl.String))


def _truth(chosen: pl.DataFrame, users: Vocabulary, items: Vocabulary) -> Histories:
    """Return what each user chose, in the order of `users`."""
    rows = chosen.with_columns(user=pl.Series(users.indices(chosen["user_id"]))).sort("user", maintain_order=True)
    counts = np.bincount(rows["user"].to_numpy(), minlength=len(users))
    return Histories(
        users.ids,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        items.indices(rows["item_id"]).astype(np.int32),
        np.zeros(rows.height, np.int64),
        np.ones(rows.height, np.float32),
        len(items),
    )
