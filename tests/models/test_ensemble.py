from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hand_made import histories
from penchant.core.schema import Content, Embeddings, Histories
from penchant.fusion.late import EnsembleWeights, standardise
from penchant.models.content import ContentKNN, ContentKNNConfig
from penchant.models.ensemble import Ensemble, blocked_items, top_k
from penchant.models.interest_change import InterestChange
from penchant.models.linear import EASE, EASEConfig
from penchant.models.neighbours import ItemKNN, ItemKNNConfig
from penchant.models.new_items import NewItems, NewItemsConfig
from penchant.models.popularity import Popularity


@pytest.fixture
def content() -> Content:
    values = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32)
    present = np.arange(12) != 3
    return Content({"words": Embeddings("words", "text", values, present, "test")})


def unfitted() -> dict[str, Popularity | ItemKNN | EASE | ContentKNN]:
    return {
        "popularity": Popularity(),
        "knn": ItemKNN(ItemKNNConfig(half_life=3)),
        "ease": EASE(EASEConfig(regularisation=5)),
        "like_words": ContentKNN(ContentKNNConfig(channel="words", neighbours=4)),
        "idle": EASE(),
    }


WEIGHTS = EnsembleWeights({"popularity": 0.2, "knn": 0.1, "ease": 0.4, "like_words": 0.3, "idle": 0.0})


@pytest.fixture
def ensemble(random_histories, content) -> Ensemble:
    members = {name: member.fit(random_histories, content) for name, member in unfitted().items()}
    return Ensemble.build(members, WEIGHTS, content)


def z_scores(ensemble: Ensemble, histories: Histories) -> dict[str, np.ndarray]:
    """Return what each member says of every item: mean 0 and deviation 1 for each user."""
    said = {name: member.score(histories).astype(np.float64) for name, member in ensemble.members.items()}
    return {name: (s - s.mean(1, keepdims=True)) / s.std(1, keepdims=True) for name, s in said.items()}


def test_members_without_a_say_are_left_out(ensemble) -> None:
    assert list(ensemble.members) == ["popularity", "knn", "ease", "like_words"]
    assert ensemble.channels["like_words"] == ("words",)
    assert ensemble.channels["ease"] == ("behaviour",)


def test_the_score_is_the_weighted_sum_of_z_scores(ensemble, random_histories) -> None:
    parts = z_scores(ensemble, random_histories)
    expected = sum(WEIGHTS[name] * z for name, z in parts.items())
    np.testing.assert_allclose(ensemble.score(random_histories), expected, rtol=1e-4, atol=1e-5)


