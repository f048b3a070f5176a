"""Requests from events, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from penchant.core.schema import Histories
from penchant.data.requests import num_requests, rolling_requests


def events() -> Histories:
    """User "a" has events at 0 (no time), 1, 5, 5, 7 and 9, "b" at 5 and 6, "c" at 2."""
    item = [9, 1, 2, 3, 1, 4, 1, 2, 5]
    at = [0, 1, 5, 5, 7, 9, 5, 6, 2]
    weight = np.array([1, 1, 1, -1, 1, 1, 1, 1, 1], np.float32)
    return Histories(["a", "b", "c"], np.array([0, 6, 8, 9]), np.array(item, np.int32), np.array(at), weight, 10)


def told(found: tuple[Histories, Histories]) -> list[tuple[str, int, list[int], list[int]]]:
    known, truth = found
    assert known.user_ids == truth.user_ids
    moments = known.requests().tolist()
    return [
        (
            user,
            moments[row],
            known.rows(row, row + 1).item_index.tolist(),
            truth.rows(row, row + 1).item_index.tolist(),
        )
        for row, user in enumerate(known.user_ids)
    ]


def test_every_instant_of_a_user_is_a_request_with_all_the_user_did_before_it() -> None:
    assert told(rolling_requests(events(), 5, 10)) == [
        ("a", 5, [9, 1], [2, 3]),  # one instant, two true items
        ("b", 5, [], [1]),  # nothing is known of b yet
        ("b", 6, [1], [2]),
        ("a", 9, [9, 1, 2, 3, 1], [4]),  # at 7 a had item 1 already: no request, but known afterwards
    ]


def test_a_repeat_beside_a_new_item_is_no_true_item() -> None:
    both = replace(events(), at=np.array([0, 1, 5, 5, 9, 9, 5, 6, 2]))
    assert told(rolling_requests(both, 9, 10)) == [("a", 9, [9, 1, 2, 3], [4])]


def test_requests_begin_at_the_start_and_end_before_the_stop() -> None:
    assert [(user, at) for user, at, _, _ in told(rolling_requests(events(), 6, 9))] == [("b", 6)]
    assert told(rolling_requests(events(), 10, 20)) == []


def test_a_limit_keeps_requests_evenly_spaced_in_time() -> None:
    everyone = told(rolling_requests(events(), 1, 10))
    assert [at for _, at, _, _ in everyone] == [1, 2, 5, 5, 6, 9]
    assert told(rolling_requests(events(), 1, 10, limit=3)) == [everyone[0], everyone[2], everyone[5]]
    assert told(rolling_requests(events(), 1, 10, limit=6)) == everyone


def test_a_history_keeps_its_newest_events_and_an_old_item_stays_known() -> None:
    some = told(rolling_requests(events(), 7, 10, max_events=2))
    assert some == [("a", 9, [3, 1], [4])]


def test_signs_and_times_come_along() -> None:
    known, truth = rolling_requests(events(), 5, 6)
    assert truth.weight.tolist() == [1, -1, 1]
    assert known.at.tolist() == [0, 1]
    assert truth.at.tolist() == [5, 5, 5]


def test_requests_are_counted_as_they_are_made_and_a_dislike_alone_is_none() -> None:
    for start, stop in [(1, 10), (5, 10), (6, 9), (7, 8), (10, 20)]:
        assert num_requests(events(), start, stop) == len(rolling_requests(events(), start, stop)[0])
    weight = events().weight.copy()
    weight[[5, 7]] = -1  # the choices at 9 and 6
    assert num_requests(events().weighted(weight), 1, 10) == 4
