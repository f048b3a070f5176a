"""Metrics beyond accuracy: coverage, novelty, diversity, inequality.

In: ranked item rows (users, K), how many users touched each item before the test, item vectors. Out: `BeyondAccuracy`, four numbers for one recommender.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Float64, Int32, Int64
from scipy import sparse

BATCH_USERS = 4_096
"""Users whose list vectors are summed at once."""


@dataclass(frozen=True)
class BeyondAccuracy:
    """How one recommender spreads its suggestions.

    Attributes:
        name: The recommender.
        k: Length of the lists looked at.
        coverage: Share of the catalog that stands in at least one list, 0 to 1.
        novelty: Mean self-information of the items shown, in bits; higher is less known.
        diversity: Mean distance between two items of one list, 0 (alike) to 1 (unrelated) or more; NaN without vectors.
        gini: Inequality of exposure over the catalog: 0 is even, 1 is all on one item.
    """

    name: str
    k: int
    coverage: float
    novelty: float
    diversity: float
    gini: float


def beyond_accuracy(
    name: str,
    ranked: Int32[np.ndarray, "users K"],
    k: int,
    *,
    popularity: Int64[np.ndarray, " items"],
    num_users: int,
    vectors: Float32[np.ndarray, "items dim"] | sparse.csr_array | None = None,
) -> BeyondAccuracy:
    """Return the four numbers of one recommender.

    Args:
        name: What the report calls it.
        ranked: Best first, -1 where a list is shorter.
        k: Look at the first k.
        popularity: How many users touched each item before the test; a user who touched it twice counts once.
        num_users: Users with an event before the test.
        vectors: Rows of unit length (or zero: unknown), for example `Embeddings.unit()` or `attribute_vectors`.
    """
    top = ranked[:, :k]
    shown = exposure(top, len(popularity))
    spread = float("nan") if vectors is None else _mean(diversity(top, vectors))
    return BeyondAccuracy(name, k, coverage(shown), _mean(novelty(top, popularity, num_users)), spread, gini(shown))


def exposure(ranked: Int32[np.ndarray, "users K"], num_items: int) -> Int64[np.ndarray, " items"]:
    """Return in how many lists each item stands."""
    return np.bincount(ranked[ranked >= 0], minlength=num_items)


def coverage(shown: Int64[np.ndarray, " items"]) -> float:
    """Return the share of items shown at least once."""
    return float((shown > 0).mean()) if shown.size else 0.0


def gini(shown: Int64[np.ndarray, " items"] | Float64[np.ndarray, " items"]) -> float:
    """Return the Gini coefficient of exposure; items never shown count, so a short catalog of favourites nears 1."""
    total = shown.sum()
    if not total:
        return 0.0
    ordered = np.sort(shown).astype(np.float64)
    rank = np.arange(1, ordered.size + 1)
    return float(((2 * rank - ordered.size - 1) * ordered).sum() / (ordered.size * total))


def novelty(
    ranked: Int32[np.ndarray, "users K"], popularity: Int64[np.ndarray, " items"], num_users: int
) -> Float64[np.ndarray, " users"]:
    """Return each list's mean of -log2(share of users who touched the item before the test), in bits; NaN for an empty list.

    One is added to both counts, so that an item without events is finite.

    Source: Zhou et al., 2010, "Solving the apparent diversity-accuracy dilemma of recommender systems".
    """
    bits = -np.log2((popularity + 1.0) / (num_users + 1.0))
    listed = ranked >= 0
    total = np.where(listed, bits[ranked], 0.0).sum(axis=1)
    return _ratio(total, listed.sum(axis=1))


def diversity(
    ranked: Int32[np.ndarray, "users K"], vectors: Float32[np.ndarray, "items dim"] | sparse.csr_array
) -> Float64[np.ndarray, " users"]:
    """Return each list's mean of 1 - cosine over its pairs of items; NaN where fewer than two items have a vector.

    The pairs are never formed: for unit rows their cosines sum to (|sum of rows|^2 - rows) / 2.
    Memory is one batch of users by the width of the vectors.
    """
    known = _has_vector(vectors)
    answer = np.full(len(ranked), np.nan)
    for start in range(0, len(ranked), BATCH_USERS):
        block = ranked[start : start + BATCH_USERS]
        used = (block >= 0) & known[block]
        rows, _ = np.nonzero(used)
        chosen = sparse.csr_array((np.ones(rows.size), (rows, block[used])), shape=(len(block), len(known)))
        total = chosen @ vectors
        squares = total.multiply(total) if sparse.issparse(total) else total * total
        count = used.sum(axis=1)
        pairs = count * (count - 1)
        answer[start : start + BATCH_USERS] = 1.0 - _ratio(np.asarray(squares.sum(axis=1)).ravel() - count, pairs)
    return answer


def attribute_vectors(columns: Sequence[pl.Series]) -> sparse.csr_array:
    """Return one unit row for each item that marks its categories; a column holds str or list[str], null marks nothing."""
    parts = []
    for column in columns:
        values = (
            column
            if isinstance(column.dtype, pl.List)
            else column.cast(pl.String).reshape((-1, 1)).cast(pl.List(pl.String))
        )
        marks = pl.DataFrame({"row": np.arange(len(column)), "value": values}).explode("value").drop_nulls().unique()
        codes = marks["value"].rank("dense").to_numpy().astype(np.int64) - 1
        shape = (len(column), int(codes.max(initial=-1)) + 1)
        parts.append(sparse.csr_array((np.ones(len(marks)), (marks["row"].to_numpy(), codes)), shape=shape))
    matrix = sparse.csr_array(sparse.hstack(parts))
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sparse.csr_array(sparse.diags_array(1.0 / np.maximum(norms, 1e-12)) @ matrix)


def _has_vector(vectors: Float32[np.ndarray, "items dim"] | sparse.csr_array) -> Bool[np.ndarray, " items"]:
    if isinstance(vectors, sparse.csr_array):
        return np.asarray(np.diff(vectors.indptr) > 0)
    return np.asarray(np.any(vectors, axis=1))


def _ratio(total: Float64[np.ndarray, " users"], count: Int64[np.ndarray, " users"]) -> Float64[np.ndarray, " users"]:
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _mean(values: Float64[np.ndarray, " users"]) -> float:
    """Return the mean over users who have a number."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
