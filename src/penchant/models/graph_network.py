"""A graph network over items that share users and items with similar content.

In: histories and content. Out: item vectors smoothed over both graphs; a user is the sum of the items of their history.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int64
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn

from penchant.core.schema import Content, Histories
from penchant.core.seeds import generator
from penchant.fusion.imputation import item_graph
from penchant.metrics.ranking import discounted_gain
from penchant.models.channels import centred_unit, nearest_fitted, neighbour_graph, pick, row_normalised
from penchant.models.item_to_item import liked
from penchant.models.member import Contributions, Member, Removal
from penchant.networks import losses
from penchant.networks.tokens import ChannelBasis, ItemTokens, ItemTokensConfig
from penchant.networks.trainer import TrainerConfig, TrainingHistory, pick_device
from penchant.networks.trainer import train as train_network

CUTOFF = 20
"""Length of the list in which a hidden event counts."""
FOLDS = 4
"""Parts of the users; the events of each are predicted over a graph of the others."""
RANKED_EVENTS = 2048
"""Hidden events ranked at once."""


class GraphNetworkConfig(ItemTokensConfig, TrainerConfig):
    """The settings of the graph network."""

    dim: int = Field(64, ge=1)
    """Width of every vector."""
    hops: int = Field(1, ge=0)
    """Steps over the graph of items that share users; one was better than two on validation of TikTok and of Baby."""
    neighbours: int = Field(20, ge=1)
    """Edges of each item in either graph."""
    content_weight: float = Field(0.5, ge=0)
    """Weight of what comes over the frozen content graph; 0 leaves it out."""
    sharpness: float = Field(0.5, gt=0)
    """A score is the item's probability to this power: logits have no heavy tail, and the ensemble would give them no weight."""
    user_exponent: float = Field(0.5, ge=0, le=1)
    """How much long histories are damped."""
    keep: float = Field(0.5, gt=0, lt=1)
    """Share of a history that is read in training; the rest is predicted."""
    max_hidden: int = Field(20, ge=1)
    """Predicted events of one history in an epoch, at most, so that a few users with thousands of events do not dominate."""
    loss: Literal["softmax", "bpr"] = "softmax"
    """softmax over the whole catalog, or BPR against drawn items."""
    negatives: int = Field(256, ge=1)
    """Items drawn for each batch (bpr)."""
    batch_users: int = Field(256, ge=1)
    """Histories a step learns from."""
    patience: int = Field(8, ge=1)
    """Epochs without a better held-out score before training stops; on sparse data the first ones are near random."""
    epochs: int = Field(40, ge=1)
    """Times every history is learned from."""
    learning_rate: float = Field(5e-3, gt=0)
    """Of AdamW, at its peak."""
    held_out_users: int = Field(1000, ge=0)
    """Users, at most a tenth, whose hidden events are held out for early stopping; 0 holds out none and keeps the last epoch."""
    seed: int = 0
    """Of initial weights, batches and dropout."""


class SmoothedItems(nn.Module):
    """Item vectors after walks over both graphs.

    Args:
        items: Where walks begin.
        behaviours: (items, items) graphs of items that share users; the last one is of all users.
        alike: (items, items) graph of items alike in content; None leaves it out.
        hops: Steps over a behaviour graph.
        weight: Of what comes over the content graph.
    """

    def __init__(
        self, items: ItemTokens, behaviours: Sequence[Tensor], alike: Tensor | None, hops: int, weight: float
    ) -> None:
        super().__init__()
        self.items, self.hops, self.weight = items, hops, weight
        self.num_graphs = len(behaviours)
        for place, graph in enumerate(behaviours):
            self.register_buffer(f"behaviour_{place}", graph, persistent=False)
        self.register_buffer("alike", alike, persistent=False)

    def forward(self, which: int = -1) -> Float[Tensor, "I D"]:
        """Return the mean over 0, 1, ... hops, plus what comes over the content graph."""
        behaviour = self.get_buffer(f"behaviour_{which % self.num_graphs}")
        vectors = self.items()
        steps = [vectors]
        for _ in range(self.hops):
            steps.append(torch.sparse.mm(behaviour, steps[-1]))
        mean = torch.stack(steps).mean(0)
        return mean if self.alike is None else mean + self.weight * torch.sparse.mm(self.alike, vectors)


