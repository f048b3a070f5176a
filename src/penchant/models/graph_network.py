"""A graph network over items that share users and items with similar content.

In: histories and content. Out: item vectors smoothed over both graphs; a person is the sum of what they touched.
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
from penchant.models.item_to_item import event_matrix, liked
from penchant.models.member import Member
from penchant.networks import losses
from penchant.networks.tokens import ChannelBasis, ItemTokens
from penchant.networks.trainer import TrainerConfig, TrainingHistory, pick_device
from penchant.networks.trainer import train as teach

FORETOLD_AT = 20
"""Places of a list in which a hidden event counts."""
FOLDS = 4
"""Parts of the users; each is learned from over a graph made by the others."""
JUDGED = 2048
"""Hidden events ranked at once."""


class GraphNetworkConfig(TrainerConfig):
    """The settings of the graph network."""

    dim: int = Field(64, ge=1)
    """Width of every vector."""
    hops: int = Field(1, ge=0)
    """Steps over the graph of items that share users; one was better than two on validation of TikTok and of Baby."""
    neighbours: int = Field(20, ge=1)
    """Edges of each item in either graph."""
    content_weight: float = Field(0.5, ge=0)
    """Weight of what comes over the frozen content graph; 0 leaves it out."""
    channels: list[str] | None = None
    """Content channels read; None takes all, [] none."""
    channel_dim: int = Field(128, ge=1)
    """Main directions of each channel that are read."""
    fusion: str = "gated"
    """How the channels of one item become one vector."""
    use_ids: bool = True
    """Whether an item has a part of its own beside its content."""
    id_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of ids hidden in training."""
    modality_dropout: float = Field(0.1, ge=0, lt=1)
    """Share of channels hidden in training."""
    sharpness: float = Field(0.5, gt=0)
    """A score is the item's probability to this power: logits have no tail, and the stack would pass them over."""
    user_exponent: float = Field(0.5, ge=0, le=1)
    """How much long histories are held back."""
    keep: float = Field(0.5, gt=0, lt=1)
    """Share of a history that is read in training; the rest is to be foretold."""
    max_hidden: int = Field(20, ge=1)
    """Events of one history to be foretold in an epoch, at most: or a few people with thousands would be all that is learned."""
    loss: Literal["softmax", "bpr"] = "softmax"
    """softmax over the whole catalog, or BPR against drawn items."""
    negatives: int = Field(256, ge=1)
    """Items drawn for each batch (bpr)."""
    batch_users: int = Field(256, ge=1)
    """Histories a step learns from."""
    patience: int = Field(8, ge=1)
    """Epochs without a better held-out score before it stops; where few events tell much, the first ones are near chance."""
    epochs: int = Field(40, ge=1)
    """Times every history is learned from."""
    learning_rate: float = Field(5e-3, gt=0)
    """Of AdamW, at its peak."""
    held_out_users: int = Field(1000, ge=0)
    """Users, at most a tenth, whose hidden events decide when to stop; 0 holds nobody back and takes the last epoch."""
    seed: int = 0
    """Of initial weights, batches and dropout."""


