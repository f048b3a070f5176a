"""Updates: new events are exchanged in sums, members that take long take turns, weights move as far as requests say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from penchant.core.schema import Histories
from penchant.experiment.refit import refitted
from penchant.fusion.late import EnsembleWeights
from penchant.learning.changes import changed_users
from penchant.learning.updating import HOUR, Sums, Updater, UpdatingConfig
from penchant.learning.weighing import WeighingConfig, reweighed
from penchant.models.linear import co_occurrences
from penchant.models.member import make_member
from penchant.recommender.recommender import Recommender


@pytest.fixture(scope="module")
def bundle(shop: Path) -> Recommender:
    return Recommender.load(shop)


def with_events(histories: Histories, user: int, *items: int) -> Histories:
    """Return the histories with later events of one user."""
    own = histories.rows(user, user + 1)
    at = own.at.max() + 1_000_000 * (1 + np.arange(len(items)))
    changed = own.appended(np.array(items), at, np.ones(len(items)))
    parts = [histories.rows(0, user), changed, histories.rows(user + 1, len(histories))]
    return Histories.joined([part for part in parts if len(part)])


def test_only_changed_users_are_read(bundle: Recommender):
    before = bundle.histories
    after = with_events(before, 7, 3, 4)
    sums = Sums()
    functions = {"pairs": co_occurrences}
    assert sums.renew(functions, before) == before.num_events
    assert sums.renew(functions, after) == 6 + 8
    np.testing.assert_array_equal(sums.values["pairs"], co_occurrences(after))
    assert sums.renew(functions, before.take(np.arange(1, len(before)))) == 8 + 6 + 6


def test_changed_users_are_found_in_any_order(bundle: Recommender):
    before = bundle.histories
    after = with_events(before, 7, 3).take(np.arange(len(before))[::-1])
    gone, come = changed_users(before, after)
    assert (gone.tolist(), come.tolist()) == ([7], [len(before) - 8])


def test_update_equals_a_fit_on_all_events(bundle: Recommender):
    updater = Updater(UpdatingConfig(all_hours=0))
    first = updater.update(bundle, bundle.histories, at=HOUR)
    events = with_events(with_events(bundle.histories, 0, 13, 14), 9, 1)
    found = updater.update(first.recommender, events, at=2 * HOUR, seconds=first.seconds, learned_at=first.learned_at)
    whole, _ = refitted(bundle, events)
    assert dict(found.how) == {"popularity": "added", "ease": "added", "like_sound": "refitted", "content": "added"}
    np.testing.assert_allclose(
        found.recommender.score(events), whole.score(events), rtol=1e-5, atol=1e-6, err_msg="sums drifted"
    )


def test_member_that_takes_long_waits_for_its_turn(bundle: Recommender):
    updater = Updater(UpdatingConfig(seconds=1, all_hours=2))
    seconds = {"popularity": 0.1, "ease": 5.0, "like_sound": 0.2, "content": 0.9}
    learned_at = dict.fromkeys(seconds, HOUR)
    events = with_events(bundle.histories, 0, 13)
    soon = updater.update(bundle, events, at=2 * HOUR, seconds=seconds, learned_at=learned_at)
    assert {name for name, how in soon.how.items() if how == "kept"} == {"ease", "content"}
    assert soon.recommender.ensemble.members["ease"] is bundle.ensemble.members["ease"]
    late = updater.update(bundle, events, at=3 * HOUR, seconds=seconds, learned_at=soon.learned_at)
    assert late.how["ease"] == "added"
    assert late.learned_at["ease"] == 3 * HOUR
    assert late.seconds["ease"] < 5.0, "the time of the newest fit counts"


def going_on(bundle: Recommender) -> tuple[Histories, int]:
    """Return the histories where everybody goes on with the kind they like, and the moment of the first such event."""
    rng, events = np.random.default_rng(0), bundle.histories
    for user in range(len(events)):
        own = 0 if user % 2 == 0 else 12
        events = with_events(events, user, *(own + rng.permutation(12)[:6]))
    return events, int(bundle.histories.at.max()) + 1


def test_weights_move_to_the_members_that_are_right(bundle: Recommender):
    events, since = going_on(bundle)
    present = EnsembleWeights({"popularity": 0.9, "ease": 0.04, "like_sound": 0.03, "content": 0.03})
    ensemble = replace(bundle.ensemble, weights=present)
    assert reweighed(ensemble, events, since + HOUR, since + 2 * HOUR, WeighingConfig()) == present, "no requests"
    moved = reweighed(ensemble, events, since, since + HOUR, WeighingConfig(prior_requests=100))
    assert sum(moved.overall.values()) == pytest.approx(1)
    assert moved["popularity"] < 0.8 * present["popularity"]
    assert reweighed(ensemble, events, since, since + HOUR, WeighingConfig(requests=0)) == present


def test_weights_stay_where_others_are_not_clearly_better(bundle: Recommender):
    events, since = going_on(bundle)
    present = EnsembleWeights({"popularity": 0.001, "ease": 0.009, "like_sound": 0.43, "content": 0.56})
    ensemble = replace(bundle.ensemble, weights=present)
    assert reweighed(ensemble, events, since, since + HOUR, WeighingConfig(prior_requests=1)) == present


def test_member_whose_scores_are_taken_as_they_are_keeps_its_weight(bundle: Recommender):
    ensemble = replace(bundle.ensemble, weights=bundle.ensemble.weights)
    object.__setattr__(ensemble.members["popularity"], "standardised", False)
    events = with_events(bundle.histories, 0, 13, 14, 15)
    since = int(bundle.histories.at.max()) + 1
    moved = reweighed(ensemble, events, since, since + HOUR, WeighingConfig(prior_requests=1))
    object.__delattr__(ensemble.members["popularity"], "standardised")
    assert moved["popularity"] == ensemble.weights["popularity"]


@pytest.mark.parametrize(
    "table",
    [
        {"model": "popularity", "half_life_days": 3},
        {"model": "item_knn", "neighbours": 5},
        {"model": "transitions", "window": 3},
        {"model": "session_regression", "regularisation": 5},
        {"model": "lifted", "of": {"model": "ease", "regularisation": 5}, "half_life_days": 2},
        {"model": "content_regression", "channels": ["sound"], "smoothing": 20},
    ],
    ids=lambda table: table["model"],
)
def test_each_member_learns_by_exchange_what_it_learns_from_all(bundle: Recommender, table: dict[str, object]):
    tables = {**bundle.tables, "popularity": table}
    member = make_member("popularity", table).fit(bundle.histories, bundle.content)
    ensemble = replace(bundle.ensemble, members={**bundle.ensemble.members, "popularity": member})
    changed = replace(bundle, tables=tables, ensemble=ensemble)
    updater, events = Updater(UpdatingConfig(all_hours=0)), bundle.histories
    for step in range(3):
        events = with_events(events, 3 * step, 13, 1 + step, 20 - step)
        found = updater.update(changed, events, at=(step + 1) * HOUR)
    member = found.recommender.ensemble.members["popularity"]
    fresh = make_member("popularity", table).fit(events, bundle.content)
    np.testing.assert_allclose(member.score(events), fresh.score(events), rtol=1e-4, atol=1e-6)
    assert found.how["popularity"] == "added"
