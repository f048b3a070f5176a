import numpy as np
import polars as pl
import pytest

from penchant.core.errors import DataError
from penchant.metrics.comparison import Cost, compare
from penchant.metrics.intervals import BETTER, SAME, WORSE, Config

USERS = 400
IDS = [f"u{n}" for n in range(USERS)]
FAST = Config(resamples=400)
ROLES = {"popularity": "baseline", "EASE": "baseline", "Penchant": "ours", "member": "member"}


def table(lift: float, seed: int = 0) -> pl.DataFrame:
    base = np.random.default_rng(0).uniform(0.1, 0.5, USERS)
    noise = np.random.default_rng(seed).normal(0, 0.02, USERS)
    return pl.DataFrame({"user_id": IDS, "ndcg@20": base + lift + noise, "recall@20": base + noise})


def results() -> dict[str, pl.DataFrame]:
    return {"popularity": table(-0.1, 1), "EASE": table(0, 2), "Penchant": table(0.02, 3), "member": table(0.0001, 4)}


def test_league_is_ordered_and_compared_with_the_best_baseline():
    league = compare(results(), ROLES, metric="ndcg@20", config=FAST, costs={"EASE": Cost(2.0, 0.1)})
    assert league.rows[0].name == "Penchant"
    assert league.rows[-1].name == "popularity"
    assert (league.best_baseline, league.num_users, league.metrics) == ("EASE", USERS, ("ndcg@20", "recall@20"))
    assert league.ours is not None
    assert league.ours.differences["ndcg@20"].mean == pytest.approx(0.02, abs=0.004)
    verdicts = {row.name: row.differences["ndcg@20"].verdict for row in league.rows if row.differences}
    assert verdicts == {"Penchant": BETTER, "member": SAME, "popularity": WORSE}
    assert league.row("EASE").differences == {}
    assert league.row("EASE").cost == Cost(2.0, 0.1)


def test_best_baseline_is_chosen_on_validation_when_it_can_be():
    chosen = compare(results(), ROLES, metric="ndcg@20", validation={"popularity": 0.9, "EASE": 0.1}, config=FAST)
    assert (chosen.best_baseline, chosen.chosen_on) == ("popularity", "validation")
    unsure = compare(results(), ROLES, metric="ndcg@20", validation={"EASE": 0.1}, config=FAST)
    assert (unsure.best_baseline, unsure.chosen_on) == ("EASE", "test")


def test_a_league_without_a_baseline_is_refused():
    with pytest.raises(DataError, match="There is no baseline to compare with"):
        compare({"x": table(0)}, {"x": "ours"}, metric="ndcg@20")


def test_a_missing_metric_is_named():
    with pytest.raises(DataError, match="There is no column 'ndcg@5'"):
        compare(results(), ROLES, metric="ndcg@5")


def test_tables_of_other_users_are_refused():
    with pytest.raises(DataError, match="The table of 'EASE' is of other users"):
        compare({"popularity": table(0), "EASE": table(0).reverse()}, ROLES, metric="ndcg@20")
