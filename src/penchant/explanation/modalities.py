"""Which modality a person chooses by.

In: content of items, some users to learn from, one user's history. Out: for each content channel how far it foretells the user's own choices, in standard
errors; and the channel named by it.

A score is no answer to this. Behaviour foretells whatever people choose, for whatever reason, and takes most of every contribution. So each choice is
taken out of the history, and the items most like the others of the user are looked for in one channel alone. Two pictures may be alike in what nobody
chooses by: alike are items in the directions of a channel in which the choices of one user lie together. Behaviour is named where no content foretells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from scipy.linalg import eigh
from scipy.sparse import csr_array
from scipy.stats import norm

from penchant.core.schema import BEHAVIOUR, Content, Embeddings, Histories

MAX_CHOICES = 40
"""Latest choices of a user that are taken out in turn."""
CHANCE = 0.05
"""Probability that content is named for a user who chooses by none, one-sided."""
DIRECTIONS = 64
"""Main directions of a channel in which tastes are looked for."""
RIDGE = 1e-3
"""Added to the squared spread of choices in each direction, which is near 1: a direction that hardly any choice has shows no taste."""


@dataclass(frozen=True)
class _ChannelTastes:
    """What the choices of many users have in common in one channel.

    Attributes:
        rows: Items in the main directions, each of unit spread; zero where an item lacks the channel.
        usable: Items that have it.
        alike: Sum over users of the products of two different choices, the mean over partners for each choice.
        spread: Sum over choices of their squares.
    """

    rows: Float64[np.ndarray, "items directions"]
    usable: Bool[np.ndarray, " items"]
    alike: Float64[np.ndarray, "directions directions"]
    spread: Float64[np.ndarray, "directions directions"]

    @classmethod
    def of(cls, embeddings: Embeddings, chosen: csr_array) -> _ChannelTastes:
        """Return the tastes of some users; `chosen` is 1 where one chose an item."""
        usable = embeddings.usable
        values = embeddings.values[usable].astype(np.float64)
        values -= values.mean(0) if len(values) else 0
        _, sizes, directions = np.linalg.svd(values, full_matrices=False)
        kept = np.flatnonzero(sizes > 1e-6 * max(sizes.max(initial=0.0), 1e-12))[:DIRECTIONS]
        rows = np.zeros((len(usable), len(kept)))
        rows[usable] = values @ (directions[kept].T * np.sqrt(len(values)) / sizes[kept])
        often = np.asarray(chosen.sum(0)).ravel() * usable
        rows[usable] -= often @ rows / max(often.sum(), 1)
        return cls(rows, usable, *_sums(rows, usable, chosen))

    def without(self, chosen: csr_array) -> Float64[np.ndarray, "items directions"]:
        """Return items in the directions of taste of everybody but one user, each as large as the share of its spread that lies between users."""
        own_alike, own_spread = _sums(self.rows, self.usable, chosen)
        spread = self.spread - own_spread
        scale = max(np.trace(spread) / max(len(spread), 1), 1e-12)
        shares, directions = eigh((self.alike - own_alike) / scale, spread / scale + RIDGE * np.eye(len(spread)))
        return self.rows @ (directions * np.sqrt(np.maximum(shares, 0)))


def _sums(
    rows: Float64[np.ndarray, "items directions"], usable: Bool[np.ndarray, " items"], chosen: csr_array
) -> tuple[Float64[np.ndarray, "directions directions"], Float64[np.ndarray, "directions directions"]]:
    """Return `alike` and `spread` of some users; those with a single choice in the channel say nothing."""
    counts = chosen @ usable.astype(np.float64)
    chosen, counts = chosen[counts > 1], counts[counts > 1]
    sums, often = chosen @ rows, np.asarray(chosen.sum(0)).ravel()
    itself = np.asarray(chosen.T @ (1 / (counts - 1)))
    alike = sums.T @ (sums / (counts - 1)[:, None]) - rows.T @ (rows * itself[:, None])
    return alike, rows.T @ (rows * often[:, None])


@dataclass(frozen=True)
class ChannelTastes:
    """In which directions of each content channel the choices of one user lie together.

    Attributes:
        users: Those it was learned from.
        channels: Content channel to its tastes.
    """

    users: Histories
    channels: Mapping[str, _ChannelTastes]

    @classmethod
    def of(cls, content: Content, users: Histories) -> ChannelTastes:
        """Return the tastes in every channel. Cost: a singular value decomposition of each channel."""
        chosen = _choices(users)
        return cls(users, {name: _ChannelTastes.of(one, chosen) for name, one in content.channels.items()})

    def leads(
        self, history: Histories, rows: Int64[np.ndarray, " choices"]
    ) -> Iterator[tuple[str, Float64[np.ndarray, "choices items"]]]:
        """Yield each channel with how much every item is like the choices of a user, without each of `rows` in turn.

        What the user themselves chose has no part in what counts as alike.

        Args:
            history: Exactly one user.
            rows: Some of the user's choices.
        """
        place = self._places.get(history.user_ids[0])
        known = self.users.rows(0, 0) if place is None else self.users.rows(place, place + 1)
        own, chosen = _choices(known), _choices(history)
        for name, tastes in self.channels.items():
            vectors = tastes.without(own)
            others = (chosen @ vectors) - vectors[rows]
            yield name, others @ vectors.T

    @cached_property
    def _places(self) -> dict[str, int]:
        return {user: place for place, user in enumerate(self.users.user_ids)}


def _choices(users: Histories) -> csr_array:
    """Return a matrix of users by items, 1 where one chose an item."""
    found = users.where(users.weight > 0).matrix().astype(np.float64)
    found.data[:] = 1
    return found


@dataclass(frozen=True)
class ModalityEvidence:
    """How far each content channel foretells one user's choices.

    Attributes:
        errors: Content channel to the mean lead of the chosen items, in standard errors of as many items drawn at random; the largest first.
        num_choices: Choices that were taken out in turn.
        threshold: Standard errors from which content is named.
    """

    errors: dict[str, float]
    num_choices: int
    threshold: float = float(norm.isf(CHANCE))

    @property
    def named(self) -> str:
        """The content channel that foretells most, or "behaviour" where none does beyond chance."""
        best = next(iter(self.errors), BEHAVIOUR)
        return best if self.errors.get(best, 0.0) >= self.threshold else BEHAVIOUR


def modality_evidence(tastes: ChannelTastes, history: Histories) -> ModalityEvidence:
    """Return how far each content channel foretells a user's choices, each taken out of the history in turn.

    Each channel has an equal part of `CHANCE` (Bonferroni).

    Args:
        tastes: In the channels.
        history: Exactly one user.
    """
    rows = latest_choices(history)
    usable = {name: one.usable for name, one in tastes.channels.items()}
    found = evidence_of_leads(dict(tastes.leads(history, rows)) if len(rows) else {}, rows, history, usable)
    return replace(found, threshold=float(norm.isf(CHANCE / max(1, len(found.errors)))))


def latest_choices(history: Histories) -> Int64[np.ndarray, " choices"]:
    """Return the items of a user's latest choices; none where there is a single one, which nothing could foretell."""
    rows = history.item_index[_latest(history)]
    return rows.astype(np.int64)