class SmoothedItems(nn.Module):
    """Item vectors after walks over both graphs.

    Args:
        items: Where walks begin.
        behaviours: (items, items) graphs of items that share users; the last one knows everyone.
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

    A user has no vector of their own: they are the sum of the vectors of what they touched, held back by the length of their
    history, which is LightGCN's first hop. So a new user works at once; a score is split by what it rose by with each event, which
    sums exactly. Part of each history foretells the rest, over a graph made without these users: otherwise the pairs to be
    foretold are its edges, and where few users share an item the network learns to read off the answer.

    Cost: an epoch is users x items x dim, plus edges x dim a step. Source: LightGCN (He et al., SIGIR 2020), FREEDOM (Zhou &
    Shen, MM 2023: frozen item-item graph, pruned edges); ours walks item-to-item and has no user table.
    """

    config_class = GraphNetworkConfig
    stands_without_content: ClassVar[bool] = True
    is_costly: ClassVar[bool] = True

    def __init__(self, config: GraphNetworkConfig | None = None, *, name: str = "") -> None:
        super().__init__(config, name=name)
        self.source = self.target = np.zeros((0, 0), np.float32)
        self.training_history = TrainingHistory()

    def channels(self, content: Content) -> tuple[str, ...]:
        return tuple(content.channels) if self.config.channels is None else tuple(self.config.channels)

    def fit(self, train: Histories, content: Content) -> Self:
        torch.manual_seed(self.config.seed)
        device = pick_device(self.config.device)
        rows = liked(train)
        folds = self._folds(rows)
        network = self._build(train, rows, folds, content).to(device)
        popular = torch.from_numpy(np.asarray(rows.sum(0), np.float32).ravel()).to(device)
        held_back = popular.clamp(min=1).rsqrt()
        held_out = SplitHistories(rows[folds[0]], self.config, 0, generator(self.config.seed, "train.hidden"))
        halves = SplitHistoryBatches(rows, folds, self.config)

        def loss(graph: nn.Module, half: SplitHistories) -> Tensor:
            vectors = graph(half.fold)
            states = _people(half, vectors * held_back[:, None], self.config.user_exponent)
            states, chosen = states[half.target_user.to(device)], half.target_item.to(device)
            if self.config.loss == "softmax":
                return losses.softmax(states, vectors, chosen)
            drawn = torch.multinomial(popular + 1e-6, self.config.negatives, replacement=True)
            wrong = (states @ vectors[drawn].T).masked_fill(chosen[:, None] == drawn[None, :], -1e4)
            return losses.bpr((states * vectors[chosen]).sum(-1), wrong)

        if rows.nnz:
            self.training_history = teach(
                network,
                halves,
                loss,
                (lambda: self._foretold(network, held_out, held_back)) if len(held_out.target_user) else None,
                self.config,
                seed=self.config.seed,
                name=self.name,
                checkpoint=self.checkpoint,
            )
        with torch.no_grad():
            vectors = network.eval()()
            self.source = (vectors * held_back[:, None]).cpu().numpy()
            self.target = vectors.cpu().numpy()
        return self

    def _folds(self, rows: sparse.csr_array) -> list[Int64[np.ndarray, " _"]]:
        """Return those who decide when to stop, then everyone else in parts of equal size."""
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
        items = ItemTokens(
            {name: basis.directions.shape[1] for name, basis in bases.items()},
            train.num_items,
            config.dim,
            fusion=config.fusion,
            use_ids=config.use_ids or not channels,
            id_dropout=config.id_dropout,
            modality_dropout=config.modality_dropout,
        )
        items.load(channels, bases, np.bincount(train.item_index, minlength=train.num_items) > 0)
        others = [np.setdiff1d(np.arange(len(train)), fold) for fold in folds]
        behaviours = [_tensor(item_graph(rows[users], config.neighbours)) for users in (*others, np.arange(len(train)))]
        alike = None
        if channels and config.content_weight:
            graphs = [neighbour_graph(centred_unit(e.values, e.usable), config.neighbours) for e in channels.values()]
            alike = _tensor(row_normalised(sparse.csr_array(sum(graphs[1:], graphs[0]))))
        return SmoothedItems(items, behaviours, alike, config.hops, config.content_weight)

    @torch.no_grad()
    def _foretold(self, network: SmoothedItems, half: SplitHistories, held_back: Tensor) -> float:
        """Return everybody's mean gain of hidden events, 1 / log2(1 + rank) down to rank 20, among the items not read."""
        vectors = network(half.fold)
        scores = _people(half, vectors * held_back[:, None], self.config.user_exponent) @ vectors.T
        scores[half.read_user, half.read_item] = -torch.inf
        total, count = torch.zeros(half.users), torch.bincount(half.target_user, minlength=half.users)
        for user, item in zip(
            torch.split(half.target_user, JUDGED), torch.split(half.target_item, JUDGED), strict=True
        ):
            rank = (scores[user] >= scores[user, item][:, None]).sum(
                1
            ).cpu().numpy() - 1  # of equal scores the worst place
            total.index_add_(0, user, torch.from_numpy(discounted_gain(rank, FORETOLD_AT)).float())
        return float((total / count.clamp(min=1))[count > 0].mean())

    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        weighted: Any = event_matrix(histories)
        taste = np.asarray(weighted @ self.source, np.float32)
        return self._chances(taste * self._share(histories.lengths()))

    def contributions(
        self, history: Histories
    ) -> tuple[Float32[np.ndarray, " items"], Float32[np.ndarray, "events items"]]:
        rows = self.source[history.item_index] * history.weight[:, None]
        tastes = np.concatenate([np.zeros((1, rows.shape[1]), np.float32), np.cumsum(rows, axis=0)])
        scores = self._chances(tastes * self._share(np.arange(len(tastes))))  # after 0, 1, ... events
        return scores[0], np.diff(scores, axis=0)

    def _chances(self, states: Float32[np.ndarray, "rows D"]) -> Float32[np.ndarray, "rows items"]:
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
    """Some users: what is read of them, and what is to be foretold.

    Attributes:
        users: How many.
        fold: The graph that was made without them.
        read_user, read_item, weight: (events,) what is read.
        target_user, target_item: (targets,) what is not.
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
    """Histories cut in two at random, anew each epoch; a batch is of one fold. Fold 0 is not learned from."""

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


def _people(half: SplitHistories, sources: Float[Tensor, "I D"], exponent: float) -> Float[Tensor, "U D"]:
    """Return each user as the sum of what is read of them."""
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
