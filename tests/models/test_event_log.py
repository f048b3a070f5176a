"""Counts as of a moment, against a count of every event one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_made import histories
from penchant.core.schema import LATEST, Content, Histories
from penchant.fusion.late import EnsembleWeights
from penchant.models.ensemble import Ensemble
from penchant.models.event_log import MICROSECONDS_PER_DAY as DAY
from penchant.models.event_log import EventLog
from penchant.models.lifted import Lifted, LiftedConfig
from penchant.models.member import FittedItems, make_member
from penchant.models.recency import (
    NewArrivals,
    NewArrivalsConfig,
    RecentPopularity,
    RecentPopularityConfig,
    Trend,
    TrendConfig,
)

ITEMS = 4
EVENTS = st.lists(st.tuples(st.integers(0, ITEMS - 1), st.integers(1, 40)), max_size=30)


def log_of(events: list[tuple[int, int]]) -> EventLog:
    ordered = sorted(events, key=lambda pair: pair[1])
    item, at = ([pair[n] for pair in ordered] for n in (0, 1))
    return EventLog(np.array(item, np.int32), np.array(at, np.int64) * DAY, ITEMS)


@given(EVENTS, st.lists(st.integers(1, 45), max_size=8), st.integers(1, 50))
def test_counts_equal_those_of_every_event_alone(events: list[tuple[int, int]], days: list[int], width: int) -> None:
    log, moments = log_of(events), np.array(days, np.int64) * DAY
    windowed, decayed = log.windowed(moments, width), log.decayed(moments, 3)
    for row, day in enumerate(days):
        for item in range(ITEMS):
            before = [d for i, d in events if i == item and d < day]
            assert windowed[row, item] == sum(d >= day - width for d in before)
            assert decayed[row, item] == pytest.approx(sum(2 ** ((d - day) / 3) for d in before), rel=1e-5, abs=1e-30)


@given(EVENTS, EVENTS)
def test_a_log_with_further_events_is_the_log_of_all_of_them(
    events: list[tuple[int, int]], more: list[tuple[int, int]]
) -> None:
    log, found = log_of([*events, *more]), log_of(events).extended(log_of(more))
    assert (found.item_index.tolist(), found.at.tolist()) == (log.item_index.tolist(), log.at.tolist())


def test_a_log_extended_by_histories_leaves_out_what_a_log_leaves_out_and_takes_the_larger_catalog() -> None:
    log = log_of([(0, 5)])
    more = Histories.of_one(
        "u", np.array([6, 1, 2], np.int32), np.array([0, 4, 9]) * DAY, np.array([1, 1, -1], np.float32), 7
    )
    found = log.extended(more)
    assert (found.item_index.tolist(), (found.at // DAY).tolist(), found.num_items) == ([1, 0], [4, 5], 7)
    assert found.within(1).item_index.tolist() == [0]
    assert found.within(1).num_items == 1
    assert log.item_index.tolist() == [0]


@pytest.mark.parametrize(
    "table",
    [
        {"model": "recent_popularity", "half_life_days": 1},
        {"model": "trend", "days": 1, "against_days": 3},
        {"model": "new_arrivals", "days": 2},
        {"model": "lifted", "of": {"model": "recent_popularity", "window_days": 1.5}},
    ],
)
def test_a_member_that_observed_later_events_scores_as_if_it_was_fitted_on_all(table: dict[str, Any]) -> None:
    train, rest = late(histories([[0, 1], [0, 1, 2]], ITEMS)), late(histories([[2, 3], [3, 1, 3]], ITEMS))
    log = EventLog.of(train).extended(rest)
    asked = train.requested(LATEST)
    member = make_member("m", table).fit(train, Content({}))
    before, wanted = (
        member.score(asked),
        make_member("m", table).fit(Histories.joined([train, rest]), Content({})).score(asked),
    )
    observed = member.observed(log)
    np.testing.assert_allclose(observed.score(asked), wanted, rtol=1e-6)
    np.testing.assert_array_equal(member.score(asked), before)
    assert not np.array_equal(before, wanted)
    # in an ensemble, and in a catalog that has grown
    ensemble = Ensemble.build({"m": member}, EnsembleWeights({"m": 1.0}), Content({}))
    np.testing.assert_array_equal(ensemble.observed(log).members["m"].score(asked), observed.score(asked))
    padded = FittedItems(member, ITEMS).observed(log.extended(log_of([(5, 99)]).grown(6)))
    larger = Histories.empty(6).requested(LATEST)
    np.testing.assert_allclose(padded.score(larger)[0, :ITEMS], wanted[0], rtol=1e-6)


@pytest.mark.parametrize("model", ["recent_popularity", "trend", "new_arrivals", "lifted"])
def test_scores_of_now_are_counted_once_and_equal_among_other_moments(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = late(histories([[0, 1], [0, 1, 2], [3]], ITEMS))
    member = make_member("m", {"model": model, **({"of": {"model": "popularity"}} if model == "lifted" else {})})
    member.fit(train, Content({}))
    asked = train.requested(np.array([LATEST, 2 * DAY, LATEST]))
    alone = [member.score(asked.rows(user, user + 1))[0] for user in range(3)]
    np.testing.assert_array_equal(member.score(asked), alone)
    plain = make_member("m", member.config.model_dump() | {"model": model}).fit(train, Content({}))
    np.testing.assert_array_equal(plain.score(asked), alone)  # in one pass, nothing kept
    again = member.score(asked)
    again[:] = -1  # what a caller does with its scores
    for name in ("windowed", "decayed"):
        monkeypatch.delattr(EventLog, name)
    np.testing.assert_array_equal(member.score(asked.rows(2, 3)), [alone[2]])
    if model != "new_arrivals":
        with pytest.raises(AttributeError):
            member.score(asked)


def test_members_that_count_nothing_stay_the_same_object() -> None:
    member = make_member("m", {"model": "ease"}).fit(late(histories([[0, 1]], ITEMS)), Content({}))
    ensemble = Ensemble.build({"m": member}, EnsembleWeights({"m": 1.0}), Content({}))
    assert ensemble.observed(log_of([(0, 50)])) is ensemble
    padded = FittedItems(member, ITEMS)
    assert padded.observed(log_of([(0, 50)])) is padded


def test_an_event_at_the_moment_of_the_request_does_not_count() -> None:
    log = log_of([(0, 5), (1, 6)])
    assert log.windowed(np.array([6]) * DAY, 10).tolist() == [[1, 0, 0, 0]]


def test_moment_is_that_of_the_request_else_of_the_last_event_and_never_beyond_the_log() -> None:
    train = histories([[0, 1, 2], [], [3]], ITEMS)
    train = Histories(
        train.user_ids, train.offsets, train.item_index, train.at + DAY, train.weight, ITEMS
    )  # days 1, 2, 3 and 1
    log = EventLog.of(train)
    end = 3 * DAY + 1
    assert log.moments(train).tolist() == [3 * DAY, end, DAY]
    assert log.moments(train.requested(np.array([2 * DAY, 0, 0]))).tolist() == [2 * DAY, end, DAY]
    assert log.moments(train.requested(LATEST)).tolist() == [end] * 3
    assert log.moments(train.requested(99 * DAY)).tolist() == [end] * 3


def test_dislikes_and_events_without_a_time_are_not_in_the_log() -> None:
    train = histories([[0, 1, 2]], ITEMS, [[1, -1, 1]])  # the first has the time 0
    assert EventLog.of(train).item_index.tolist() == [2]


def late(histories_: Histories) -> Histories:
    """The same a day later, so that no event has the time 0, which stands for none."""
    return Histories(
        *(getattr(histories_, n) for n in ("user_ids", "offsets", "item_index")),
        histories_.at + DAY,
        histories_.weight,
        ITEMS,
    )


def test_recent_popularity_by_hand() -> None:
    train = late(histories([[0, 1], [0, 2], [0]], ITEMS))  # item 0 three times on day 1, items 1 and 2 on day 2
    member = RecentPopularity(RecentPopularityConfig(half_life_days=1, offset=1)).fit(train, Content({}))
    scores = member.score(train.rows(0, 1).requested(2 * DAY))
    assert scores[0] == pytest.approx(np.log1p([1.5, 0, 0, 0]))
    member = RecentPopularity(RecentPopularityConfig(window_days=1, offset=1)).fit(train, Content({}))
    assert member.score(train.rows(0, 1).requested(LATEST))[0] == pytest.approx(np.log1p([0, 1, 1, 0]))


@given(EVENTS, st.lists(st.integers(1, 45), min_size=1, max_size=4))
def test_trend_compares_the_last_days_with_their_share_of_a_longer_time(
    events: list[tuple[int, int]], days: list[int]
) -> None:
    member = Trend(TrendConfig(days=2, against_days=8, offset=0.5))
    member.log = log_of(events)
    asked = Histories.joined([Histories.empty(ITEMS) for _ in days]).requested(np.array(days, np.int64) * DAY)
    last = max((day for _, day in events), default=0)
    for day, scores in zip(days, member.score(asked), strict=True):
        now = min(day, last + 1 / DAY)  # what comes after the log is read as directly after it
        for item in range(ITEMS):
            ages = [now - d for i, d in events if i == item and d < now]
            lately, usual = sum(age <= 2 for age in ages), sum(age <= 8 for age in ages) / 4
            assert scores[item] == pytest.approx(np.log((0.5 + lately) / (0.5 + usual)), abs=1e-5)


def test_new_arrivals_by_hand() -> None:
    train = late(histories([[0, 1, 2]], ITEMS))  # first seen on days 1, 2, 3; item 3 never
    member = NewArrivals(NewArrivalsConfig(days=1.5)).fit(train, Content({}))
    assert member.score(train.requested(3 * DAY)).tolist() == [[0, 1, 0, 0]]


def test_lift_by_decayed_counts_by_hand() -> None:
    train = late(histories([[0, 1], [0, 1, 2], [1, 2], [2, 3]], ITEMS))  # counts 2, 3, 3, 1
    of = {"model": "popularity"}
    config = LiftedConfig(
        of=of, half_life_days=2, window_days=1, offset=0.5, power=0.7, total_exponent=0.5, total_offset=3
    )
    member = Lifted(config).fit(train, Content({}))
    moment = int(train.at.max()) + 1  # a later one is read as directly after the last event
    decayed, counts = np.zeros(ITEMS), np.zeros(ITEMS)
    for item, at in zip(train.item_index, train.at, strict=True):
        decayed[item] += 0.5 ** ((moment - at) / (2 * DAY))
        counts[item] += 1
    expected = np.log1p(counts) * (0.5 + decayed) ** 0.7 / (3 + counts) ** 0.35
    assert member.score(train.rows(0, 1).requested(moment))[0] == pytest.approx(expected, rel=1e-5)


def test_lift_multiplies_every_contribution() -> None:
    train = late(histories([[0, 1], [0, 1, 2], [1, 2], [2, 3]], ITEMS))
    config = LiftedConfig(
        of={"model": "ease", "regularisation": 1}, window_days=1, offset=1, total_exponent=1, total_offset=1
    )
    member = Lifted(config).fit(train, Content({}))
    one = train.rows(0, 1).requested(LATEST)  # the window holds day 3 alone: item 2 of u1
    factor = np.array([1, 1, 2, 1]) / (np.array([2, 3, 3, 1]) + 1)
    factor = np.array([1 / 3, 1 / 4, 2 / 4, 1 / 2])
    assert member.score(one)[0] == pytest.approx(member.member.score(one)[0] * factor)
    prior, events = member.contributions(one)
    assert prior + events.sum(0) == pytest.approx(member.score(one)[0])


def test_members_that_share_a_log_keep_their_own_settings() -> None:
    train = late(histories([[0, 1], [0, 1, 2], [3]], ITEMS))
    week = make_member("m", {"model": "recent_popularity", "window_days": 7}).fit(train, Content({}))
    day = week.reread(make_member("m", {"model": "recent_popularity", "window_days": 1}))
    assert day.log is week.log
    asked = train.requested(LATEST)
    assert not np.array_equal(week.score(asked), day.score(asked))
