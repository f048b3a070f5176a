"""Lists that explore: stated probabilities are those of the draws, one key gives one list, pinned items stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from penchant.recommender.exploration import ListPolicy, ServedPlaces
from penchant.recommender.lists import Edit, ExplorationConfig, ListRequest, RankingOptions
from penchant.recommender.recommender import Recommender

DRAWS = 3000


@pytest.fixture(scope="module")
def recommender(shop: Path) -> Recommender:
    return Recommender.load(shop)


def serve(recommender: Recommender, config: ExplorationConfig, key: str, edits=(), **options) -> ServedPlaces:
    found: list[ServedPlaces] = []
    history = recommender.history("u0")
    request = ListRequest(RankingOptions(k=3, **options), "u0", history, edits, exploration=config, list_id=key)
    (answer,) = recommender.recommend_many([request], served=lambda _, places: found.append(places))
    assert not isinstance(answer, Exception)
    assert answer.list_id == key
    (places,) = found
    shown = [item.item_id for item in answer.items]
    assert shown[places.first :] == [places.candidates[column] for column in places.shown]
    return places


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    kept = expected > 0
    assert counts[~kept].sum() == 0
    return float(((counts[kept] - expected[kept]) ** 2 / expected[kept]).sum())


@pytest.mark.parametrize("seed", range(3))
def test_propensities_are_those_of_the_draws(seed: int):
    rng = np.random.default_rng(seed)
    policy = ListPolicy(np.stack([rng.permutation(5) for _ in range(4)]), 0.3)
    counts = np.zeros((5, 3))
    for number in range(DRAWS):
        counts[policy.drawn(f"{seed} {number}", 3), np.arange(3)] += 1
    expected = policy.propensities(3)
    assert np.allclose(expected.sum(0), 1)
    for place in range(3):
        assert chi_square(counts[:, place], DRAWS * expected[:, place]) < 18.5  # 4 degrees of freedom: p = .001


@pytest.mark.parametrize("policy", ["epsilon", "thompson"])
def test_a_served_list_states_the_share_of_lists_like_it(recommender: Recommender, policy: str):
    config = ExplorationConfig(policy=policy, epsilon=0.4, candidates=5, draws=6)
    found = [serve(recommender, config, f"request {n}") for n in range(250)]
    stated: dict[tuple[int, str], float] = {}
    counts: dict[tuple[int, str], int] = {}
    for places in found:
        for place, (column, propensity) in enumerate(zip(places.shown, places.propensities, strict=True)):
            cell = (place, places.candidates[column])
            assert stated.setdefault(cell, propensity) == propensity
            counts[cell] = counts.get(cell, 0) + 1
    for cell, propensity in stated.items():
        error = np.sqrt(propensity * (1 - propensity) / 250)
        assert abs(counts[cell] / 250 - propensity) < 4 * error + 1e-9, cell
    assert len({places.shown for places in found}) > 5


def test_one_key_gives_one_list_and_another_key_another(recommender: Recommender):
    config = ExplorationConfig(policy="epsilon", epsilon=1.0, candidates=12)
    assert serve(recommender, config, "a") == serve(recommender, config, "a")
    assert len({serve(recommender, config, f"key {n}").shown for n in range(10)}) > 5


def test_without_exploration_the_list_is_the_usual_one_with_certainty(recommender: Recommender):
    places = serve(recommender, ExplorationConfig(), "a", diversity=0.5)
    usual = recommender.recommend("u0", 3, reasons=False, diversity=0.5)
    assert [places.candidates[column] for column in places.shown] == [item.item_id for item in usual]
    assert places.propensities == (1.0, 1.0, 1.0)
    assert len(places.candidates) == 18  # of 24 items, 6 are in the history


def test_pinned_items_stay_and_filters_hold_for_every_candidate(recommender: Recommender):
    config = ExplorationConfig(policy="epsilon", epsilon=1.0, candidates=8)
    for n in range(20):
        places = serve(recommender, config, f"{n}", edits=[Edit("item", "i20", "pin")], where=["genres:low"])
        assert places.first == 1
        assert "i20" not in places.candidates
        assert all(int(item[1:]) >= 12 for item in places.candidates)


def test_members_add_up_to_the_score(recommender: Recommender):
    history, rows = recommender.history("u1"), np.arange(24)
    assert np.allclose(recommender.ensemble.parts(history, rows).sum(0), recommender.score(history)[0], atol=1e-5)
