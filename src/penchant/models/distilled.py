"""One small network that was taught the lists of an ensemble.

In: the settings of the members of an ensemble, and those of a network. Out: a member that ranks nearly as the ensemble does, alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from penchant.core.schema import Content, Histories
from penchant.core.seeds import generator
from penchant.fusion.late import EnsembleWeights
from penchant.models.ensemble import Ensemble, batch_users
from penchant.models.member import Member, make_member
from penchant.models.sequence import Sequence, SequenceConfig
from penchant.networks.backbones import last_state
from penchant.networks.sequences import recent_windows
from penchant.networks.trainer import pick_device, train

LESSONS, CELLS = 256, 8_000_000
"""Lists of a batch at most, and scores it holds at most: 32 MB."""


class DistilledConfig(SequenceConfig):
    """The settings of a distilled ensemble: those of its teachers and those of a network over histories."""

    teachers: dict[str, dict[str, Any]] = {"ease": {"model": "ease"}}
    """The members that teach, with their settings."""
    weights: dict[str, float] = {}
    """Weights of the teachers; 1 where none is named."""
    bands: dict[str, Any] = {}
    """Their weights by length of the history or gap before the request, as a bundle holds them: `by`, `starts` and `weights`."""
    taught_items: int = Field(100, ge=1)
    """Items of each of the teachers' lists."""
    decay: float = Field(20.0, gt=0)
    """An item at place r of a list, from 0, counts exp(-r / decay)."""
    cuts: int = Field(2, ge=0)
    """Shorter histories of each user whose lists are taught, too, each ending at a random event."""
    taught_epochs: int = Field(15, ge=1)
    """Times every list is learned from, at most."""


