"""Requests from events: what was known of a user at each moment, and what the user chose at it.

In: the events of all users. Out: two `Histories` with one row for each request, its history and its truth.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64

from penchant.core.schema import Histories
from penchant.core.spacing import evenly_spaced


def rolling_requests(
    events: Histories, start: int, stop: int, *, limit: int | None = None, max_events: int | None = None
) -> tuple[Histories, Histories]:
    """Return the history and the truth of every request from `start` on and before `stop`, ordered by time and then user.

    A user's events of one instant are one request: its history are the user's events before the instant, its truth the events of the
    instant without items the user already had. An instant without any other item is no request. A user has one row for each request.

    Memory: the events of the histories, at most requests x longest history.

    Args:
        events: All events of all users; those without a time have `at` 0 and are known to every request.
        start: First moment, microseconds since 1970, UTC; above 0.
        stop: The moment after the last.
        limit: Requests at most, evenly spaced in their order; None returns all.
        max_events: Events of a history at most, the most recent ones; None keeps all.
    """
    user, instant, first, fresh = _instants(events)
    end = np.append(first[1:], events.num_events)
    rows = np.flatnonzero(_asked(events, instant, first, fresh, start, stop))
    rows = rows[np.lexsort((user[first[rows]], events.at[first[rows]]))]
    if limit is not None:
        rows = evenly_spaced(rows, limit)
    who, moment = user[first[rows]], events.at[first[rows]]
    begin = events.offsets[:-1][who]
    if max_events is not None:
        begin = np.maximum(begin, first[rows] - max_events)
    known = _pieces(events, who, begin, first[rows]).requested(moment)
    chosen = _pieces(events, who, first[rows], end[rows])
    truth = chosen.where(fresh[_positions(first[rows], end[rows])])
    return known.under_circumstances_of(truth), truth


def num_requests(events: Histories, start: int, stop: int) -> int:
    """Return how many requests of `rolling_requests` have a true item; a dislike is none.

    Cost: that of the histories of the users with an event from `start` on and before `stop`.

    Args:
        events: All events of all users.
        start: First moment, microseconds since 1970, UTC; above 0.
        stop: The moment after the last.
    """
    within = (events.at >= start) & (events.at < stop)
    some = events.take(np.unique(events.user_index()[within]))
    _, instant, first, fresh = _instants(some)
    return int(_asked(some, instant, first, fresh & (some.weight > 0), start, stop).sum())


def _instants(
    events: Histories,
) -> tuple[
    Int64[np.ndarray, " events"],
    Int64[np.ndarray, " events"],
    Int64[np.ndarray, " instants"],
    Bool[np.ndarray, " events"],
]:
    """Return the user and the instant of each event, the first event of each instant, and whether each event is of an item new to its user."""
    user = events.user_index()
    begins = np.ones(events.num_events, bool)
    begins[1:] = (user[1:] != user[:-1]) | (events.at[1:] != events.at[:-1])
    instant = np.cumsum(begins) - 1
    return user, instant, np.flatnonzero(begins), _first_choice(events, user, instant)


def _asked(
    events: Histories,
    instant: Int64[np.ndarray, " events"],
    first: Int64[np.ndarray, " instants"],
    chosen: Bool[np.ndarray, " events"],
    start: int,
    stop: int,
) -> Bool[np.ndarray, " instants"]:
    """Return whether each instant lies between start and stop and holds a chosen event."""
    asked = np.bincount(instant, chosen, minlength=len(first)) > 0
    return asked & (events.at[first] >= start) & (events.at[first] < stop)


def _first_choice(
    events: Histories, user: Int64[np.ndarray, " events"], instant: Int64[np.ndarray, " events"]
) -> Bool[np.ndarray, " events"]:
    """Return whether the user had no event of the item at an earlier instant."""
    key = user * events.num_items + events.item_index
    _, earliest, place = np.unique(key, return_index=True, return_inverse=True)  # rows are in time
    return instant[earliest][place] == instant


def _pieces(
    events: Histories,
    who: Int64[np.ndarray, " rows"],
    first: Int64[np.ndarray, " rows"],
    end: Int64[np.ndarray, " rows"],
) -> Histories:
    """Return one row for each range of events."""
    chosen = _positions(first, end)
    return Histories(
        [events.user_ids[u] for u in who],
        np.concatenate([[0], np.cumsum(end - first)]).astype(np.int64),
        events.item_index[chosen],
        events.at[chosen],
        events.weight[chosen],
        events.num_items,
        user_channels={name: channel.taken(who, chosen) for name, channel in events.user_channels.items()},
        derived=events.derived,
    )


def _positions(first: Int64[np.ndarray, " rows"], end: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " events"]:
    """Return the numbers of every range, one range after the other."""
    lengths = end - first
    starts = np.cumsum(lengths) - lengths
    return np.repeat(first - starts, lengths) + np.arange(lengths.sum())
