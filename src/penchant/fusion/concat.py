"""Feature-level fusion by concatenation.

In: embeddings of every channel. Out: one vector for each item; a missing channel gets no weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Float32

from penchant.core.config import Settings
from penchant.core.schema import Embeddings
from penchant.fusion.fusion import Fusion

Projection = Callable[[np.ndarray], np.ndarray]
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
        return _fused({name: (e, self._block(e)[0]) for name, e in channels.items()})

    def fitted(self, channels: Mapping[str, Embeddings]) -> Callable[[Mapping[str, Embeddings]], Embeddings | None]:
        """Return a function that projects further rows on the main directions of these; rows of these stay as they are."""
        blocks = {name: self._block(e) for name, e in channels.items()}

        def fuse(grown: Mapping[str, Embeddings]) -> Embeddings | None:
            found = {}
            for name, embeddings in grown.items():
                block, project = blocks[name]
                added, usable = (
                    np.zeros((len(embeddings.present) - len(block), block.shape[1]), np.float32),
                    embeddings.usable,
                )
                added[usable[len(block) :]] = project(embeddings.values[len(block) :][usable[len(block) :]])
                found[name] = (embeddings, np.concatenate([block, added]))
            return _fused(found)

        return fuse

    def _block(self, embeddings: Embeddings) -> tuple[Float32[np.ndarray, "items dim"], Projection]:
        """Return unit rows in the channel's main directions, unusable rows zero, and a function for further rows."""
        from sklearn.utils.extmath import randomized_svd  # slow to import, and no service needs it

        out = np.zeros((len(embeddings.present), min(self.config.dim, embeddings.dim)), np.float32)
        usable = embeddings.usable
        if usable.sum() < 2:
            return out, lambda rows: np.zeros((len(rows), out.shape[1]), np.float32)
        mean = embeddings.values[usable].mean(0)
        centred = embeddings.values[usable] - mean
        width = min(out.shape[1], len(centred) - 1)
        left, spread, right = randomized_svd(centred, width, random_state=0)
        scale = (
            (spread > MIN_SHARE * spread[0]) / np.maximum(spread, 1e-12) if self.config.whiten else np.ones_like(spread)
        )
        out[usable, :width] = unit_rows(left * spread * scale)

        def project(rows: Float32[np.ndarray, "rows channel_dim"]) -> Float32[np.ndarray, "rows dim"]:
            found = np.zeros((len(rows), out.shape[1]), np.float32)
            found[:, :width] = unit_rows((rows - mean) @ right.T * scale)
            return found

        return out, project


def _fused(blocks: Mapping[str, tuple[Embeddings, Float32[np.ndarray, "items dim"]]]) -> Embeddings | None:
    """Return the blocks of all channels side by side, of unit length; None where there is no channel."""
    if not blocks:
        return None
    channels = [e for e, _ in blocks.values()]
    values = unit_rows(np.concatenate([block for _, block in blocks.values()], axis=1)).astype(np.float32)
    present = np.any([e.present for e in channels], axis=0)
    usable = np.any([e.usable for e in channels], axis=0)
    return Embeddings("fused", "fused", values, present, "+".join(e.encoder for e in channels), usable & ~present)


def unit_rows(rows: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"]:
    """Return rows of length 1; a row of zeros stays."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
