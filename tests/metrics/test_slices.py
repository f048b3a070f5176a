import numpy as np
import polars as pl
import pytest

from penchant.core.schema import Embeddings, Histories
from penchant.metrics import ranking, slices
from penchant.metrics.intervals import BETTER, SAME, IntervalConfig
from penchant.metrics.slices import GroupLabels

FAST = IntervalConfig(resamples=200)


def truth(users: int) -> Histories:
    """Every user chose items 0 and 1."""
    return Histories(
        [f"u{n}" for n in range(users)],
        np.arange(users + 1) * 2,
        np.tile([0, 1], users).astype(np.int32),
        np.arange(users * 2),
        np.ones(users * 2, np.float32),
        4,
    )


def test_binned_labels_name_their_spans():
    labels = slices.GroupLabels.binned(np.array([0, 1, 3, 4, 10, 11, 50, 51, 900]), slices.POPULARITY_EDGES)
    assert labels.names == ("0", "1-3", "4-10", "11-50", ">50")
    assert labels.code.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert slices.GroupLabels.binned(np.array([0, 5, 6, 201]), slices.HISTORY_EDGES).code.tolist() == [0, 1, 2, 5]


def test_labels_of_values_leave_null_out():
    labels = GroupLabels.of(pl.Series(["b", None, "a", "b"]))
    assert labels.names == ("a", "b")
    assert labels.code.tolist() == [1, -1, 0, 1]


def test_presence_labels_tell_filled_in_from_missing():
    present, imputed = np.array([True, False, False]), np.array([False, True, False])
    channel = Embeddings("t", "text", np.zeros((3, 2), np.float32), present, "x", imputed)
    assert slices.presence_labels(channel).code.tolist() == [0, 1, 2]


def test_items_are_sliced_by_what_each_user_found_of_a_group():
    ours = np.tile(np.array([0, 1], np.int32), (20, 1))
    baseline = np.tile(np.array([0, 2], np.int32), (20, 1))
    labels = {"popularity": GroupLabels(("low", "high", "none"), np.array([1, 0, 2, -1]))}
    low, high = slices.slice_items(ours, baseline, truth(20), labels, k=2, config=FAST)
    assert (low.group, low.num_users, low.num_pairs, low.metric) == ("low", 20, 20, "recall@2")
    assert (low.ours.mean, low.baseline.mean, low.difference.outcome) == (1, 0, BETTER)
    assert (high.group, high.difference.mean, high.difference.outcome) == ("high", 0, SAME)


def test_item_slices_of_one_group_for_all_equal_recall():
    rng = np.random.default_rng(0)
    lists = np.array([rng.permutation(4) for _ in range(30)], np.int32)
    (one,) = slices.slice_items(
        lists, lists, truth(30), {"all": GroupLabels(("all",), np.zeros(4, int))}, k=2, config=FAST
    )
    hits = ranking.hit_matrix(lists, truth(30))
    assert one.ours.mean == pytest.approx(ranking.recall(hits, np.full(30, 2), 2).mean())


def test_users_are_sliced_by_their_own_group():
    ids = [f"u{n}" for n in range(30)]
    ours = pl.DataFrame({"user_id": ids[5:], "recall@2": [1.0] * 10 + [0.5] * 15})
    baseline = pl.DataFrame({"user_id": ids[5:], "recall@2": [0.5] * 25})
    labels = {"history": GroupLabels(("short", "long", "nobody"), np.array([0] * 10 + [1] * 15))}
    short, long = slices.slice_users(ours, baseline, labels, metric="recall@2", config=FAST)
    assert (short.num_users, short.ours.mean, short.difference.mean, short.difference.outcome) == (10, 1, 0.5, BETTER)
    assert (long.num_users, long.difference.outcome, long.num_pairs) == (15, SAME, None)
    assert (short.num_rows, long.num_rows) == (10, 15)


def test_rows_of_a_user_with_several_requests_count_each():
    table = pl.DataFrame({"user_id": ["a", "a", "a", "b"], "recall@2": [1.0, 0.5, 0.0, 1.0]})
    labels = {"gap": GroupLabels(("hour", "day"), np.array([0, 0, 1, 1]))}
    hour, day = slices.slice_users(table, table, labels, metric="recall@2", config=FAST)
    assert (hour.num_users, hour.num_rows) == (1, 2)
    assert (day.num_users, day.num_rows) == (2, 2)


def test_history_labels_name_their_spans():
    assert slices.GroupLabels.binned(np.array([0]), slices.HISTORY_EDGES).names == (
        "0",
        "1-5",
        "6-20",
        "21-50",
        "51-200",
        ">200",
    )
    assert GroupLabels.binned(np.array([0, 1, 2]), (1, 2)).names == ("0", "1", ">1")


def test_item_slices_equal_the_share_found_counted_user_by_user():
    rng = np.random.default_rng(6)
    users, items, k = 25, 12, 4
    chosen = [rng.permutation(items)[: rng.integers(1, 6)] for _ in range(users)]
    offsets = np.concatenate([[0], np.cumsum([len(c) for c in chosen])])
    flat = np.concatenate(chosen).astype(np.int32)
    ids = [f"u{n}" for n in range(users)]
    later = Histories(ids, offsets, flat, np.arange(len(flat)), np.ones(len(flat), np.float32), items)
    ours, base = (np.array([rng.permutation(items)[:8] for _ in range(users)], np.int32) for _ in range(2))
    code = rng.integers(-1, 2, items)
    found = slices.slice_items(ours, base, later, {"kind": GroupLabels(("a", "b"), code)}, k=k, config=FAST)
    assert [s.group for s in found] == ["a", "b"]
    for number, one in enumerate(found):
        both = [
            [np.isin(c[code[c] == number], lists[u, :k]).mean() for lists in (ours, base)]
            for u, c in enumerate(chosen)
            if (code[c] == number).any()
        ]
        assert (one.ours.mean, one.baseline.mean) == pytest.approx(tuple(np.mean(both, axis=0)))
        assert one.difference.mean == pytest.approx(np.mean(both, axis=0) @ [1, -1])
        assert one.num_users == len(both)
        assert one.num_pairs == sum((code[c] == number).sum() for c in chosen)
        assert (one.dimension, one.metric) == ("kind", "recall@4")


def test_user_slices_have_intervals_of_their_own_users():
    rng = np.random.default_rng(7)
    ids = [f"u{n}" for n in range(40)]
    mine, theirs = rng.uniform(size=(2, 40))
    label = {"age": GroupLabels(("young", "old"), np.arange(40) % 2)}
    tables = [pl.DataFrame({"user_id": ids, "recall@5": v}) for v in (mine, theirs)]
    found = slices.slice_users(*tables, label, metric="recall@5", config=FAST)
    for number, one in enumerate(found):
        assert one.ours.mean == pytest.approx(mine[number::2].mean())
        assert one.baseline.mean == pytest.approx(theirs[number::2].mean())
        assert (one.dimension, one.metric, one.ours.num_users) == ("age", "recall@5", 20)


def test_presence_labels_have_names():
    nothing = np.zeros(1, bool)
    channel = Embeddings("t", "text", np.zeros((1, 2), np.float32), nothing, "x", nothing)
    assert slices.presence_labels(channel).names == ("present", "filled in", "missing")
