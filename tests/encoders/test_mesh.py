"""Shapes whose numbers are known, turned and scaled."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from trimesh import Trimesh, creation

from penchant.encoders.mesh import ShapeStatistics, ShapeStatisticsConfig


def encode(mesh: Trimesh, **options: int) -> np.ndarray:
    encoder = ShapeStatistics(ShapeStatisticsConfig(**options))
    return encoder.encode([encoder.prepare(mesh)])[0]


def moved(mesh: Trimesh, seed: int = 0) -> Trimesh:
    matrix = np.eye(4)
    matrix[:3, :3] = 7.0 * Rotation.random(rng=seed).as_matrix()
    matrix[:3, 3] = (100, -5, 3)
    return mesh.copy().apply_transform(matrix)


def test_points_lie_on_the_surface_in_one_scale() -> None:
    cloud = ShapeStatistics().prepare(moved(creation.icosphere(3)))
    radius = np.linalg.norm(cloud.points, axis=1)
    assert cloud.points.shape == cloud.normals.shape == (1024, 3)
    assert radius.max() == pytest.approx(1)
    assert radius.min() > 0.9
    assert ((cloud.points * cloud.normals).sum(1) > 0.85).all()


def test_statistics_do_not_change_when_a_shape_is_moved() -> None:
    shapes = [creation.box((1, 2, 4)), creation.icosphere(2), creation.torus(1.0, 0.2), creation.cylinder(0.2, 3)]
    before = np.stack([encode(shape) for shape in shapes])
    after = np.stack([encode(moved(shape, number)) for number, shape in enumerate(shapes)])
    distance = np.linalg.norm(before[:, None] - after[None], axis=2)
    assert (distance.argmin(1) == np.arange(4)).all()
    assert (np.diag(distance) < 0.2 * (distance + 1e9 * np.eye(4)).min(1)).all()


def test_a_ball_is_round_and_a_plate_flat() -> None:
    ball, plate = encode(creation.icosphere(3)), encode(creation.box((4, 4, 0.001)))
    axes = slice(4 * 32, 4 * 32 + 3)
    assert ball[axes] == pytest.approx([ball[axes][0]] * 3, rel=0.1)
    assert plate[axes][2] < 0.01 * plate[axes][0]
    single = Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False)
    assert np.isfinite(encode(single)).all()


def test_equal_seeds_give_equal_points() -> None:
    encoder = ShapeStatistics()
    one, two = (encoder.prepare(creation.box()) for _ in range(2))
    np.testing.assert_array_equal(one.points, two.points)
    other = ShapeStatistics(ShapeStatisticsConfig(seed=1)).prepare(creation.box())
    assert (one.points != other.points).any()
