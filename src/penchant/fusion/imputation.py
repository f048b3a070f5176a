"""Impute missing content from neighbouring items.

In: embeddings with holes, and a graph of items that share users or look alike. Out: the same embeddings, holes marked as filled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float32
from scipy import sparse

from penchant.core.messages import channel_names, message
from penchant.core.schema import Embeddings, Finding

HOPS = 3
"""Steps content travels; further away it is no more than the mean of all items."""


def item_graph(users_items: sparse.csr_array, neighbours: int = 20, block: int = 1024) -> sparse.csr_array:
    """Return (items, items) float32: each item's nearest by cosine of the users of both; rows sum to 1, or to 0 for a lone item.

    Args:
        users_items: (users, items) weights of training events.
        neighbours: Edges kept for each item, at most.
        block: Rows computed at once; memory is block x items floats.
    """
    norms = np.sqrt(np.asarray(users_items.multiply(users_items).sum(0)).ravel())
    scale = np.divide(1, norms, out=np.zeros_like(norms, dtype=np.float64), where=norms > 0)
    unit = (users_items @ sparse.diags_array(scale)).tocsr().astype(np.float32)
    turned = unit.T.tocsr()
    return _nearest(lambda rows: (turned[rows] @ unit).toarray(), unit.shape[1], neighbours, block)


def content_graph(embeddings: Embeddings, neighbours: int = 20, block: int = 1024) -> sparse.csr_array:
    """Return (items, items) as `item_graph` does, by cosine of another channel: it also reaches items without events."""
    unit = embeddings.unit()
    return _nearest(lambda rows: unit[rows] @ unit.T, len(unit), neighbours, block)


def impute(embeddings: Embeddings, graph: sparse.csr_array) -> Embeddings:
    """Return embeddings in which an item without content has the weighted mean of its neighbours' content.

    The mean travels `HOPS` steps; what is present is never changed, and an item with no path to content stays missing.
    Graphs may be added up before (`item_graph(...) + content_graph(...)`).

    Args:
        embeddings: With `present` for what is not imputed.
        graph: (items, items), not negative; row i weighs the neighbours of item i.

    Source: Malitesta et al., Do we really need to drop items with missing modalities?, CIKM 2024 (arXiv 2408.11767) and
        Dealing with missing modalities in multimodal recommendation (arXiv 2403.19841); ours starts from the mean of what is
        there, not from zeros, and divides by the weight of the neighbours that have something.
    """
    if embeddings.present.all() or not embeddings.present.any():
        return replace(embeddings, imputed=np.zeros(len(embeddings.present), bool))
    values = np.where(embeddings.present[:, None], embeddings.values, 0).astype(np.float32)
    filled = embeddings.present.copy()
    holes = np.flatnonzero(~embeddings.present)
    edges = graph[holes]
    for _ in range(HOPS):
        total = np.asarray(edges @ filled.astype(np.float32))
        reached = total > 0
        mean = np.asarray(edges[reached] @ values) / total[reached, None]  # rows not yet filled are zero
        values[holes[reached]] = mean
        filled[holes[reached]] = True
    return replace(embeddings, values=values, imputed=filled & ~embeddings.present)


def coverage(embeddings: Embeddings) -> Finding:
    """Return what is missing, and how much of it was filled in, as a line of the report."""
    total = len(embeddings.present)
    lacking = int(total - embeddings.present.sum())
    imputed = 0 if embeddings.imputed is None else int(embeddings.imputed.sum())
    line = message(
        "{channels}: {lacking} of {total} items without; {imputed} imputed from neighbours",
        channels=channel_names([embeddings.name]),
        lacking=f"{lacking:,}",
        total=f"{total:,}",
        imputed=f"{imputed:,}",
    )
    return Finding(
        f"content.{embeddings.name}.missing",
        lacking,
        total,
        "masked",
        (line,) if lacking else (),
        message("never read as zeros"),
    )


def _nearest(
    similar_to: Callable[[slice], Float32[np.ndarray, "rows items"]], num_items: int, neighbours: int, block: int
) -> sparse.csr_array:
    """Keep the largest positive similarities of each row, exactly `neighbours` at most, and bring rows to sum 1."""
    k = max(1, min(neighbours, num_items - 1))
    parts = []
    for start in range(0, num_items, block):
        similar = similar_to(slice(start, start + block))
        own = np.arange(len(similar))
        similar[own, start + own] = 0
        columns = np.argpartition(similar, -k, axis=1)[:, -k:]
        weights = np.maximum(np.take_along_axis(similar, columns, 1), 0)
        weights /= np.maximum(weights.sum(1, keepdims=True), 1e-12)
        rows = np.repeat(own, k)
        part = sparse.csr_array((weights.ravel(), (rows, columns.ravel())), shape=(len(similar), num_items))
        part.eliminate_zeros()
        parts.append(part)
    return sparse.vstack(parts, format="csr")
