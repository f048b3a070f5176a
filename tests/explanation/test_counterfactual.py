"""Counterfactuals are confirmed by ranking again, and no smaller set is denied that was not tried."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hand_made import histories
from penchant.core.errors import NotFoundError
from penchant.core.messages import Translator
from penchant.core.schema import Histories
from penchant.explanation.counterfactual import needed_strength, smallest_removal
from penchant.recommender.lists import Edit, RankingOptions
from penchant.recommender.recommender import Recommender


@pytest.fixture(scope="module")
def recommender(shop: Path) -> Recommender:
    return Recommender.load(shop)


def sums_at_least(gain: np.ndarray, bound: float, seen: list[int]):
    """Return the rule that an item is listed while the gains of the events left sum to a bound."""

    def is_listed(variants: Histories) -> np.ndarray:
        seen.append(len(variants))
        found = [gain[variants.rows(n, n + 1).item_index].sum() >= bound for n in range(len(variants))]
        return np.array(found, bool)

    return is_listed


@settings(max_examples=60, deadline=None)
@given(
    gain=st.lists(st.integers(0, 9), min_size=1, max_size=7),
    bound=st.integers(1, 30),
    told=st.randoms(note_method_calls=False),
)
def test_smallest_removal_is_the_smallest_of_all_sets(gain: list[int], bound: int, told: object) -> None:
    value, seen = np.array(gain, float), []
    if value.sum() < bound:
        return  # not listed
    history = histories([range(len(gain))], len(gain))
    shuffled = np.random.default_rng(bound).permutation(value)  # contributions that mislead cost time, not truth
    for told_gain in (value, shuffled):
        found, is_smallest, tried = smallest_removal(history, told_gain, sums_at_least(value, bound, seen))
        sizes = [
            s
            for s in range(len(gain) + 1)
            for one in combinations(range(len(gain)), s)
            if value.sum() - value[list(one)].sum() < bound
        ]
        assert found is not None
        assert value.sum() - value[list(found)].sum() < bound
        assert len(found) >= min(sizes)
        if is_smallest or min(sizes) <= 3:
            assert len(found) == min(sizes)
    assert is_smallest == (len(found) <= 4)
    assert tried <= sum(seen)


def test_nothing_is_claimed_that_was_not_tried() -> None:
    value = np.ones(12)
    history = histories([range(12)], 12)
    found, is_smallest, tried = smallest_removal(history, value, sums_at_least(value, 11, []), max_sets=5)
    assert found is not None
    assert len(found) == 2
    assert not is_smallest  # 12 sets of one event would have been too many
    assert tried <= 5
    assert smallest_removal(history, value, lambda v: np.ones(len(v), bool))[0] is None


def test_strongest_events_are_removed_first() -> None:
    value = np.array([1.0] * 30 + [9.0] * 5)
    found, is_smallest, _ = smallest_removal(histories([range(35)], 35), value, sums_at_least(value, 31, []))
    assert found == tuple(range(30, 35))  # from the other end, it would take 29 events
    assert not is_smallest


def test_removal_drops_the_item_and_no_smaller_one_does(recommender: Recommender) -> None:
    dropped = 0
    for user in ("u0", "u1", "u2", "u3"):
        history = recommender.history(user)
        for listed in recommender.recommend(user, 4, reasons=False):
            found = recommender.counterfactual(user, listed.item_id, 4)
            assert found.rank == listed.rank
            if found.removal is None:
                continue
            dropped += 1
            ids = [recommender.lookup.items.ids[i] for i in history.item_index]
            gone = [ids.index(item_id) for item_id, _ in found.removal.events]
            assert not _is_listed(recommender, history, gone, listed.item_id)
            if found.removal.is_smallest:
                smaller = combinations(range(history.num_events), len(gone) - 1)
                assert all(_is_listed(recommender, history, list(one), listed.item_id) for one in smaller)
    assert dropped >= 4


def _is_listed(recommender: Recommender, history: Histories, gone: list[int], item_id: str, k: int = 4) -> bool:
    """Return whether the item is in the list without some events, whose items stay out of it."""
    keep = np.ones(history.num_events, bool)
    keep[gone] = False
    ids = recommender.lookup.items.ids
    denied = RankingOptions(k=k, deny=[ids[i] for i in history.item_index])
    return item_id in [s.item_id for s in recommender.recommend(history.where(keep), options=denied)]


def test_change_brings_the_item_in_and_a_weaker_one_does_not(recommender: Recommender) -> None:
    entered = 0
    for user in ("u0", "u1", "u2", "u5"):
        whole = recommender.recommend(user, 24, reasons=False)
        for outside in (whole[4], whole[9], whole[-1]):
            found = recommender.counterfactual(user, outside.item_id, 4)
            assert found.rank == outside.rank
            if found.change is None:
                continue
            entered += 1
            edit = Edit(found.change.name, found.change.value, found.change.action, found.change.strength)
            listed = {s.item_id: s.rank for s in recommender.recommend(user, 4, edits=[edit], reasons=False)}
            assert listed[outside.item_id] == found.change.rank
            weaker = Edit(edit.name, edit.value, edit.action, edit.strength - 0.02)
            if weaker.strength > 0:
                lists = recommender.recommend(user, 4, edits=[weaker], reasons=False)
                assert outside.item_id not in [s.item_id for s in lists]
    assert entered >= 2


def test_own_edits_stay_in_force(recommender: Recommender) -> None:
    lows = set(recommender.lookup.rows_with("genres", "low").tolist())
    whole = recommender.recommend("u0", 24, reasons=False)
    far, place = next((s.item_id, s.rank) for s in whole if recommender.lookup.row(s.item_id) in lows)
    k = place - 1  # the list ends just above the best item of the kind that the user does not like
    plain = recommender.counterfactual("u0", far, k)
    assert plain.change is not None
    # an edit of the same value is replaced, as in the service, but there is another one, of the same items
    both = [Edit("genres", "low", "less", 1.0), Edit("topic", "deep", "less", 1.0)]
    harder = recommender.counterfactual("u0", far, k, edits=both)
    assert harder.change is not None
    assert harder.change.strength == pytest.approx(plain.change.strength + 1.0, abs=0.011)
    assert recommender.counterfactual("u0", far, k, edits=both[:1]).change == plain.change
    never = recommender.counterfactual("u0", far, k, edits=[Edit("item", far, "never")])
    assert never.rank is None
    assert "cannot be in the list" in never.text


def test_needed_strength_is_what_passes_enough_items() -> None:
    others = np.array([5.0, 4.0, 3.0, 2.0])
    moves = np.array([True, True, False, True])
    # the target, 1.0, has to pass until at most one other is above it: 3.0 stays, so 5.0 has to be passed too
    assert needed_strength(1.0, others, moves, 2, 2.0) == pytest.approx(2.01)
    assert needed_strength(1.0, others, moves, 3, 2.0) == pytest.approx(1.51)
    assert needed_strength(1.0, others, moves, 1, 2.0) is None  # 3.0 moves along
    assert needed_strength(1.0, others, moves, 2, 0.5) is None  # beyond the largest strength
    assert needed_strength(1.0, others, np.zeros(4, bool), 2, 1.0) is None


def test_bad_input_and_empty_history(recommender: Recommender) -> None:
    with pytest.raises(NotFoundError, match="There is no item 'i99'"):
        recommender.counterfactual("u0", "i99")
    with pytest.raises(NotFoundError, match="There is no user 'nobody'"):
        recommender.counterfactual("nobody", "i1")
    own = recommender.lookup.items.ids[recommender.history("u0").item_index[0]]
    assert recommender.counterfactual("u0", own).rank is None
    nobody = recommender.history_of([])
    first = recommender.recommend(nobody, 1)[0].item_id
    found = recommender.counterfactual(nobody, first)
    assert found.removal is None
    assert "there is no history" in found.text


def test_sentences_are_told_in_chinese_and_as_values(recommender: Recommender) -> None:
    item = recommender.recommend("u0", 10, reasons=False)[9].item_id
    found = recommender.counterfactual("u0", item)
    said = Translator("zh")
    assert found.title in said.said(found.text)
    assert "前 10" in said.said(found.text)
    plain = found.as_dict()
    assert plain["text"] == str(found.text)
    assert plain["rank"] == 10
    assert found.title in found._repr_html_()
