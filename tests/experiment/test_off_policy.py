"""What a bundle would have earned on lists that the shop logged, beside what it truly earns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from penchant.cli import app
from penchant.core.errors import DataError
from penchant.experiment.off_policy import evaluate_bundle, read_log
from penchant.recommender.exploration import ServedPlaces
from penchant.recommender.lists import ExplorationConfig, ListRequest, RankingOptions
from penchant.recommender.recommender import Recommender

K, VISITS = 3, 40


def click_rate(item: int, place: int) -> float:
    """Return the probability of a click: low items sell, and the first place is seen more."""
    return (0.5 if item >= 12 else 0.1) / (1 + place)


def logged(recommender: Recommender, config: ExplorationConfig, visits: int = VISITS, seed: int = 0) -> pl.DataFrame:
    """Return the log of lists that users of the shop were served, with drawn clicks."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []

    def keep(request: ListRequest, places: ServedPlaces) -> None:
        for place, column in enumerate(places.shown):
            item = places.candidates[column]
            rows.append(
                {
                    "list_id": request.list_id,
                    "user_id": request.user_id,
                    "at": 10**15,
                    "place": place + 1,
                    "item_id": item,
                    "reward": float(rng.random() < click_rate(int(item[1:]), place)),
                    "propensity": places.propensities[place],
                    "candidates": list(places.candidates),
                    "history": [f"i{row}" for row in request.history.item_index],
                }
            )

    for visit in range(visits):
        requests = [
            ListRequest(
                RankingOptions(k=K), user, recommender.history(user), exploration=config, list_id=f"{visit} {user}"
            )
            for user in recommender.histories.user_ids
        ]
        recommender.recommend_many(requests, served=keep)
    return pl.DataFrame(rows)


def truth(recommender: Recommender) -> float:
    """Return what the recommender's own lists earn."""
    rates = [
        click_rate(int(item.item_id[1:]), place)
        for user in recommender.histories.user_ids
        for place, item in enumerate(recommender.recommend(user, K, reasons=False))
    ]
    return float(np.mean(rates))


@pytest.fixture(scope="module")
def recommender(shop: Path) -> Recommender:
    return Recommender.load(shop)


@pytest.fixture(scope="module")
def log(recommender: Recommender) -> pl.DataFrame:
    return logged(recommender, ExplorationConfig(policy="epsilon", epsilon=0.6, candidates=18))


def test_the_interval_holds_what_the_bundle_truly_earns(recommender: Recommender, log: pl.DataFrame):
    found = evaluate_bundle(recommender, log)
    best = found.results.best
    assert best.low <= truth(recommender) <= best.high
    assert best.high - best.low < 0.1
    assert best.effective > 1000
    assert found.results.mean_weight == pytest.approx(1, abs=0.1)
    assert found.learned_after == 0


def test_another_bundle_is_ranked_anew_and_not_by_the_log(recommender: Recommender, log: pl.DataFrame):
    users = recommender.histories.user_ids
    swapped = log.with_columns(history=pl.Series([[f"i{(int(i[1:]) + 12) % 24}" for i in h] for h in log["history"]]))
    assert users
    with pytest.raises(DataError, match=r"(?s)never a candidate.*--rerank"):
        evaluate_bundle(
            recommender,
            swapped.with_columns(candidates=pl.col("candidates").list.set_difference(pl.lit(["i0"]))).filter(
                pl.col("item_id") != "i0"
            ),
        )
    found = evaluate_bundle(recommender, swapped, rerank=True)
    assert found.results["ips"].value != evaluate_bundle(recommender, log).results["ips"].value


def test_a_log_without_exploration_is_refused_for_another_order(recommender: Recommender):
    plain = logged(recommender, ExplorationConfig(), visits=3)
    assert evaluate_bundle(recommender, plain).results["ips"].value == pytest.approx(plain["reward"].mean())
    other = plain.with_columns(history=pl.Series([h[::-1][:2] for h in plain["history"]]))
    with pytest.raises(DataError, match="overlap"):
        evaluate_bundle(recommender, other)


def test_a_wrong_log_is_told_in_three_parts(recommender: Recommender, log: pl.DataFrame, tmp_path: Path):
    with pytest.raises(DataError, match=r"(?s)no column 'propensity'.*where: the log of lists.*fix:"):
        evaluate_bundle(recommender, log.drop("propensity"))
    with pytest.raises(DataError, match="none of its candidates"):
        evaluate_bundle(recommender, log.with_columns(item_id=pl.lit("elsewhere")))
    with pytest.raises(DataError, match=r"no \.csv"):
        read_log(tmp_path / "log.csv")


def test_the_command_prints_estimates(shop: Path, log: pl.DataFrame, tmp_path: Path):
    log.write_parquet(tmp_path / "log.parquet")
    answer = CliRunner().invoke(app, ["off-policy", str(shop), str(tmp_path / "log.parquet"), "--json"])
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert found["best"] == "doubly_robust"
    assert {value["name"] for value in found["results"]["values"]} == {"ips", "snips", "doubly_robust", "switch"}
    lines = CliRunner().invoke(app, ["--language", "zh", "off-policy", str(shop), str(tmp_path / "log.parquet")]).stdout
    assert "双重稳健" in lines
