"""Duplicate and near-duplicate images.

In: 64-bit perceptual hashes and tiny thumbnails. Out: a group number for each picture; a picture alone in its group is unique.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, UInt8, UInt64
from PIL import Image
from scipy import sparse

MAX_DISTANCE = 3
"""Bits in which two hashes may differ; of four bands of 16 bits, such a pair then has an equal one."""
MAX_DIFFERENCE = 6.0
"""Mean difference of two thumbnails, of 255: by the hash alone, any two white-framed pictures are equal."""
THUMBNAIL = 8
_BLOCK = 2048


def difference_hash(picture: Image.Image) -> int:
    """Return 64 bits: whether each of 8 x 8 cells is darker than its right neighbour.

    Source:
        Neal Krawetz, "Kind of like that" (2013), the dHash.
    """
    cells = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    return int.from_bytes(np.packbits(cells[:, :-1] < cells[:, 1:]).tobytes(), "big")


def thumbnail(picture: Image.Image) -> bytes:
    """Return 8 x 8 RGB cells as 192 bytes."""
    return picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX).tobytes()


def group_duplicates(
    hashes: UInt64[np.ndarray, " pictures"], thumbnails: UInt8[np.ndarray, "pictures cells"]
) -> Int64[np.ndarray, " pictures"]:
    """Return a group number for each picture; near duplicates, and duplicates of those, share one.

    Cost grows with the square of how many pictures share a 16-bit band of the hash, not of how many there are.
    """
    unique, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    same = np.stack([np.arange(len(hashes)), first[inverse]], axis=1)
    pairs = np.concatenate([same, first[near_pairs(unique)]])
    apart = np.abs(thumbnails[pairs[:, 0]].astype(np.int16) - thumbnails[pairs[:, 1]]).mean(axis=1)
    left, right = pairs[apart <= MAX_DIFFERENCE].T
    graph = sparse.coo_array((np.ones(len(left), bool), (left, right)), shape=(len(hashes), len(hashes)))
    return np.asarray(sparse.csgraph.connected_components(graph, directed=False)[1], np.int64)


def near_pairs(hashes: UInt64[np.ndarray, " unique"]) -> Int64[np.ndarray, "pairs 2"]:
    """Return every pair of rows, in ascending order, whose hashes differ in at most `MAX_DISTANCE` bits."""
    found = [np.zeros((0, 2), np.int64)]
    for shift in range(0, 64, 16):
        band = (hashes >> np.uint64(shift)) & np.uint64(0xFFFF)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=np.uint64(1 << 16)))
        for rows in np.split(order, starts[1:]):
            if len(rows) > 1:
                found.extend(_pairs_within(hashes, rows))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _pairs_within(
    hashes: UInt64[np.ndarray, " unique"], rows: Int64[np.ndarray, " members"]
) -> list[Int64[np.ndarray, "pairs 2"]]:
    """Compare all members of one band, a block of rows at a time."""
    found = []
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        rest = rows[start:]
        near = np.bitwise_count(hashes[block][:, None] ^ hashes[rest][None, :]) <= MAX_DISTANCE
        left, right = np.nonzero(np.triu(near, k=1))
        found.append(np.stack([block[left], rest[right]], axis=1))
    return found
