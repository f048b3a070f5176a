"""Which modality a network over histories chooses by: the exact Shapley value of every part of the items.

In: a fitted network, the items' content, histories. Out: how much each part (a content channel, or "behaviour" for the ids) adds to the log-probability of
every item; and which content foretells one user's own choices.

The players are the parts, which are few, so that every coalition is computed: the network reads items that have its parts alone, in the history and in
the catalog that it ranks. Parts are left out as training leaves them out (dropped modalities and ids), so that no stand-in for missing content is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import factorial

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from penchant.core.errors import ConfigError
from penchant.core.schema import BEHAVIOUR, LATEST, Content, Histories
from penchant.explanation.modalities import ModalityEvidence, choices_taken_out, evidence_of_leads
from penchant.models.sequence import Sequence as Network
from penchant.networks.backbones import last_state
from penchant.networks.sequences import recent_windows

MOST_PARTS = 8
"""Parts of the items of a network that is explained so, at most: 256 coalitions."""


class Coalitions:
    """A network whose items have some of their parts alone.

    Args:
        network: Fitted.
        content: Over the catalog that the network scores.

    Raises:
        ConfigError: The items have more parts than `MOST_PARTS`.
    """

    def __init__(self, network: Network, content: Content) -> None:
        assert network.network is not None
        items = network.network.items
        self.network = network
        self.parts = (*network.bases, *((BEHAVIOUR,) if items.ids is not None else ()))
        if len(self.parts) > MOST_PARTS:
            raise ConfigError(
                f"The network {network.name!r} reads {len(self.parts)} parts of an item, too many to leave out in every combination.",
                where=f"members.{network.name}.channels",
                fix=f"take at most {MOST_PARTS - 1} channels, or explain it by occlusion",
            )
        with torch.no_grad():
            self._rest = network.vectors.float()
            self.usable: dict[str, Bool[np.ndarray, " items"]] = {}
            if network.bases:
                rows, self._present = network.content_of(content, range(len(network.vectors)))
                self.usable = dict(zip(network.bases, self._present.numpy().T, strict=True))
                self._pieces = items.projected(rows)
                self._rest = self._rest - items.scale * items.fuse(self._pieces, self._present)  # type: ignore[misc]
            self._vectors = {kept: self._with(kept) for kept in _subsets(self.parts)}

    def _with(self, kept: frozenset[str]) -> Float[Tensor, "items D"]:
        """Return the vectors of items that have these parts alone."""
        assert self.network.network is not None
        items = self.network.network.items
        found = self._rest if BEHAVIOUR in kept else torch.zeros_like(self._rest)
        if self.network.bases:
            shown = self._present & torch.tensor([name in kept for name in self.network.bases])
            found = found + items.scale * items.fuse(self._pieces, shown)  # type: ignore[misc]
        return found

    @torch.no_grad()
    def worth(self, kept: frozenset[str], histories: Histories) -> Float64[np.ndarray, "users items"]:
        """Return the log-probability of every item after each history, where items have these parts alone."""
        assert self.network.network is not None
        vectors = self._vectors[kept]
        batch = recent_windows(histories, np.arange(len(histories)), self.network.config.max_length)
        states = last_state(self.network.network(vectors[batch.items], batch), batch.lengths + 1)
        return torch.log_softmax(states @ vectors.T, dim=1).numpy().astype(np.float64)

    def shapley(self, histories: Histories) -> Float64[np.ndarray, "parts users items"]:
        """Return the Shapley value of each part in the log-probability of every item after each history.

        The sum over the parts is the log-probability above that of a random item.

        Cost: 2 to the number of parts passes of the windows.

        Source: Shapley, A value for n-person games, 1953.
        """
        worth = {kept: self.worth(kept, histories) for kept in _subsets(self.parts)}
        count = len(self.parts)
        found = np.zeros((count, *worth[frozenset()].shape))
        for kept, value in worth.items():
            share = (
                factorial(len(kept)) * factorial(count - len(kept) - 1) / factorial(count)
                if kept != set(self.parts)
                else 0
            )
            for place, part in enumerate(self.parts):
                if part not in kept:
                    found[place] += share * (worth[kept | {part}] - value)
        return found


def network_modality_evidence(coalitions: Coalitions, history: Histories) -> ModalityEvidence:
    """Return how far each content channel foretells a user's choices in a network, each taken out of the history in turn.

    Compared are the Shapley values of the channel for the chosen item and for items that the user did not choose, as `modality_evidence` compares scores.

    Args:
        coalitions: Of the network.
        history: Exactly one user.
    """
    asked = history if history.requested_at is not None else history.requested(LATEST)
    rows, without = choices_taken_out(asked)
    if not len(rows):
        return ModalityEvidence({}, 0)
    values = coalitions.shapley(without)
    leads = {part: values[place] for place, part in enumerate(coalitions.parts) if part != BEHAVIOUR}
    return evidence_of_leads(leads, rows, history, coalitions.usable)


def _subsets(parts: tuple[str, ...]) -> Iterator[frozenset[str]]:
    for size in range(len(parts) + 1):
        yield from map(frozenset, combinations(parts, size))
