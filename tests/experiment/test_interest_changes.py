"""Validation decides whether changes of interest are noticed; served lists are those that were measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hand_made import histories
from penchant.core.errors import ArtifactError
from penchant.core.schema import Catalog, Content, Histories
from penchant.experiment.fit import OURS, FittedRecommenders, HoldOut, LeaderboardEntry
from penchant.experiment.interest_changes import changed, noticing_changes, rank_noticing
from penchant.experiment.pool import MemberPool
from penchant.explanation.topics import Topics
from penchant.fusion.late import EnsembleWeights
from penchant.models.interest_change import InterestChange
from penchant.models.member import make_member
from penchant.recommender.recommender import Recommender

NUM_TOPICS, SIZE = 12, 20
ITEMS = NUM_TOPICS * SIZE
TOPICS = np.repeat(np.arange(NUM_TOPICS, dtype=np.int32), SIZE)
PROBABILITY = 0.01
TABLES = {"ease": {"model": "ease", "regularisation": 5}}


def drawn(rng: np.random.Generator, topic: int, count: int) -> list[int]:
    return (topic * SIZE + rng.permutation(SIZE)[:count]).tolist()


def world(users: int = 60) -> tuple[Histories, list[int], list[int]]:
    """Return users who went over from one topic to another after fifteen events, and their first and second topics; every third stayed."""
    rng, rows, first, second = np.random.default_rng(0), [], [], []
    for user in range(users):
        one, other = rng.choice(NUM_TOPICS, 2, replace=False)
        first.append(int(one))
        second.append(int(one if user % 3 == 0 else other))
        rows.append(drawn(rng, one, 15) if user % 3 == 0 else drawn(rng, one, 15) + drawn(rng, other, 8))
    return histories(rows, ITEMS), first, second


def trained(events: Histories) -> FittedRecommenders:
    pool = MemberPool({name: make_member(name, table).fit(events, Content()) for name, table in TABLES.items()})
    ours = LeaderboardEntry(OURS, "ours", EnsembleWeights({"ease": 1.0}))
    plain = LeaderboardEntry("EASE", "baseline", EnsembleWeights({"ease": 1.0}))
    return FittedRecommenders(pool, (ours, plain), TABLES, {}, {}, pool)


def wanting(events: Histories, topics: list[int]) -> HoldOut:
    """Return a stage in which every user next wants items of a topic that they do not have."""
    truth = []
    for user, topic in enumerate(topics):
        own = events.rows(user, user + 1).item_index
        truth.append([item for item in range(topic * SIZE, (topic + 1) * SIZE) if item not in own][:3])
    return HoldOut(events, histories(truth, ITEMS))


def test_changes_are_noticed_where_users_want_what_they_turned_to() -> None:
    events, _, second = world()
    found = noticing_changes(trained(events), wanting(events, second), TOPICS, PROBABILITY, 10)
    assert found.change == InterestChange(TOPICS, PROBABILITY)


def test_changes_are_not_noticed_where_users_want_what_they_wanted_before() -> None:
    events, first, _ = world()
    assert noticing_changes(trained(events), wanting(events, first), TOPICS, PROBABILITY, 10).change is None


@pytest.mark.parametrize(("wanted", "is_noticed"), [("first", False), ("second", True)])
def test_of_many_users_some_are_asked(
    wanted: str, is_noticed: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("penchant.experiment.interest_changes.MAX_USERS", 25)
    events, first, second = world()
    truth = wanting(events, {"first": first, "second": second}[wanted])
    with caplog.at_level("INFO", logger="penchant"):
        found = noticing_changes(trained(events), truth, TOPICS, PROBABILITY, 10)
    assert (found.change is not None) == is_noticed
    assert "of 25 validation users" in caplog.text


def test_the_loss_of_one_user_among_many_is_no_reason_to_notice_nothing() -> None:
    events, first, second = world()
    changed_users = [user for user in range(len(first)) if first[user] != second[user]]
    wanted = [first[user] if user == changed_users[0] else second[user] for user in range(len(first))]
    few = [user for user in range(len(first)) if user not in changed_users[1:]]
    events, wanted = events.take(np.array(few)), [wanted[user] for user in few]
    assert noticing_changes(trained(events), wanting(events, wanted), TOPICS, PROBABILITY, 10).change is not None


@pytest.mark.parametrize(("topics", "probability"), [(TOPICS, 0.0), (np.zeros(ITEMS, np.int32), PROBABILITY)])
def test_nothing_is_noticed_without_topics_or_a_probability(topics: np.ndarray, probability: float) -> None:
    events, _, second = world()
    assert noticing_changes(trained(events), wanting(events, second), topics, probability, 10).change is None


def test_lists_that_are_measured_are_those_that_are_served() -> None:
    events, _, _ = world()
    fitted = replace(trained(events), change=InterestChange(TOPICS, PROBABILITY))
    rows = {row.name: row.weights for row in fitted.rows}
    lists = rank_noticing(fitted.pool, fitted.change, {OURS}, rows, events, 10)
    served = fitted.ensemble(Content()).recommend(events, 10)
    np.testing.assert_array_equal(lists[OURS].item_index, served.item_index)
    np.testing.assert_allclose(lists[OURS].score, served.score, rtol=1e-5)
    plain = fitted.pool.rank(rows, events, 10)
    np.testing.assert_array_equal(lists["EASE"].item_index, plain["EASE"].item_index)
    moved = np.flatnonzero((lists[OURS].item_index != plain[OURS].item_index).any(1))
    assert 30 <= len(moved) <= 40
    assert (moved % 3 != 0).all()
    assert set(moved) <= set(changed(events, fitted.change.faded(events)))


def bundle(events: Histories) -> Recommender:
    fitted = replace(trained(events), change=InterestChange(TOPICS, PROBABILITY))
    table = pl.DataFrame({"item_id": [f"i{n}" for n in range(ITEMS)], "title": [f"T{n}" for n in range(ITEMS)]})
    topics = Topics(TOPICS, [f"topic {n}" for n in range(NUM_TOPICS)])
    ensemble = fitted.ensemble(Content())
    return Recommender(Catalog(table, "title"), events, ensemble, TABLES, topics, {}, content=Content(), fitted=events)


def test_a_bundle_keeps_what_notices_changes(tmp_path: Path) -> None:
    events, _, second = world()
    made = bundle(events)
    made.save(tmp_path / "made")
    found = Recommender.load(tmp_path / "made")
    np.testing.assert_array_equal(found.score(events), made.score(events))
    ranked = found.recommend(events.user_ids[1], 5, reasons=False)
    assert {TOPICS[found.lookup.row(item.item_id)] for item in ranked} == {second[1]}


def test_a_bundle_with_an_impossible_probability_is_refused(tmp_path: Path) -> None:
    events, _, _ = world()
    made = bundle(events)
    wrong = replace(made, ensemble=replace(made.ensemble, change=InterestChange(TOPICS, 1.5)))
    with pytest.raises(ArtifactError, match=r"interests change with the probability 1\.5"):
        wrong.save(tmp_path / "made")
