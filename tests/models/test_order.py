from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import linalg, sparse

from penchant.core.schema import Content, Histories
from penchant.models.sessions import SessionRegression, SessionRegressionConfig, after_gap
from penchant.models.transitions import Transitions, TransitionsConfig


@pytest.fixture
def walks(make_histories) -> Histories:
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 7, rng.integers(1, 9)) for _ in range(30)]
    weights = [np.where(rng.random(len(row)) < 0.1, -1, 1) for row in rows]
    return make_histories(rows, 7, weights)


def of_users(histories: Histories):
    for user in range(len(histories)):
        one = histories.rows(user, user + 1)
        yield list(zip(one.item_index.tolist(), one.weight.tolist(), one.at.tolist(), strict=True))


def test_transitions_count_every_pair_in_the_window(walks) -> None:
    settings = {"window": 3, "decay": 0.5, "source_exponent": 0.6, "target_exponent": 0.2, "backward": 0.25}
    member = Transitions(TransitionsConfig(max_gap_days=2, gap_half_life_days=1, **settings)).fit(walks, Content())
    expected, count = np.zeros((7, 7)), np.zeros(7)
    for events in of_users(walks):
        for here, (item, weight, at) in enumerate(events):
            count[item] += weight > 0
            for step in (1, 2, 3):
                if here + step < len(events) and weight > 0 and events[here + step][1] > 0:
                    later, _, then = events[here + step]
                    days = (then - at) / 86_400_000_000
                    value = 0.5 ** (step - 1) * 0.5**days * (days <= 2)
                    expected[item, later] += value
                    expected[later, item] += 0.25 * value
    expected *= count[:, None] ** -0.6 * count[None, :] ** -0.2
    np.testing.assert_allclose(member.matrix.toarray(), expected, rtol=1e-4, atol=1e-7)


def test_transitions_in_blocks_equal_those_at_once(monkeypatch, walks) -> None:
    whole = Transitions().fit(walks, Content()).matrix.toarray()
    monkeypatch.setattr("penchant.models.products.block_rows", lambda columns: 2)
    np.testing.assert_array_equal(Transitions().fit(walks, Content()).matrix.toarray(), whole)


@pytest.mark.parametrize("backward", [0, 0.5])
def test_transitions_in_sparse_blocks_equal_dense_ones(monkeypatch, walks, backward: float) -> None:
    config = TransitionsConfig(window=2, backward=backward, neighbours=3)
    monkeypatch.setattr("penchant.models.transitions.MAX_FILLED", 0)
    dense = Transitions(config).fit(walks, Content())
    monkeypatch.setattr("penchant.models.transitions.MAX_FILLED", np.inf)
    monkeypatch.setattr(np, "add", None)  # the dense way is not taken
    found = Transitions(config).fit(walks, Content())
    np.testing.assert_allclose(found.matrix.toarray(), dense.matrix.toarray(), rtol=1e-5)


def test_session_regression_is_ridge_from_past_to_future(monkeypatch, walks) -> None:
    monkeypatch.setattr("penchant.models.sessions.BLOCK_EVENTS", 11)
    settings = {"past": 3, "future": 2, "past_half_life": 2, "future_half_life": 1}
    member = SessionRegression(SessionRegressionConfig(regularisation=2, target_exponent=0.3, **settings))
    past, future, count = [], [], np.zeros(7)
    for events in of_users(walks):
        for here in range(len(events)):
            x, y = np.zeros(7), np.zeros(7)
            for step in range(3):
                if here - 1 - step >= 0 and events[here - 1 - step][1] > 0:
                    x[events[here - 1 - step][0]] += 0.5 ** (step / 2)
            for step in range(2):
                if here + step < len(events) and events[here + step][1] > 0:
                    y[events[here + step][0]] += 0.5**step
            past.append(x)
            future.append(y)
            count[events[here][0]] += events[here][1] > 0
    x, y = np.array(past), np.array(future)
    expected = np.linalg.solve(x.T @ x + 2 * np.eye(7), x.T @ y) * (count + 1) ** -0.3
    np.testing.assert_allclose(member.fit(walks, Content()).matrix, expected, rtol=1e-3, atol=1e-5)


