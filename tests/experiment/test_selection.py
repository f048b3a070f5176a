"""The better setting is chosen, by an NDCG that a plain implementation gives too."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest

from hand_made import Dial, Told, channel, histories
from penchant.core.schema import Content, Histories
from penchant.experiment.pool import MemberPool
from penchant.experiment.selection import (
    SelectionConfig,
    Tried,
    ValidationScorer,
    beats,
    choose_fusion,
    choose_settings,
    table_key,
)
from penchant.fusion.concat import ConcatConfig
from penchant.fusion.fusion import make_fusion
from penchant.fusion.late import EnsembleWeights
from penchant.models.content import ContentKNN

pytestmark = pytest.mark.usefixtures("hand_made")
ITEMS = 8
ONE = EnsembleWeights({"m": 1.0})


def plain_ndcg(scores: dict[str, list[float]], known: Histories, truth: Histories, at: int, allowed: set[int]) -> float:
    """Return the mean NDCG in plain Python: binary gains, the ideal list as long as there are true items."""
    total = 0.0
    for user, name in enumerate(known.user_ids):
        seen = set(known.rows(user, user + 1).item_index.tolist())
        own = truth.rows(user, user + 1)
        wanted = {int(item) for item, weight in zip(own.item_index, own.weight, strict=True) if weight > 0}
        listed = sorted(sorted(allowed - seen), key=lambda item: -scores[name][item])[:at]
        gain = sum(1 / log2(place + 2) for place, item in enumerate(listed) if item in wanted)
        ideal = sum(1 / log2(place + 2) for place in range(min(at, len(wanted))))
        total += gain / ideal if ideal else 0.0
    return total / len(known)


def random_world(seed: int) -> tuple[dict[str, list[float]], Histories, Histories]:
    rng = np.random.default_rng(seed)
    rows, later, liked = [], [], []
    for _ in range(20):
        order, length, wanted = rng.permutation(ITEMS), rng.integers(0, 4), rng.integers(1, 5)
        rows.append(order[:length].tolist())
        later.append([*order[length : length + wanted].tolist(), int(order[length])])  # the first again
        liked.append([float(rng.choice([1, 0.5, -1])) for _ in later[-1]])
    scores = {f"u{user}": rng.normal(size=ITEMS).round(3).tolist() for user in range(20)}
    return scores, histories(rows, ITEMS), histories(later, ITEMS, liked)


@pytest.mark.parametrize("at", [1, 3, 20])
@pytest.mark.parametrize("allowed", [None, {0, 2, 3, 5, 7}])
def test_mutant_a_validation_scorer_that_returns_a_constant_dies(at: int, allowed: set[int] | None) -> None:
    mask = None if allowed is None else np.isin(np.arange(ITEMS), list(allowed))
    found = set()
    for seed in range(3):
        scores, known, truth = random_world(seed)
        scorer = ValidationScorer(known, truth, at, mask)
        value = scorer(MemberPool({"m": Told(scores)}), ONE)
        assert value == pytest.approx(plain_ndcg(scores, known, truth, at, allowed or set(range(ITEMS))), abs=1e-12)
        found.add(value)
    assert len(found) == 3


def test_ndcg_by_hand() -> None:
    scores = {"u0": [9, 8, 7, 6, 5, 4, 3, 2.0], "u1": [1, 2, 3, 4, 5, 6, 7, 8.0]}
    scorer = ValidationScorer(histories([[0], []], ITEMS), histories([[2, 1], [0]], ITEMS, [[1, -1], [-1]]), 3)
    assert scorer(MemberPool({"m": Told(scores)}), ONE) == pytest.approx(
        (1 / log2(3) + 0) / 2
    )  # second place, and nothing liked


def test_sampled_are_evenly_spaced_users_among_those_with_something_to_find() -> None:
    known = histories([[0], [1], [2], [3], [4], [5], [6]], ITEMS)
    truth = histories([[1], [], [3], [4], [], [6], [7]], ITEMS)
    some = ValidationScorer.sample(known, truth, 5, 3, None)
    assert some.histories.user_ids == some.truth.user_ids == ["u0", "u3", "u6"]
    assert some.truth.item_index.tolist() == [1, 4, 7]
    assert ValidationScorer.sample(known, truth, 5, 100, None).histories.user_ids == ["u0", "u2", "u3", "u5", "u6"]


def dial_scorer() -> ValidationScorer:
    return ValidationScorer(histories([[7], [7]], ITEMS), histories([[0], [0]], ITEMS), ITEMS)


GRID = {"model": "dial", "coarse": [0, 2, 1], "fine": [0, 1, 2], "marks": [4, 5]}


def test_the_better_settings_are_chosen_one_at_a_time() -> None:
    train = histories([[7], [7]], ITEMS)
    chosen = choose_settings({"dial": GRID}, train, Content(), dial_scorer(), SelectionConfig())
    assert chosen == {"dial": {"model": "dial", "coarse": 2, "fine": 1, "marks": [4, 5]}}
    # coarse at the first fine, one neighbour after the other, then fine at the best coarse; what was fitted is not fitted again
    assert Dial.tried == [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]


@pytest.mark.parametrize(
    ("values", "fits"),
    [([4, 3, 5, 6, 1], [4, 5, 3, 1]), ([0, 1, 2, 3, 4], [0, 1, 2, 3]), ([2, 0, 4, 5], [2, 4, 0]), ([4, 0], [4, 0])],
)
def test_neighbours_are_tried_until_neither_is_better(values: list[int], fits: list[int]) -> None:
    table = {"model": "dial", "coarse": values, "fine": 1}
    chosen = choose_settings({"d": table}, histories([[7], [7]], ITEMS), Content(), dial_scorer(), SelectionConfig())
    assert chosen["d"]["coarse"] == min(values, key=lambda value: abs(value - 2))
    assert [coarse for coarse, _ in Dial.tried] == fits


def test_settings_of_members_that_are_cubic_in_the_items_are_compared_on_the_most_touched() -> None:
    """Items 0 to 3 are bought together by many; the penalty is scored on these four, and the choice names no limit."""
    train = histories([[0, 1, 2, 3]] * 20 + [[4, 5], [6, 7]], ITEMS)
    scorer = ValidationScorer(histories([[0], [1]], ITEMS), histories([[1], [2]], ITEMS), 2)
    tried = Tried()
    tables = {
        "ease": {"model": "ease", "regularisation": [1, 10]},
        "now": {"model": "lifted", "of": [{"model": "ease"}, {"model": "ease", "max_items": 3}]},
        "knn": {"model": "item_knn", "neighbours": [2, 3]},
    }
    chosen = choose_settings(tables, train, Content(), scorer, SelectionConfig(max_items=4), tried)
    assert "max_items" not in chosen["ease"]
    limits = [int(key.split("'max_items', ")[1].split(")")[0]) for key in tried.scores if "('max_items'" in key]
    assert limits == [4, 4]
    assert [n for n in (3, 4) if any(f"'max_items': {n}" in key for key in tried.scores)] == [3, 4]
    assert not any("max_items" in key for key in tried.scores if "item_knn" in key)
    fewer = Tried()
    choose_settings(tables, train, Content(), scorer, SelectionConfig(max_items=ITEMS), fewer)
    assert [n for n in (3, 4) if any(f"'max_items': {n}" in key for key in fewer.scores)] == [3]


def test_no_setting_is_tried_after_the_deadline() -> None:
    tried = Tried(until=0.0)
    train = histories([[7], [7]], ITEMS)
    chosen = choose_settings({"dial": GRID}, train, Content(), dial_scorer(), SelectionConfig(), tried)
    assert chosen["dial"] == {"model": "dial", "coarse": 0, "fine": 0, "marks": [4, 5]}
    assert tried.untried == {"dial"}
    assert Dial.tried == [(0, 0)]


def test_of_equal_settings_the_first_is_kept() -> None:
    table = {"model": "dial", "coarse": [3, 1], "fine": [2, 0]}
    chosen = choose_settings({"dial": table}, histories([[7], [7]], ITEMS), Content(), dial_scorer(), SelectionConfig())
    assert chosen["dial"] == {"model": "dial", "coarse": 3, "fine": 2}


def test_with_too_many_events_the_first_values_are_taken_untried() -> None:
    train = histories([[7], [7]], ITEMS)
    wanted = {"model": "dial", "coarse": 0, "fine": 0, "marks": [4, 5]}
    assert (
        choose_settings({"dial": GRID}, train, Content(), dial_scorer(), SelectionConfig(max_events=1))["dial"]
        == wanted
    )
    assert Dial.tried == []
    assert (
        choose_settings({"dial": GRID}, train, Content(), dial_scorer(), SelectionConfig(max_events=2))["dial"]
        != wanted
    )


def test_a_table_without_lists_is_not_fitted() -> None:
    table = {"model": "dial", "coarse": 1}
    assert choose_settings({"d": table}, histories([[7]], ITEMS), Content(), dial_scorer(), SelectionConfig()) == {
        "d": table
    }
    assert Dial.tried == []


def kinds() -> tuple[Content, Histories, Histories]:
    """Return items of three kinds whose loudest direction says nothing; users who know a loud one and want the soft ones."""
    rows = [(sign, kind) for sign in (1, -1) for kind in range(3) for _ in range(2)]
    values = [[10.0 * sign, *(float(kind == k) for k in range(3))] for sign, kind in rows]
    loud = [item for item, (sign, _) in enumerate(rows) if sign > 0]
    soft = [[n for n, (sign, kind) in enumerate(rows) if sign < 0 and kind == rows[item][1]] for item in loud]
    known = histories([[item] for item in loud], len(rows))
    return Content({"c": channel("c", "text", values)}), known, histories(soft, len(rows))


@pytest.mark.parametrize("turned", [False, True])
def test_the_better_fusion_is_chosen(turned: bool) -> None:
    content, known, truth = kinds()
    scorer = ValidationScorer(known, truth, 3)
    options = [{"dim": 3, "whiten": False}, {"dim": 3, "whiten": True}, {"dim": 1}]
    found = choose_fusion(content, known, scorer, options[::-1] if turned else options)
    assert found.config == ConcatConfig(dim=3, whiten=True)
    scores = []
    for option in options:
        fused = make_fusion(option, where="the test")(content.channels)
        member = ContentKNN(name="m").fit(known, Content(content.channels, fused))
        scores.append(scorer(MemberPool({"m": member}), ONE))
    assert scores[1] > 0.6 > 0.1 > max(scores[0], scores[2])


def test_one_fusion_is_not_tried() -> None:
    content, known, _ = kinds()
    assert choose_fusion(content, known, None, [{"dim": 1}]).config == ConcatConfig(dim=1)  # type: ignore[arg-type]
    two = [{"dim": 1}, {"dim": 2}]
    assert choose_fusion(Content(), known, None, two).config == ConcatConfig(dim=1)  # type: ignore[arg-type]


class Counted(Told):
    """A member with given scores that counts the users it scores."""

    users = 0

    def score(self, histories: Histories) -> np.ndarray:
        Counted.users += len(histories)
        return super().score(histories)


def ranked_first(place: np.ndarray) -> dict[str, list[float]]:
    """Return scores under which item 1 of each user has the given place among items 1 to 7."""
    return {
        f"u{user}": [0.0, *np.where(np.arange(7) == 0, 6.5 - p, 7.0 - np.arange(7)).tolist()]
        for user, p in enumerate(place)
    }


def test_a_setting_that_is_clearly_worse_on_a_part_of_the_users_is_not_scored_on_the_others(monkeypatch) -> None:
    users = 800
    scorer = ValidationScorer(histories([[0]] * users, ITEMS), histories([[1]] * users, ITEMS), 7)
    rng = np.random.default_rng(0)
    near = rng.integers(1, 4, users)
    members = {"best": near, "worse": near + 3, "better": near - 1, "alike": rng.permutation(near)}
    fitted = {name: Counted(ranked_first(place)) for name, place in members.items()}
    monkeypatch.setattr("penchant.experiment.selection.make_member", lambda name, table: table["member"])
    tried = Tried()
    monkeypatch.setattr(tried.fits, "fit", lambda member, train, content: (fitted[member], 0.0))
    tables = {name: {"model": name, "member": name} for name in members}

    def beats_best(name: str) -> tuple[bool, int]:
        Counted.users = 0
        return beats(name, tables[name], tables["best"], scorer.histories, Content(), scorer, tried), Counted.users

    assert beats_best("worse") == (False, users + users // 4)  # the best is scored on everybody first
    assert table_key(tables["worse"]) not in tried.scores
    assert beats_best("worse") == (False, 0)
    assert beats_best("better") == (True, users)
    whole = scorer(MemberPool({"better": fitted["better"]}), EnsembleWeights({"better": 1.0}))
    assert tried.scores[table_key(tables["better"])] == whole
    assert beats_best("alike")[1] == users  # not clearly worse
    # against a weaker setting what was scored on a part is scored on the others
    worst = {"model": "worst", "member": "worst"}
    fitted["worst"], Counted.users = Counted(ranked_first(near + 4)), 0
    assert beats("worse", tables["worse"], worst, scorer.histories, Content(), scorer, tried)
    assert Counted.users == users + users - users // 4
    assert table_key(tables["worse"]) in tried.scores
