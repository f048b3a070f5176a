"""A language model as the user model: it reads a history of soft tokens.

In: histories and content. Out: a member whose items become vectors in a causal language model's own space; its last state,
mapped back, is the user's vector. Only trained weights are stored: the language model is identified by name and fingerprint.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64
from pydantic import Field
from torch import Tensor, nn

from penchant.core.errors import ArtifactError, ConfigError, EncoderError
from penchant.core.logs import logger
from penchant.core.schema import Content, Histories
from penchant.core.seeds import generator
from penchant.fusion.layers import drop_modalities
from penchant.language.local import SMOLLM2, LocalConfig, LocalModel
from penchant.models.sequence import NextItem, Sequence, SequenceConfig
from penchant.networks.adapters import HoldsPretrained, add_lora
from penchant.networks.backbones import Backbone, BackboneConfig
from penchant.networks.sequences import WindowBatch
from penchant.networks.tensors import tensor_of
from penchant.networks.tokens import ItemTokens
from penchant.networks.trainer import pick_device

READ_TOKENS = 2048
"""Soft tokens read at once when scoring: on a CPU more are slower, since their activations leave the cache."""
STEP_SIZE = 0.5
"""About what the numbers of an item's token are when training begins; the language model's own embeddings are the measure."""
START_SHARE = 0.5
"""How much the language model adds when training begins, in sizes of the token it read last."""
MIN_SPREAD = 1e-3
"""Least standard deviation of a number of the states; one that varies less holds no information."""


class LanguageModelConfig(SequenceConfig):
    """The settings of a language model over histories."""

    backbone: Literal["language_model"] = "language_model"
    """Always the language model named below."""
    language_model: str = SMOLLM2
    """smollm2 (needs no hub), or any causal language model of transformers by hub id or folder."""
    revision: str = "main"
    """Branch, tag or commit on the hub; a commit that was downloaded once is kept until this changes."""
    models: Path = Path("runs/cache/models")
    """Folder of smollm2's plain copy; relative to where the command is given."""
    layers: int = Field(0, ge=0)
    """Blocks of the language model that are read through, counted from below; 0 takes all."""
    heads: int = Field(1, ge=1)
    """No effect: the language model has its own."""
    tokens: Literal["fused", "modalities"] = "fused"
    """fused: one soft token an item. modalities: one for each channel the item has before it."""
    prompt: str = ""
    """Text that the language model reads before every history; its tokens add to the cost."""
    lora_rank: int = Field(0, ge=0)
    """Rank of trained LoRA weights beside every linear map of the language model; 0 leaves it frozen."""
    lora_alpha: int = Field(16, ge=1)
    """LoRA's part is scaled by this over its rank."""
    weights: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the language model's own weights. auto: bfloat16 on a GPU, float32 elsewhere."""
    max_users: int | None = Field(None, ge=1)
    """Learn from a random subset of so many users; all users are scored. None takes all."""
    max_events: int | None = Field(None, ge=2)
    """Learn from so many latest events of each user; None takes all."""
    max_length: int = Field(20, ge=1)
    """Steps looked back at."""
    epochs: int = Field(6, ge=1)
    """Times every event is learned from, at most; the learning rate falls to zero over them."""
    batch_events: int = Field(128, ge=1)
    """Events a step learns from; on a GPU some thousands fill it."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of soft-token numbers dropped in training."""

    def local(self) -> LocalModel:
        """Return the language model, nothing loaded yet."""
        return LocalModel(LocalConfig(model=self.language_model, revision=self.revision, cache=self.models))


