"""Embeddings of codes: items of one code are equal, items of different codes are nearly orthogonal.

In: a row of codes, as JSON. Out: one unit vector, from a hash of each code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from penchant.core.config import Settings
from penchant.encoders.encoder import Encoder


class CodesConfig(Settings):
    """Settings of codes."""

    dim: int = Field(128, ge=8)
    """Width: the cosine of two codes has a standard deviation of 1 / sqrt(dim)."""


class Codes(Encoder[CodesConfig]):
    """A random direction for each value, drawn from its hash, so that any number of codes fits and a new item has a vector at once.

    Source: random indexing, Kanerva et al., Random indexing of text samples for latent semantic analysis, 2000; ours are dense.
    """

    modality = "attribute"
    licence = "none needed"
    cost = "light"

    config_class = CodesConfig

    def weights(self) -> Any:
        return None

    def prepare(self, raw: str) -> list[str]:
        row: dict[str, Any] = json.loads(raw)
        cells = [(name, value if isinstance(value, list) else [value]) for name, value in sorted(row.items())]
        return [f"{name}\n{value}" for name, values in cells for value in values if value is not None]

    def encode(self, prepared: Sequence[list[str]]) -> Float32[np.ndarray, "batch dim"]:
        out = np.zeros((len(prepared), self.config.dim), np.float32)
        for row, codes in enumerate(prepared):
            for code in codes:
                seed = int.from_bytes(hashlib.blake2b(code.encode(), digest_size=8).digest(), "big")
                out[row] += np.random.default_rng(seed).standard_normal(self.config.dim, np.float32)
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
