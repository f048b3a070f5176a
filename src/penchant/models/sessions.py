"""Regression from the decayed past to the decayed future of each event.

In: histories in order. Out: a dense items x items matrix that maps the recent past to the near future.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float32, Int64
from pydantic import Field
from scipy import linalg, sparse

from penchant.core.logs import logger
from penchant.core.schema import Content, Histories
from penchant.models.item_to_item import ItemToItem, ItemToItemConfig, power
from penchant.models.products import block_rows
from penchant.models.shared import computed_once
from penchant.models.user_sums import UserSums

BLOCK_EVENTS = 200_000
MICROSECONDS_PER_HOUR = 3_600_000_000


class SessionRegressionConfig(ItemToItemConfig):
    """The settings of session regression."""

    half_life: float = Field(4, ge=0)
    """Events until a past event counts half when scoring; 0 lets all count the same."""
    past: int = Field(20, ge=1)
    """Earlier events that explain a position."""
    future: int = Field(10, ge=1)
    """Events from a position on that are explained."""
    past_half_life: float = Field(4.0, gt=0)
    """Events until an earlier event counts half in fitting."""
    future_half_life: float = Field(3.0, gt=0)
    """Events until a later event counts half in fitting."""
    regularisation: float = Field(300.0, gt=0)
    """Ridge penalty."""
    min_gap_hours: float = Field(0, ge=0)
    """Only events more than this many hours after the previous one are explained, each with the events up to the next such gap; 0 explains
    every event. Above 0 it learns what people choose when they come back."""
    target_exponent: float = 0.1
    """Division by the target's count to this power; above 0 favours rarer items."""
    max_items: int = Field(12_000, ge=1)
    """Above this many items only the most touched take part (memory 8 bytes x max_items^2)."""


