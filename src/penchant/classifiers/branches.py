"""Branches of a network classifier: frozen embeddings, or raw content of one modality.

In: a `ContentBatch`. Out: for each sample an array, or none; padded batches of them; and the network that reads these. Training content is
augmented every time it is read where `BranchAugmentationConfig` asks for it; other content never is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int64
from pydantic import Field
from torch import Tensor, nn

from penchant.classifiers import BRANCHES
from penchant.classifiers.classifier import ContentBatch
from penchant.classifiers.paraphrase import ParaphraseConfig
from penchant.core.config import Settings
from penchant.core.errors import ConfigError, MediaError, nearest
from penchant.data.media import augmentation
from penchant.encoders.content import WORKERS, find_content
from penchant.networks.content_nets import ContentNetConfig, FrozenVectorNet

Array = np.ndarray
Prepared = Array | None


class BranchAugmentationConfig(Settings):
    """Augmentation of a branch in training; other content is never augmented."""

    text: augmentation.TextAugmentationConfig = augmentation.TextAugmentationConfig()
    """Words are left out, or replaced by others that are used alike."""
    image: augmentation.ImageAugmentationConfig = augmentation.ImageAugmentationConfig()
    """Pictures are cropped, mirrored, coloured."""
    audio: augmentation.AudioAugmentationConfig = augmentation.AudioAugmentationConfig()
    """The sound is made faster or slower; bands and stretches of the spectrogram are blanked."""
    signal: augmentation.SignalAugmentationConfig = augmentation.SignalAugmentationConfig()
    """Readings are jittered, scaled, warped."""
    paraphrase: ParaphraseConfig | None = None
    """Texts are also read as paraphrases of a language model, or translated and back; None uses no model."""


class BranchConfig(Settings):
    """One branch of a network: frozen vectors of a channel, or raw content of a modality."""

    channel: str | None = None
    """Frozen vectors read."""
    modality: str | None = None
    """Raw content read, instead of a channel: text, image, audio, mesh, signal."""
    net: str | None = None
    """Network that reads raw content; None takes lstm for sequences, picture_cnn for pictures, pointnet for meshes. Images are also read by
    resnet, mobilenet, vit (untrained unless `model` names weights) and efficientnet (Lite0, trained on ImageNet)."""
    model: str | None = None
    """Hub id or folder of a model of transformers to start from: of pictures any vision model (ResNet-50, MobileNet, ViT, CLIP, SigLIP), of texts, with
    `blocks`, one of the BERT family."""
    revision: str = "main"
    """Branch, tag or commit of that model on the hub."""
    blocks: int | None = Field(None, ge=0)
    """Of text and pictures: read by a pretrained encoder token by token (words, patches), of which so many last blocks are trained and the states
    below are computed once; 0 trains none. Text takes MiniLM or `model`, pictures EfficientNet-Lite0. None: a text is read word by word by a network
    that starts from nothing, and of a pretrained vision model every weight is trained."""
    rank: int = Field(8, ge=0)
    """With `blocks`: rank of the matrices that are added to them and trained alone (LoRA); 0 trains every weight of the blocks."""
    fine_tune: bool = True
    """Whether a pretrained vision model is trained with the rest of the network, or stays frozen."""
    size: ContentNetConfig = ContentNetConfig()
    """Its size; the width is that of the whole network."""
    max_length: int = Field(200, ge=2)
    """Words, frames of sound or steps of a signal kept; longer sounds and signals are made coarser, longer texts are cut."""
    min_count: int = Field(2, ge=1)
    """Words with fewer occurrences share one entry."""
    pretrain: bool = False
    """Start the vectors of words from Word2Vec trained on the training texts (needs the extra `words`)."""
    side: int | None = Field(None, ge=16)
    """Pixels of a picture's sides; None takes the size that a pretrained model was trained with, else 64."""
    bands: int = Field(40, ge=8)
    """Mel bands of a frame of sound."""
    options: dict[str, Any] = {}
    """How signals or meshes are prepared: settings of the encoders `signal` and `shape`. Of an untrained vision model: values of its
    configuration, for example depths and hidden_sizes of a smaller resnet."""