def _latest(history: Histories) -> Int64[np.ndarray, " choices"]:
    events = np.flatnonzero(history.weight > 0)[-MAX_CHOICES:]
    return events if len(events) > 1 else events[:0]


def choices_taken_out(history: Histories) -> tuple[Int64[np.ndarray, " choices"], Histories]:
    """Return `latest_choices`, and for each the history without it."""
    without = [history.where(np.arange(history.num_events) != event) for event in _latest(history)]
    return latest_choices(history), Histories.joined(without) if without else history.rows(0, 0)


def evidence_of_leads(
    leads: Mapping[str, Float[np.ndarray, "choices items"]],
    rows: Int64[np.ndarray, " choices"],
    history: Histories,
    usable: Mapping[str, Bool[np.ndarray, " items"]],
) -> ModalityEvidence:
    """Return how far each channel puts the chosen items above the others, in standard errors of as many items drawn at random.

    Args:
        leads: Channel to its number for every item, at each choice.
        rows: The chosen items.
        history: Exactly one user, whose items are no others.
        usable: Channel to the items that have it; the others are not looked at.
    """
    own: Bool[np.ndarray, " items"] = np.zeros(history.num_items, bool)
    own[history.item_index] = True
    errors = {}
    for channel, lead in leads.items():
        seen = usable[channel][rows]
        others = lead[seen][:, ~own & usable[channel]]
        variance = others.var(1, dtype=np.float64).sum() if others.size else 0.0
        gained = (lead[np.arange(len(rows)), rows][seen] - others.mean(1)).sum(dtype=np.float64) if variance > 0 else 0
        errors[channel] = float(gained / np.sqrt(variance)) if variance > 0 else 0.0
    return ModalityEvidence(dict(sorted(errors.items(), key=lambda pair: -pair[1])), len(rows))
