"""The item map: topics as islands, similar items near each other.

In: the fused vectors and topics of a recommender. Out: two coordinates for each item, and a sample small enough to draw. Seconds for a
million items, once for each model.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from penchant.explanation.topics import Topics
from penchant.recommender.recommender import Recommender

MAX_POINTS = 600
GAP = 0.16
"""Distance between two islands, where the catalog as one island has the radius 1."""
ROUNDS = 400


@dataclass(frozen=True)
class ItemMap:
    """Coordinates of the items.

    Attributes:
        points: (items, 2), within [-1, 1]; NaN where an item has no content.
        shown: An even sample of rows.
        tops: (x, y, topic) of each island: a place above it.
    """

    points: Float32[np.ndarray, "items 2"]
    shown: Int64[np.ndarray, " shown"]
    tops: tuple[tuple[float, float, int], ...]

    def names(self, topics: Topics, language: str) -> list[tuple[float, float, str]]:
        """Return (x, y, word) of each island: the first word of its name, in a reader's language, that names no other."""
        found: list[tuple[float, float, str]] = []
        for x, y, topic in self.tops if topics.names else ():
            words = topics.shown(topics.names[topic], language).split(" · ")
            taken = {name for _, _, name in found}
            found += [(x, y, word) for word in words if word not in taken][:1]
        return found


class ItemMapCache:
    """Computes the map of each model once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cached: tuple[Recommender | None, ItemMap | None] = (None, None)

    def of(self, recommender: Recommender) -> ItemMap | None:
        """Return the map; None where the bundle kept no vectors."""
        with self._lock:
            if self._cached[0] is not recommender:
                self._cached = (recommender, draw(recommender))
            return self._cached[1]


def draw(recommender: Recommender) -> ItemMap | None:
    """Return the map of a model; None where it has no vectors."""
    fused, topics = recommender.content.fused, recommender.topics
    if fused is None or fused.usable.sum() < 3:
        return None
    labels = np.where(fused.usable, topics.labels if topics.names else 0, -1)
    islands = [np.flatnonzero(labels == t) for t in range(max(len(topics.names), 1))]
    kept = [t for t, rows in enumerate(islands) if len(rows)]
    means = np.array([fused.values[islands[t]].mean(0) for t in kept], np.float64)
    radii = np.sqrt([len(islands[t]) / (labels >= 0).sum() for t in kept])
    centres = _apart(means @ _directions(means - means.mean(0)), radii)
    points = np.full((len(labels), 2), np.nan)
    inside = _directions(np.concatenate([fused.values[islands[t]] - m for t, m in zip(kept, means, strict=True)]))
    for t, mean, radius, centre in zip(kept, means, radii, centres, strict=True):
        points[islands[t]] = centre + radius * _disc((fused.values[islands[t]] - mean) @ inside)
    middle = (np.nanmin(points, 0) + np.nanmax(points, 0)) / 2
    reach = np.maximum(np.nanmax(np.abs(points - middle), 0), 1e-9)
    known = np.flatnonzero(labels >= 0)
    shown = known[np.unique(np.linspace(0, len(known) - 1, min(MAX_POINTS, len(known))).astype(int))]
    tops = (centres + np.stack([np.zeros_like(radii), radii + GAP / 3], 1) - middle) / reach
    islands_tops = tuple((float(x), float(y), t) for t, (x, y) in zip(kept, tops, strict=True))
    return ItemMap(((points - middle) / reach).astype(np.float32), shown, islands_tops)


def _directions(centred: np.ndarray) -> Float64[np.ndarray, "dim 2"]:
    """Return the two directions in which rows differ most."""
    return np.linalg.eigh(centred.T.astype(np.float64) @ centred)[1][:, :-3:-1]


def _disc(flat: np.ndarray) -> Float64[np.ndarray, "rows 2"]:
    """Lay rows out on a disc: the direction from their mean gives the angle, the rank of the distance gives the radius."""
    angle = np.arctan2(flat[:, 1], flat[:, 0])
    order = np.argsort(np.argsort(np.hypot(flat[:, 0], flat[:, 1]), kind="stable"), kind="stable")
    radius = np.sqrt((order + 0.5) / len(order))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


def _apart(centres: Float64[np.ndarray, "islands 2"], radii: Float64[np.ndarray, " islands"]) -> np.ndarray:
    """Move overlapping islands apart, and all islands slowly together."""
    place = centres - centres.mean(0)
    place = place / max(float(np.abs(place).max()), 1e-9)
    place = place + 1e-3 * np.stack(
        [np.cos(np.arange(len(place))), np.sin(np.arange(len(place)))], 1
    )  # no two at the same place
    for _ in range(ROUNDS):
        away = place[:, None] - place[None]
        distance = np.maximum(np.linalg.norm(away, axis=2), 1e-9)
        overlap = np.maximum(radii[:, None] + radii[None] + GAP - distance, 0)
        np.fill_diagonal(overlap, 0)
        place = place * 0.995 + 0.25 * (away / distance[..., None] * overlap[..., None]).sum(1)
    return place
