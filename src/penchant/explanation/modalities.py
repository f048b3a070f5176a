"""Which modality a person chooses by.

In: an ensemble, some users to compare with, one user's history. Out: for each content channel how far it foretells the user's own choices beyond
what it would foretell of anybody's, in standard errors; and the channel named by it.

A score is no answer to this. Behaviour foretells whatever people choose, for whatever reason, and takes most of every contribution. So each choice is
taken out of the history, and the members that read one content channel alone are asked for it. Behaviour is named where no content foretells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from penchant.core.schema import BEHAVIOUR, CONTEXT, Histories
from penchant.models.ensemble import Ensemble, on_one_scale

MAX_CHOICES = 40
"""Latest choices of a user that are taken out in turn."""
SIGNIFICANT = 1.645
"""Standard errors above 0 from which content is named: 5 %, one-sided."""
OTHERS = 500
"""Users whose mean score of an item is what a channel foretells of anybody."""


@dataclass(frozen=True)
class ChannelMembers:
    """The members that read one content channel alone, and their mean scores.

    Attributes:
        ensemble: Fitted members and weights.
        names: Content channel to its members.
        typical: Content channel to (items,) mean score over other users.
    """

    ensemble: Ensemble
    names: Mapping[str, tuple[str, ...]]
    typical: Mapping[str, Float64[np.ndarray, " items"]]

    @classmethod
    def of(cls, ensemble: Ensemble, users: Histories) -> ChannelMembers:
        """Return the members of each content channel of the items; `users` are those to compare with, the first `OTHERS` are read."""
        names: dict[str, tuple[str, ...]] = {}
        for name, channels in ensemble.channels.items():
            is_content = len(channels) == 1 and channels[0] not in (BEHAVIOUR, CONTEXT)
            if is_content and not ensemble.members[name].learns_from_behaviour:
                names[channels[0]] = (*names.get(channels[0], ()), name)
        found = cls(ensemble, names, {})
        some = users.rows(0, min(OTHERS, len(users)))
        return cls(
            ensemble, names, {channel: found.scores(channel, some).mean(0, dtype=np.float64) for channel in names}
        )

    def scores(self, channel: str, histories: Histories) -> Float32[np.ndarray, "users items"]:
        """Return the weighted mean of the scores of a channel's members, each on one scale."""
        total = np.zeros((len(histories), histories.num_items), np.float32)
        for name in self.names[channel]:
            weight = np.float32(self.ensemble.weights[name])
            total += weight * on_one_scale(self.ensemble.members[name], histories).values
        return total


@dataclass(frozen=True)
class ModalityEvidence:
    """How far each content channel foretells one user's choices.

    Attributes:
        errors: Content channel to the mean lead of the chosen items, in standard errors of as many items drawn at random; the largest first.
        num_choices: Choices that were taken out in turn.
    """

    errors: dict[str, float]
    num_choices: int

    @property
    def named(self) -> str:
        """The content channel that foretells most, or "behaviour" where none does beyond chance."""
        best = next(iter(self.errors), BEHAVIOUR)
        return best if self.errors.get(best, 0.0) >= SIGNIFICANT else BEHAVIOUR


def modality_evidence(members: ChannelMembers, history: Histories) -> ModalityEvidence:
    """Return how far each content channel foretells a user's choices, each taken out of the history in turn.

    Cost: one score of each channel's members for each choice.

    Args:
        members: Of the channels.
        history: Exactly one user.
    """
    rows, without = choices_taken_out(history)
    if not len(rows):
        return ModalityEvidence({}, 0)
    leads = {channel: members.scores(channel, without) - members.typical[channel] for channel in members.names}
    return evidence_of_leads(leads, rows, history)


def choices_taken_out(history: Histories) -> tuple[Int64[np.ndarray, " choices"], Histories]:
    """Return the latest choices of one user, and for each the history without it; none of a user with a single choice."""
    events = np.flatnonzero(history.weight > 0)[-MAX_CHOICES:]
    events = events if len(events) > 1 else events[:0]
    without = [history.where(np.arange(history.num_events) != event) for event in events]
    return history.item_index[events].astype(np.int64), Histories.joined(without) if without else history.rows(0, 0)


def evidence_of_leads(
    leads: Mapping[str, Float[np.ndarray, "choices items"]], rows: Int64[np.ndarray, " choices"], history: Histories
) -> ModalityEvidence:
    """Return how far each channel puts the chosen items above the others, in standard errors of as many items drawn at random.

    Args:
        leads: Channel to its number for every item, at each choice.
        rows: The chosen items.
        history: Exactly one user, whose items are no others.
    """
    own: Bool[np.ndarray, " items"] = np.zeros(history.num_items, bool)
    own[history.item_index] = True
    errors = {}
    for channel, lead in leads.items():
        others = lead[:, ~own]
        variance = others.var(1, dtype=np.float64).sum()
        gained = (lead[np.arange(len(rows)), rows] - others.mean(1)).sum(dtype=np.float64)
        errors[channel] = float(gained / np.sqrt(variance)) if variance > 0 else 0.0
    return ModalityEvidence(dict(sorted(errors.items(), key=lambda pair: -pair[1])), len(rows))
