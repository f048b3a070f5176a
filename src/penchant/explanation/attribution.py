"""Exact contributions to a score by event, channel and member.

In: the ensemble's contributions to some scores of one user. Out: their sums by event, channel and member, and reasons. Python, the
command line, the service, the studio and the report all use `attribute`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

from penchant.core.messages import Message, message
from penchant.core.notebook import table_html
from penchant.core.schema import BEHAVIOUR, Catalog, Histories
from penchant.explanation.reasons import MAX_NAMED, Reason
from penchant.models.ensemble import Ensemble

Method = Literal["integrated_gradients", "occlusion"]
"""How a network is explained beside its exact contributions: `network_attribution.py`."""
METHODS: tuple[Method, ...] = ("integrated_gradients", "occlusion")
MIXED = "mixed content"
"""Channel of a member that reads several channels at once."""


@dataclass(frozen=True)
class Attribution:
    """The summands of some scores of one user.

    Attributes:
        history: The user's events.
        values: (members, 1 + events, chosen): row 0 is what a member adds for any user, row e + 1 what it adds for event e.
        members: Names, in the order of `values`.
        channels: One channel for each member, `MIXED` for a member that reads several.
        reads: All channels of each member.
    """

    history: Histories
    values: Float32[np.ndarray, "members rows chosen"]
    members: tuple[str, ...]
    channels: tuple[str, ...]
    reads: tuple[tuple[str, ...], ...]

    def by_event(self) -> Float64[np.ndarray, "rows chosen"]:
        """Return the sum over members; row 0 is the prior, row e + 1 event e."""
        return self.values.sum(0, dtype=np.float64)

    def by_member(self) -> dict[str, Float64[np.ndarray, " chosen"]]:
        """Return each member's part of the scores."""
        return dict(zip(self.members, self.values.sum(1, dtype=np.float64), strict=True))

    def by_channel(self) -> dict[str, Float64[np.ndarray, " chosen"]]:
        """Return each channel's part of the scores."""
        total: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(self.values.shape[2]))
        for channel, values in zip(self.channels, self.by_member().values(), strict=True):
            total[channel] += values
        return dict(total)

    def shapley(self) -> dict[str, Float64[np.ndarray, " chosen"]]:
        """Return the exact Shapley value of each channel; they sum to the scores.

        The game: a set of channels is worth the score of the members that read nothing else, at the weights they have. A member is then worth
        its contribution to every set that holds all its channels, so that each of these has an equal part of it, and no set has to be
        scored. It is the same where a member takes part as soon as one of its channels is there. Which channel a member that reads several
        relies on does not show.

        Source: Shapley, A value for n-person games, 1953; the closed form from Harsanyi's dividends, 1963.
        """
        total: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(self.values.shape[2]))
        for channels, values in zip(self.reads, self.by_member().values(), strict=True):
            for channel in channels:
                total[channel] += values / len(channels)
        return dict(total)

    def reasons(self) -> list[Reason]:
        """Return the reason of each score."""
        found = []
        for column in self.by_event().T:
            items: dict[int, None] = {}
            for event in np.argsort(-column[1:], kind="stable"):
                if column[1 + event] <= 0 or len(items) == MAX_NAMED:
                    break
                items[int(self.history.item_index[event])] = None
            found.append(Reason(tuple(items), self.history.num_events == 0 or bool(column[0] > 0)))
        return found

    def channel_shares(self) -> dict[str, float]:
        """Return each channel's share of the positive parts of all scores, behaviour first; sums to 1, or is empty."""
        positive = {channel: float(np.maximum(values, 0).sum()) for channel, values in self.by_channel().items()}
        whole = sum(positive.values())
        ordered = sorted(positive.items(), key=lambda pair: (pair[0] != BEHAVIOUR, -pair[1]))
        return {channel: value / whole for channel, value in ordered} if whole > 0 else {}


