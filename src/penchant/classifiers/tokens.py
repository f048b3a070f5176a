"""Texts and pictures by the tokens of a pretrained encoder: words and patches.

In: texts, opened pictures. Out: the states that enter the encoder's trained blocks, computed once; and the network that reads them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import nn

from penchant.classifiers.branches import Array, Branch, BranchAugmentationConfig, BranchConfig, Prepared, has_media
from penchant.classifiers.classifier import ContentBatch
from penchant.core.artifacts import content_hash
from penchant.core.errors import ArtifactError, ConfigError, MediaError
from penchant.encoders.content import WORKERS, find_content
from penchant.encoders.encoder import Encoder
from penchant.encoders.image import EfficientNet, EfficientNetConfig
from penchant.encoders.text import MiniLM, TransformersText, TransformersTextConfig
from penchant.networks.tuned_encoders import TokenStates, TunedBlocksConfig, TunedEncoder, TunedNet, tuned_encoder

MAX_KEPT = 20_000
"""Texts and pictures whose states are kept, so that folds and refits do not compute them again; they lie in temporary files."""
_KEPT: dict[tuple[str, str], Array] = {}


class TokenBranch(Branch):
    """A branch read by a pretrained encoder of which the last blocks may be trained (`blocks`, `rank`).

    Without augmentation: the states below the trained blocks are computed once.
    """

    is_sequence = True

    @cached_property
    def encoder(self) -> TunedEncoder:
        """The encoder, none of it trained yet; equal at every start."""
        config = self.config
        blocks = TunedBlocksConfig(blocks=config.blocks or 0, rank=config.rank, max_tokens=config.max_length)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # initial matrices, which then depend on nothing else
            return tuned_encoder(self.source(), blocks, where=f"branches.{self.name}")

    def source(self) -> Encoder:
        """Return the pretrained encoder."""
        raise NotImplementedError

    def ready(self, array: Array, change: BranchAugmentationConfig | None, rng: np.random.Generator) -> Array:
        return array.astype(np.float32)

    def empty(self) -> Array:
        return np.zeros((1, self.encoder.width), np.float32)

    def network(self, dim: int) -> nn.Module:
        return TunedNet(copy.deepcopy(self.encoder), dim, self.config.size.dropout)  # the next fit starts anew

    def widen(self, arrays: Mapping[str, Array]) -> None:
        mark = arrays.get("encoder.mark")
        if mark is None or not np.array_equal(mark, self.encoder.mark.numpy()):
            raise ArtifactError(
                "The trained weights do not fit the pretrained encoder that is here.",
                where=f"branches.{self.name}",
                fix="install the version it was trained with, or train the classifier again",
            )

    def _states(self, keys: Sequence[str | None], load: Callable[[int], Any]) -> list[Prepared]:
        """Return the states of each sample; equal content is read once, and not again by later folds and refits.

        Args:
            keys: Hash of each sample's content; None where it has none.
            load: Row to content; raises `MediaError` where a file cannot be used.
        """
        mark = f"{bytes(self.encoder.mark.tolist()).decode()} {self.config.max_length}"
        new = {key: row for row, key in enumerate(keys) if key is not None and (mark, key) not in _KEPT}

        def one(row: int) -> Prepared:
            try:
                return self.encoder.prepare(load(row))
            except MediaError:
                return None

        threads = 1 if self.encoder.modality == "text" else WORKERS  # a tokenizer is not safe to share
        with ThreadPoolExecutor(threads) as pool:
            prepared = list(pool.map(one, new.values()))
        states = TokenStates.of(self.encoder, prepared, f"content of {self.name}").rows(range(len(prepared)))
        own = {k: None if p is None else s for k, p, s in zip(new, prepared, states, strict=True)}
        found = [None if key is None else own[key] if key in own else _KEPT[mark, key] for key in keys]
        if len(_KEPT) + len(own) <= MAX_KEPT:
            _KEPT.update({(mark, key): array for key, array in own.items() if array is not None})
        return found


class TokenText(TokenBranch):
    """Words of a text, by MiniLM or a model of the BERT family."""

    def source(self) -> Encoder:
        if self.config.model is None:
            return MiniLM()
        return TransformersText(
            TransformersTextConfig(
                model=self.config.model, revision=self.config.revision, max_tokens=self.config.max_length
            )
        )

    def modality(self, batch: ContentBatch) -> str:
        return "text"

    def present(self, batch: ContentBatch) -> Bool[np.ndarray, " samples"]:
        return batch.has_text

    def prepare(self, batch: ContentBatch) -> list[Prepared]:
        has, texts = self.present(batch), batch.texts
        keys = [
            content_hash(text.encode("utf-8", "surrogatepass")) if has[row] else None for row, text in enumerate(texts)
        ]
        return self._states(keys, texts.__getitem__)


class TokenPicture(TokenBranch):
    """Patches of a picture, by EfficientNet-Lite0."""

    def source(self) -> Encoder:
        return EfficientNet(
            EfficientNetConfig() if self.config.side is None else EfficientNetConfig(side=self.config.side)
        )

    def modality(self, batch: ContentBatch) -> str:
        return "image"

    def present(self, batch: ContentBatch) -> Bool[np.ndarray, " samples"]:
        return has_media(batch, "image")

    def prepare(self, batch: ContentBatch) -> list[Prepared]:
        if not self.present(batch).any():
            return [None] * len(batch)
        content = find_content(batch.catalog, [], "image", batch.limits, where=f"branches.{self.name}")
        return self._states(content.keys, content.load)


def token_branch(name: str, config: BranchConfig, facts: dict[str, Any] | None) -> TokenBranch:
    """Return the branch of a modality that is read token by token.

    Raises:
        ConfigError: No encoder of that modality can be trained.
    """
    kinds: dict[str, type[TokenBranch]] = {"text": TokenText, "image": TokenPicture}
    if config.modality not in kinds:
        raise ConfigError(
            f"No encoder of {config.modality} has blocks that can be trained here.",
            where=f"branches.{name}.blocks",
            fix="leave blocks out, or read text or image",
        )
    return kinds[config.modality](name, config, facts)