class Distilled(Sequence[DistilledConfig]):
    """A network over histories that first learns next items, then the lists of its teachers.

    For each history the loss is the cross-entropy between the places of the teachers' list and the network's probabilities of all items outside
    the history. Its settings hold the teachers, so that it can be fitted again like any member, as after an erasure; what it learned does not.

    Cost: fits of the teachers, one scoring of (1 + cuts) x users by them, then `taught_epochs` x that many x (items x dim + backbone).

    Source: ranking distillation (Tang & Wang, KDD 2018), with their weights by place, over the whole catalog.
    """

    config_class = DistilledConfig
    is_costly: ClassVar[bool] = False
    """It takes minutes, but an erasure must reach it: nothing else is in its bundle."""

    def __init__(self, config: DistilledConfig | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self._teachers: Mapping[str, Member] = {}

    def parts(self) -> Mapping[str, Member]:
        """Return the teachers before the fit; none afterwards."""
        if self._teachers or self.network is not None:
            return self._teachers
        return {name: make_member(name, table) for name, table in self.config.teachers.items()}

    def with_parts(self, parts: Mapping[str, Member]) -> Self:
        held = copy.copy(self)
        held._teachers = dict(parts)
        return held

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        teachers = self._teachers or {name: one.fit(train, content) for name, one in self.parts().items()}
        lessons = _Lessons.of(self._ensemble(teachers, content), train, self.config)
        super().fit(train, content)
        self._teach(lessons)
        self._teachers = {}
        return self._settle()

    def refit(self, train: Histories, content: Content, before: Member) -> Self:
        """Fit anew: a few epochs of next items would make it forget the lists."""
        return self.fit(train, content)

    def _ensemble(self, teachers: Mapping[str, Member], content: Content) -> Ensemble:
        config = self.config
        overall = {name: config.weights.get(name, 1.0) for name in teachers}
        bands = {"starts": (), "weights": (), "by": "length", **config.bands}
        weights = EnsembleWeights(overall, tuple(bands["starts"]), tuple(bands["weights"]), bands["by"])
        return Ensemble.build(teachers, weights, content)

    def _teach(self, lessons: _Lessons) -> None:
        config, network = self.config, self.network
        assert network is not None
        device = pick_device(config.device)
        self.vectors = self.vectors[:0]
        learned, held = lessons.divided(config.held_out_users, config.seed)
        places = torch.exp(-torch.arange(config.taught_items, device=device) / config.decay)

        def loss(net: nn.Module, batch: _Lessons) -> Tensor:
            return _list_loss(net, batch, config.max_length, places, device)

        @torch.no_grad()
        def score() -> float:
            parts = [loss(network, batch) * len(batch.items) for batch in held.batches()]
            return -float(torch.stack(parts).sum() / len(held.items))

        update = {"epochs": config.taught_epochs}
        self.training_history = train(
            network,
            learned,
            loss,
            score if len(held.items) else None,
            config.model_copy(update=update),
            seed=config.seed + 1,
            name=f"{self.name}, taught",
            checkpoint=None if self.checkpoint is None else self.checkpoint.with_name(f"{self.checkpoint.name}-taught"),
            report=self.report,
        )


@dataclass(frozen=True)
class _Lessons:
    """Histories and the lists that the teachers make of them.

    Attributes:
        histories: One for each list.
        items: (lists, taught_items) rows of the catalog, best first; -1 after the last.
        user: (lists,) number of the user.
    """

    histories: Histories
    items: Int64[np.ndarray, "lists places"]
    user: Int64[np.ndarray, " lists"]

    @classmethod
    def of(cls, teachers: Ensemble, histories: Histories, config: DistilledConfig) -> _Lessons:
        """Return the lists of all users, and of `cuts` shorter histories of each."""
        lengths, rng = histories.lengths(), generator(config.seed, "distilled.cuts")
        cut = [np.zeros(len(lengths), np.int64), *(rng.integers(0, np.maximum(lengths, 1)) for _ in range(config.cuts))]
        parts = [histories.where(histories.ages() >= np.repeat(one, lengths)) for one in cut]
        found = [
            teachers.recommend(batch, config.taught_items).item_index
            for part in parts
            for batch in part.batches(batch_users(histories.num_items))
        ]
        width = min(config.taught_items, histories.num_items)
        items = np.concatenate([np.zeros((0, width), np.int32), *found]).astype(np.int64)
        read = [replace(part, user_channels={}, derived={}) for part in parts]  # the network reads items alone
        return cls(Histories.joined(read), items, np.tile(np.arange(len(lengths)), len(parts)))

    def divided(self, held_out: int, seed: int) -> tuple[_Lessons, _Lessons]:
        """Return the lists of most users, and the whole histories of at most a tenth of them, held out."""
        users = int(self.user.max(initial=-1)) + 1
        held = generator(seed, "distilled.held_out").permutation(users)[: min(held_out, users // 10)]
        is_held = np.isin(self.user, held)
        is_whole = np.arange(len(self.user)) < users
        return self._take(np.flatnonzero(~is_held)), self._take(np.flatnonzero(is_held & is_whole))

    def batches(self) -> Iterator[_Lessons]:
        """Yield all in order."""
        for rows in self._parts(np.arange(len(self.items))):
            yield self._take(rows)

    def epoch(self, rng: np.random.Generator) -> Iterator[_Lessons]:
        """Yield all in random order."""
        for rows in self._parts(rng.permutation(len(self.items))):
            yield self._take(rows)

    def num_batches(self) -> int:
        """Return how many batches an epoch has."""
        return len(self._parts(np.arange(len(self.items))))

    def _parts(self, rows: Int64[np.ndarray, " lists"]) -> list[Int64[np.ndarray, " some"]]:
        size = int(np.clip(CELLS // max(self.histories.num_items, 1), 1, LESSONS))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def _take(self, rows: Int64[np.ndarray, " some"]) -> _Lessons:
        return _Lessons(self.histories.take(rows), self.items[rows], self.user[rows])


def _list_loss(
    network: nn.Module, lessons: _Lessons, max_length: int, places: Float[Tensor, " places"], device: torch.device
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy between lists and probabilities of the items outside the history."""
    batch = recent_windows(lessons.histories, np.arange(len(lessons.items)), max_length).to(device)
    vectors = network.items()  # type: ignore[operator]
    logits = last_state(network(vectors[batch.items], batch), batch.lengths + 1) @ vectors.T
    own = torch.from_numpy(lessons.histories.user_index()).to(device)
    logits[own, torch.from_numpy(lessons.histories.item_index.astype(np.int64)).to(device)] = float("-inf")
    listed = torch.from_numpy(lessons.items).to(device)
    share = torch.where(listed >= 0, places[: listed.shape[1]], 0.0)
    share = share / share.sum(1, keepdim=True).clamp(min=1e-12)
    known = torch.log_softmax(logits, dim=1).gather(1, listed.clamp(min=0))
    return -torch.where(listed >= 0, share * known, 0.0).sum(1).mean()
