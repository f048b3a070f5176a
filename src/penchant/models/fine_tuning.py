"""Encoders of item channels that a network trains further.

In: channels with their content, and what was trained before. Out: `TunedChannel` modules for training; afterwards the trained weights of each encoder,
small enough for a bundle, which encode new items.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float32
from pydantic import Field

from penchant.core.artifacts import fingerprint
from penchant.core.errors import ArtifactError, ConfigError, MediaError
from penchant.core.logs import logger
from penchant.core.schema import ChannelSource, Embeddings
from penchant.encoders.catalog import ChannelConfig, make_encoder
from penchant.encoders.content import WORKERS
from penchant.networks.tokens import ChannelBasis, TunedChannel
from penchant.networks.tuned_encoders import TokenStates, TunedBlocksConfig, TunedEncoder, padded, tuned_encoder

Array = np.ndarray
PREFIX = "tuned."
"""Start of the names of these weights among a member's arrays."""


class FineTuneConfig(TunedBlocksConfig):
    """Encoders that are trained with a network over histories."""

    channels: list[str] = Field(min_length=1)
    """Content channels whose encoders are trained: of minilm, transformers_text (BERT family) or efficientnet."""
    epochs: int = Field(3, ge=1)
    """Epochs with the encoders, after those without; kept only if the held-out score is then better."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate of the encoders; None takes 5e-4 for added matrices and 2e-5 for every weight of a block: an item that
    was not drawn keeps an earlier vector, so encoders may change by little within an epoch."""
    items_per_step: int = Field(256, ge=2)
    """Items of a batch that are encoded anew at each step, drawn from those it names; the others keep
    the vectors they had last, at most an epoch old."""

    @property
    def rate(self) -> float:
        return self.learning_rate or (5e-4 if self.rank else 2e-5)


@dataclass
class FineTuned:
    """The trained encoder of one channel; its frozen part is loaded when first needed.

    Attributes:
        name: Of the channel.
        encoder: Name of the encoder.
        options: Its settings.
        weights: What was trained, and the fingerprint of the rest.
    """

    name: str
    encoder: str
    options: Mapping[str, Any]
    weights: Mapping[str, Array]
    _loaded: dict[str, TunedEncoder] = field(default_factory=dict, repr=False)

    def load(self, config: TunedBlocksConfig) -> TunedEncoder:
        """Return the encoder with its trained weights.

        Raises:
            ArtifactError: The pretrained encoder here is another one.
        """
        if not self._loaded:
            found = new_encoder(self.name, self.encoder, self.options, config)
            try:
                found.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in self.weights.items()})
            except RuntimeError as error:
                raise ArtifactError(
                    f"The trained weights of the encoder of {self.name!r} do not fit the pretrained {self.encoder} that is here.",
                    where=f"content.{self.name}",
                    fix="install the version it was trained with, or train the network again",
                ) from error
            self._loaded["encoder"] = found.eval()
        return self._loaded["encoder"]

    @torch.no_grad()
    def encode(self, prepared: Sequence[Array], config: TunedBlocksConfig) -> Float32[np.ndarray, "items dim"]:
        """Return the vectors of content that `TunedEncoder.prepare` returned."""
        encoder = self.load(config)
        device = encoder.mark.device
        found = [encoder.vectors(*padded(encoder.states([one]), device)) for one in prepared]
        return torch.cat(found).cpu().numpy() if found else np.zeros((0, encoder.dim), np.float32)

    def arrays(self) -> dict[str, Array]:
        """Return its state by name; what is text as bytes."""
        facts = json.dumps({"encoder": self.encoder, "options": self.options}, default=str).encode()
        start = f"{PREFIX}{self.name}/"
        own = {f"{start}{name}": np.asarray(a) for name, a in self.weights.items()}
        return {f"{start}facts": np.frombuffer(facts, np.uint8).copy(), **own}

    @classmethod
    def restored(cls, arrays: Mapping[str, Array]) -> dict[str, Self]:
        """Return all channels that `arrays` of several wrote."""
        found: dict[str, dict[str, Array]] = {}
        for key, array in arrays.items():
            if key.startswith(PREFIX):
                name, _, part = key.removeprefix(PREFIX).rpartition("/")
                found.setdefault(name, {})[part] = array
        made = {}
        for name, parts in found.items():
            facts = json.loads(parts.pop("facts").tobytes())
            made[name] = cls(name, facts["encoder"], facts["options"], parts)
        return made


def new_encoder(name: str, encoder: str, options: Mapping[str, Any], config: TunedBlocksConfig) -> TunedEncoder:
    """Return the encoder of a channel, none of it trained yet; equal at every call."""
    made = make_encoder(name, ChannelConfig(encoder=encoder, options=dict(options)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # initial matrices, which then depend on nothing else
        return tuned_encoder(made, config, where=f"content.{name}")


def tuned_channels(
    channels: Mapping[str, Embeddings],
    bases: Mapping[str, ChannelBasis],
    config: FineTuneConfig,
    before: Mapping[str, FineTuned],
    device: torch.device,
    member: str,
) -> list[TunedChannel]:
    """Return the channels to train; the states that enter the trained blocks are computed once for equal settings.

    Args:
        channels: That the network reads.
        bases: Of them.
        config: Which to train; those that are not here (an ablation arm without them) are left out.
        before: Weights to start from.
        device: Of the network.
        member: Name, for messages.

    Raises:
        ConfigError: The content of a channel is not at hand, or its encoder cannot be trained.
    """
    found = []
    for name in config.channels:
        if name not in channels:
            logger.warning("  %s: there is no channel %r to fine-tune here", member, name)
            continue
        source = source_of(channels[name], name, member)
        if name in before:
            encoder = before[name].load(config)
        else:
            encoder = new_encoder(name, source.encoder, source.options, config)
        states = _states(encoder, channels[name], source, config)
        found.append(TunedChannel(channels[name], encoder.to(device), bases[name], states).to(device))
    return found


def source_of(embeddings: Embeddings, name: str, member: str) -> ChannelSource:
    """Return the content of a channel.

    Raises:
        ConfigError: It is not at hand.
    """
    source = embeddings.source
    if source is None or source.load is None:
        raise ConfigError(
            f"The content of the channel {name!r} is not at hand, so its encoder cannot be trained.",
            where=f"members.{member}.fine_tune.channels",
            fix="take a channel that this run encodes itself, or leave fine_tune out",
        )
    return source


def _states(
    encoder: TunedEncoder, embeddings: Embeddings, source: ChannelSource, config: TunedBlocksConfig
) -> TokenStates:
    load = source.load
    assert load is not None

    def prepare(row: int) -> Array | None:
        try:
            raw = load(row) if embeddings.present[row] else None
        except MediaError:
            return None
        return None if raw is None else encoder.prepare(raw)

    key = fingerprint(bytes(encoder.mark.tolist()).decode(), config.max_tokens)
    if key not in source.kept:
        threads = 1 if encoder.modality == "text" else WORKERS  # a tokenizer is not safe to share
        with ThreadPoolExecutor(threads) as pool:
            prepared = list(pool.map(prepare, range(len(embeddings.present))))
        source.kept[key] = TokenStates.of(encoder, prepared, f"content of {embeddings.name}")
    kept: TokenStates = source.kept[key]
    return kept