def test_long_histories_have_weights_of_their_own(ensemble, random_histories, content) -> None:
    lengths = random_histories.lengths()
    start = int(np.median(lengths)) + 1
    bands = EnsembleWeights(WEIGHTS.overall, (start,), ({"popularity": 1.0}, {"ease": 1.0}))
    banded = Ensemble.build(dict(ensemble.members) | {"idle": EASE()}, bands, content)
    parts, score = z_scores(banded, random_histories), banded.score(random_histories)
    assert 0 < (lengths < start).sum() < len(lengths)
    np.testing.assert_allclose(score[lengths < start], parts["popularity"][lengths < start], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(score[lengths >= start], parts["ease"][lengths >= start], rtol=1e-4, atol=1e-5)
    for user in (int(lengths.argmin()), int(lengths.argmax())):
        parts = banded.contributions(random_histories.rows(user, user + 1), np.array([3]))
        assert parts.sum() == pytest.approx(score[user, 3], abs=1e-4)


def test_contributions_of_members_and_events_sum_to_the_score(ensemble, random_histories) -> None:
    chosen = np.array([0, 3, 7, 11])
    for user in range(8):
        one = random_histories.rows(user, user + 1)
        parts = ensemble.contributions(one, chosen)
        assert parts.shape == (4, one.num_events + 1, 4)
        np.testing.assert_allclose(parts.sum((0, 1)), ensemble.score(one)[0, chosen], rtol=1e-4, atol=1e-5)
        assert not parts[0, 1:].any()  # popularity hears nobody


def test_contributions_with_known_scales_are_the_same_and_score_no_catalog(
    ensemble, random_histories, monkeypatch
) -> None:
    one, chosen = random_histories.rows(3, 4), np.array([0, 5])
    expected = ensemble.contributions(one, chosen)
    (scores,) = ensemble.scored(one).each()
    np.testing.assert_array_equal(scores.values, ensemble.score(one)[0])
    monkeypatch.setattr("penchant.models.ensemble.on_one_scale", lambda *_: pytest.fail("scored again"))
    np.testing.assert_allclose(ensemble.contributions(one, chosen, scores), expected, rtol=1e-6)


def test_contributions_after_a_change_of_interest_sum_to_the_score_and_old_events_give_little(content) -> None:
    topics = np.repeat(np.arange(4), 3)
    one = histories([[0, 1, 3, 4, 0, 1, 3, 4] + [9, 10, 11] * 5], 12)
    members = {name: member.fit(one, content) for name, member in unfitted().items()}
    plain = Ensemble.build(members, WEIGHTS, content)
    noticing = Ensemble.build(members, WEIGHTS, content, InterestChange(topics, 0.1))
    chosen = np.arange(12)
    parts = noticing.contributions(one, chosen)
    np.testing.assert_allclose(parts.sum((0, 1)), noticing.score(one)[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(noticing.parts(one, chosen).sum(0), noticing.score(one)[0], rtol=1e-4, atol=1e-4)
    old = np.abs(plain.contributions(one, chosen)[2, 1:9]).sum()  # of EASE
    assert np.abs(parts[2, 1:9]).sum() < 0.2 * old
    assert not np.allclose(noticing.score(one), plain.score(one), atol=1e-3)


def test_a_grown_catalog_has_items_without_a_topic_until_they_are_told(ensemble, content, random_histories) -> None:
    noticing = replace(ensemble, change=InterestChange(np.zeros(12, np.int32), 0.01))
    values = np.random.default_rng(2).normal(size=(14, 4)).astype(np.float32)
    grown = Content({"words": Embeddings("words", "text", values, np.ones(14, bool), "test")})
    found = noticing.add_items(grown, range(12, 14))
    assert found.change is not None
    assert found.change.topics.tolist() == [0] * 12 + [-1] * 2


def test_the_lift_of_new_items_is_added_as_it_is_and_contributions_sum_to_the_score(
    ensemble, random_histories, content
) -> None:
    lift = NewItems(NewItemsConfig(of="added")).fit(random_histories, content)
    weights = WEIGHTS.with_member("new_items", 0.7)
    lifted = Ensemble.build({**unfitted(), **ensemble.members, "new_items": lift}, weights, content)
    np.testing.assert_array_equal(lifted.score(random_histories), ensemble.score(random_histories))
    words = content.channels["words"]
    values, present = (np.concatenate([one, one[[1, 5]]]) for one in (words.values, words.present))
    more = Content({"words": Embeddings("words", "text", values, present, "test")})
    grown, plain = (one.add_items(more, range(12, 14)) for one in (lifted, ensemble))
    one = replace(random_histories.rows(3, 4), num_items=14)
    change = grown.score(one)[0] - plain.score(one)[0]
    np.testing.assert_allclose(change, [0] * 12 + [0.7] * 2, atol=1e-6)
    parts = grown.contributions(one, np.arange(14))
    np.testing.assert_allclose(parts.sum((0, 1)), grown.score(one)[0], rtol=1e-4, atol=1e-5)


def test_items_without_events_are_new_unless_only_added_ones_are(make_histories) -> None:
    known = make_histories([[1], [1, 2]], 4)
    assert NewItems().fit(known, Content()).prior.tolist() == [1, 0, 0, 1]
    assert NewItems(NewItemsConfig(of="added")).fit(known, Content()).prior.tolist() == [0, 0, 0, 0]


def test_recommend_leaves_out_the_history_and_other_items(ensemble, random_histories) -> None:
    candidates = np.arange(12) < 6
    lists = ensemble.recommend(random_histories, 4, candidates=candidates)
    for user, row in enumerate(lists.item_index):
        seen = set(random_histories.rows(user, user + 1).item_index.tolist())
        shown = [item for item in row.tolist() if item >= 0]
        assert not seen & set(shown)
        assert max(shown, default=0) < 6
    assert lists.item_index.shape == (40, 4)


def test_restored_stack_scores_bit_for_bit(ensemble, random_histories, content) -> None:
    twin = Ensemble.build(unfitted(), WEIGHTS, content).restore(ensemble.arrays())
    np.testing.assert_array_equal(twin.score(random_histories), ensemble.score(random_histories))
    assert all(key.partition("/")[0] in ensemble.members for key in ensemble.arrays())


def test_top_k_orders_and_pads() -> None:
    scores = np.array([[1, 3, -np.inf, 2], [-np.inf, -np.inf, -np.inf, 5]], np.float32)
    found = top_k(scores, 3, ["a", "b"])
    assert found.item_index.tolist() == [[1, 3, 0], [3, -1, -1]]
    assert found.score[0].tolist() == [3, 2, 1]
    assert np.isneginf(found.score[1, 1:]).all()


def test_top_k_of_a_large_catalog_is_that_of_a_full_sort() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(7, 700)).astype(np.float32)
    scores[1] = np.round(scores[1])  # the list ends among equal scores
    scores[2] = 1  # all equal
    scores[3, 5:] = -np.inf
    scores[4, 690:] = 9 + np.arange(10)  # behind the last stripe
    scores[5, ::43] = 8  # several of the best in one stripe
    order = rng.permutation(700).astype(np.uint64)
    found = top_k(scores, 10, list("abcdefg"), order)
    for row, one in enumerate(scores):
        full = np.lexsort((order, -one))[:10]
        expected = np.where(np.isneginf(one[full]), -1, full)
        assert found.item_index[row].tolist() == expected.tolist(), row


def test_blocked_items_are_the_history_and_what_is_no_candidate(make_histories) -> None:
    blocked = blocked_items(make_histories([[1], []], 4), np.array([True, True, True, False]))
    assert blocked.tolist() == [[False, True, False, True], [False, False, False, True]]


def test_standardise_is_exact_far_from_zero() -> None:
    scores = (1e4 + np.random.default_rng(0).normal(size=(2, 5000))).astype(np.float32)
    exact = scores.astype(np.float64)
    found = standardise(scores)
    np.testing.assert_allclose(found.std[:, 0], exact.std(1), rtol=1e-5)
    np.testing.assert_allclose(
        found.values, (exact - exact.mean(1, keepdims=True)) / exact.std(1, keepdims=True), atol=1e-3
    )


def test_standardise_gives_silence_to_a_member_that_says_nothing() -> None:
    assert not standardise(np.full((2, 5), 3.3, np.float32)).values.any()
