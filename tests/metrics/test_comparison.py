import numpy as np
import polars as pl
import pytest

from penchant.core.errors import DataError
from penchant.metrics.comparison import Cost, compare
from penchant.metrics.intervals import BETTER, SAME, WORSE, IntervalConfig, paired_difference

USERS = 400
IDS = [f"u{n}" for n in range(USERS)]
FAST = IntervalConfig(resamples=400)
ROLES = {"popularity": "baseline", "EASE": "baseline", "Penchant": "ours", "member": "member"}


def table(lift: float, seed: int = 0) -> pl.DataFrame:
    base = np.random.default_rng(0).uniform(0.1, 0.5, USERS)
    noise = np.random.default_rng(seed).normal(0, 0.02, USERS)
    return pl.DataFrame({"user_id": IDS, "ndcg@20": base + lift + noise, "recall@20": base + noise})


def results() -> dict[str, pl.DataFrame]:
    return {"popularity": table(-0.1, 1), "EASE": table(0, 2), "Penchant": table(0.02, 3), "member": table(0.0001, 4)}


def test_league_is_ordered_and_compared_with_the_best_baseline():
    leaderboard = compare(results(), ROLES, metric="ndcg@20", config=FAST, costs={"EASE": Cost(2.0, 0.1)})
    assert leaderboard.rows[0].name == "Penchant"
    assert leaderboard.rows[-1].name == "popularity"
    assert (leaderboard.best_baseline, leaderboard.num_users, leaderboard.metrics) == (
        "EASE",
        USERS,
        ("ndcg@20", "recall@20"),
    )
    assert leaderboard.ours is not None
    assert leaderboard.ours.differences["ndcg@20"].mean == pytest.approx(0.02, abs=0.004)
    outcomes = {row.name: row.differences["ndcg@20"].outcome for row in leaderboard.rows if row.differences}
    assert outcomes == {"Penchant": BETTER, "member": SAME, "popularity": WORSE}
    assert leaderboard.row("EASE").differences == {}
    assert leaderboard.row("EASE").cost == Cost(2.0, 0.1)


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


def test_scores_and_differences_are_paired_means_of_each_metric():
    given = results()
    leaderboard = compare(given, ROLES, metric="ndcg@20", config=FAST)
    for row in leaderboard.rows:
        assert row.role == ROLES[row.name]
        for metric in ("ndcg@20", "recall@20"):
            values, base = given[row.name][metric].to_numpy(), given["EASE"][metric].to_numpy()
            assert row.scores[metric].mean == pytest.approx(values.mean())
            if row.differences:
                single = paired_difference(values, base, FAST)
                found = row.differences[metric]
                assert (found.mean, found.low, found.high) == pytest.approx((single.mean, single.low, single.high))


def test_validation_decides_the_baseline_even_where_the_test_contradicts():
    scores = {"popularity": 0.2, "EASE": 0.1, "Penchant": 0.9}
    leaderboard = compare(results(), ROLES, metric="ndcg@20", validation=scores, config=FAST)
    assert leaderboard.best_baseline == "popularity"
    assert leaderboard.row("popularity").differences == {}
    assert leaderboard.row("EASE").differences["ndcg@20"].mean > 0


def test_many_members_of_noise_are_not_told_apart_from_the_baseline():
    rng = np.random.default_rng(13)
    base = rng.uniform(size=USERS)
    noise = {f"m{n}": base + rng.normal(0, 0.1, USERS) for n in range(30)} | {"EASE": base}
    tables = {name: pl.DataFrame({"user_id": IDS, "ndcg@20": values}) for name, values in noise.items()}
    roles = dict.fromkeys(tables, "member") | {"EASE": "baseline"}
    leaderboard = compare(tables, roles, metric="ndcg@20", config=IntervalConfig(resamples=2000))
    alone = [
        paired_difference(noise[name], base, IntervalConfig(resamples=2000)).outcome for name in noise if name != "EASE"
    ]
    assert any(outcome != SAME for outcome in alone)
    assert {row.differences["ndcg@20"].outcome for row in leaderboard.rows if row.differences} == {SAME}


def test_only_columns_that_every_table_has_are_compared():
    given = results() | {"member": table(0).drop("recall@20")}
    assert compare(given, ROLES, metric="ndcg@20", config=FAST).metrics == ("ndcg@20",)
    assert compare({"EASE": table(0)}, ROLES, metric="ndcg@20", config=FAST).ours is None