@dataclass(frozen=True)
class Explanation:
    """Why one item has its score for one user.

    Attributes:
        user_id: The user.
        item_id: The item.
        title: Its title.
        score: Sum of all contributions.
        by_event: (item id, title, contribution) for each past event, largest first.
        by_channel: "behaviour" or a content channel to its contribution.
        shapley: Channel to its Shapley value: as `by_channel`, with members that read several channels divided among them.
        by_member: Member to its contribution.
        prior: The part that no event of this user caused (popularity and the like).
        reasons: The same as a sentence, as a list of recommendations shows it.
        notes: Members whose parts do not say what a removal of an event costs, one sentence each.
    """

    user_id: str
    item_id: str
    title: str
    score: float
    by_event: tuple[tuple[str, str, float], ...]
    by_channel: dict[str, float]
    shapley: dict[str, float]
    by_member: dict[str, float]
    prior: float
    reasons: tuple[str, ...]
    notes: tuple[Message, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        by_event = [{"item_id": i, "title": t, "contribution": v} for i, t, v in self.by_event]
        return {**self.__dict__, "by_event": by_event, "reasons": list(self.reasons), "notes": list(self.notes)}

    def _repr_html_(self) -> str:
        parts = [("for any user", self.prior), *((title, value) for _, title, value in self.by_event[:10])]
        parts += [(f"{kind}: {n}", v) for kind in ("channel", "member") for n, v in getattr(self, f"by_{kind}").items()]
        caption = f"{self.title} for {self.user_id}: {self.score:.4f}; {'; '.join(self.reasons)}"
        return table_html(caption, ("part", "contribution"), [(name, f"{value:+.4f}") for name, value in parts])


def attribute(
    ensemble: Ensemble,
    history: Histories,
    item_index: Int64[np.ndarray, " chosen"],
    values: Float32[np.ndarray, "members rows chosen"] | None = None,
) -> Attribution:
    """Return the summands of some scores; they add up to `ensemble.score` up to float32 rounding.

    Args:
        ensemble: Fitted members and weights.
        history: Exactly one user.
        item_index: The items in question.
        values: Those of `Ensemble.contributions`, where they were computed without scoring the whole catalog.
    """
    reads = tuple(tuple(ensemble.channels[name]) for name in ensemble.members)
    channels = tuple(c[0] if len(c) == 1 else MIXED for c in reads)
    values = ensemble.contributions(history, item_index) if values is None else values
    return Attribution(history, values, tuple(ensemble.members), channels, reads)


def explain(
    ensemble: Ensemble,
    catalog: Catalog,
    history: Histories,
    item_index: int,
    values: Float32[np.ndarray, "members rows chosen"] | None = None,
) -> Explanation:
    """Return one score with its contributions.

    Args:
        ensemble: Fitted members and weights.
        catalog: For ids and titles.
        history: Exactly one user.
        item_index: The item in question.
        values: As in `attribute`.
    """
    found = attribute(ensemble, history, np.array([item_index]), values)
    titles, ids = catalog.titles(), catalog.item_ids
    prior, *events = found.by_event()[:, 0].tolist()
    ordered = sorted(zip(history.item_index.tolist(), events, strict=True), key=lambda pair: -pair[1])
    return Explanation(
        user_id=history.user_ids[0],
        item_id=ids[item_index],
        title=titles[item_index],
        score=float(found.values.sum(dtype=np.float64)),
        by_event=tuple((ids[row], titles[row], value) for row, value in ordered),
        by_channel=_largest_first(found.by_channel()),
        shapley=_largest_first(found.shapley()),
        by_member=_largest_first(found.by_member()),
        prior=prior,
        reasons=tuple(reason.text(titles) for reason in found.reasons()),
        notes=tuple(_notes(ensemble)),
    )


def _notes(ensemble: Ensemble) -> Iterator[Message]:
    for name, member in ensemble.members.items():
        if member.removal == "mean":
            yield message(
                "{name} reads a mean over events: without one of them the score falls by its part only as far as the shares of the others stay; "
                "they grow.",
                name=name,
            )
        elif member.removal == "increase":
            yield message(
                "{name} reads events in their order: the part of an event is what the score rose by when it came, not what its removal would cost.",
                name=name,
            )


def _largest_first(parts: dict[str, Float64[np.ndarray, " one"]]) -> dict[str, float]:
    values = {name: float(value[0]) for name, value in parts.items()}
    return dict(sorted(values.items(), key=lambda pair: -abs(pair[1])))
