"""Missing content, filled in from neighbours.

In: embeddings with holes, and a graph of items that share users or look alike. Out: the same embeddings, holes marked as filled.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from penchant.core.schema import Embeddings

HOPS = 3


def item_graph(users_items: sparse.csr_array, neighbours: int = 20, block: int = 1024) -> sparse.csr_array:
    """Return (items, items) float32: each item's nearest by cosine of who touched them.

    Args:
        users_items: (users, items) weights of training events.
        neighbours: Edges kept for each item.
        block: Rows computed at once; memory is block x items floats.
    """
    norms = np.sqrt(np.asarray(users_items.multiply(users_items).sum(0)).ravel())
    scale = np.divide(1, norms, out=np.zeros_like(norms, dtype=np.float64), where=norms > 0)
    unit = (users_items @ sparse.diags_array(scale)).tocsr().astype(np.float32)
    turned = unit.T.tocsr()
    parts = []
    for start in range(0, unit.shape[1], block):
        similar = (turned[start : start + block] @ unit).toarray()
        own = np.arange(len(similar))
        similar[own, start + own] = 0
        k = min(neighbours, similar.shape[1])
        floor = np.partition(similar, -k, axis=1)[:, -k:].min(1)
        parts.append(sparse.csr_array(np.where((similar >= floor[:, None]) & (similar > 0), similar, 0)))
    return sparse.vstack(parts, format="csr")


def impute(embeddings: Embeddings, graph: sparse.csr_array) -> Embeddings:
    """Return embeddings in which an item without content has the weighted mean of its neighbours' content.

    The mean travels `HOPS` steps; what is present is never changed, and an item with no path to content stays missing.

    Source: Malitesta et al., Do we really need to drop items with missing modalities?, CIKM 2024 (arXiv 2408.11767).
    """
    if embeddings.present.all() or not embeddings.present.any():
        return replace(embeddings, imputed=np.zeros(len(embeddings.present), bool))
    values = np.where(embeddings.present[:, None], embeddings.values, 0).astype(np.float32)
    filled = embeddings.present.copy()
    for _ in range(HOPS):
        total = np.asarray(graph @ filled.astype(np.float32))
        reached = (total > 0) & ~embeddings.present
        mean = (graph @ np.where(filled[:, None], values, 0)) / np.maximum(total, 1e-12)[:, None]
        values[reached] = mean[reached]
        filled = filled | reached
    return replace(embeddings, values=values, imputed=filled & ~embeddings.present)