class Branch(ABC):
    """One branch: its content and network.

    Args:
        name: Of the branch.
        config: Its settings.
        facts: What `learn` learned before; None before it did.
    """

    is_sequence: ClassVar[bool] = False
    """Whether arrays differ in length and are padded."""

    def __init__(self, name: str, config: BranchConfig, facts: dict[str, Any] | None = None) -> None:
        self.name, self.config = name, config
        self.facts: dict[str, Any] = facts or {}

    @abstractmethod
    def modality(self, batch: ContentBatch) -> str:
        """Return the modality it reads, for reports."""

    @abstractmethod
    def present(self, batch: ContentBatch) -> Bool[np.ndarray, " samples"]:
        """Return which samples have this content, without opening files."""

    def learn(self, batch: ContentBatch, rows: Int64[np.ndarray, " rows"]) -> None:  # noqa: B027 - some branches learn nothing here
        """Learn from training content what `prepare` needs: the vocabulary, means and standard deviations."""

    def vary(self, batch: ContentBatch, change: BranchAugmentationConfig | None) -> None:  # noqa: B027 - most content is augmented batch by batch
        """Prepare the augmentations that take long, such as paraphrases."""

    @abstractmethod
    def prepare(self, batch: ContentBatch) -> list[Prepared]:
        """Return each sample's array; None where it has none or it cannot be read."""

    @abstractmethod
    def ready(self, array: Array, change: BranchAugmentationConfig | None, rng: np.random.Generator) -> Array:
        """Return the input of the network: augmented where asked for, standardised, missing values marked."""

    @abstractmethod
    def empty(self) -> Array:
        """Return an array of zeros as `ready` would, for a batch without this content."""

    @abstractmethod
    def network(self, dim: int) -> nn.Module:
        """Return a network that reads its batches and gives (B, dim)."""

    def widen(self, arrays: Mapping[str, Array]) -> None:  # noqa: B027 - the settings fix the shapes of most networks
        """Set the shape of the network from stored weights; their values are loaded later."""

    def batch(
        self,
        prepared: Sequence[Prepared],
        device: torch.device,
        change: BranchAugmentationConfig | None,
        rng: np.random.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Return a padded batch and lengths; absent content is zeros of length 0, which the fusion's mask hides."""
        arrays = [None if array is None else self.ready(array, change, rng) for array in prepared]
        lengths = np.array([0 if array is None else len(array) for array in arrays], np.int64)
        like = next((array for array in arrays if array is not None), None)
        like = self.empty() if like is None else like
        shape = (max(1, int(lengths.max())), *like.shape[1:]) if self.is_sequence else like.shape
        values = np.zeros((len(arrays), *shape), like.dtype)
        for row, array in enumerate(arrays):
            if array is not None:
                values[row, : len(array)] = array
        return torch.as_tensor(values, device=device), torch.as_tensor(lengths, device=device)


class FrozenBranch(Branch):
    """Frozen embeddings of one channel, standardised on the training samples."""

    def modality(self, batch: ContentBatch) -> str:
        channel = self._channel(batch)
        return batch.modality(channel)

    def present(self, batch: ContentBatch) -> Bool[np.ndarray, " samples"]:
        return batch.channels[self._channel(batch)].present

    def learn(self, batch: ContentBatch, rows: Int64[np.ndarray, " rows"]) -> None:
        values = batch.channels[self._channel(batch)].values[rows[self.present(batch)[rows]]]
        self.facts = {"width": int(values.shape[1]), **moments(values)}

    def prepare(self, batch: ContentBatch) -> list[Prepared]:
        e = batch.channels[self._channel(batch)]
        values = standardise(e.values, self.facts)
        return [values[row] if e.present[row] else None for row in range(len(batch))]

    def ready(self, array: Array, change: BranchAugmentationConfig | None, rng: np.random.Generator) -> Array:
        return array

    def empty(self) -> Array:
        return np.zeros(self.facts["width"], np.float32)

    def network(self, dim: int) -> nn.Module:
        return FrozenVectorNet(self.config.size.model_copy(update={"dim": dim}), self.facts["width"])

    def _channel(self, batch: ContentBatch) -> str:
        channel = self.config.channel or ""
        if channel not in batch.channels:
            raise ConfigError(
                f"There is no channel {channel!r}.",
                where=f"branches.{self.name}.channel",
                fix=nearest(channel, batch.channels),
            )
        return channel


class MediaBranch(Branch):
    """Raw content from files; unreadable files count as missing."""

    kind: ClassVar[str]

    def modality(self, batch: ContentBatch) -> str:
        return self.kind

    def present(self, batch: ContentBatch) -> Bool[np.ndarray, " samples"]:
        return has_media(batch, self.kind)

    def prepare(self, batch: ContentBatch) -> list[Prepared]:
        if not self.present(batch).any():
            return [None] * len(batch)
        content = find_content(batch.catalog, [], self.kind, batch.limits, where=f"branches.{self.name}")

        def one(row: int) -> Prepared:
            if content.keys[row] is None:
                return None
            try:
                return self.array(content.load(row))
            except MediaError:
                return None

        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(one, range(len(batch))))

    @abstractmethod
    def array(self, raw: Any) -> Array:
        """Return the array of one opened file."""


def has_media(batch: ContentBatch, modality: str) -> Bool[np.ndarray, " samples"]:
    """Return which samples name a file of this modality."""
    column = batch.catalog.media_columns.get(modality)
    if column is None or column not in batch.catalog.table.columns:
        return np.zeros(len(batch), bool)
    return batch.catalog.table[column].is_not_null().to_numpy()


def make_branch(name: str, config: BranchConfig, facts: dict[str, Any] | None = None) -> Branch:
    """Return a branch.

    Raises:
        ConfigError: It names both a channel and a modality, or neither.
    """
    if (config.channel is None) == (config.modality is None):
        raise ConfigError(
            "A branch reads either the frozen vectors of a channel or the raw content of a modality.",
            where=f"branches.{name}",
            fix='set channel = "..." or modality = "...", not both',
        )
    if config.modality is None:
        return FrozenBranch(name, config, facts)
    if config.blocks is not None:
        from penchant.classifiers.tokens import token_branch  # its classes derive from the branches here

        return token_branch(name, config, facts)
    made: Branch = BRANCHES.load(config.modality)(name, config, facts)
    return made


def standardise(values: Array, facts: Mapping[str, Any]) -> Array:
    """Return values standardised with the mean and standard deviation of training."""
    return ((values - np.asarray(facts["mean"])) / np.asarray(facts["scale"])).astype(np.float32)


def moments(values: Array) -> dict[str, list[float]]:
    """Return the mean and standard deviation of each column; missing values (NaN) do not count."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (values - mean) ** 2, 0).sum(axis=0) / count)
    return {"mean": mean.astype(float).tolist(), "scale": np.where(spread > 1e-6, spread, 1.0).astype(float).tolist()}
