"""Measures of fairness agree with plain formulas, and say which way a list leans."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from penchant.cli import app
from penchant.core.errors import NotFoundError
from penchant.metrics.fairness import SMOOTHING, group_exposure, miscalibration, popularity_lift
from penchant.metrics.slices import GroupLabels
from penchant.recommender.recommender import Recommender

RANKED = np.array([[0, 1, 2], [0, 3, -1]], np.int32)
USER, ITEM = np.array([0, 0, 1]), np.array([4, 3, 0], np.int32)


def test_attention_counts_places() -> None:
    labels = GroupLabels(("a", "b"), np.array([0, 0, 1, 1, -1]))
    found = group_exposure(RANKED, labels, np.array([6, 0, 1, 1, 9]))
    first = 1 + 1 / np.log2(3) + 1  # item 0 twice, item 1 in second place
    second = 1 / np.log2(4) + 1 / np.log2(3)
    assert found.exposure == pytest.approx([first / (first + second), second / (first + second)])
    assert found.events == pytest.approx([0.75, 0.25])
    assert found.catalog == pytest.approx([0.5, 0.5])
    assert found.ratio() == pytest.approx(found.exposure / found.events)
    nobody = group_exposure(RANKED[:0], labels, np.array([0, 0, 1, 1, 0]))
    assert np.isnan(nobody.ratio()[0])
    assert nobody.gini == 0


def test_lift_is_how_much_more_popular_a_list_is() -> None:
    popularity = np.array([0.9, 0.5, 0.1, 0.3, 0.2])
    found = popularity_lift(RANKED, USER, ITEM, popularity)
    assert found == pytest.approx([0.5 / 0.25 - 1, 0.6 / 0.9 - 1])
    assert np.isnan(popularity_lift(RANKED, USER[:2], ITEM[:2], popularity)[1])


def test_miscalibration_is_the_divergence_of_the_mixes() -> None:
    mix = np.array([[1, 0], [1, 0], [0, 1], [0.5, 0.5], [0, 1.0]])
    wanted, shown = np.array([0.25, 0.75]), np.array([2 / 3, 1 / 3])
    smoothed = (1 - SMOOTHING) * shown + SMOOTHING * wanted
    found = miscalibration(RANKED, USER, ITEM, mix)
    assert found[0] == pytest.approx(float((wanted * np.log(wanted / smoothed)).sum()))
    same = miscalibration(np.array([[4, 3]], np.int32), np.array([0, 0]), np.array([3, 4], np.int32), mix)
    assert same == pytest.approx([0.0])
    assert np.isnan(miscalibration(RANKED, USER[:2], ITEM[:2], mix)[1])


def test_fairness_of_a_bundle(shop: Path) -> None:
    recommender = Recommender.load(shop)
    found = recommender.fairness(5, provider="genres", value="genres")
    assert found.num_users == 40
    assert found.divergence is not None
    assert found.divergence.mean > 0
    groups = {name: ratio for name, *_, ratio in found.rows()}
    assert set(groups) <= {"high", "low", "tune"}
    printed = CliRunner().invoke(app, ["fairness", str(shop), "-k", "5", "--provider", "genres", "--json"])
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.output)["popularity_lift"]["mean"] == pytest.approx(found.lift.mean)
    with pytest.raises(NotFoundError, match="There is no item attribute 'maker'"):
        recommender.fairness(provider="maker")
