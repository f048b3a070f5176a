import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from penchant.core.errors import ConfigError, DataError
from penchant.core.schema import Histories, Recommendations
from penchant.metrics import ranking


def truth_of(rows: list[list[int]], num_items: int, weight: float = 1.0) -> Histories:
    lengths = [len(row) for row in rows]
    items = np.array([i for row in rows for i in row], np.int32)
    return Histories(
        [f"u{n}" for n in range(len(rows))],
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items,
        np.arange(len(items)),
        np.full(len(items), weight, np.float32),
        num_items,
    )


def lists(rows: list[list[int]]) -> Recommendations:
    ranked = np.array(rows, np.int32)
    return Recommendations([f"u{n}" for n in range(len(rows))], ranked, np.zeros(ranked.shape, np.float32))


@pytest.fixture(scope="module")
def world() -> tuple[Recommendations, Histories]:
    rng = np.random.default_rng(3)
    ranked = [rng.permutation(60)[:30].tolist() for _ in range(40)]
    truth = [rng.permutation(60)[: rng.integers(1, 25)].tolist() for _ in range(40)]
    return lists(ranked), truth_of(truth, 60)


def test_numbers_equal_those_counted_by_hand():
    table = ranking.measure(lists([[4, 1, 2, 3]]), truth_of([[1, 3, 0]], 5), ks=(2, 4))
    row = table.row(0, named=True)
    assert row["recall@2"] == pytest.approx(1 / 3)
    assert row["precision@4"] == pytest.approx(2 / 4)
    assert row["hit_rate@2"] == 1
    assert row["mrr@4"] == pytest.approx(1 / 2)
    assert row["map@4"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    gain, ideal = 1 / np.log2(3) + 1 / np.log2(5), 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert row["ndcg@4"] == pytest.approx(gain / ideal)


@pytest.mark.parametrize("k", [1, 5, 10, 30])
@pytest.mark.filterwarnings("ignore")
def test_numbers_equal_ranx(world, k, monkeypatch):
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)  # compiling ranx takes minutes, and these lists are short
    ranx = pytest.importorskip("ranx")
    recommended, truth = world
    qrels = ranx.Qrels({u: {str(i): 1 for i in truth.rows(n, n + 1).item_index} for n, u in enumerate(truth.user_ids)})
    run = ranx.Run(
        {u: {str(i): 100.0 - r for r, i in enumerate(recommended.item_index[n])} for n, u in enumerate(truth.user_ids)}
    )
    table = ranking.measure(recommended, truth, ks=(k,))
    for name in ("recall", "precision", "hit_rate", "ndcg", "mrr", "map"):
        theirs = ranx.evaluate(qrels, run, f"{name}@{k}")
        assert table[f"{name}@{k}"].mean() == pytest.approx(theirs, abs=1e-9), name


def test_ndcg_equals_scikit_learn(world):
    recommended, truth = world
    score = np.zeros((40, 60))
    np.put_along_axis(score, recommended.item_index, np.arange(30, 0, -1.0)[None], axis=1)
    relevant = truth.matrix().toarray() > 0
    table = ranking.measure(recommended, truth, ks=(10,), metrics=("ndcg",))
    assert table["ndcg@10"].mean() == pytest.approx(ndcg_score(relevant, score, k=10, ignore_ties=True))


@settings(max_examples=50)
@given(st.data())
def test_hit_matrix_equals_a_loop(data):
    num_items = data.draw(st.integers(1, 9))
    item = st.integers(0, num_items - 1)
    truth = data.draw(st.lists(st.lists(item, max_size=5), min_size=1, max_size=5))
    ranked = [data.draw(st.permutations(range(num_items)))[:4] for _ in truth]
    ranked = np.array([(row + [-1] * 4)[:4] for row in ranked], np.int32)
    expected = [[i != -1 and i in chosen for i in row] for row, chosen in zip(ranked, truth, strict=True)]
    assert ranking.hit_matrix(ranked, truth_of(truth, num_items)).tolist() == expected


def test_blocks_of_users_give_the_same_hits(world, monkeypatch):
    recommended, truth = world
    whole = ranking.hit_matrix(recommended.item_index, truth)
    pairs = ranking.relevant(truth)
    seen = ranking.found(recommended.item_index, pairs, 7)
    monkeypatch.setattr(ranking, "BATCH_CELLS", 100)
    assert np.array_equal(ranking.hit_matrix(recommended.item_index, truth), whole)
    assert np.array_equal(ranking.found(recommended.item_index, pairs, 7), seen)


def test_found_counts_the_same_hits_as_the_hit_matrix(world):
    recommended, truth = world
    pairs = ranking.relevant(truth)
    per_user = np.bincount(pairs.user_index[ranking.found(recommended.item_index, pairs, 9)], minlength=40)
    assert np.array_equal(per_user, ranking.hit_matrix(recommended.item_index, truth)[:, :9].sum(axis=1))


def test_an_item_touched_twice_counts_once():
    table = ranking.measure(lists([[0, 1]]), truth_of([[0, 0, 1]], 2), ks=(1,), metrics=("recall",))
    assert table["recall@1"].to_list() == [0.5]


def test_users_without_a_true_item_are_left_out():
    table = ranking.measure(lists([[0, 1], [1, 0]]), truth_of([[], [1]], 2), ks=(1,), metrics=("recall",))
    assert table.rows() == [("u1", 1.0)]


def test_a_dislike_is_not_a_true_item():
    assert ranking.measure(lists([[0, 1]]), truth_of([[0]], 2, weight=-1), ks=(1,)).height == 0


def test_other_users_are_refused():
    with pytest.raises(DataError, match="the truth is of 2 others or in another order"):
        ranking.measure(lists([[0, 1]]), truth_of([[0], [1]], 2), ks=(1,))