def test_without_a_gap_every_event_is_explained(walks) -> None:
    config = SessionRegressionConfig(regularisation=2)
    user, item = walks.user_index(), np.where(walks.weight > 0, walks.item_index, -1)

    def window(offsets: np.ndarray, half_life: float) -> sparse.csr_array:
        other = np.arange(len(user))[:, None] + offsets[None, :]
        inside = (other >= 0) & (other < len(user))
        other[~inside] = 0
        inside &= (user[other] == user[:, None]) & (item[other] >= 0)
        row, step = np.nonzero(inside)
        weight = np.exp2(-step / half_life).astype(np.float32)
        return sparse.csr_array(sparse.coo_array((weight, (row, item[other[row, step]])), shape=(len(user), 7)))

    past, future = window(-1 - np.arange(20), 4.0), window(np.arange(10), 3.0)
    gram, cross = (past.T @ past).toarray() + np.float32(2) * np.eye(7, dtype=np.float32), (past.T @ future).toarray()
    expected = linalg.solve(gram.T, cross, assume_a="pos")
    count = np.bincount(walks.item_index[walks.weight > 0], minlength=7) + 1.0
    expected *= (count**-0.1).astype(np.float32)[None, :]
    np.testing.assert_allclose(SessionRegression(config).fit(walks, Content()).matrix, expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("hours", [0.5, 3, 1000])
def test_across_gaps_only_what_follows_a_gap_is_explained(monkeypatch, walks, hours: float) -> None:
    monkeypatch.setattr("penchant.models.sessions.BLOCK_EVENTS", 11)
    rng = np.random.default_rng(1)
    minutes = np.concatenate([np.cumsum(rng.choice([0, 10, 100, 1000], n)) for n in walks.lengths()])
    timed = replace(walks, at=minutes * 60_000_000)
    settings = {"past": 3, "future": 3, "past_half_life": 2, "future_half_life": 1, "min_gap_hours": hours}
    member = SessionRegression(SessionRegressionConfig(regularisation=2, target_exponent=0.3, **settings))
    past, future, count = [], [], np.zeros(7)
    for events in of_users(timed):
        gaps = [
            here > 0 and events[here - 1][2] > 0 and events[here][2] - events[here - 1][2] > hours * 3_600_000_000
            for here in range(len(events))
        ]
        for here in range(len(events)):
            count[events[here][0]] += events[here][1] > 0
            if not gaps[here]:
                continue
            x, y = np.zeros(7), np.zeros(7)
            for step in range(3):
                if here - 1 - step >= 0 and events[here - 1 - step][1] > 0:
                    x[events[here - 1 - step][0]] += 0.5 ** (step / 2)
            for step in range(3):
                if here + step == len(events) or (step and gaps[here + step]):
                    break
                if events[here + step][1] > 0:
                    y[events[here + step][0]] += 0.5**step
            past.append(x)
            future.append(y)
    x, y = np.array(past).reshape(-1, 7), np.array(future).reshape(-1, 7)
    assert after_gap(timed, hours).sum() == len(x)
    assert bool(len(x)) == (hours < 1000)
    expected = np.linalg.solve(x.T @ x + 2 * np.eye(7), x.T @ y) * (count + 1) ** -0.3
    np.testing.assert_allclose(member.fit(timed, Content()).matrix, expected, rtol=1e-3, atol=1e-5)


def test_the_next_step_ranks_first(make_histories) -> None:
    ring = make_histories([[(start + step) % 6 for step in range(5)] for start in range(6)], 6)
    member = Transitions(TransitionsConfig(half_life=1)).fit(ring, Content())
    assert member.score(make_histories([[2, 3]], 6))[0].argmax() == 4
