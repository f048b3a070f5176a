"""A map of embeddings shows groups where they are, and says how much of their likeness it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from penchant.explanation.embedding_maps import NEIGHBOURS, embedding_map
from penchant.reporting.inside import MOST_GROUPS, ReportConfig


def clusters(count: int, spread: float) -> tuple[np.ndarray, list[str | None]]:
    rng = np.random.default_rng(0)
    group = rng.integers(0, count, 240)
    vectors = rng.normal(size=(count, 24))[group] + spread * rng.normal(size=(240, 24)) + 5
    return vectors.astype(np.float32), [f"group {g}" for g in group]


def test_groups_that_are_apart_stay_apart_on_the_map() -> None:
    vectors, groups = clusters(3, 0.2)
    found = embedding_map("text", vectors, np.ones(240, bool), groups, ReportConfig())
    assert found is not None
    assert (found.points.min(), found.points.max()) == pytest.approx((0, 1))
    assert found.alike == pytest.approx(1)
    assert found.alike_here > 0.95
    assert found.chance == pytest.approx(1 / 3, abs=0.05)
    centres = np.array([found.points[np.array(found.groups) == g].mean(0) for g in range(3)])
    assert np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(3, 1)].min() > 0.3


def test_noise_is_told_as_noise() -> None:
    vectors, groups = clusters(3, 50.0)
    found = embedding_map("text", vectors, np.ones(240, bool), groups, ReportConfig())
    assert found is not None
    assert found.alike == pytest.approx(found.chance, abs=0.06)


def test_rows_without_the_channel_and_small_groups_are_shown_as_such() -> None:
    vectors, groups = clusters(MOST_GROUPS + 3, 0.2)
    groups[5] = None
    usable = np.ones(240, bool)
    usable[:3] = False
    found = embedding_map("text", vectors, usable, groups, ReportConfig(points=100))
    assert found is not None
    assert len(found.points) == len(found.groups) == 100
    assert len(found.names) == MOST_GROUPS
    assert max(found.groups) < MOST_GROUPS
    assert found.has_others
    other = embedding_map("image", vectors, ~usable | (np.arange(240) > 100), groups, ReportConfig())
    assert other is not None
    assert other.names == found.names  # one legend for all maps


@pytest.mark.parametrize(("config", "usable"), [(ReportConfig(points=0), 240), (ReportConfig(), 2 * NEIGHBOURS)])
def test_no_map_where_none_is_wanted_or_too_few_have_the_channel(config: ReportConfig, usable: int) -> None:
    vectors, groups = clusters(3, 0.2)
    assert embedding_map("text", vectors, np.arange(240) < usable, groups, config) is None
