"""Embeddings of 3-D meshes.

In: a mesh. Out: statistics of its shape that do not change with rotation, translation or scale; `prepare` returns points a network can train on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32
from pydantic import Field
from scipy.spatial import ConvexHull, QhullError, cKDTree

from penchant.core.config import Settings
from penchant.encoders.encoder import Encoder


@dataclass(frozen=True)
class PointCloud:
    """Points sampled uniformly from a surface.

    Attributes:
        points: (points, 3) float32, their centre at 0 and the farthest at distance 1.
        normals: (points, 3) float32, of length 1, of each point's triangle.
        statistics: (dim,) float32 of the shape.
    """

    points: Float32[np.ndarray, "points 3"]
    normals: Float32[np.ndarray, "points 3"]
    statistics: Float32[np.ndarray, " dim"]


class ShapeStatisticsConfig(Settings):
    """Settings of shape statistics."""

    points: int = Field(1024, ge=64)
    """Points sampled from the surface."""
    bins: int = Field(32, ge=4)
    """Bins of each histogram."""
    seed: int = 0
    """Seed of the sampling."""


class ShapeStatistics(Encoder[ShapeStatisticsConfig]):
    """Distances between points, spread along the main axes, roundness, hollowness and curvature; no weights, 20 ms a mesh.

    Source: Osada et al., Shape distributions, TOG 2002 (D2, D1, A3).
    """

    modality = "mesh"
    licence = "none needed"
    cost = "medium"
    decodes_apart = True

    config_class = ShapeStatisticsConfig

    def weights(self) -> Any:
        return None

    def prepare(self, raw: Any) -> PointCloud:
        from trimesh.sample import sample_surface

        points, faces = sample_surface(raw, self.config.points, seed=self.config.seed)[:2]
        points = np.asarray(points, np.float64)
        centred = points - points.mean(axis=0)
        scale = max(float(np.linalg.norm(centred, axis=1).max()), 1e-12)
        centred /= scale
        normals = np.asarray(raw.face_normals)[faces]
        rng = np.random.default_rng(self.config.seed)
        statistics = shape_statistics(centred, normals, float(raw.area) / scale**2, self.config.bins, rng)
        return PointCloud(centred.astype(np.float32), normals.astype(np.float32), statistics)

    def encode(self, prepared: Sequence[PointCloud]) -> Float32[np.ndarray, "batch dim"]:
        return np.stack([cloud.statistics for cloud in prepared])


def shape_statistics(
    points: np.ndarray, normals: np.ndarray, area: float, bins: int, rng: np.random.Generator
) -> Float32[np.ndarray, " dim"]:
    """Return statistics of a shape that do not depend on its rotation.

    Args:
        points: (points, 3), centred, farthest at distance 1.
        normals: (points, 3), of length 1.
        area: Of the surface, in the same scale.
        bins: Of each histogram.
        rng: Samples pairs and triples.
    """
    count = 16 * len(points)
    one, two, three = rng.integers(len(points), size=(3, count))
    distance = np.linalg.norm(points[one] - points[two], axis=1)
    sides = np.stack([points[one] - points[two], points[three] - points[two]])
    lengths = np.linalg.norm(sides, axis=2)
    cosine = (sides[0] * sides[1]).sum(1) / np.maximum(lengths.prod(0), 1e-12)
    facing = np.abs((normals[one] * normals[two]).sum(1))
    radius = np.linalg.norm(points, axis=1)
    histograms = [
        np.histogram(values, bins, bounds)[0] / len(values)
        for values, bounds in ((distance, (0, 2)), (cosine, (-1, 1)), (facing, (0, 1)), (radius, (0, 1)))
    ]
    axes = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(points.T))[::-1], 0))
    outward = (normals * points).sum(1) / np.maximum(radius, 1e-12)
    near = np.asarray(cKDTree(points).query(points, k=9)[1])[:, 1:]
    bend = 1 - np.abs((normals[near] * normals[:, None]).sum(2)).mean(1)
    volume, hull_area = _hull(points)
    numbers = [*axes, axes[1] / max(axes[0], 1e-12), axes[2] / max(axes[0], 1e-12), np.log1p(area)]
    numbers += [volume, hull_area, np.log1p(area / max(hull_area, 1e-12))]
    numbers += [radius.mean(), radius.std(), outward.mean(), outward.std(), bend.mean(), bend.std()]
    return np.concatenate([*histograms, numbers]).astype(np.float32)


def _hull(points: np.ndarray) -> tuple[float, float]:
    """Return volume and area of the convex hull; zeros for a flat shape, which has none."""
    try:
        hull = ConvexHull(points)
    except QhullError:
        return 0.0, 0.0
    return float(hull.volume), float(hull.area)
