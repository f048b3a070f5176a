"""Feature-level fusion by concatenation.

In: embeddings of every channel. Out: one vector for each item; a missing channel gets no weight.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

from penchant.core.config import Settings
from penchant.core.schema import Embeddings
from penchant.fusion.fusion import Fusion

MIN_SHARE = 1e-3
"""Directions with less than this share of the strongest one's spread are noise; whitening would amplify them."""


class ConcatConfig(Settings):
    """Concatenation's settings."""

    dim: int = 64
    """Directions kept of each channel."""
    whiten: bool = False
    """Give every kept direction the same spread, so that what most items share does not dominate the similarities."""


class Concat(Fusion[ConcatConfig]):
    """PCA of each channel, optional whitening, unit rows, side by side.

    Source: whitening as in Zhang et al., Are ID embeddings necessary? Whitening pre-trained text embeddings, ICDE 2024.
    """

    config_class = ConcatConfig

    def __call__(self, channels: Mapping[str, Embeddings]) -> Embeddings | None:
        """Return the fused vectors, of unit length; None where there is no channel.

        A row lacking some channels is scaled by what it has, so cosines stay comparable. Cost: items x dim per channel.
        """
        if not channels:
            return None
        blocks = [self._block(e) for e in channels.values()]
        values = np.concatenate(blocks, axis=1)
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        present = np.any([e.present for e in channels.values()], axis=0)
        usable = np.any([e.usable for e in channels.values()], axis=0)
        encoder = "+".join(e.encoder for e in channels.values())
        fused = (values / np.maximum(norms, 1e-12)).astype(np.float32)
        return Embeddings("fused", "fused", fused, present, encoder, usable & ~present)

    def _block(self, embeddings: Embeddings) -> Float32[np.ndarray, "items dim"]:
        """Return unit rows in the channel's main directions; unusable rows are zero."""
        from sklearn.utils.extmath import randomized_svd  # slow to import, and no service needs it

        out = np.zeros((len(embeddings.present), min(self.config.dim, embeddings.dim)), np.float32)
        usable = embeddings.usable
        if usable.sum() < 2:
            return out
        centred = embeddings.values[usable] - embeddings.values[usable].mean(0)
        width = min(out.shape[1], len(centred) - 1)
        left, spread, _ = randomized_svd(centred, width, random_state=0)
        scaled = left if self.config.whiten else left * spread
        if self.config.whiten:
            scaled = scaled * (spread > MIN_SHARE * spread[0])
        norms = np.linalg.norm(scaled, axis=1, keepdims=True)
        out[usable, :width] = scaled / np.maximum(norms, 1e-12)
        return out
