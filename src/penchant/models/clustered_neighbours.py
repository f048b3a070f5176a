"""Nearest neighbours within clusters, for catalogs in which not every item can be compared with every other.

In: unit rows. Out: each row's nearest others, sought among the rows of the clusters nearest to its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Int64
from scipy import sparse

from penchant.models.products import block_rows, keep_largest

CANDIDATES = 16
"""Rows that a row is compared with, in mean sizes of a cluster."""
LEARNED = 64
"""Rows for each cluster that the centres are learned from."""


def clustered_neighbours(rows: Float32[np.ndarray, "items dim"], neighbours: int) -> sparse.csr_array:
    """Return (items, items) float32: cosine to the nearest others found, where it is positive.

    Memory: a block; time: items^1.5 x dim, where `neighbour_graph` takes items^2 x dim for exact neighbours.

    Args:
        rows: Unit rows; a zero row has no neighbours and is none.
        neighbours: Entries kept for each item.
    """
    shown = np.flatnonzero(rows.any(axis=1))
    if not len(shown):
        nothing = np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(len(rows) + 1, np.int64)
        return sparse.csr_array(nothing, shape=(len(rows), len(rows)))
    cluster, centres = _clusters(rows[shown])
    order = np.argsort(cluster, kind="stable")
    members = np.split(shown[order], np.searchsorted(cluster[order], np.arange(1, len(centres))))
    room = max(CANDIDATES * (len(shown) // len(centres)), 2 * neighbours + 1)
    found = [_nearest_of(rows, members, centres, own, room, neighbours) for own in range(len(centres))]
    counts = np.zeros(len(rows), np.int64)
    for _, _, lengths, owners in found:
        counts[owners] = lengths
    starts = np.concatenate([[0], np.cumsum(counts)])
    total = int(starts[-1])
    width = sparse.get_index_dtype(maxval=max(total, len(rows)))
    data, indices = np.empty(total, np.float32), np.empty(total, width)
    for values, columns, lengths, owners in found:
        first = np.cumsum(lengths) - lengths
        place = np.repeat(starts[owners] - first, lengths) + np.arange(len(values))
        data[place], indices[place] = values, columns
    return sparse.csr_array((data, indices, starts.astype(width)), shape=(len(rows), len(rows)))


def _clusters(
    rows: Float32[np.ndarray, "items dim"],
) -> tuple[Int64[np.ndarray, " items"], Float32[np.ndarray, "clusters dim"]]:
    """Return the cluster of each row and the centres, the square root of the number of rows many."""
    from sklearn.cluster import MiniBatchKMeans  # slow to import, and small catalogs need no clusters

    count = max(1, round(len(rows) ** 0.5))
    sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), LEARNED * count)).astype(np.int64)]
    learned = MiniBatchKMeans(count, batch_size=4096, n_init=1, max_iter=20, random_state=0).fit(sample)
    centres = learned.cluster_centers_.astype(np.float32)
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    size = block_rows(count)
    nearest = [(rows[start : start + size] @ centres.T).argmax(axis=1) for start in range(0, len(rows), size)]
    return np.concatenate(nearest), centres


def _nearest_of(
    rows: Float32[np.ndarray, "items dim"],
    members: list[Int64[np.ndarray, " some"]],
    centres: Float32[np.ndarray, "clusters dim"],
    own: int,
    room: int,
    neighbours: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return values, columns and number of the neighbours of one cluster's rows, and these rows."""
    columns = np.sort(np.concatenate(list(_candidates(members, centres, own, room))))
    values, places, lengths = [np.zeros(0, np.float32)], [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    size = block_rows(len(columns))
    for start in range(0, len(members[own]), size):
        block = members[own][start : start + size]
        similar = rows[block] @ rows[columns].T
        place = np.searchsorted(columns, block).clip(max=len(columns) - 1)
        is_itself = columns[place] == block
        similar[is_itself, place[is_itself]] = 0
        kept = keep_largest(similar, neighbours)
        values.append(kept.data)
        places.append(columns[kept.indices].astype(np.int32))
        lengths.append(np.diff(kept.indptr).astype(np.int64))
    return np.concatenate(values), np.concatenate(places), np.concatenate(lengths), members[own]


def _candidates(
    members: list[Int64[np.ndarray, " some"]], centres: Float32[np.ndarray, "clusters dim"], own: int, room: int
) -> Iterator[Int64[np.ndarray, " some"]]:
    """Yield the rows of the nearest clusters until there are enough; of one that is too large, evenly spaced ones."""
    nearest = np.argsort(-(centres @ centres[own]), kind="stable")
    for cluster in (own, *nearest[nearest != own]):
        some = members[cluster]
        if len(some) > room:
            some = some[np.linspace(0, len(some) - 1, room).astype(np.int64)]
        yield some
        room -= len(some)
        if room <= 0:
            return
