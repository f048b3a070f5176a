"""Embeddings of categories and numbers.

In: a row of attributes, as JSON. Out: one unit block for each column, side by side; equal categories and close numbers are similar.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from pydantic import Field

from penchant.core.config import Settings
from penchant.encoders.encoder import Encoder, code_of

NUMBERS, CATEGORIES = "numbers/", "categories/"
"""Beginnings of the keys of what was learned of a column."""


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
        return self.encode_learned(prepared, self.learn(prepared))

    def learn(self, prepared: Sequence[dict[str, Any]]) -> Mapping[str, np.ndarray]:
        """Return for each column the centres of its numbers, or the hashes of its categories, most frequent first."""
        columns = sorted({name for row in prepared for name in row})
        return dict(self._learned(name, [row.get(name) for row in prepared]) for name in columns)

    def encode_learned(
        self, prepared: Sequence[dict[str, Any]], learned: Mapping[str, np.ndarray]
    ) -> Float32[np.ndarray, "batch dim"]:
        """Return unit blocks side by side; a missing value, or one that was never seen, is a block of zeros."""
        blocks = [_block([row.get(name) for row in prepared], kind, learned[key]) for key, kind, name in _keys(learned)]
        kept = [block for block in blocks if block.shape[1]]
        return np.concatenate(kept, axis=1) if kept else np.zeros((len(prepared), 1), np.float32)

    def _learned(self, name: str, values: list[Any]) -> tuple[str, np.ndarray]:
        known = [v for v in values if v is not None]
        if known and all(_is_number(v) for v in known):
            finite = np.array(known, np.float64)
            finite = finite[np.isfinite(finite)]
            return f"{NUMBERS}{name}", np.unique(np.quantile(finite, np.linspace(0, 1, self.config.bumps))) if len(
                finite
            ) else finite
        names, counts = np.unique([v for row in map(_as_categories, values) for v in row if v], return_counts=True)
        frequent = names[np.argsort(-counts, kind="stable")][: int((counts >= self.config.min_items).sum())]
        codes = [code_of(value) for value in frequent[: self.config.max_categories]]
        return f"{CATEGORIES}{name}", np.array(codes, np.uint64)


def layout(learned: Mapping[str, np.ndarray]) -> dict[str, slice]:
    """Return the place of each column's block in a vector."""
    places, start = {}, 0
    for key, kind, name in _keys(learned):
        width = _width(kind, learned[key])
        places[name] = slice(start, start + width)
        start += width
    return places


def numeric_columns(learned: Mapping[str, np.ndarray]) -> set[str]:
    """Return the columns whose values are numbers."""
    return {name for _, kind, name in _keys(learned) if kind == NUMBERS}


def is_new_value(value: Any, column: str, learned: Mapping[str, np.ndarray]) -> bool:
    """Return whether a value of a category was not among those learned from; of several, any."""
    codes = learned.get(f"{CATEGORIES}{column}")
    return codes is not None and not {code_of(one) for one in _as_categories(value)} <= set(codes.tolist())


def _keys(learned: Mapping[str, np.ndarray]) -> list[tuple[str, str, str]]:
    """Return key, kind and column of what was learned, by column."""
    found = [
        (key, kind, key.removeprefix(kind)) for key in learned for kind in (NUMBERS, CATEGORIES) if key.startswith(kind)
    ]
    return sorted(found, key=lambda one: one[2])


def _width(kind: str, learned: np.ndarray) -> int:
    return len(learned) if kind == CATEGORIES or len(learned) > 1 else 0


def _block(values: list[Any], kind: str, learned: np.ndarray) -> Float32[np.ndarray, "batch width"]:
    """Return unit rows of one column; a missing or unknown value is a row of zeros."""
    if kind == NUMBERS:
        out = _bumps(np.array([float(v) if _is_number(v) else np.nan for v in values]), learned)
    else:
        place = {code: column for column, code in enumerate(learned.tolist())}
        out = np.zeros((len(values), len(place)), np.float32)
        for row, value in enumerate(values):
            for code in map(code_of, _as_categories(value)):
                if code in place:
                    out[row, place[code]] = 1
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_categories(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else [] if value is None else [str(value)]


def _bumps(
    values: Float64[np.ndarray, " batch"], centres: Float64[np.ndarray, " bumps"]
) -> Float32[np.ndarray, "batch bumps"]:
    """Return Gaussian bumps centred on quantiles, each as wide as the mean distance of neighbours."""
    if len(centres) < 2:
        return np.zeros((len(values), 0), np.float32)
    known = np.isfinite(values)
    width = np.diff(centres).mean()
    out = np.exp(-0.5 * np.square((np.where(known, values, 0)[:, None] - centres) / width))
    out[~known] = 0
    return out.astype(np.float32)
