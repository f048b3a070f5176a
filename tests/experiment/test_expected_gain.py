"""What a member adds is measured on users whose choices did not set the weights."""

from __future__ import annotations

import numpy as np
import pytest

from hand_made import Told, histories
from penchant.experiment.expected_gain import expected_gain
from penchant.experiment.selection import ValidationScorer

ITEMS = 60


def found(strength: float, users: int = 400, seed: int = 0, *, is_copy: bool = False):
    """Return what a member adds that says a second reason of the choices, with this strength, beside one that says the first."""
    rng = np.random.default_rng(seed)
    taste, other = rng.normal(size=(2, users, ITEMS))
    truth = 1 + np.argmax((2 * taste + strength * other + rng.gumbel(size=(users, ITEMS)))[:, 1:], axis=1)
    members = {
        name: Told({f"u{u}": row.tolist() for u, row in enumerate(rows)})
        for name, rows in (("taste", taste), ("network", taste + 0.02 * other if is_copy else other))
    }
    scorer = ValidationScorer(histories([[0]] * users, ITEMS), histories([[int(item)] for item in truth], ITEMS), 10)
    return expected_gain(members, "network", scorer)


def test_a_member_with_something_new_is_worth_training() -> None:
    one = found(2.0)
    assert one.gain.low > 0.1
    assert not one.suffices


@pytest.mark.parametrize("seed", range(4))
def test_a_member_of_noise_gains_nothing_on_left_out_users(seed: int) -> None:
    one = found(0.0, seed=seed)
    assert one.gain.mean < 0.005  # on the users that the weights were fitted on it would gain
    assert one.reached > 0.3


def test_the_members_suffice_where_the_network_says_the_same() -> None:
    same = found(0.0, is_copy=True)
    assert same.suffices
    assert same.most == pytest.approx(2 * max(same.gain.mean, 0) + same.gain.high - same.gain.mean)
    assert abs(same.gain.mean) < 0.005


def test_too_few_users_say_nothing() -> None:
    assert found(2.0, users=150) is None
