"""What is taken for a change of interest, and that only the events before it count less."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln
from scipy.stats import dirichlet_multinomial

from hand_made import histories
from penchant.models.interest_change import MAX_EVENTS, PRIOR_EVENTS, InterestChange

TOPICS = np.repeat(np.arange(12), 10)  # items 0 to 9 are of topic 0, and so on
CHANGE = InterestChange(TOPICS, 0.01)
OLD = [*range(20), *range(5)]  # topics 0 and 1
NEW = list(range(110, 120))


def test_old_events_count_less_after_a_change() -> None:
    history = histories([OLD + NEW], len(TOPICS))
    weight = CHANGE.faded(history).weight
    assert (weight[: len(OLD)] < 0.1).all()
    assert (weight[len(OLD) + 2 :] > 0.9).all()
    assert (np.diff(weight) >= 0).all()


def test_nothing_changes_without_a_change() -> None:
    rng = np.random.default_rng(0)
    mixed = [rng.permutation(len(TOPICS))[:30].tolist(), OLD, [0], []]
    history = histories(mixed, len(TOPICS))
    assert CHANGE.faded(history) is history


def test_a_user_does_not_depend_on_the_others() -> None:
    both = CHANGE.faded(histories([OLD + NEW, OLD], len(TOPICS)))
    alone = CHANGE.faded(histories([OLD + NEW], len(TOPICS)))
    np.testing.assert_array_equal(both.rows(0, 1).weight, alone.weight)
    assert (both.rows(1, 2).weight == 1).all()


def test_dislikes_are_no_new_interest_and_keep_their_sign() -> None:
    history = histories([OLD + NEW], len(TOPICS))
    disliked = history.weighted(np.where(history.item_index > 100, -1, 1))
    assert CHANGE.faded(disliked) is disliked
    one = history.weighted(np.where(history.item_index == 3, -1, 1))
    faded = CHANGE.faded(one).weight
    assert -0.1 < faded[3] < 0


def test_probabilities_are_those_of_every_place_of_a_change() -> None:
    """Compared with the likelihoods that SciPy gives for counts, without the number of their orders."""
    topics = np.array([0, 1] * 6 + [11] * 12)
    prior = PRIOR_EVENTS * np.full(12, 1 / 12)

    def likelihood(part: np.ndarray) -> float:
        counts = np.bincount(part, minlength=12)
        orders = gammaln(len(part) + 1) - gammaln(counts + 1).sum()
        return float(np.exp(dirichlet_multinomial.logpmf(counts, prior, len(part)) - orders))

    none = likelihood(topics)
    places = [0.05 * likelihood(topics[:s]) * likelihood(topics[s:]) for s in range(1, len(topics))]
    every = np.array([none, *places]) / (none + sum(places))
    expected = [1 - every[s:].sum() for s in range(1, len(topics) + 1)]
    assert 1 - every[0] > 0.9
    np.testing.assert_allclose(InterestChange(TOPICS, 0.05).unchanged(topics), expected, rtol=1e-5)


def test_a_long_history_is_read_from_its_end() -> None:
    topics = np.concatenate([np.resize([0, 1], 5000), np.full(12, 11)])
    kept = CHANGE.unchanged(topics)
    assert (kept[:5000] < 0.1).all()
    assert (kept[5000:] > 0.9).all()


def test_items_without_a_topic_are_a_topic_of_their_own() -> None:
    without = np.where(TOPICS == 11, -1, TOPICS)
    named = CHANGE.faded(histories([OLD + NEW], len(TOPICS))).weight
    np.testing.assert_allclose(CHANGE.over(without).faded(histories([OLD + NEW], len(TOPICS))).weight, named)


def test_five_events_of_another_topic_are_no_change_and_six_are() -> None:
    """What is noticed follows from the values of `NOTICED` and `PRIOR_EVENTS`: others notice the fifth, or not the sixth."""
    five, six = (histories([OLD + NEW[:n]], len(TOPICS)) for n in (5, 6))
    assert CHANGE.faded(five) is five
    assert (CHANGE.faded(six).weight[: len(OLD)] < 0.2).all()


def test_change_before_the_newest_events_that_are_read_is_none() -> None:
    long = [*OLD, *(NEW * 20)]
    assert len(long) - len(OLD) == MAX_EVENTS
    history = histories([long], len(TOPICS))
    assert CHANGE.faded(history) is history
    shorter = CHANGE.faded(histories([long[:-12]], len(TOPICS))).weight
    assert (shorter[: len(OLD)] < 0.1).all()
