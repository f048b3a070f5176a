"""The users of a bundle: what they did, wrote, showed and told, before it was written and since.

In: a user's id, or items. Out: the history of that user as members read it, with the vectors of what came since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from penchant.core.errors import NotFoundError, nearest
from penchant.core.schema import Histories, OwnContent
from penchant.data.clean.inspection import InspectionConfig
from penchant.data.event_weights import HistoriesConfig, kind_weights
from penchant.data.histories import Event, add_events
from penchant.data.media import MediaLimits
from penchant.encoders.user_content import OwnContentReader, UserChannelConfig
from penchant.recommender.lookup import MAX_COMPARED, CatalogLookup
from penchant.recommender.new_items import ChannelEncoders

WHERE = "the bundle's facts"


@dataclass(frozen=True)
class UserHistories:
    """The histories of one bundle's users, to which newer events and content are added as the bundle's settings say.

    Attributes:
        histories: Of the bundle.
        lookup: Its items.
        facts: Weights of events, channels of what users write and show, and the seed of ties.
        encoders: Of these channels, loaded when first needed.
    """

    histories: Histories
    lookup: CatalogLookup
    facts: Mapping[str, Any]
    encoders: ChannelEncoders

    @cached_property
    def rows(self) -> dict[str, int]:
        """User to row of `histories`."""
        return {user: row for row, user in enumerate(self.histories.user_ids)}

    @cached_property
    def own_content(self) -> OwnContentReader:
        """Encoder of what users write, show, say and tell of themselves after the bundle was written."""
        channels = {
            name: UserChannelConfig.read(dict(table), where=WHERE)
            for name, table in self.facts.get("user_channels", {}).items()
        }
        inspection = InspectionConfig.read(dict(self.facts.get("user_media", {})), where=WHERE)
        embeddings = {name: channel.embeddings for name, channel in self.histories.user_channels.items()}
        return OwnContentReader(channels, embeddings, self.encoders.load, MediaLimits(), inspection)

    @cached_property
    def _weighing(self) -> HistoriesConfig:
        return HistoriesConfig.read(dict(self.facts.get("histories", {})), where=WHERE)

    def of(
        self,
        user_id: str,
        events: Sequence[Event] | None = None,
        *,
        use_own: bool = True,
        about: OwnContent | None = None,
    ) -> Histories:
        """Return one user's events, oldest first; arguments and errors as in `Recommender.history`."""
        row = self.rows.get(user_id) if use_own else None
        if row is None and events is None:
            fix = nearest(user_id, self.histories.user_ids[:MAX_COMPARED], "Name a user of the bundle.")
            raise NotFoundError(
                f"There is no user {user_id!r}.",
                where="the bundle's histories",
                fix=f"{fix} For a new user give their items: --history",
            )
        own = self.nobody(user_id) if row is None else self.histories.rows(row, row + 1)
        seed = int(self.facts.get("seed", 0))
        own = add_events(own, events, self.lookup.items, self._weighing, seed=seed) if events else own
        return own if about is None else self._told(own, about)

    def of_items(self, item_ids: Sequence[str], user_id: str) -> Histories:
        """Return the history of a user who is not in the bundle, oldest item first.

        Raises:
            NotFoundError: An item is unknown.
        """
        rows = np.array([self.lookup.row(item_id) for item_id in item_ids], np.int32)
        ones = np.ones(len(rows), np.float32)
        return self.nobody(user_id).appended(rows, np.arange(len(rows)), ones)

    def nobody(self, user_id: str = "") -> Histories:
        """Return a user without events and content, to whom both may be added."""
        nobody = Histories.empty(self.histories.num_items, user_id)
        channels = {name: channel.cleared(nobody) for name, channel in self.histories.user_channels.items()}
        return replace(nobody, user_channels=channels, derived=self.histories.derived)

    def repeat_weights(self, kinds: Sequence[str]) -> frozenset[float]:
        """Return the weights of these kinds of event, by which a history tells them apart; an unknown kind weighs 1."""
        weights = kind_weights(self._weighing)
        return frozenset(weights.get(kind.strip().lower(), 1.0) for kind in kinds)

    def _told(self, own: Histories, about: OwnContent) -> Histories:
        """Return one user's history with what they told of themself."""
        channels = dict(own.user_channels)
        for name in self.own_content.names("users"):
            channel = channels[name]
            before = channel.embeddings.values[channel.row[0]] if channel.row[0] >= 0 else None
            vector = self.own_content.merged(about, name, before)
            if vector is not before:
                channels[name] = replace(channel, row=channel.row[:0]).extended([vector])
        return replace(own, user_channels=channels)
