"""A rolling split: every later event is predicted from all that anybody did before it, and from nothing later."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import penchant
from penchant.core.errors import DataError
from penchant.core.schema import Content, Dataset, Interactions, Split
from penchant.data.read.sources import DataConfig, from_tables
from penchant.data.split.interactions import split
from penchant.experiment.fit import FittedRecommenders, fit
from penchant.experiment.pool import RefittedPool
from penchant.fusion.concat import Concat
from penchant.pipelines.recommendation import RecommendationConfig, at_test, before_test, refits_of, times_ranked

HOUR, START = 3600, 1_600_000_000
MEMBERS = {
    "recent": {"model": "recent_popularity", "half_life_days": 1},
    "ease": {"model": "ease", "regularisation": 5},
}


def table(num_users: int = 60, late: int = 3) -> pl.DataFrame:
    """Events in whole hours; the last users come with the test, and nobody knows anything of them."""
    rng = np.random.default_rng(1)
    rows = [
        (f"u{user:02d}", f"i{item}", START + int(hour) * HOUR)
        for user in range(num_users)
        for item, hour in zip(
            rng.choice(60, 20, replace=False), np.sort(rng.integers(197 if user < late else 0, 200, 20)), strict=True
        )
    ]
    return pl.DataFrame(rows, ["user_id", "item_id", "at"], orient="row").unique(maintain_order=True)


def settings(**own: Any) -> RecommendationConfig:
    given = {"split": {"kind": "rolling_time", **own.pop("split", {})}, "members": MEMBERS, **own}
    return RecommendationConfig.read(given, where="the test")


def parted(config: RecommendationConfig, events: pl.DataFrame | None = None) -> tuple[Dataset, Split]:
    data = from_tables(table() if events is None else events, None, None, DataConfig())
    return data, split(data.interactions, config.split, 0)


def measured(config: RecommendationConfig, data: Dataset, parts: Split) -> tuple[FittedRecommenders, Any]:
    validation, known = before_test(data.catalog, parts, config)
    fusion, quick = Concat(), config.fit.model_copy(update={"ablation": False})
    trained = fit(MEMBERS, validation.liked(), known, Content({}), fusion, quick, cutoff=5)
    test = at_test(data.catalog, parts, config)
    return trained.rolled(refits_of(data.catalog, parts, known, config), test.log, Content({}), fusion), test


def lists(trained: FittedRecommenders, test: Any) -> dict[str, np.ndarray]:
    rows = {row.name: row.weights for row in trained.rows}
    return {name: found.item_index for name, found in trained.pool.rank(rows, test.histories, 5).items()}


@pytest.mark.parametrize("refits", [1, 3])
def test_no_list_depends_on_what_was_done_at_its_moment_or_later(refits: int) -> None:
    config = settings(split={"refits": refits})
    data, parts = parted(config)
    trained, test = measured(config, data, parts)
    assert isinstance(trained.pool, RefittedPool)
    assert len(trained.pool.starts) == refits
    moment = int(np.median(test.histories.requests()))
    events = parts.test.table
    later = pl.col("at").dt.epoch("us") >= moment
    swapped = events.with_columns(item_id=pl.when(later).then(pl.lit("i0")).otherwise(pl.col("item_id")))
    assert not swapped["item_id"].equals(events["item_id"])
    other, changed = measured(config, data, replace(parts, test=Interactions(swapped)))
    before = {name: found[test.histories.requests() <= moment] for name, found in lists(trained, test).items()}
    count = len(before["Penchant"])
    assert count > 20
    asked = np.flatnonzero(changed.histories.requests() < moment)  # at the moment itself the true items were changed
    for name, found in lists(other, changed).items():
        np.testing.assert_array_equal(found[asked], before[name][: len(asked)])
    assert len(asked) > 15


def test_members_observe_what_everybody_did_since_they_were_fitted() -> None:
    config = settings()
    data, parts = parted(config)
    trained, test = measured(config, data, parts)
    recent = lists(trained, test)["recent"]
    unseen = replace(trained, pool=trained.pool.pools[0].observed(before_test(data.catalog, parts, config)[0].log))
    assert not np.array_equal(lists(unseen, test)["recent"], recent)
    assert np.array_equal(lists(unseen, test)["EASE"], lists(trained, test)["EASE"])


def test_a_request_is_answered_by_the_last_fit_before_it() -> None:
    config = settings(split={"refits": 3})
    data, parts = parted(config)
    trained, test = measured(config, data, parts)
    pool = trained.pool
    assert isinstance(pool, RefittedPool)
    whole = lists(trained, test)
    at = test.histories.requests()
    assert pool.starts[0] == at.min()
    for number, (start, end) in enumerate(zip(pool.starts, (*pool.starts[1:], at.max() + 1), strict=True)):
        users = np.flatnonzero((at >= start) & (at < end))
        assert len(users)
        rows = {row.name: row.weights for row in trained.rows}
        own = pool.pools[number].rank(rows, test.histories.take(users), 5)
        for name, found in own.items():
            np.testing.assert_array_equal(found.item_index, whole[name][users])
        assert pool.at(start) is pool.at(end - 1) is pool.pools[number]
    pairs = np.array([5, 0, len(at) - 1]), np.array([3, 2, 1])
    scores = pool.pair_scores(test.histories, *pairs, ["recent", "ease"])
    for place, (row, item) in enumerate(zip(*pairs, strict=True)):
        one = test.histories.rows(row, row + 1)
        for column, (_, own_scores) in enumerate(pool.at(int(at[row])).standardised(one, ["recent", "ease"])):
            assert scores[place, column] == pytest.approx(own_scores[0, item], abs=1e-6)


def test_a_newcomer_gets_what_is_popular_from_every_recommender() -> None:
    config = settings()
    data, parts = parted(config)
    trained, test = measured(config, data, parts)
    nobody = np.flatnonzero(test.histories.lengths() == 0)
    assert len(nobody)
    found = lists(trained, test)
    for name in ("EASE", "ItemKNN", "ease"):
        np.testing.assert_array_equal(found[name][nobody], found["Popularity"][nobody])


def test_a_whole_run_says_how_it_was_measured(tmp_path: Path) -> None:
    for count in (1, 2):
        penchant.run(
            interactions=table(),
            output=tmp_path / "run",
            cache=tmp_path / "cache",
            content={},
            members=MEMBERS,
            split={"kind": "rolling_time", "refits": 2},
            evaluation={"ks": [5], "cutoff": 5, "examples": 2},
        )
        said = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
        told = " ".join(said["protocol"])
        assert "equal intervals from its start: 2." in told
        assert ("ranked this test 2 times" in told) == (count == 2)
        assert "looks ahead" not in told
    board = said["leaderboard"]
    assert said["sizes"]["requests"] == board["num_requests"] > board["num_users"] == said["sizes"]["test_users"]
    assert board["rows"][0]["scores"]["ndcg@5"]["num_users"] == board["num_users"]
    assert {row["dimension"] for row in said["slices"]} >= {"time since the last known event"}
    assert said["pool"] == "the whole catalog"


def test_rankings_of_one_test_are_counted_whatever_the_order_of_its_rows(tmp_path: Path) -> None:
    _, parts = parted(settings())
    assert [times_ranked(tmp_path, parts.test) for _ in range(2)] == [1, 2]
    assert times_ranked(tmp_path, Interactions(parts.test.table.reverse())) == 3
    assert times_ranked(tmp_path, parts.validation) == 1


def test_without_refit_members_learn_from_train_alone_and_observe_the_rest() -> None:
    config = settings(fit={"refit": False}, split={"refits": 4})
    data, parts = parted(config)
    _, known = before_test(data.catalog, parts, config)
    assert known.num_events == len(parts.train)
    assert [one.train.num_events for one in refits_of(data.catalog, parts, known, config)] == [len(parts.train)]


def test_one_user_is_measured_without_an_interval(tmp_path: Path) -> None:
    alone = pl.DataFrame(
        {"user_id": ["u"] * 40, "item_id": [f"i{n}" for n in range(40)], "at": [START + n * HOUR for n in range(40)]}
    )
    penchant.run(
        interactions=alone,
        output=tmp_path / "run",
        cache=tmp_path / "cache",
        content={},
        members=MEMBERS,
        split={"kind": "rolling_time"},
        evaluation={"ks": [5], "cutoff": 5},
    )
    board = json.loads((tmp_path / "run" / "report" / "report.json").read_text())["leaderboard"]
    assert (board["num_users"], board["num_requests"]) == (1, 4)
    assert board["rows"][0]["scores"]["ndcg@5"]["low"] is None


@pytest.mark.parametrize("at", [[START] * 30, [None] * 30])
def test_events_of_one_instant_or_none_cannot_roll(at: list[int | None]) -> None:
    events = pl.DataFrame({"user_id": ["u", "v", "w"] * 10, "item_id": [f"i{n}" for n in range(30)], "at": at})
    with pytest.raises(DataError, match="a rolling_time split needs times that differ"):
        parted(settings(), events)