class GraphNetwork(Member[GraphNetworkConfig]):
    """LightGCN over items, with a frozen content graph beside it.

    A user has no vector of their own: it is the sum of the vectors of their items, divided by a power of the length of their
    history, which is LightGCN's first hop. So a new user is scored at once; the contribution of an event is the increase of the
    score with it, which sums exactly. Part of each history predicts the rest, over a graph made without these users: otherwise
    the pairs to predict are its edges, and where few users share an item the network learns to read off the answer.

    Cost: an epoch is users x items x dim, plus edges x dim a step. Source: LightGCN (He et al., SIGIR 2020), FREEDOM (Zhou &
    Shen, MM 2023: frozen item-item graph, pruned edges); ours walks item-to-item and has no user table.
    """

    config_class = GraphNetworkConfig
    stands_without_content: ClassVar[bool] = True
    removal: Removal = "increase"
    is_costly: ClassVar[bool] = True

    def __init__(self, config: GraphNetworkConfig | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self.source = self.target = np.zeros((0, 0), np.float32)
        self.training_history = TrainingHistory()

    def channels(self, content: Content) -> tuple[str, ...]:
        return tuple(content.channels) if self.config.channels is None else tuple(self.config.channels)

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        torch.manual_seed(self.config.seed)
        device = pick_device(self.config.device)
        rows = liked(train)
        folds = self._folds(rows)
        network = self._build(train, rows, folds, content).to(device)
        popular = torch.from_numpy(np.asarray(rows.sum(0), np.float32).ravel()).to(device)
        damping = popular.clamp(min=1).rsqrt()
        held_out = SplitHistories(rows[folds[0]], self.config, 0, generator(self.config.seed, "train.hidden"))
        halves = SplitHistoryBatches(rows, folds, self.config)

        def loss(graph: nn.Module, half: SplitHistories) -> Tensor:
            vectors = graph(half.fold)
            states = _user_states(half, vectors * damping[:, None], self.config.user_exponent)
            states, chosen = states[half.target_user.to(device)], half.target_item.to(device)
            if self.config.loss == "softmax":
                return losses.softmax(states, vectors, chosen)
            drawn = torch.multinomial(popular + 1e-6, self.config.negatives, replacement=True)
            wrong = (states @ vectors[drawn].T).masked_fill(chosen[:, None] == drawn[None, :], -1e4)
            return losses.bpr((states * vectors[chosen]).sum(-1), wrong)

        if rows.nnz:
            self.training_history = train_network(
                network,
                halves,
                loss,
                (lambda: self._held_out(network, held_out, damping)) if len(held_out.target_user) else None,
                self.config,
                seed=self.config.seed,
                name=self.name,
                checkpoint=self.checkpoint,
            )
        with torch.no_grad():
            vectors = network.eval()()
            self.source = (vectors * damping[:, None]).cpu().numpy()
            self.target = vectors.cpu().numpy()
        return self

    def _folds(self, rows: sparse.csr_array) -> list[Int64[np.ndarray, " _"]]:
        """Return the users held out for early stopping, then all others in parts of equal size."""
        rng = generator(self.config.seed, "train.folds")
        users = rng.permutation(np.flatnonzero(np.diff(rows.indptr) > 1))
        held = min(self.config.held_out_users, len(users) // 10)
        return [np.sort(users[:held]), *np.array_split(users[held:], FOLDS)]

    def _build(
        self, train: Histories, rows: sparse.csr_array, folds: Sequence[Int64[np.ndarray, " _"]], content: Content
    ) -> SmoothedItems:
        config = self.config
        channels = {name: pick(content, name, self.name) for name in sorted(self.channels(content))}
        bases = {name: ChannelBasis.of(e, config.channel_dim) for name, e in channels.items()}
        widths = {name: basis.directions.shape[1] for name, basis in bases.items()}
        with_ids = config.model_copy(update={"use_ids": config.use_ids or not channels})
        items = ItemTokens(widths, train.num_items, config.dim, with_ids)
        items.load(channels, bases, np.bincount(train.item_index, minlength=train.num_items) > 0)
        others = [np.setdiff1d(np.arange(len(train)), fold) for fold in folds]
        behaviours = [_tensor(item_graph(rows[users], config.neighbours)) for users in (*others, np.arange(len(train)))]
        alike = None
        if channels and config.content_weight:
            graphs = [neighbour_graph(centred_unit(e.values, e.usable), config.neighbours) for e in channels.values()]
            alike = _tensor(row_normalised(sparse.csr_array(sum(graphs[1:], graphs[0]))))
        return SmoothedItems(items, behaviours, alike, config.hops, config.content_weight)

    @torch.no_grad()
    def _held_out(self, network: SmoothedItems, half: SplitHistories, damping: Tensor) -> float:
        """Return the mean over users of the gain of hidden events, 1 / log2(1 + rank) down to rank 20, among the items not read."""
        vectors = network(half.fold)
        scores = _user_states(half, vectors * damping[:, None], self.config.user_exponent) @ vectors.T
        scores[half.read_user, half.read_item] = -torch.inf
        total, count = torch.zeros(half.users), torch.bincount(half.target_user, minlength=half.users)
        for user, item in zip(
            torch.split(half.target_user, RANKED_EVENTS), torch.split(half.target_item, RANKED_EVENTS), strict=True
        ):
            rank = (scores[user] >= scores[user, item][:, None]).sum(
                1
            ).cpu().numpy() - 1  # among equal scores the worst rank
            total.index_add_(0, user, torch.from_numpy(discounted_gain(rank, CUTOFF)).float())
        return float((total / count.clamp(min=1))[count > 0].mean())

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        weighted: Any = histories.matrix()
        taste = np.asarray(weighted @ self.source, np.float32)
        return self._scores(taste * self._share(histories.lengths()))

    def contributions(self, history: Histories) -> Contributions:
        rows = self.source[history.item_index] * history.weight[:, None]
        tastes = np.concatenate([np.zeros((1, rows.shape[1]), np.float32), np.cumsum(rows, axis=0)])
        scores = self._scores(tastes * self._share(np.arange(len(tastes))))  # after 0, 1, ... events
        return scores[0], np.diff(scores, axis=0)

    def _scores(self, states: Float32[np.ndarray, "rows D"]) -> Float32[np.ndarray, "rows items"]:
        return losses.sharpened_probability(torch.from_numpy(states @ self.target.T), self.config.sharpness)

    def _share(self, lengths: Int64[np.ndarray, " rows"]) -> Float32[np.ndarray, "rows 1"]:
        return (np.maximum(lengths, 1) ** -self.config.user_exponent).astype(np.float32)[:, None]

    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy in which new items have the mean vectors of their nearest in content; of all where none is near."""
        found = [(pick(content, name, self.name), 1.0) for name in self.channels(content)]
        near: Any = nearest_fitted(found, new)
        grown, is_alone = copy.copy(self), np.diff(near.indptr) == 0
        for name in ("source", "target"):
            fitted = getattr(self, name)
            added = near @ fitted
            added[is_alone] = fitted.mean(0)
            setattr(grown, name, np.concatenate([fitted, added]))
        return grown

    def arrays(self) -> dict[str, np.ndarray]:
        return {"source": self.source, "target": self.target}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.source, self.target = arrays["source"], arrays["target"]
        return self


class SplitHistories:
    """Some users: the events that are read, and the events to predict.

    Attributes:
        users: How many.
        fold: The graph that was made without them.
        read_user, read_item, weight: (events,) events that are read.
        target_user, target_item: (targets,) events to predict.
    """

    def __init__(self, rows: sparse.csr_array, config: GraphNetworkConfig, fold: int, rng: np.random.Generator) -> None:
        self.fold = fold
        pairs = rows.tocoo()
        user, item = pairs.coords
        order = rng.random(len(user))
        is_read, is_hidden = order < config.keep, order >= config.keep
        self.users = rows.shape[0]
        self.read_user, self.read_item = _longs(user[is_read]), _longs(item[is_read])
        self.weight = torch.from_numpy(np.asarray(pairs.data[is_read], np.float32))
        hidden = np.lexsort((order, ~is_hidden, user))  # by user, hidden ones first, in random order
        place = np.arange(len(user)) - rows.indptr[user[hidden]]
        hidden = hidden[is_hidden[hidden] & (place < config.max_hidden)]
        self.target_user, self.target_item = _longs(user[hidden]), _longs(item[hidden])


class SplitHistoryBatches:
    """Histories cut in two at random, again each epoch; a batch is of one fold. Fold 0 is held out."""

    def __init__(
        self, rows: sparse.csr_array, folds: Sequence[Int64[np.ndarray, " _"]], config: GraphNetworkConfig
    ) -> None:
        self.rows, self.folds, self.config = rows, folds, config

    def epoch(self, rng: np.random.Generator) -> Iterator[SplitHistories]:
        """Yield batches of users in random order."""
        batches = [
            (fold, batch)
            for fold, users in enumerate(self.folds[1:], start=1)
            for batch in np.array_split(rng.permutation(users), self._batches_of(users))
        ]
        for place in rng.permutation(len(batches)):
            fold, users = batches[place]
            half = SplitHistories(self.rows[users], self.config, fold, rng)
            if len(half.target_user):
                yield half

    def num_batches(self) -> int:
        """Return how many batches an epoch has."""
        return sum(map(self._batches_of, self.folds[1:]))

    def _batches_of(self, users: Int64[np.ndarray, " users"]) -> int:
        return max(1, -(-len(users) // self.config.batch_users))


def _user_states(half: SplitHistories, sources: Float[Tensor, "I D"], exponent: float) -> Float[Tensor, "U D"]:
    """Return each user as the damped sum of the items that are read."""
    device = sources.device
    user, item, weight = half.read_user.to(device), half.read_item.to(device), half.weight.to(device)
    total = sources.new_zeros(half.users, sources.shape[1]).index_add(0, user, sources[item] * weight[:, None])
    count = torch.bincount(user, minlength=half.users).clamp(min=1)
    return total * count[:, None] ** -exponent


def _tensor(graph: sparse.csr_array) -> Tensor:
    pairs = graph.tocoo()
    place = torch.from_numpy(np.stack(pairs.coords).astype(np.int64))
    values = torch.from_numpy(pairs.data.astype(np.float32))
    return torch.sparse_coo_tensor(place, values, graph.shape, check_invariants=True).coalesce()


def _longs(values: np.ndarray) -> Int[Tensor, "n"]:
    return torch.from_numpy(np.asarray(values, np.int64))