def test_short_lists_are_refused():
    with pytest.raises(DataError, match="The lists hold 2 items, the metrics ask for 5"):
        ranking.measure(lists([[0, 1]]), truth_of([[0]], 9), ks=(5,))


def test_an_item_listed_twice_is_refused():
    with pytest.raises(DataError, match="A list holds item row 1 twice") as caught:
        ranking.measure(lists([[0, 2], [1, 1]]), truth_of([[0], [1]], 3), ks=(2,))
    assert "user 'u1'" in caught.value.where


def test_an_unknown_metric_names_its_neighbour():
    with pytest.raises(ConfigError, match="Did you mean 'ndcg'"):
        ranking.measure(lists([[0, 1]]), truth_of([[0]], 2), ks=(1,), metrics=("ndgc",))


def test_a_list_shorter_than_k_is_padded_and_counts_as_it_stands():
    row = ranking.measure(lists([[4, -1, -1]]), truth_of([[0, 4]], 5), ks=(3,)).row(0, named=True)
    assert row["user_id"] == "u0"
    assert row["recall@3"] == 1 / 2
    assert row["precision@3"] == pytest.approx(1 / 3)
    assert row["hit_rate@3"] == row["mrr@3"] == 1
    assert row["map@3"] == 1 / 2
    assert row["ndcg@3"] == pytest.approx(1 / (1 + 1 / np.log2(3)))


def test_more_true_items_than_k_leave_a_perfect_ndcg_and_a_small_recall():
    row = ranking.measure(lists([[2, 1, 3]]), truth_of([[0, 1, 2]], 5), ks=(1, 2)).row(0, named=True)
    assert (row["ndcg@1"], row["ndcg@2"], row["precision@2"]) == (1, 1, 1)
    assert (row["recall@1"], row["map@1"]) == pytest.approx((1 / 3, 1 / 3))
    assert row["map@2"] == pytest.approx(2 / 3)


def test_no_hit_is_zero_in_every_metric_and_a_late_hit_is_outside_k():
    row = ranking.measure(lists([[3, 4, 0]]), truth_of([[0]], 5), ks=(2, 3)).row(0, named=True)
    assert [row[f"{name}@2"] for name in ("recall", "precision", "hit_rate", "ndcg", "mrr", "map")] == [0] * 6
    assert (row["recall@3"], row["hit_rate@3"]) == (1, 1)
    assert (row["mrr@3"], row["map@3"], row["precision@3"]) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert row["ndcg@3"] == pytest.approx(1 / np.log2(4))


def test_functions_give_zero_to_a_user_without_a_true_item():
    hits, none = np.zeros((1, 3), bool), np.zeros(1, np.int64)
    for function in (ranking.recall, ranking.ndcg, ranking.average_precision, ranking.reciprocal_rank):
        assert function(hits, none, 3).tolist() == [0.0]
    assert ranking.reciprocal_rank(np.zeros((2, 0), bool), np.ones(2, np.int64), 3).tolist() == [0.0, 0.0]


def test_a_catalog_smaller_than_k_is_ranked_whole():
    row = ranking.measure(lists([[1, 0]]), truth_of([[0, 1]], 2), ks=(5,)).row(0, named=True)
    assert (row["recall@5"], row["precision@5"], row["ndcg@5"]) == (1, 2 / 5, pytest.approx(1))


def test_defaults_measure_six_metrics_at_four_cut_offs():
    table = ranking.measure(lists([list(range(50))]), truth_of([[7]], 60))
    names = ("recall", "precision", "hit_rate", "ndcg", "mrr", "map")
    assert table.columns == ["user_id", *(f"{name}@{k}" for name in names for k in (5, 10, 20, 50))]


def test_relevant_pairs_are_distinct_sorted_and_keyed_by_the_catalog():
    pairs = ranking.relevant(truth_of([[3, 1, 3], [], [0]], 4))
    assert pairs.user_index.tolist() == [0, 0, 2]
    assert pairs.item_index.tolist() == [1, 3, 0]
    assert (pairs.num_users, pairs.num_items) == (3, 4)
    assert pairs.keys().tolist() == [1, 3, 8]
    assert pairs.counts().tolist() == [2, 0, 1]


def test_found_looks_at_the_first_k_of_the_own_list_only():
    pairs = ranking.relevant(truth_of([[0, 3], [3], [1]], 4))
    ranked = np.array([[3, 0, -1], [2, 1, 3], [-1, -1, -1]], np.int32)
    assert ranking.found(ranked, pairs, 1).tolist() == [False, True, False, False]
    assert ranking.found(ranked, pairs, 2).tolist() == [True, True, False, False]
    assert ranking.found(ranked, pairs, 3).tolist() == [True, True, True, False]


def test_lists_that_repeat_padding_are_accepted_and_a_repeat_in_a_later_block_is_named(monkeypatch):
    ranking.measure(lists([[0, -1, -1]]), truth_of([[0]], 3), ks=(3,))
    monkeypatch.setattr(ranking, "BATCH_CELLS", 4)
    with pytest.raises(DataError, match="A list holds item row 2 twice") as caught:
        ranking.measure(lists([[0, 1], [1, 2], [0, 2], [2, 2]]), truth_of([[0]] * 4, 3), ks=(2,))
    assert "user 'u3'" in caught.value.where


def test_hit_rate_is_a_number_and_not_a_truth_value():
    assert ranking.hit_rate(np.array([[True], [False]]), np.ones(2, np.int64), 1).dtype == np.float64


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan], [[1.0, 0.0]]])
def test_a_metric_that_gives_no_number_for_each_user_is_refused(values):
    with pytest.raises(ConfigError, match="The metric 'x' gave"):
        ranking._per_user("x", values, 2)