class LanguageModelReader(HoldsPretrained, Backbone):
    """A causal language model between two linear maps.

    A residual connection goes around it, so that the last step is used directly; the part of the language model begins small.
    States of language models share one direction and have a few huge numbers: they are standardised by the first batch.
    `state_dict` leaves the frozen weights out and holds their fingerprint; weights of another language model are refused.

    Args:
        model: Frozen network without a head; its LoRA weights, where it has any, are trained.
        mark: Its fingerprint.
        prompt: Token ids read before everything else.
        config: `dim` is the width of steps and states.
    """

    prompt: Tensor
    mean: Tensor
    spread: Tensor
    is_measured: Tensor

    def __init__(self, model: Any, mark: str, prompt: list[int], config: BackboneConfig) -> None:
        super().__init__(config)
        self.model = model
        embeddings: Tensor = model.get_input_embeddings().weight
        width = embeddings.shape[1]
        self.into, self.out = nn.Linear(config.dim, width), nn.Linear(width, config.dim)
        self.norm, self.drop = nn.LayerNorm(config.dim), nn.Dropout(config.dropout)
        rows = embeddings[: min(1000, len(embeddings))].float()
        size = float(rows.square().mean().sqrt()) / STEP_SIZE * (width / min(width, config.dim)) ** 0.5
        with torch.no_grad():
            nn.init.orthogonal_(self.into.weight)
            self.out.weight.copy_(START_SHARE * STEP_SIZE * self.into.weight.T)
            self.into.weight.mul_(size)
        nn.init.zeros_(self.into.bias)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("is_measured", torch.tensor(False))
        self.register_buffer("prompt", torch.tensor(prompt, dtype=torch.long), persistent=False)
        self.hold("model", mark)

    def forward(
        self, steps: Float[Tensor, "B L D"], lengths: Int[Tensor, "B"], real: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """Return a state for each step.

        Args:
            steps: Soft tokens, padded at the end.
            lengths: Steps that are no padding; a causal model never sees what comes after them.
            real: Whether each step exists; others are skipped. None means all exist.
        """
        prompt = self.model.get_input_embeddings()(self.prompt).expand(len(steps), -1, -1)
        inputs = torch.cat([prompt, self.into(steps).to(prompt.dtype)], dim=1)
        states = self.model(inputs_embeds=inputs, use_cache=False, **self._places(real)).last_hidden_state
        states = states[:, len(self.prompt) :].to(self.out.weight.dtype)
        if self.training and not bool(self.is_measured):
            filled = torch.arange(steps.shape[1], device=steps.device) < lengths[:, None]
            self._measure(states[filled if real is None else filled & real])
        return self.norm(steps + self.drop(self.out((states - self.mean) / self.spread)))

    def _places(self, real: Bool[Tensor, "B L"] | None) -> dict[str, Tensor]:
        if real is None or bool(real.all()):
            return {}  # plain causal attention is faster than one with a mask
        mask = torch.cat([real.new_ones(len(real), len(self.prompt)), real], dim=1).long()
        return {"attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}

    @torch.no_grad()
    def _measure(self, states: Float[Tensor, "N H"]) -> None:
        self.mean.copy_(states.float().mean(0))
        self.spread.copy_(states.float().std(0, correction=0).clamp(min=MIN_SPREAD))
        self.is_measured.fill_(True)


class SoftTokens(NextItem):
    """Each event is one token for every channel its item has, then the fused token that `NextItem` reads alone."""

    known: tuple[Tensor, Tensor] | None = None
    """Projected channels and presence of every item, set after training."""

    def __init__(self, items: ItemTokens, backbone: LanguageModelReader, config: LanguageModelConfig) -> None:
        super().__init__(items, backbone, config)
        self.config = config
        self.kind = nn.Parameter(torch.randn(len(items.widths) + 1, config.dim) * 0.02)

    def forward(self, tokens: Float[Tensor, "B L D"], batch: WindowBatch) -> Float[Tensor, "B L_plus_1 D"]:
        """Return the states after 0, 1, ... events."""
        steps, real = self.event_tokens(tokens, batch)
        states = self.backbone(self.drop(steps), 1 + len(self.kind) * batch.lengths, real)
        return states[:, :: len(self.kind)]  # of the start, then of each event's last token

    def event_tokens(
        self, tokens: Float[Tensor, "B L D"], batch: WindowBatch
    ) -> tuple[Float[Tensor, "B S D"], Bool[Tensor, "B S"]]:
        """Return a start and every event's tokens in a row, and which are there."""
        channels, present = self.channels(batch.items) if self.known is None else (p[batch.items] for p in self.known)
        if self.training and self.config.modality_dropout and present.shape[-1]:
            present = drop_modalities(present.flatten(0, 1), self.config.modality_dropout).view(present.shape)
        scale = self.token_scale * batch.weight[..., None, None]
        events = torch.cat([channels, tokens[:, :, None]], dim=2) * scale + self.kind
        if self.gap is not None:
            events = events + self.gap(batch.gap)[:, :, None]
        there = torch.cat([present, present.new_ones(*present.shape[:2], 1)], dim=2).flatten(1)
        start = self.start.expand(len(events), 1, -1)
        return torch.cat([start, events.flatten(1, 2)], dim=1), torch.cat([there.new_ones(len(there), 1), there], dim=1)

    def channels(self, rows: Int[Tensor, "*N"]) -> tuple[Float[Tensor, "*N M D"], Bool[Tensor, "*N M"]]:
        """Return every channel of some items at the common width, and which of them they have."""
        flat, shape = rows.flatten(), (*rows.shape, len(self.items.widths))
        if not self.items.widths:
            none = self.start.new_zeros(*shape, len(self.start))
            return none, none[..., 0].bool()
        return (self.items.scale * self.items.projected(self.items.known_content[flat])).view(
            *shape, -1
        ), self.items.present[flat].view(shape)


class LanguageModel(Sequence[LanguageModelConfig]):
    """Next-item network whose reader is a causal language model, frozen or with LoRA.

    Trained and scored as `Sequence` is: the last state times item vectors. Cost: an epoch is events x tokens an event x the
    language model forward and back, on two cores some minutes for 600 users with 15 events each; bound it with `max_users`,
    `max_events`, `max_length` and `layers`. Memory is the model, and a batch of its activations.

    Source: soft tokens as in prefix tuning (Li & Liang, ACL 2021) and LLaRA (Liao et al., SIGIR 2024), trained with a softmax
    over the catalog instead of text; LoRA as in Hu et al., ICLR 2022.
    """

    config_class = LanguageModelConfig
    is_costly: ClassVar[bool] = True

    def _learn(self, train_on: Histories, content: Content, config: SequenceConfig, before: Sequence | None) -> Self:
        self.vectors = self.vectors[:0]  # those of an earlier fit
        return super()._learn(self._some(train_on), content, config, before)

    def _some(self, histories: Histories) -> Histories:
        """Return the users and events that are learned from."""
        config = self.config
        able = np.flatnonzero(histories.lengths() > 1)
        if config.max_users is not None and config.max_users < len(able):
            users = np.sort(generator(config.seed, "train.users").choice(able, config.max_users, replace=False))
            logger.info("  %s: learns from %s of %s users", self.name, f"{len(users):,}", f"{len(able):,}")
            histories = histories.take(users)
        if config.max_events is None:
            return histories
        return histories.where(histories.ages() < config.max_events)

    def _build(self, num_items: int) -> NextItem:
        network = super()._build(num_items)
        reader = network.backbone
        assert isinstance(reader, LanguageModelReader)
        if self.config.tokens == "modalities":
            network = SoftTokens(network.items, reader, self.config)
        config = self.config
        most = getattr(reader.model.config, "max_position_embeddings", None)
        longest = len(reader.prompt) + self._num_tokens(config.max_length)
        if most is not None and longest > most:
            raise ConfigError(
                f"A history of {config.max_length} events takes {longest} tokens, the language model reads {most}.",
                where=f"members.{self.name}: max_length",
                fix='lower max_length, shorten the prompt, or set tokens = "fused"',
            )
        return network

    def _backbone(self) -> Backbone:
        config = self.config
        local = config.local()
        on_gpu = pick_device(config.device).type == "cuda"
        half = config.weights == "bfloat16" or (config.weights == "auto" and on_gpu)
        model = local.reader(torch.bfloat16 if half else torch.float32, layers=config.layers)
        if config.lora_rank:
            model = add_lora(model, config.lora_rank, config.lora_alpha, extra="llm")
        prompt = local.tokenizer()(config.prompt)["input_ids"] if config.prompt else []
        return LanguageModelReader(
            model, local.fingerprint, list(prompt), BackboneConfig(dim=config.dim, dropout=config.dropout)
        )

    def _num_tokens(self, events: int) -> int:
        each = len(self.bases) + 1 if self.config.tokens == "modalities" else 1
        return 1 + each * events

    def _states(self, histories: Histories, users: Int64[np.ndarray, " chosen"]) -> Float[Tensor, "users D"]:
        size = max(1, READ_TOKENS // self._num_tokens(self.config.max_length))
        groups = [histories.take(users[first : first + size]) for first in range(0, len(users), size)]
        return torch.cat([super(LanguageModel, self)._states(group, np.arange(len(group))) for group in groups])

    @torch.no_grad()
    def _settle(self) -> Self:
        super()._settle()
        if isinstance(self.network, SoftTokens):
            channels, present = self.network.channels(torch.arange(len(self.vectors), device=self.vectors.device))
            self.network.known = (channels, present)
        return self

    @torch.no_grad()
    def add_items(self, content: Content, new: range) -> Self:
        """Return a copy in which new items have the tokens and vectors their content gives; the language model is shared."""
        grown = super().add_items(content, new)
        if isinstance(self.network, SoftTokens) and self.network.known is not None:
            channels, present = self.network.known
            added = channels.new_zeros(len(new), *channels.shape[1:]), present.new_zeros(len(new), present.shape[1])
            if self.bases:
                rows, has_channel = self.content_of(content, new)
                added = self.network.items.scale * self.network.items.projected(rows), has_channel
            grown.network = copy.copy(self.network)
            grown.network.known = (torch.cat([channels, added[0]]), torch.cat([present, added[1]]))
        return grown

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what was trained; and of the language model only its fingerprint, as `network.backbone.mark`."""
        found = super().arrays()
        if isinstance(self.network, SoftTokens) and self.network.known is not None:
            channels, present = self.network.known
            found |= {"known.channels": channels.cpu().numpy(), "known.present": present.cpu().numpy()}
        return found

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        """Restore the state that `arrays` returned.

        Raises:
            ArtifactError: The language model is gone, or is not the one it was trained with.
        """
        trained_with = bytes(arrays["network.backbone.mark"].tolist()).decode()
        try:
            here = self.config.local().fingerprint
        except EncoderError as error:
            raise _lacks(self.name, self.config.language_model, error.message) from error
        if here != trained_with:
            raise _lacks(
                self.name, self.config.language_model, f"Its weights are {here}, it was trained with {trained_with}."
            )
        super().restore(arrays)
        assert self.network is not None
        device = pick_device(self.config.device)
        self.network.to(device)
        self.vectors = self.vectors.to(device)
        if isinstance(self.network, SoftTokens):
            channels, present = (tensor_of(arrays[f"known.{n}"]).to(device) for n in ("channels", "present"))
            self.network.known = (channels, present)
        return self


def _lacks(name: str, model: str, reason: str) -> ArtifactError:
    return ArtifactError(
        f"The member {name!r} cannot be read without its language model {model!r}: {reason}",
        where=f"members.{name}: language_model",
        fix="bring that model back to where it was, or train the member again",
    )
