"""Which objective is used, on worlds whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from hand_made import Told, histories
from penchant.core.schema import BEHAVIOUR
from penchant.experiment import fit as fitting
from penchant.experiment import weighting
from penchant.experiment.fit import FitConfig, HoldOut
from penchant.experiment.pool import MemberPool
from penchant.experiment.selection import ValidationScorer
from penchant.experiment.weighting import LEAST_SQUARES, WeightRule, best_rule
from penchant.fusion.late import EnsembleConfig, EnsembleWeights, Moments, forward_order

USERS, ITEMS = 400, 60


def world(said: dict[str, np.ndarray], logits: np.ndarray) -> tuple[MemberPool, HoldOut]:
    """Return members that say these scores, and users who chose the item with the highest logit; item 0 is the history."""
    truth = 1 + np.argmax(logits[:, 1:], axis=1)
    told = {name: Told({f"u{u}": row.tolist() for u, row in enumerate(rows)}) for name, rows in said.items()}
    known, chose = histories([[0]] * USERS, ITEMS), histories([[int(item)] for item in truth], ITEMS)
    return MemberPool(told), HoldOut(known, chose)


def sparse_prior() -> tuple[MemberPool, HoldOut]:
    """Taste decides, and two new items are chosen a little more often: in z-scores the sparse prior is 5 there and near 0 elsewhere."""
    rng = np.random.default_rng(0)
    taste, new = rng.normal(size=(USERS, ITEMS)), np.broadcast_to((np.arange(ITEMS) % 30 == 7) * 1.0, (USERS, ITEMS))
    z = (new - new.mean()) / new.std()
    return world({"taste": taste, "new": new}, 2.5 * taste + 0.35 * z + rng.gumbel(size=(USERS, ITEMS)))


def heavy_tail() -> tuple[MemberPool, HoldOut]:
    """What "loud" says is nearly always right, but where it is not, it is far off, and the likelihood turns it down for that."""
    rng = np.random.default_rng(1)
    weak, loud, wanted = rng.normal(size=(USERS, ITEMS)), rng.normal(size=(USERS, ITEMS)), rng.integers(1, ITEMS, USERS)
    logits = np.zeros((USERS, ITEMS))
    logits[np.arange(USERS), wanted] = 1
    weak += 0.9 * logits
    loud += np.where(np.arange(USERS) % 12 < 11, 3, -60)[:, None] * logits
    return world({"loud": loud, "weak": weak}, logits)


def weigh(pool: MemberPool, stage: HoldOut, floor: list[str] | None = None, **settings: object):
    scorer = ValidationScorer.sample(stage.histories, stage.truth, 5, 2000, None)
    plan = [fitting.AblationArm(frozenset({BEHAVIOUR, "text"}), tuple(sorted(pool.members)))]
    plan.append(fitting.AblationArm(frozenset({BEHAVIOUR}), tuple(sorted(pool.members))[:1]))
    config = FitConfig(ensemble=EnsembleConfig(bands=1, **settings))
    rows, scores, rule, notes = fitting._weigh(plan, pool, stage, config, scorer, (), floor)
    assert bool(notes) == (floor is not None)
    return rows, scores[fitting.OURS], rule, scorer if floor is None else notes[0]


def test_listwise_is_chosen_where_least_squares_misweights_a_sparse_prior() -> None:
    pool, stage = sparse_prior()
    rows, score, rule, scorer = weigh(pool, stage)
    assert rule == WeightRule("listwise")
    plain, plain_score, kept, _ = weigh(pool, stage, objective="least_squares")
    assert kept == LEAST_SQUARES
    assert score > plain_score
    assert rows[0].weights["new"] < 0.7 * plain[0].weights["new"]
    assert sum(rows[0].weights.values()) == pytest.approx(1)
    assert score == scorer(pool, rows[0].weights)
    assert dict(rows[1].weights) == {"new": 1.0}  # the arm is fitted by the same rule


def test_least_squares_stays_where_the_likelihood_ranks_worse() -> None:
    pool, stage = heavy_tail()
    _, score, rule, _ = weigh(pool, stage)
    _, forced_score, listwise, _ = weigh(pool, stage, objective="listwise")
    assert listwise == WeightRule("listwise")
    assert rule == LEAST_SQUARES
    assert score > forced_score


def test_few_users_or_one_member_compare_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, stage = sparse_prior()
    one = MemberPool({"taste": pool.members["taste"]})
    assert weigh(one, stage)[2] == LEAST_SQUARES
    monkeypatch.setattr(weighting, "MIN_HALF_USERS", 201)
    assert weigh(pool, stage)[2] == LEAST_SQUARES


def test_another_rule_must_be_better_on_both_halves() -> None:
    listwise, two = WeightRule("listwise"), WeightRule(size=2)
    base = [LEAST_SQUARES]
    assert best_rule({LEAST_SQUARES: [0.2, 0.3], listwise: [0.5, 0.3], two: [0.21, 0.31]}, base) == two
    assert best_rule({LEAST_SQUARES: [0.2, 0.3], listwise: [0.22, 0.35], two: [0.21, 0.31]}, base) == listwise
    assert best_rule({LEAST_SQUARES: [0.2, 0.3], listwise: [0.9, 0.3], two: [0.2, 0.3]}, base) == LEAST_SQUARES
    banded = WeightRule(bands="length")
    scored = {LEAST_SQUARES: [0.2, 0.3], banded: [0.3, 0.4], listwise: [0.29, 0.41], two: [0.31, 0.41]}
    assert best_rule(scored, [LEAST_SQUARES, banded]) == two
    gaps = WeightRule(bands="gap")
    scored = {LEAST_SQUARES: [0.2, 0.3], banded: [0.3, 0.4], gaps: [0.31, 0.4], listwise: [0.35, 0.39]}
    assert (
        best_rule(scored, [LEAST_SQUARES, banded, gaps]) == gaps
    )  # the best of the base, no other being better on both halves


def test_members_are_selected_by_what_they_add() -> None:
    gram = np.array([[1, 0.99, 0], [0.99, 1, 0], [0, 0, 1]], float)
    moments = Moments(gram, np.array([1.0, 0.99, 0.5]))  # the second says what the first says
    assert forward_order(moments, EnsembleConfig(min_share=0), 2) == [0, 2]
    assert forward_order(Moments(gram, np.array([1.0, 0.5, -1.0])), EnsembleConfig(min_share=0), 3) == [0]
    assert (
        len(forward_order(Moments(gram, np.array([-1.0, -0.5, -1.0])), EnsembleConfig(min_share=0), 3)) == 1
    )  # none helps


def test_a_selection_gives_other_members_no_weight() -> None:
    pool, stage = sparse_prior()
    names = ["new", "noise", "taste"]
    rng = np.random.default_rng(2)
    members = {**pool.members, "noise": Told({f"u{u}": rng.normal(size=ITEMS).tolist() for u in range(USERS)})}
    config = EnsembleConfig(bands=1, min_share=0)
    moments = MemberPool(members).moments(names, stage.histories, stage.truth, config)
    weights = WeightRule(size=2).fit(names, {"length": moments}, None, config)
    assert isinstance(weights, EnsembleWeights)
    assert set(weights) == {"new", "taste"}


def test_each_rule_is_described() -> None:
    assert WeightRule("listwise", 4).describe() == (
        "Ensemble weights are fitted on validation by the likelihood of each choice among sampled items, of up to 4 members selected forward."
    )
    assert WeightRule(bands="length").describe().endswith("by least squares, for each band of history length.")
    assert (
        WeightRule(bands="gap")
        .describe()
        .endswith("by least squares, for each band of the time since the user's last event.")
    )
    assert LEAST_SQUARES.describe() == "Ensemble weights are fitted on validation by least squares."


def test_a_member_beyond_the_floor_stays_where_left_out_users_gain_by_it() -> None:
    rng = np.random.default_rng(2)
    taste, found = rng.normal(size=(2, USERS, ITEMS))
    pool, stage = world({"taste": taste, "network": found}, 2 * taste + 2 * found + rng.gumbel(size=(USERS, ITEMS)))
    rows, _, _, note = weigh(pool, stage, ["taste"])
    assert set(rows[0].weights) == {"taste", "network"}
    assert note.startswith("kept network: NDCG of left-out validation users ")


def test_a_member_beyond_the_floor_is_left_out_where_left_out_users_lose_by_it() -> None:
    """It tells the truth about every second user, who are one half, and the opposite about the others."""
    rng = np.random.default_rng(3)
    taste, hidden = rng.normal(size=(2, USERS, ITEMS))
    said = hidden * np.where(np.arange(USERS) % 2, -1, 1)[:, None]
    pool, stage = world({"taste": taste, "network": said}, 2 * taste + hidden + rng.gumbel(size=(USERS, ITEMS)))
    rows, _, _, note = weigh(pool, stage, ["taste"])
    assert dict(rows[0].weights) == {"taste": 1.0}
    assert note.startswith("left out network: NDCG of left-out validation users ")


def test_a_member_beyond_the_floor_is_left_out_where_nothing_can_be_compared() -> None:
    rng = np.random.default_rng(4)
    taste, found = rng.normal(size=(2, USERS, ITEMS))
    pool, stage = world({"taste": taste, "network": found}, 2 * taste + 2 * found + rng.gumbel(size=(USERS, ITEMS)))
    few = HoldOut(stage.histories.rows(0, 150), stage.truth.rows(0, 150))
    rows, _, _, note = weigh(pool, few, ["taste"])
    assert dict(rows[0].weights) == {"taste": 1.0}
    assert "too few validation users" in note
