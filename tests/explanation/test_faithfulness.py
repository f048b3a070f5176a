"""The checks of explanations find what is true, and what is not."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from penchant.core.schema import Histories
from penchant.explanation.attribution import attribute
from penchant.explanation.faithfulness import (
    TOLERANCE,
    agreement,
    curves,
    event_contributions,
    share_of_top,
    statement_errors,
    with_random_parameters,
)
from penchant.models.ensemble import Ensemble
from penchant.models.member import Contributions
from penchant.recommender.recommender import Recommender


@pytest.fixture(scope="module")
def recommender(shop: Path) -> Recommender:
    return Recommender.load(shop)


@pytest.fixture
def liar(recommender: Recommender) -> Ensemble:
    """Return the ensemble with a member that states too much of its second event, and too little of its first."""
    member = copy.copy(recommender.ensemble.members["ease"])
    honest = member.contributions

    def lying(history: Histories) -> Contributions:
        prior, events = honest(history)
        shift = 0.1 * np.abs(events[0])
        return prior, np.stack([events[0] - shift, events[1] + shift, *events[2:]])

    member.contributions = lying  # type: ignore[method-assign]
    return replace(recommender.ensemble, members={**recommender.ensemble.members, "ease": member})


def test_stated_sums_are_what_deletion_costs(recommender: Recommender, liar: Ensemble) -> None:
    for user in ("u0", "u1", "u6"):
        history = recommender.history(user)
        for row in (0, 23):
            for events in ([0], [1, 4], range(6)):
                errors = statement_errors(recommender.ensemble, history, row, np.array(events))
                assert list(errors) == list(recommender.ensemble.members)
                assert max(errors.values()) <= TOLERANCE
    history = recommender.history("u0")
    told = statement_errors(liar, history, 20, np.array([1]))
    assert told["ease"] > 100 * TOLERANCE
    assert max(value for name, value in told.items() if name != "ease") <= TOLERANCE
    # the sum over both events is right, as is the score
    assert liar.contributions(history, np.array([20])).sum() == pytest.approx(liar.score(history)[0, 20], abs=1e-5)


def test_curves_are_differences_of_scores(recommender: Recommender) -> None:
    history, row = recommender.history("u0"), 3
    order = np.argsort(-event_contributions(recommender.ensemble, history, row), kind="stable")
    found = curves(recommender.ensemble, history, row, order, most=6, draws=4, rng=np.random.default_rng(0))
    whole = recommender.score(history)[0, row]
    for m in (1, 2, 5):
        left = history.where(~np.isin(np.arange(6), order[:m]))
        assert found.deletion[m - 1] == pytest.approx(whole - recommender.score(left)[0, row], abs=1e-5)
        alone = history.where(np.isin(np.arange(6), order[:m]))
        empty = recommender.score(history.where(np.zeros(6, bool)))[0, row]
        assert found.insertion[m - 1] == pytest.approx(recommender.score(alone)[0, row] - empty, abs=1e-5)
    # all events are the same set in every order
    assert found.random_deletion[-1] == pytest.approx(found.deletion[-1], abs=1e-5)
    assert found.random_insertion[-1] == pytest.approx(found.insertion[-1], abs=1e-5)
    assert found.deletion[0] > found.random_deletion[0]
    against = curves(recommender.ensemble, history, row, order[::-1], most=6, draws=4, rng=np.random.default_rng(0))
    assert against.deletion[0] < found.random_deletion[0]


def test_random_parameters_leave_the_bundle_as_it_is_and_explain_otherwise(recommender: Recommender) -> None:
    history = recommender.history("u0")
    before = recommender.score(history)
    other = with_random_parameters(recommender.ensemble, np.random.default_rng(0))
    assert np.array_equal(recommender.score(history), before)
    assert not np.allclose(other.score(history), before, atol=0.1)
    same, alike = [], []
    for user in recommender.histories.user_ids:
        told, again, wrong = (
            event_contributions(one, recommender.history(user), 3)
            for one in (recommender.ensemble, recommender.ensemble, other)
        )
        same.append(agreement(told, again))
        alike.append(agreement(told, wrong))
    assert np.mean(same) == pytest.approx(1)
    assert abs(np.mean(alike)) < 0.3


def test_shapley_values_are_those_of_all_coalitions(recommender: Recommender) -> None:
    reads = {
        "popularity": ("behaviour",),
        "ease": ("behaviour",),
        "like_sound": ("sound",),
        "content": ("sound", "text"),
    }
    ensemble = replace(recommender.ensemble, channels=reads)
    history, row, names = recommender.history("u1"), 5, ("behaviour", "sound", "text")

    def worth(coalition: tuple[str, ...]) -> float:
        members = {n: m for n, m in ensemble.members.items() if set(reads[n]) <= set(coalition)}
        part = replace(ensemble, members=members, weights=ensemble.weights.only(list(members)))
        return float(part.score(history)[0, row]) if members else 0.0

    expected = dict.fromkeys(names, 0.0)
    for order in permutations(names):
        for place, name in enumerate(order):
            expected[name] += (worth(order[: place + 1]) - worth(order[:place])) / 6
    found = attribute(ensemble, history, np.array([row])).shapley()
    assert {name: float(value[0]) for name, value in found.items()} == pytest.approx(expected, abs=1e-5)
    assert abs(expected["text"]) > 0.01
    told = recommender.explain("u1", "i5")
    assert sum(told.shapley.values()) == pytest.approx(told.score, abs=1e-5)
    assert told.as_dict()["shapley"] == told.shapley


def test_agreement_of_known_lists() -> None:
    first = np.array([4.0, 3.0, 2.0, 1.0])
    assert agreement(first, first**3) == pytest.approx(1)
    assert agreement(first, -first) == pytest.approx(-1)
    assert np.isnan(agreement(first, np.ones(4)))
    assert np.isnan(agreement(first[:2], first[:2]))
    assert share_of_top(first, np.array([3.0, 1.0, 4.0, 2.0]), 2) == pytest.approx(0.5)
    assert share_of_top(first, -first, 4) == pytest.approx(1)
