"""The lift of new items: what an item without events is given beside the scores of the other members.

In: histories, or a catalog that grew. Out: 1 for each new item, 0 for the others; the weight in the ensemble is the lift.
"""

from __future__ import annotations

import copy
from typing import ClassVar, Literal, Self

import numpy as np

from penchant.core.config import Settings
from penchant.core.schema import Content, Histories
from penchant.models.member import Member
from penchant.models.popularity import PriorMember


class NewItemsConfig(Settings):
    """The settings of the lift of new items."""

    of: Literal["without_events", "added"] = "without_events"
    """Which items are new: those without events when the member is fitted and those added later, or only those added later."""


class NewItems(PriorMember[NewItemsConfig]):
    """1 for a new item, 0 for the others.

    Members of behaviour score all items without events alike and low, because nobody could choose them. The lift makes up for that: its
    weight says how much, in units of the ensemble's score. It is not standardised, so that the lift does not depend on how many are new.
    """

    config_class = NewItemsConfig

    standardised: ClassVar[bool] = False

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        self.prior = np.zeros(train.num_items, np.float32)
        if self.config.of == "without_events":
            self.prior[np.bincount(train.item_index, minlength=train.num_items) == 0] = 1
        return self

    def refit(self, train: Histories, content: Content, before: Member) -> Self:
        """Learn from more events; an item that was added and still has no event stays new."""
        fitted = self.fit(train, content)
        if isinstance(before, NewItems) and self.config.of == "added":
            lifted = np.flatnonzero(before.prior)
            has_event = np.bincount(train.item_index, minlength=train.num_items) > 0
            fitted.prior[lifted[~has_event[lifted]]] = 1
        return fitted

    def add_items(self, content: Content, new: range) -> Self:
        grown = copy.copy(self)
        grown.prior = np.concatenate([self.prior, np.ones(len(new), np.float32)])
        return grown
