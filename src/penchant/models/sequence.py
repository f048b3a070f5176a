"""Networks over ordered histories: next-item prediction.

In: histories and content. Out: a member whose item tokens are fused content plus a droppable id part, read by any backbone.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from pydantic import Field
from safetensors.numpy import load_file
from torch import Tensor, nn
from typing_extensions import TypeVar

from penchant.core.artifacts import open_artifact
from penchant.core.errors import ConfigError
from penchant.core.logs import logger
from penchant.core.schema import Content, Embeddings, Histories
from penchant.core.seeds import generator
from penchant.metrics.ranking import discounted_gain
from penchant.models.channels import pick
from penchant.models.fine_tuning import FineTuneConfig, FineTuned, source_of, tuned_channels
from penchant.models.member import Contributions, ContributionsTo, Member, Removal
from penchant.networks import BACKBONES, losses
from penchant.networks.backbones import Backbone, BackboneConfig, last_state
from penchant.networks.division import Division, current_peers
from penchant.networks.negatives import Negatives
from penchant.networks.sequences import GAP_BUCKETS, AugmentationConfig, WindowBatch, Windows, hold_out, recent_windows
from penchant.networks.tensors import tensor_of
from penchant.networks.tokens import ChannelBasis, ItemTokens, ItemTokensConfig, TunedChannel, content_rows
from penchant.networks.trainer import TrainerConfig, TrainingHistory, pick_device, train

BATCH_EVENTS, LEAST_STEPS = (128, 8192), 64
"""Bounds of a batch, and the steps an epoch has at least within them."""
SCORED_STEPS = 200_000
"""Events read at once when scoring."""


class SequenceConfig(BackboneConfig, AugmentationConfig, ItemTokensConfig, TrainerConfig):
    """The settings of a network over histories."""

    backbone: str = "transformer"
    """Network over the history: transformer, ligr (gated blocks), gru, lstm, rnn, cnn, or mean (two towers, ignores order)."""
    loss: losses.LossName = "softmax"
    """softmax over the whole catalog; sampled_softmax, bce or bpr over drawn items."""
    negatives: int = Field(512, ge=1)
    """Items drawn for each batch, shared by all its events (sampled losses)."""
    negative_power: float = Field(0.5, ge=0)
    """Items are drawn by popularity to this power: 0 draws every item alike, 1 by popularity."""
    in_batch: float = Field(0.0, ge=0, le=1)
    """Share of the negatives that are items chosen in the same batch; the rest is drawn from the catalog (sampled losses)."""
    align: float = Field(0.0, ge=0)
    """Weight of InfoNCE between the channels of one item."""
    views: float = Field(0.0, ge=0)
    """Weight of InfoNCE between two views of the content of one item, each with channels dropped, directions blanked and noise added."""
    sharpness: float = Field(0.5, gt=0)
    """A score is the item's probability to this power. Logits (a power near 0) are flat where other members' scores have a heavy
    tail, and weights fitted by least squares are then near 0 for a network."""
    times: bool = True
    """Whether the time since the previous event is an input."""
    batch_events: int | None = Field(None, ge=1)
    """Events a step learns from; None takes 8192, and fewer of a small set, so that an epoch is 64 steps."""
    batch_parts: int = Field(1, ge=1, le=64)
    """Parts of each batch whose gradients are computed apart and then added: with executor = "ray" as many nodes train the network together, without it
    this process computes one after another. What is learned depends on this number (dropout is drawn for each part), not on the number of nodes."""
    held_out_users: int = Field(1000, ge=0)
    """Users whose last event is held out for early stopping; 0 holds out none and keeps the last epoch."""
    refit_epochs: int = Field(2, ge=1)
    """Epochs on train and validation together, starting from what was learned on train."""
    refit_rate: float = Field(0.25, gt=0)
    """Share of the learning rate for them."""
    fine_tune: FineTuneConfig | None = None
    """Encoders of channels that are trained with the network; None leaves all frozen."""
    pretrained: Path | None = None
    """Folder of an earlier bundle; takes over what its network of the same name learned, ids and other shapes left out."""
    seed: int = 0
    """Of initial weights, batches and dropout."""


SequenceT_co = TypeVar("SequenceT_co", bound=SequenceConfig, default=SequenceConfig, covariant=True)


def batch_of(num_events: int) -> int:
    """Return how many events a step learns from: with only a few steps an epoch, a small set would hardly be learned."""
    return int(np.clip(num_events // LEAST_STEPS, *BATCH_EVENTS))


class NextItem(nn.Module):
    """Item tokens, a backbone, and a start token, so that a user without history is scored too."""

    def __init__(self, items: ItemTokens, backbone: Backbone, config: SequenceConfig) -> None:
        super().__init__()
        self.items, self.backbone = items, backbone
        self.start = nn.Parameter(torch.randn(config.dim) * 0.02)
        self.gap = nn.Embedding(GAP_BUCKETS, config.dim) if config.times else None
        if self.gap is not None:
            nn.init.zeros_(self.gap.weight)
        self.drop = nn.Dropout(config.dropout)
        self.token_scale = math.sqrt(config.dim)

    def forward(self, tokens: Float[Tensor, "B L D"], batch: WindowBatch) -> Float[Tensor, "B L_plus_1 D"]:
        """Return the states after 0, 1, ... events; arguments as in `steps`."""
        return self.backbone(self.drop(self.steps(tokens, batch)), batch.lengths + 1)

    def steps(self, tokens: Float[Tensor, "B L D"], batch: WindowBatch) -> Float[Tensor, "B L_plus_1 D"]:
        """Return what the backbone reads: the start, then the events.

        Args:
            tokens: Vectors of the events' items.
            batch: The same events; a dislike negates its token.
        """
        steps = tokens * (self.token_scale * batch.weight[..., None])
        if self.gap is not None:
            steps = steps + self.gap(batch.gap)
        start = self.start.expand(steps.shape[0], 1, -1)  # not len(): an export would fix the number of users
        return torch.cat([start, steps], dim=1)


class Sequence(Member[SequenceT_co]):
    """Next-item network over fused tokens.

    One switch for the family (`backbone`), one for the fusion of modalities (`fusion`), one for the loss (`loss`). The state
    after a history, times item vectors, is the score; both ends share the vectors. The contribution of an event is
    the increase of the score with it, which sums exactly.

    Cost: an epoch is events x (items x dim + backbone) for softmax, events x (negatives x dim + backbone) for the others;
    memory is that of a batch, `batch_events` x items floats for softmax.

    Source: SASRec (Kang & McAuley, ICDM 2018) and GRU4Rec (Hidasi et al. 2016) with softmax loss as in Klenitskiy &
    Vasilev, RecSys 2023; content in the token as in FDSA and UniSRec, with an id that can be dropped.
    """

    config_class = SequenceConfig
    additive: ClassVar[bool] = True
    removal: Removal = "increase"
    stands_without_content: ClassVar[bool] = True
    is_costly: ClassVar[bool] = True

    def __init__(self, config: SequenceT_co | None = None, *, name: str = "", **settings: Any) -> None:
        super().__init__(config, name=name, **settings)
        self.network: NextItem | None = None
        self.bases: dict[str, ChannelBasis] = {}
        self.tuned: dict[str, FineTuned] = {}
        self.vectors = torch.zeros(0, self.config.dim)
        self.training_history = TrainingHistory()
        if self.config.head_dim is None and self.config.dim % self.config.heads:
            raise ConfigError(
                f"dim = {self.config.dim} is not a multiple of heads = {self.config.heads}.",
                where=f"members.{self.name}",
                fix=f"set dim to a multiple of {self.config.heads}, or heads to 1",
            )

    @property
    def batch_parts(self) -> int:
        return self.config.batch_parts

    def channels(self, content: Content) -> tuple[str, ...]:
        return tuple(content.channels) if self.config.channels is None else tuple(self.config.channels)

    def fit(self, train: Histories, content: Content = Content.NONE) -> Self:
        return self._learn(train, content, self.config, None)

    def refit(self, train: Histories, content: Content, before: Member) -> Self:
        """Continue from an earlier network for a few epochs; far cheaper than training from scratch."""
        if not isinstance(before, Sequence) or before.network is None or before.vectors.shape[0] != train.num_items:
            return self.fit(train, content)
        update = {
            "epochs": self.config.refit_epochs,
            "learning_rate": self.config.learning_rate * self.config.refit_rate,
            "held_out_users": 0,
        }
        return self._learn(train, content, self.config.model_copy(update=update), before)

    def _learn(self, train_on: Histories, content: Content, config: SequenceConfig, before: Sequence | None) -> Self:
        self.vectors = self.vectors[:0]  # those of an earlier fit would be read as items
        torch.manual_seed(config.seed)
        device = pick_device(config.device)
        # sorted, since saved arrays come back sorted
        channels = {name: pick(content, name, self.name) for name in sorted(self.channels(content))}
        if before is None and config.pretrained is not None:
            before = self._pretrained(config.pretrained)
        self.bases = {n: ChannelBasis.of(e, config.channel_dim) for n, e in channels.items()}
        if before is not None:
            self.bases |= {name: basis for name, basis in before.bases.items() if name in channels}
        left, held, truth = hold_out(train_on, config.held_out_users, generator(config.seed, "train.held_out"))
        network = self._build(train_on.num_items)
        network.items.load(channels, self.bases, np.bincount(train_on.item_index, minlength=train_on.num_items) > 0)
        if before is not None:
            self._take_over(network, before)
        self.network = network.to(device)
        self.tuned = {} if before is None else {n: t for n, t in before.tuned.items() if n in channels}
        encoders = self._encoders(channels, config, device)
        if self.tuned:  # a refit keeps the trained encoders as they are: a few epochs teach them little
            network.items.hold_tuned(encoders)
            network.items.refresh()
            network.items.hold_tuned([])
        self.training_history = TrainingHistory()
        if left.num_events:
            windows = Windows(left, config.max_length, config.batch_events or batch_of(left.num_events), config)
            loss = self._loss(left, config, device)
            score = (lambda: self._held_out(held, truth)) if len(truth) else None
            self.training_history = train(
                network,
                windows,
                loss,
                score,
                config,
                seed=config.seed,
                name=self.name,
                checkpoint=self.checkpoint,
                report=self.report,
                division=_division(config),
            )
            if encoders and not self.tuned:
                self._fine_tune(encoders, channels, windows, loss, score, config)
        return self._settle()

    def _encoders(
        self, channels: Mapping[str, Embeddings], config: SequenceConfig, device: torch.device
    ) -> list[TunedChannel]:
        """Return the channels whose encoders are to be trained, or were."""
        if config.fine_tune is None:
            return []
        return tuned_channels(channels, self.bases, config.fine_tune, self.tuned, device, self.name)

    def _fine_tune(
        self,
        encoders: list[TunedChannel],
        channels: Mapping[str, Embeddings],
        windows: Windows,
        loss: Any,
        score: Callable[[], float] | None,
        config: SequenceConfig,
    ) -> None:
        """Train the network and the last blocks of its encoders together; what was before stays where the held-out score is no better.

        The network is trained alone first, since a random one would distort pretrained weights. At each step the items of the batch, or
        a draw of them, are encoded anew; all items are before each epoch and before the held-out score.

        Source: Kumar et al., Fine-tuning can distort pretrained features, ICLR 2022 (LP-FT).
        """
        assert self.network is not None
        assert config.fine_tune is not None
        network, items = self.network, self.network.items
        before, content = _copied(network), items.content.clone()
        reached = self.training_history.scores[self.training_history.best]
        items.hold_tuned(encoders)
        update = {"epochs": config.fine_tune.epochs, "learning_rate": config.learning_rate * config.refit_rate}

        def refreshed_score() -> float:
            assert score is not None
            items.refresh()
            return score()

        history = train(
            network,
            _Refreshing(windows, items.refresh_stale),
            loss,
            None if score is None else refreshed_score,
            config.model_copy(update=update),
            seed=config.seed + 1,
            name=f"{self.name} with encoders",
            checkpoint=None if self.checkpoint is None else self.checkpoint.with_name(f"{self.checkpoint.name}-tuned"),
            rates={"items.tuned.": config.fine_tune.rate},
            division=_division(config),
        )
        items.refresh()
        items.hold_tuned([])
        if score is not None and history.scores[history.best] <= reached:
            logger.info("  %s: trained encoders are no better than frozen ones, which are kept", self.name)
            network.load_state_dict(before)
            items.content = content
            return
        self.tuned = {}
        for channel in encoders:
            source = source_of(channels[channel.name], channel.name, self.name)
            self.tuned[channel.name] = FineTuned(
                channel.name, source.encoder, source.options, channel.encoder.trained()
            )

    def _build(self, num_items: int) -> NextItem:
        config = self.config
        if not self.bases and not config.use_ids:
            raise ConfigError(
                "A network needs content channels or ids to tell items apart; it has neither.",
                where=f"members.{self.name}",
                fix="set use_ids = true, or add a [content.NAME] table",
            )
        widths = {name: basis.directions.shape[1] for name, basis in self.bases.items()}
        return NextItem(ItemTokens(widths, num_items, config.dim, config), self._backbone(), config)

    def _backbone(self) -> Backbone:
        config = self.config
        # one step more than events: the start token
        size = BackboneConfig(**{n: getattr(config, n) for n in BackboneConfig.model_fields})
        backbone: Backbone = BACKBONES.load(config.backbone)(size)
        return backbone

    def _loss(self, histories: Histories, config: SequenceConfig, device: torch.device) -> Any:
        """Return the loss of one batch."""
        negatives = Negatives(histories, config.negatives, config.negative_power, config.in_batch, device)

        def loss(network: nn.Module, batch: WindowBatch) -> Tensor:
            batch = batch.to(device)
            has_target = batch.target >= 0
            chosen = batch.target[has_target]
            items: ItemTokens = network.items  # type: ignore[assignment]
            if not len(items.tuned):
                return value_of(network, items, batch, has_target, chosen)
            assert config.fine_tune is not None
            named = torch.unique(torch.cat([batch.items.flatten(), chosen]))
            drawn = named[torch.randperm(len(named), device=device)[: config.fine_tune.items_per_step]]
            with items.encoded(drawn):
                return value_of(network, items, batch, has_target, chosen)

        def value_of(
            network: nn.Module, items: ItemTokens, batch: WindowBatch, has_target: Tensor, chosen: Tensor
        ) -> Tensor:
            if config.loss == "softmax":
                vectors = items()
                states = network(vectors[batch.items], batch)[has_target]
                value = losses.softmax(states, vectors, chosen)
            else:
                sampled = negatives.draw(chosen)
                rows, place = torch.unique(torch.cat([batch.items.flatten(), chosen, sampled]), return_inverse=True)
                vectors = items(rows)
                past, own, other = place.split([batch.items.numel(), len(chosen), len(sampled)])
                states = network(vectors[past].view(*batch.items.shape, -1), batch)[has_target]
                value = _sampled_loss(
                    config.loss, states, vectors[own], vectors[other], chosen, sampled, negatives.log_probability
                )
            if config.align and len(self.bases) > 1:
                value = value + config.align * items.alignment(torch.unique(chosen)[: config.negatives])
            if config.views and self.bases:
                value = value + config.views * items.agreement(torch.unique(chosen)[: config.negatives])
            return value

        return loss

    @torch.no_grad()
    def _held_out(self, histories: Histories, truth: Int64[np.ndarray, " users"]) -> float:
        """Return NDCG@10 of each user's next item among all items they have not touched."""
        assert self.network is not None
        vectors, gains = self.network.items(), []
        for first in range(0, len(truth), 512):
            users = np.arange(first, min(first + 512, len(truth)))
            scores = self._states(histories, users) @ vectors.T
            batch = histories.take(users)
            target = torch.from_numpy(truth[users]).to(scores.device)
            right = scores.gather(1, target[:, None])
            scores[batch.user_index(), batch.item_index.astype(np.int64)] = -torch.inf
            rank = (scores > right).sum(1).cpu().numpy()
            gains.append(discounted_gain(rank, 10))
        return float(np.concatenate(gains).mean())

    def _states(self, histories: Histories, users: Int64[np.ndarray, " chosen"]) -> Float[Tensor, "users D"]:
        assert self.network is not None
        device = self.network.start.device
        batch = recent_windows(histories, users, self.config.max_length).to(device)
        vectors = self.vectors if len(self.vectors) else self.network.items()
        return last_state(self.network(vectors.to(device)[batch.items], batch), batch.lengths + 1)

    def _settle(self) -> Self:
        """Keep the vectors of all items: nothing but them and the backbone is needed to score."""
        assert self.network is not None
        self.network.eval()
        with torch.no_grad():
            self.vectors = self.network.items().detach()
        return self

    @torch.no_grad()
    def score(self, histories: Histories) -> Float32[np.ndarray, "users items"]:
        out = np.empty((len(histories), histories.num_items), np.float32)
        size = max(1, SCORED_STEPS // (self.config.max_length + 1))
        for first in range(0, len(histories), size):
            users = np.arange(first, min(first + size, len(histories)))
            out[users] = self._scores(self._states(histories, users))
        return out

    def _scores(self, states: Float[Tensor, "rows D"]) -> Float32[np.ndarray, "rows items"]:
        return losses.sharpened_probability((states @ self.vectors.T).float(), self.config.sharpness)

    def contributions(self, history: Histories) -> Contributions:
        scores = self._scores_by_event(history)
        events = np.zeros((history.num_events, history.num_items), np.float32)
        read = len(scores) - 1
        if read:
            events[-read:] = np.diff(scores, axis=0)
        return scores[0], events

    def contributions_to(self, history: Histories, items: Int64[np.ndarray, " chosen"]) -> ContributionsTo:
        scores = self._scores_by_event(history)
        chosen, mean = scores[:, items], scores.mean(1, dtype=np.float64)
        unread = history.num_events - (len(scores) - 1)
        events = np.concatenate([np.zeros((unread, len(items)), np.float32), np.diff(chosen, axis=0)])
        return (chosen[0], events), np.concatenate([mean[:1], np.zeros(unread), np.diff(mean)])

    @torch.no_grad()
    def _scores_by_event(self, history: Histories) -> Float32[np.ndarray, "read_plus_1 items"]:
        """Return the scores of one user after none, one, two, ... of the events that are read."""
        assert self.network is not None
        batch = recent_windows(history, np.array([0]), self.config.max_length).to(self.vectors.device)
        return self._scores(self.network(self.vectors[batch.items], batch)[0])

    @torch.no_grad()
    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy in which new items have the vectors their content gives, without an id part.

        A new item without content gets the mean of the fitted vectors, and so the mean of a user's logits.
        """
        assert self.network is not None
        grown = copy.copy(self)
        added = self.vectors.mean(0).repeat(len(new), 1)
        if self.bases:
            rows, present = self.content_of(content, new)
            has_content = present.any(1)
            added[has_content] = self.network.items.by_content(rows, present)[has_content].to(added.device)
        grown.vectors = torch.cat([self.vectors, added])
        return grown

    def content_of(self, content: Content, new: range) -> tuple[Float[Tensor, "N W"], Bool[Tensor, "N M"]]:
        """Return what the network reads of some items, and which channels they have."""
        assert self.network is not None
        channels = {name: pick(content, name, self.name) for name in self.bases}
        rows, present = (found[new.start : new.stop] for found in content_rows(channels, self.bases))
        for name, e in channels.items():
            own, change = self._change(e, new)
            if own:
                rows[own, self.network.items.columns(name)] += torch.from_numpy(change)
        device = self.network.start.device
        return rows.to(device), present.to(device)

    def _change(self, embeddings: Embeddings, new: range) -> tuple[list[int], Float32[np.ndarray, "some width"]]:
        """Return what a trained encoder adds to the rows of new items in the basis, and which of them.

        Nothing for a new item whose content is not at hand: it keeps the frozen encoder's vector, from which training started.
        """
        basis, tuned, source = self.bases[embeddings.name], self.tuned.get(embeddings.name), embeddings.source
        known = [] if source is None else [row for row in new if row in source.prepared]
        if tuned is None or source is None or self.config.fine_tune is None or not known:
            return [], np.zeros((0, basis.directions.shape[1]), np.float32)
        trained = tuned.encode([source.prepared[row] for row in known], self.config.fine_tune)
        return [row - new.start for row in known], basis.change(trained, embeddings.values[known])

    def trained_encoders(self) -> dict[str, Any]:
        if self.config.fine_tune is None:
            return {}
        return {name: tuned.load(self.config.fine_tune) for name, tuned in self.tuned.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        assert self.network is not None
        found = {f"network.{name}": tensor.cpu().numpy() for name, tensor in self.network.state_dict().items()}
        for name, basis in self.bases.items():
            found |= {f"basis.{name}.mean": basis.mean, f"basis.{name}.directions": basis.directions}
        for tuned in self.tuned.values():
            found |= tuned.arrays()
        return {**found, "vectors": self.vectors.cpu().numpy()}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        names = sorted({key.split(".")[1] for key in arrays if key.startswith("basis.")})
        self.bases = {n: ChannelBasis(arrays[f"basis.{n}.mean"], arrays[f"basis.{n}.directions"]) for n in names}
        self.tuned = FineTuned.restored(arrays)
        # items added after the fit have a vector, and no id
        self.network = self._build(len(arrays.get("network.items.ids.weight", arrays["vectors"])))
        weights = {
            key.removeprefix("network."): tensor_of(a) for key, a in arrays.items() if key.startswith("network.")
        }
        self.network.load_state_dict(weights)
        self.network.eval()
        self.vectors = tensor_of(arrays["vectors"])
        return self

    def _pretrained(self, folder: Path) -> Sequence:
        """Return the network of the same name from an earlier bundle.

        Raises:
            ArtifactError: The bundle is missing or altered.
            ConfigError: It holds no such network.
        """
        open_artifact(folder, kind="bundle")
        table = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))["members"].get(self.name, {})
        start = f"{self.name}/"
        arrays = {
            k.removeprefix(start): a
            for k, a in load_file(folder / "ensemble.safetensors").items()
            if k.startswith(start)
        }
        if table.pop("model", None) != "sequence" or not arrays:
            raise ConfigError(
                f"The bundle {folder.name!r} holds no network {self.name!r}.",
                where=f"members.{self.name}: pretrained",
                fix="name this member as it was named there, or leave pretrained out",
            )
        config = self.config_class.read(table, where=f"{folder.name}: members.{self.name}")
        return type(self)(cast(SequenceT_co, config), name=self.name).restore(arrays)

    def _take_over(self, network: NextItem, before: Sequence) -> None:
        """Copy every weight whose name and shape agree; ids only where the catalog has the same rows."""
        assert before.network is not None
        own, earlier = network.state_dict(), before.network.state_dict()
        fits = {name: tensor for name, tensor in earlier.items() if name in own and own[name].shape == tensor.shape}
        network.load_state_dict({**own, **fits})
        skipped = sorted(set(own) - set(fits))
        if skipped:
            logger.info("  %s: not taken over from the earlier network: %s", self.name, ", ".join(skipped))


@dataclass(frozen=True)
class _Refreshing:
    """Batches before which, in each epoch, all items are encoded anew."""

    batches: Windows
    refresh: Callable[[], None]

    def epoch(self, rng: np.random.Generator) -> Iterator[WindowBatch]:
        self.refresh()
        yield from self.batches.epoch(rng)

    def num_batches(self) -> int:
        return self.batches.num_batches()


def _division(config: SequenceConfig) -> Division[WindowBatch] | None:
    """Return how the batches of a training are divided; None where they are learned from as a whole."""
    if config.batch_parts == 1:
        return None
    return Division(lambda batch: batch.split(config.batch_parts), current_peers())


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _sampled_loss(
    name: str,
    states: Float[Tensor, "N D"],
    own: Float[Tensor, "N D"],
    other: Float[Tensor, "S D"],
    chosen: Tensor,
    sampled: Tensor,
    log_probability: Tensor,
) -> Tensor:
    if name == "sampled_softmax":
        return losses.sampled_softmax(states, own, other, chosen, sampled, log_probability)
    right, wrong = (states * own).sum(-1), states @ other.T
    wrong = wrong.masked_fill(chosen[:, None] == sampled[None, :], -1e4)  # the chosen item is no negative
    return losses.bce(right, wrong) if name == "bce" else losses.bpr(right, wrong)
