"""Counts as of a moment, against a count of every event one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_made import histories
from penchant.core.schema import LATEST, Content, Histories
from penchant.models.event_log import MICROSECONDS_PER_DAY as DAY
from penchant.models.event_log import EventLog
from penchant.models.lifted import Lifted, LiftedConfig
from penchant.models.recency import NewArrivals, NewArrivalsConfig, RecentPopularity, RecentPopularityConfig

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


def test_new_arrivals_by_hand() -> None:
    train = late(histories([[0, 1, 2]], ITEMS))  # first seen on days 1, 2, 3; item 3 never
    member = NewArrivals(NewArrivalsConfig(days=1.5)).fit(train, Content({}))
    assert member.score(train.requested(3 * DAY)).tolist() == [[0, 1, 0, 0]]


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
