"""Embeddings on a map.

In: vectors and a group for each, such as its topic or class. Out: places in two dimensions, and how much of the likeness within groups the map keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64, Int64

from penchant.models.channels import centred_unit
from penchant.reporting.inside import MOST_GROUPS, OTHERS, EmbeddingMap, ReportConfig

NEIGHBOURS = 10
"""Nearest points whose groups are compared."""
LEAST = 3 * NEIGHBOURS
"""Items that have the channel, at least, for a map."""


def largest_groups(groups: Sequence[str | None]) -> tuple[str, ...]:
    """Return the groups that have a colour on every map of a report, the largest first."""
    counts = Counter(name for name in groups if name is not None)
    return tuple(name for name, _ in counts.most_common(MOST_GROUPS))


def embedding_map(
    channel: str,
    vectors: Float32[np.ndarray, "items dim"],
    usable: np.ndarray,
    groups: Sequence[str | None],
    config: ReportConfig,
) -> EmbeddingMap | None:
    """Return the map of one channel; None where few items have it or maps are left out.

    Cost: a singular value decomposition of `config.points` rows; of t-SNE seconds.

    Args:
        channel: Its name.
        vectors: One row for each item.
        usable: Which items have the channel.
        groups: Name of the group of each item; None for none.
        config: Size and projection.

    Source: Jolliffe, Principal component analysis, 2002; van der Maaten & Hinton, Visualizing data using t-SNE, JMLR 2008.
    """
    known = np.flatnonzero(usable)
    if config.points == 0 or len(known) < LEAST or vectors.shape[1] < 2:
        return None
    shown = known[np.unique(np.linspace(0, len(known) - 1, min(config.points, len(known))).astype(np.int64))]
    rows = centred_unit(vectors[shown], np.ones(len(shown), bool)).astype(np.float64)
    places = _projected(rows, config.projection)
    own = [groups[row] for row in shown]
    names = largest_groups(groups)
    place_of = {name: place for place, name in enumerate(dict.fromkeys([*names, *(n for n in own if n is not None)]))}
    codes = np.array([OTHERS if name is None else place_of[name] for name in own])
    grouped = codes[codes != OTHERS]
    shares = np.bincount(grouped) / max(len(grouped), 1) if len(grouped) else np.zeros(1)
    return EmbeddingMap(
        channel=channel,
        method=config.projection,
        points=places,
        groups=tuple(int(code) if code < len(names) else OTHERS for code in codes),
        names=names,
        alike=_alike(rows, codes),
        alike_here=_alike(places, codes),
        chance=float((shares**2).sum()),
    )


def _projected(rows: Float64[np.ndarray, "shown dim"], method: str) -> Float64[np.ndarray, "shown 2"]:
    """Return places between 0 and 1, with one scale on both axes."""
    if method == "tsne":
        from sklearn.manifold import TSNE  # slow to import, and few reports need it

        places = TSNE(perplexity=min(30, (len(rows) - 1) / 3), init="pca", random_state=0).fit_transform(rows)
    else:
        left, strength, right = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
        # the sign of a direction is arbitrary: the largest weight is made positive, so that every machine draws the same map
        sign = np.sign(right[np.arange(2), np.abs(right[:2]).argmax(1)])
        places = left[:, :2] * strength[:2] * sign
    low, high = places.min(0), places.max(0)
    return np.asarray(0.5 + (places - (low + high) / 2) / max(float((high - low).max()), 1e-12), np.float64)


def _alike(rows: Float64[np.ndarray, "shown dim"], codes: Int64[np.ndarray, " shown"]) -> float:
    """Return the share of the nearest neighbours of grouped points that have the same group."""
    apart = ((rows**2).sum(1)[:, None] + (rows**2).sum(1) - 2 * rows @ rows.T) if len(rows) else np.zeros((0, 0))
    np.fill_diagonal(apart, np.inf)
    nearest = np.argpartition(apart, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    grouped = codes != OTHERS
    return float((codes[nearest] == codes[:, None])[grouped].mean()) if grouped.any() else 0.0
