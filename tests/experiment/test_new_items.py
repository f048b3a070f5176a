"""The lift of new items is taken only where left-out validation users gain clearly."""

from __future__ import annotations

import numpy as np
import pytest

from penchant.experiment.new_items import LIFTS, clear_lift


def gains_of(means: list[float], users: int = 400, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    """Return NDCG of users who share their own level under every lift, with some noise of each lift."""
    rng = np.random.default_rng(seed)
    return np.array(means) + rng.normal(0, 0.3, (users, 1)) + rng.normal(0, noise, (users, len(means)))


@pytest.mark.parametrize("seed", range(5))
def test_a_clear_gain_is_taken_at_the_smallest_lift_as_good_as_the_best(seed: int) -> None:
    rising = [0.0, 0.02, *np.linspace(0.1, 0.1005, len(LIFTS) - 2)]  # the best by its mean is a larger lift
    gains = gains_of(rising, noise=0.02, seed=seed)
    gains += rising - gains.mean(0)
    assert int(np.argmax(gains.mean(0))) == len(LIFTS) - 1
    assert clear_lift(gains) == LIFTS[2]


@pytest.mark.parametrize("seed", range(5))
def test_a_flat_curve_lifts_nothing(seed: int) -> None:
    gains = gains_of([0.0] * len(LIFTS), seed=seed)
    assert int(np.argmax(gains.mean(0))) > 0  # the best by its mean would be some lift
    assert clear_lift(gains) == 0


def test_a_gain_of_one_half_of_the_users_is_not_taken() -> None:
    """What the first half chooses is a loss to the second, though the mean over both is far above 0."""
    gains = gains_of([0.0] * len(LIFTS), noise=0.001)
    gains[::2, 4] += 0.3
    gains[::2, 5] += 0.2
    gains[1::2, 4] -= 0.02
    gains[1::2, 5] += 0.02
    assert clear_lift(gains) == 0
    gains[1::2, 4] += 0.1
    assert clear_lift(gains) == LIFTS[4]


def test_with_few_users_nothing_is_clear() -> None:
    assert clear_lift(gains_of([0.0] + [0.5] * (len(LIFTS) - 1), users=6)) == 0
