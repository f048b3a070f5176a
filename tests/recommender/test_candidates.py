"""Lists made from candidates are those of the whole catalog: the same items, order, scores and reasons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penchant.core.schema import Catalog, Content, Embeddings, Histories
from penchant.explanation.topics import Topics
from penchant.fusion.late import EnsembleWeights
from penchant.models.ensemble import Ensemble
from penchant.models.event_log import EventLog
from penchant.models.member import make_member
from penchant.recommender import candidates
from penchant.recommender.candidates import Shortlist
from penchant.recommender.lists import Edit, RankingOptions
from penchant.recommender.recommender import Recommender

ITEMS, USERS, GROUPS = 4000, 600, 40
DAY = 86_400_000_000
WEIGHTS = {"item_knn": 0.4, "transitions": 0.2, "content": 0.2, "popularity": 0.1, "recent": 0.1}
TABLES = {
    "item_knn": {"model": "item_knn", "neighbours": 30},
    "transitions": {"model": "transitions", "neighbours": 30, "half_life": 3},
    "content": {"model": "content_regression", "smoothing": 0},
    "popularity": {"model": "popularity"},
    "recent": {"model": "recent_popularity"},
}


def world() -> tuple[Histories, Content]:
    """Return users who choose within few of forty groups, popular items more often, and vectors that tell the group."""
    rng = np.random.default_rng(0)
    group = rng.integers(GROUPS, size=ITEMS)
    members = [np.flatnonzero(group == g) for g in range(GROUPS)]
    chosen = []
    for _ in range(USERS):
        own = np.concatenate([members[g] for g in rng.choice(GROUPS, 2, replace=False)])
        chosen.append(rng.permutation(own)[(rng.random(20) ** 2 * len(own)).astype(int)])
    items = np.concatenate(chosen).astype(np.int32)
    at = np.sort(rng.integers(10 * DAY, 400 * DAY, (USERS, 20)), axis=1).ravel()
    offsets = np.arange(0, len(items) + 1, 20)
    ids = [f"u{n}" for n in range(USERS)]
    histories = Histories(ids, offsets, items, at, np.ones(len(items), np.float32), ITEMS)
    vectors = rng.standard_normal((GROUPS, 24))[group] + 0.8 * rng.standard_normal((ITEMS, 24))
    words = Embeddings("words", "text", vectors.astype(np.float32), np.ones(ITEMS, bool), "test")
    return histories, Content({"words": words})


@pytest.fixture(scope="module")
def whole() -> Recommender:
    """Return a recommender that scores every item."""
    histories, content = world()
    members = {name: make_member(name, table).fit(histories, content) for name, table in TABLES.items()}
    ensemble = Ensemble.build(members, EnsembleWeights(WEIGHTS), content)
    table = pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(ITEMS)],
            "title": [f"T{n // 2}" for n in range(ITEMS)],
            "kind": [f"k{n % 7}" for n in range(ITEMS)],
            "rare": ["yes" if n % 200 == 0 else "no" for n in range(ITEMS)],
            "price": np.linspace(0, 100, ITEMS),
        }
    )
    catalog = Catalog(table, "title", attribute_columns=("kind", "rare", "price"))
    topics = Topics(np.full(ITEMS, -1, np.int32), [])
    return Recommender(catalog, histories, ensemble, TABLES, topics, {}, content=content, fitted=histories)


@pytest.fixture(scope="module")
def few(whole: Recommender) -> Recommender:
    """Return the same recommender with candidates; at a small catalog the share scored may be larger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "EXTRA", 20)
        patch.setattr(candidates, "MAX_SHARE", 0.5)
        few = replace(whole)
        shortlist = Shortlist(few.ensemble, few.histories, few.histories, ITEMS, from_items=100)
        shortlist.build()
        vars(few)["shortlist"] = shortlist
        yield few


def test_recall_is_measured_before_candidates_are_used(few: Recommender, whole: Recommender) -> None:
    found = few.shortlist.found
    assert found is not None
    assert 0.99 <= found.recall <= 1
    assert 0 < found.share < 0.5
    assert not few.is_index_due
    hits = listed = 0
    for user in range(0, USERS, 7):
        want, have = (r.recommend(f"u{user}", 20, reasons=False) for r in (whole, few))
        hits += len({i.item_id for i in want} & {i.item_id for i in have})
        listed += len(want)
    assert hits / listed >= 0.98