class SessionRegression(ItemToItem[SessionRegressionConfig]):
    """Ridge regression from the decayed past of every event to the decayed future.

    For the event at position p, x_p = sum of past_decay^(d-1) e(item p-d) and y_p = sum of future_decay^d e(item p+d);
    matrix = (X^T X + lambda I)^-1 X^T Y, column j divided by count_j ^ target_exponent. Disliked events are on neither side.

    With `min_gap_hours`, p are the first events after a gap only, and y_p ends at the next gap; the past reads across gaps. An event without
    a time begins no gap and ends none.

    Cost: events x (past + future), with `min_gap_hours` explained events x past x (past + future), then items^3; memory: two dense matrices.

    Source: Choi et al., Session-aware linear item-item models, WWW 2021 (SLIT); we decay both sides by position, and add `min_gap_hours`.
    """

    config_class = SessionRegressionConfig

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        count = np.bincount(train.item_index[train.weight > 0], minlength=train.num_items)
        kept, self.kept = np.arange(train.num_items), None
        if train.num_items > self.config.max_items:
            kept = self.kept = np.sort(np.argsort(-count, kind="stable")[: self.config.max_items])
            logger.info("  %s: the %d most touched of %d items take part", self.name, len(kept), train.num_items)
        place = np.full(train.num_items, -1)
        place[kept] = np.arange(len(kept))
        item = np.where(train.weight > 0, place[train.item_index], -1)
        moments = computed_once(train, self._key, lambda: self._moments(train, item, len(kept)))
        gram, cross = (part.copy() for part in moments)
        gram[np.diag_indices_from(gram)] += np.float32(self.config.regularisation)
        factor = linalg.cholesky(gram.T, lower=True, overwrite_a=True, check_finite=False)
        weights = linalg.cho_solve((factor, True), cross, overwrite_b=True, check_finite=False)
        weights *= power(count[kept] + 1, -self.config.target_exponent)[None, :]
        self.matrix = np.ascontiguousarray(weights, np.float32)
        return self

    @property
    def _key(self) -> tuple[Any, ...]:
        parts = ("past", "future", "past_half_life", "future_half_life", "min_gap_hours", "max_items")
        return ("moments", *(getattr(self.config, part) for part in parts))

    def user_sums(self, train: Histories) -> UserSums:
        is_whole = train.num_items <= self.config.max_items  # else which items take part depends on all users
        return {self._key: self._moments_of} if is_whole else {}

    def _moments_of(self, users: Histories) -> Float32[np.ndarray, "2 items items"]:
        """Return both moments of some users."""
        item = np.where(users.weight > 0, users.item_index.astype(np.int64), -1)
        return np.stack(self._moments(users, item, users.num_items))

    def _moments(
        self, train: Histories, item: Int64[np.ndarray, " events"], num_items: int
    ) -> tuple[Float32[np.ndarray, "items items"], Float32[np.ndarray, "items items"]]:
        """Return X^T X and X^T Y; an event whose item is -1 is on neither side."""
        if not self.config.min_gap_hours:
            return self._moments_of_pairs(train, item, num_items)
        gram, cross = (np.zeros((num_items, num_items), np.float32) for _ in range(2))
        user, returns = train.user_index(), after_gap(train, self.config.min_gap_hours)
        explained, session = np.flatnonzero(returns), user + np.cumsum(returns)
        earlier, later = -1 - np.arange(self.config.past), np.arange(self.config.future)
        for start in range(0, len(explained), BLOCK_EVENTS):
            events = explained[start : start + BLOCK_EVENTS]
            past = _window(events, user, item, earlier, self.config.past_half_life, num_items)
            future = _window(events, session, item, later, self.config.future_half_life, num_items)
            turned = sparse.csr_array(past.T)
            for first in range(0, num_items, block_rows(num_items)):
                rows = slice(first, first + block_rows(num_items))
                gram[rows] += (turned[rows] @ past).toarray()
                cross[rows] += (turned[rows] @ future).toarray()
        return gram, cross

    def _moments_of_pairs(
        self, train: Histories, item: Int64[np.ndarray, " events"], num_items: int
    ) -> tuple[Float32[np.ndarray, "items items"], Float32[np.ndarray, "items items"]]:
        """Return the moments where every event is explained, from pairs of events at each distance: events x (past + future) operations.

        Events a and b >= a of a user are in X^T X once for every later event p that both explain, and in X^T Y once for every p from a + 1
        to b; the sum over p of their weights is geometric.
        """
        config, user = self.config, train.user_index()
        later = np.repeat(train.offsets[1:], train.lengths()) - 1 - np.arange(train.num_events)
        past = np.exp2(-np.arange(config.past) / config.past_half_life)
        future = np.exp2(-np.arange(config.future) / config.future_half_life)
        both = np.concatenate([[0], np.cumsum(past**2)]).astype(np.float32)
        between = np.convolve(past, future).astype(np.float32)
        gram, cross = (np.zeros(num_items * num_items, np.float32) for _ in range(2))

        def cells(distance: int) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
            """Return the cell of each pair of events so far apart, and the later event."""
            ends = np.arange(distance, train.num_events)
            starts = ends - distance
            ends = ends[(user[starts] == user[ends]) & (item[starts] >= 0) & (item[ends] >= 0)]
            return item[ends - distance] * num_items + item[ends], ends

        for distance in range(1, config.past):
            cell, ends = cells(distance)
            np.add.at(gram, cell, both[np.minimum(config.past - distance, later[ends])] * np.float32(past[distance]))
        for distance in range(1, len(between) + 1):
            cell, _ = cells(distance)
            np.add.at(cross, cell, between[distance - 1])
        square, known = gram.reshape(num_items, num_items), item >= 0
        square = square + square.T
        own = np.bincount(item[known], both[np.minimum(config.past, later[known])], num_items)
        square[np.diag_indices_from(square)] += own.astype(np.float32)
        return square, cross.reshape(num_items, num_items)


def after_gap(histories: Histories, hours: float) -> Bool[np.ndarray, " events"]:
    """Return which events come more than so many hours after the user's previous one; both have a time."""
    found = np.zeros(histories.num_events, bool)
    gap = np.diff(histories.at) > round(hours * MICROSECONDS_PER_HOUR)
    found[1:] = gap & (histories.at[:-1] > 0)
    starts = histories.offsets[:-1]
    found[starts[starts < histories.num_events]] = False  # a user's first event follows that of another user
    return found


def _window(
    events: Int64[np.ndarray, " block"],
    group: Int64[np.ndarray, " events"],
    item: Int64[np.ndarray, " events"],
    offsets: Int64[np.ndarray, " offsets"],
    half_life: float,
    num_items: int,
) -> sparse.csr_array:
    """Return (block, items): the items at the given offsets from each event of the same group (user or session), decaying with distance."""
    other = events[:, None] + offsets[None, :]
    inside = (other >= 0) & (other < len(group))
    other[~inside] = 0
    inside &= (group[other] == group[events][:, None]) & (item[other] >= 0)
    row, step = np.nonzero(inside)
    weight = np.exp2(-step / half_life).astype(np.float32)
    place = (row, item[other[row, step]])
    return sparse.csr_array(sparse.coo_array((weight, place), shape=(len(events), num_items)))
