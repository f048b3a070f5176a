"""Embeddings of categories and numbers.

In: a row of attributes, as JSON. Out: one unit block for each column, side by side; equal categories and close numbers are similar.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from penchant.core.config import Settings
from penchant.encoders.encoder import Encoder


class AttributesConfig(Settings):
    """Settings of attributes."""

    bumps: int = Field(12, ge=1)
    """Bumps for each number."""
    min_items: int = Field(2, ge=1)
    """Fewest items of a category."""
    max_categories: int = Field(2000, ge=1)
    """Most frequent categories kept of each column."""


class Attributes(Encoder[AttributesConfig]):
    """One-hot (or many-hot) categories, and numbers as overlapping bumps over their quantiles.

    Learns the categories of the whole catalog; those of fewer than `min_items` items are left out.
    """

    modality = "attribute"
    licence = "none needed"
    cost = "light"
    whole_catalog = True

    config_class = AttributesConfig

    def weights(self) -> Any:
        return None

    def prepare(self, raw: str) -> dict[str, Any]:
        row: dict[str, Any] = json.loads(raw)
        return row

    def encode(self, prepared: Sequence[dict[str, Any]]) -> Float32[np.ndarray, "batch dim"]:
        columns = sorted({name for row in prepared for name in row})
        blocks = [self._block([row.get(name) for row in prepared]) for name in columns]
        kept = [block for block in blocks if block.shape[1]]
        return np.concatenate(kept, axis=1) if kept else np.zeros((len(prepared), 1), np.float32)

    def _block(self, values: list[Any]) -> Float32[np.ndarray, "batch width"]:
        """Return unit rows of one column; a missing value is a row of zeros."""
        known = [v for v in values if v is not None]
        if known and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in known):
            out = _bumps(np.array([np.nan if v is None else float(v) for v in values]), self.config.bumps)
        else:
            out = self._categories([v if isinstance(v, list) else [] if v is None else [str(v)] for v in values])
        return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)

    def _categories(self, values: list[list[str]]) -> Float32[np.ndarray, "batch width"]:
        names, counts = np.unique([v for row in values for v in row if v], return_counts=True)
        frequent = names[np.argsort(-counts, kind="stable")][: int((counts >= self.config.min_items).sum())]
        place = {name: column for column, name in enumerate(frequent[: self.config.max_categories])}
        out = np.zeros((len(values), len(place)), np.float32)
        for row, row_values in enumerate(values):
            for value in row_values:
                if value in place:
                    out[row, place[value]] = 1
        return out


def _bumps(values: Float32[np.ndarray, " batch"], count: int) -> Float32[np.ndarray, "batch bumps"]:
    """Return Gaussian bumps centred on quantiles, each as wide as the mean distance of neighbours."""
    known = np.isfinite(values)
    centres = np.unique(np.quantile(values[known], np.linspace(0, 1, count)))
    if len(centres) < 2:
        return np.zeros((len(values), 0), np.float32)
    width = np.diff(centres).mean()
    out = np.exp(-0.5 * np.square((np.where(known, values, 0)[:, None] - centres) / width))
    out[~known] = 0
    return out.astype(np.float32)
