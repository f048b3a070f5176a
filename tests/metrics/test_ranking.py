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
def test_numbers_equal_ranx(world, k):
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