def test_candidates_that_find_too_little_are_not_used(
    whole: Recommender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(candidates, "MAX_SHARE", 0.001)
    shortlist = Shortlist(whole.ensemble, whole.histories, whole.histories, ITEMS, from_items=100)
    with caplog.at_level("INFO", "penchant.service"):
        shortlist.build()
    assert shortlist.found is None
    assert not shortlist.is_due
    assert "every item is scored for each list" in caplog.text


def test_a_member_that_cannot_score_chosen_items_leaves_every_item_scored(whole: Recommender) -> None:
    odd = make_member("odd", {"model": "random_order"}).fit(whole.histories)
    ensemble = Ensemble.build(
        {**whole.ensemble.members, "odd": odd}, EnsembleWeights({**WEIGHTS, "odd": 0.1}), whole.content
    )
    shortlist = Shortlist(ensemble, whole.histories, whole.histories, ITEMS, from_items=100)
    shortlist.build()
    assert shortlist.found is None


OPTIONS = st.fixed_dictionaries(
    {"k": st.sampled_from([1, 5, 20])},
    optional={
        "where": st.sampled_from([["kind:k1"], ["kind:k1", "kind:k2"], ["rare:yes"]]),
        "at_most": st.sampled_from([["price:80"], ["price:2"]]),
        "deny": st.just(["i0", "i2", "i4"]),
        "allow": st.just([f"i{n}" for n in range(0, ITEMS, 90)]),
        "diversity": st.sampled_from([0.3]),
        "one_per": st.just("title"),
        "seen": st.booleans(),
        "boost": st.just(["kind:k3:0.5"]),
    },
)
EDITS = st.lists(
    st.sampled_from(
        [
            Edit("kind", "k4", "never"),
            Edit("item", "i77", "pin"),
            Edit("kind", "k5", "more", 0.5),
            Edit("item", "i9", "never"),
        ]
    ),
    max_size=2,
    unique=True,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(user=st.integers(0, USERS - 1), options=OPTIONS, edits=EDITS)
def test_lists_scores_and_reasons_are_those_of_the_whole_catalog(
    few: Recommender, whole: Recommender, user: int, options: dict[str, object], edits: list[Edit]
) -> None:
    asked = RankingOptions.read(options, where="test")
    want, have = (r.recommend(f"u{user}", options=asked, edits=edits, reasons=True) for r in (whole, few))
    found = {item.item_id: item for item in have}
    missed = [item for item in want if item.item_id not in found]
    assert len(missed) <= 0.1 * len(want) + 1
    for item in want:
        if item not in missed:
            assert found[item.item_id].score == pytest.approx(item.score, abs=2e-5)
            assert found[item.item_id].reasons == item.reasons
    if not missed:
        assert [i.item_id for i in have] == [i.item_id for i in want]


def test_a_filter_that_leaves_few_items_is_ranked_exactly(few: Recommender, whole: Recommender) -> None:
    for user in range(0, 60, 3):
        want, have = (r.recommend(f"u{user}", 15, where=["rare:yes"], reasons=False) for r in (whole, few))
        assert [i.item_id for i in have] == [i.item_id for i in want]


def test_profile_and_explanation_are_those_of_the_whole_catalog(few: Recommender, whole: Recommender) -> None:
    want, have = whole.explain("u5", "i12"), few.explain("u5", "i12")
    assert have.score == pytest.approx(want.score, abs=2e-5)
    assert have.by_member == pytest.approx(want.by_member, abs=2e-5)
    assert have.reasons == want.reasons
    assert few.profile("u5").modalities == pytest.approx(whole.profile("u5").modalities, abs=1e-4)


def test_newer_events_of_everybody_reach_candidates_without_another_index(few: Recommender, whole: Recommender) -> None:
    newest = np.full(300, 1234, np.int32)
    added = EventLog(newest, np.full(300, 401 * DAY), ITEMS)
    log = EventLog.of(few.histories)
    log = EventLog(np.concatenate([log.item_index, added.item_index]), np.concatenate([log.at, added.at]), ITEMS)
    seen, every = few.observed(log), whole.observed(log)
    assert seen.shortlist.found is not None
    assert seen.shortlist.found.scorers["content"] is few.shortlist.found.scorers["content"]
    want, have = (r.recommend("u3", 20, reasons=False) for r in (every, seen))
    assert "i1234" in [i.item_id for i in have][:20] or "i1234" not in [i.item_id for i in want]
    assert have.items[0].score == pytest.approx(want.items[0].score, abs=2e-5)
