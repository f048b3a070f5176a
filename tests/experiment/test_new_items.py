"""The lift of new items is taken only where left-out validation users gain clearly."""

from __future__ import annotations

import numpy as np
import pytest

from penchant.experiment.new_items import LIFTS, clear_lift


def gains_of(means: list[float], users: int = 400, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    """Return NDCG of users who share their own level under every lift, with some noise of each lift."""
    rng = np.random.default_rng(seed)
    return np.array(means) + rng.normal(0, 0.3, (users, 1)) + rng.normal(0, noise, (users, len(means)))


def test_a_clear_gain_is_taken_at_the_smallest_lift_as_good_as_the_best() -> None:
    rising = [0.0, 0.02, 0.1, *[0.1] * (len(LIFTS) - 3)]
    assert clear_lift(gains_of(rising, noise=0.02)) == LIFTS[2]


@pytest.mark.parametrize("seed", range(5))
def test_a_flat_curve_lifts_nothing(seed: int) -> None:
    gains = gains_of([0.0] * len(LIFTS), seed=seed)
    assert int(np.argmax(gains.mean(0))) > 0  # the best by its mean would be some lift
    assert clear_lift(gains) == 0


def test_a_gain_of_one_half_of_the_users_is_not_taken() -> None:
    gains = gains_of([0.0] * len(LIFTS), noise=0.01)
    gains[::2, 4] += 0.2
    gains[1::2, 4] -= 0.02
    assert gains[:, 4].mean() > gains[:, 0].mean() + 0.05
    assert clear_lift(gains) == 0


def test_with_few_users_nothing_is_clear() -> None:
    assert clear_lift(gains_of([0.0] + [0.5] * (len(LIFTS) - 1), users=6)) == 0
