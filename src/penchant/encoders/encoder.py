"""The contract of an encoder: content in, one embedding out.

In: raw content of one modality (a string, an image, audio samples). Out: (batch, dim) float32.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, Self, cast

import numpy as np
from jaxtyping import Float32

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings, SettingsT_co
from penchant.core.errors import EncoderError
from penchant.core.schema import Catalog


class Encoder(ABC, Generic[SettingsT_co]):
    """A frozen encoder of one modality.

    Attributes:
        modality: Modality of its input.
        dim: Width of an embedding; None where the settings, the model or the catalog decide.
        licence: Licence of its weights.
        cost: "light" (under 10 ms an item on a CPU core), "medium" (under 100 ms) or "heavy".
        batch_size: Items for one call of `encode`, where the channel sets none.
        whole_catalog: It learns from all items at once, so its vectors hold for one catalog only.
        decodes_apart: Whether `prepare` needs no model, so that many files are decoded and prepared in processes of their own; the class is then found by its
            name in the table of encoders there, too.
        has_signs: Whether its vectors of user content say themselves what is liked and what is not (`UserEmbeddings.has_signs`).
        version: Raised when the code changes so that equal content gives other numbers; old vectors are then not used again.
    """

    config_class: ClassVar[type[Settings]]
    modality: ClassVar[str]
    dim: ClassVar[int | None] = None
    licence: ClassVar[str]
    cost: ClassVar[str]
    batch_size: ClassVar[int] = 32
    whole_catalog: ClassVar[bool] = False
    decodes_apart: bool = False
    has_signs: ClassVar[bool] = False
    version: ClassVar[int] = 1
    _loaded: Any = None
    """What `load` brings into memory; most encoders define it as a cached property."""

    def __init__(self, config: SettingsT_co | None = None) -> None:
        self.config: SettingsT_co = cast(SettingsT_co, self.config_class()) if config is None else config

    def about(self, catalog: Catalog) -> Self:
        """Return the encoder of user content about a catalog's items; the encoder itself, unless it compares content with the items."""
        return self

    @abstractmethod
    def weights(self) -> Any:
        """Return what identifies the weights: a version, or the checksum of a folder; None where there are none."""

    def fingerprint(self) -> str:
        """Return 16 hex digits that change with the weights, the settings or the code's version."""
        return fingerprint(type(self).__name__, self.version, self.config, self.weights())

    def load(self) -> None:
        """Bring the model into memory; called once, before threads call `prepare`.

        Raises:
            EncoderError: The model cannot be loaded.
            MissingExtraError: A package it needs is not installed.
        """
        _ = self._loaded

    @abstractmethod
    def prepare(self, raw: Any) -> Any:
        """Return what the model takes: text as it is, pixels, samples. Runs ahead of the model, in threads or in other processes (`decodes_apart`)."""

    @abstractmethod
    def encode(self, prepared: Sequence[Any]) -> Float32[np.ndarray, "batch dim"]:
        """Return one vector for each prepared item; what else is in the batch makes no difference beyond rounding."""

    def learn(self, prepared: Sequence[Any]) -> Mapping[str, np.ndarray] | None:
        """Return what an encoder of a whole catalog learns from all content: arrays of numbers, without any text.

        None: content that comes later gets no vector.
        """
        return None

    def encode_learned(
        self, prepared: Sequence[Any], learned: Mapping[str, np.ndarray]
    ) -> Float32[np.ndarray, "batch dim"]:
        """Return vectors by what `learn` returned, equal to those of the content that was learned from."""
        raise NotImplementedError(f"{type(self).__name__} learns nothing")

    def encode_catalog(self, prepared: Sequence[Any], num_items: Sequence[int]) -> Float32[np.ndarray, "contents dim"]:
        """Return the vectors of an encoder of a whole catalog, one for each distinct content; what is learned counts items, not contents.

        Args:
            prepared: Distinct contents.
            num_items: How many items have each.
        """
        of_items = [content for content, count in zip(prepared, num_items, strict=True) for _ in range(count)]
        learned = self.learn(of_items)
        if learned is not None:
            return self.encode_learned(prepared, learned)
        return np.asarray(self.encode(of_items), np.float32)[np.cumsum(num_items) - 1]

    def encode_query(self, prepared: Sequence[Any]) -> Float32[np.ndarray, "batch dim"]:
        """Return vectors of queries, to be compared with those of items."""
        return self.encode(prepared)


def code_of(word: str) -> int:
    """Return a word or category as a number of 64 bits: what was learned from people is kept without their words."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def encode_filled(encoder: Encoder, prepared: Sequence[Any], size: int) -> Float32[np.ndarray, "batch dim"]:
    """Return the vectors of a batch; one of pictures is filled up to `size` with its last item.

    A network computes a shorter batch with other kernels, so that a vector would depend in its sixth digit on which pictures are left for the last
    batch: others in this process, which encodes in the order of inspection, than on the nodes of a cluster.
    """
    filling = size - len(prepared) if encoder.modality == "image" else 0
    return np.asarray(encoder.encode([*prepared, *[prepared[-1]] * filling]), np.float32)[: len(prepared)]


def encode_one(encoder: Encoder, raw: Any) -> Float32[np.ndarray, " dim"]:
    """Return the vector of one query outside any catalog: typed words, an image, an audio clip.

    Raises:
        EncoderError: The encoder learns from a whole catalog, so one query has no vector.
    """
    if encoder.whole_catalog:
        raise EncoderError(
            f"{type(encoder).__name__} learns from the whole catalog and has no vector for one query.",
            where="a search by content",
            fix="search a channel of another encoder, for example minilm or e5",
        )
    encoder.load()
    return encoder.encode_query([encoder.prepare(raw)])[0]
