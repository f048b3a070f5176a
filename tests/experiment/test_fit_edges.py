"""Rows without an ablation, times of fitting, keys of checkpoints, and the ensemble that is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hand_made import channel, histories
from penchant.core.schema import Content
from penchant.experiment import fit as fitting
from penchant.experiment.defaults import BASELINES
from penchant.experiment.fit import OURS, FitConfig, FittedRecommenders, HoldOut, fit
from penchant.fusion.concat import Concat, ConcatConfig
from penchant.models.member import MemberTables

pytestmark = pytest.mark.usefixtures("hand_made")
ROWS, NEXT = [[0, 1], [1, 2, 0], [3, 1], [4, 0]], [[2], [3], [5], [1]]
CONTENT = Content({"plot": channel("plot", "text", [[0, 1], [1, 0], [0, 2], [3, 0], [0, 0], [1, 5]])})
TABLES: MemberTables = {"popularity": {"model": "popularity"}, "slow": {"model": "costly_witness"}}


def learn(
    *, num_items: int = 6, content: Content = CONTENT, cache: Path | None = None, **settings: Any
) -> FittedRecommenders:
    train, truth = histories(ROWS, num_items), histories(NEXT, num_items)
    both = histories([row + more for row, more in zip(ROWS, NEXT, strict=True)], num_items)
    fusion = Concat(ConcatConfig(dim=2))
    return fit(TABLES, HoldOut(train, truth), both, content, fusion, FitConfig(**settings), cutoff=3, cache=cache)


def test_without_ablation_there_is_no_row_without_networks() -> None:
    fitted = learn(ablation=False)
    rest = [row.name for row in fitted.rows if row.role == "member"]
    assert [row.name for row in fitted.rows] == [OURS, *BASELINES, *rest]
    assert set(rest) == set(fitted.ours.weights)


@pytest.mark.parametrize("refit", [False, True])
def test_seconds_are_those_of_the_last_fit_of_each_member(monkeypatch: pytest.MonkeyPatch, refit: bool) -> None:
    ticks = iter(np.arange(0, 99, 0.25) ** 2)
    monkeypatch.setattr(fitting, "perf_counter", lambda: float(next(ticks)))
    fitted = learn(refit=refit)
    assert set(fitted.seconds) == set(fitted.pool.members)
    place = len(fitted.before.members) if refit else 0
    # the n-th fit begins at (n / 2) squared and ends a quarter later
    wanted = [(0.5 * n + 0.25) ** 2 - (0.5 * n) ** 2 for n in range(place, place + len(fitted.seconds))]
    assert sorted(fitted.seconds.values()) == pytest.approx(wanted)


def test_a_catalog_of_another_size_has_checkpoints_of_its_own(tmp_path: Path) -> None:
    seven = Content({"plot": channel("plot", "text", [*CONTENT.channels["plot"].values.tolist(), [1, 1]])})
    found = [
        panel.members["slow"].checkpoint
        for fitted in (learn(cache=tmp_path), learn(num_items=7, content=seven, cache=tmp_path))
        for panel in (fitted.before, fitted.pool)
    ]
    assert len(set(found)) == 4


def test_the_ensemble_that_is_served_ranks_as_our_row() -> None:
    fitted = learn()
    known = histories(ROWS, 6)
    lists = fitted.pool.rank({OURS: fitted.ours.weights}, known, 3)[OURS]
    served = fitted.ensemble(CONTENT)
    assert served.recommend(known, 3).item_index.tolist() == lists.item_index.tolist()
    assert dict(served.weights) == dict(fitted.ours.weights)
    assert served.channels == {name: ("plot",) if name == "slow" else ("behaviour",) for name in fitted.ours.weights}
