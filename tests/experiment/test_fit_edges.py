"""Rows without an ablation, times of fitting, keys of checkpoints, and the ensemble that is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hand_made import Witness, channel, histories
from penchant.core.schema import Content, Histories
from penchant.experiment.defaults import BASELINES
from penchant.experiment.fit import OURS, FitConfig, FittedRecommenders, HoldOut, fit
from penchant.fusion.concat import Concat, ConcatConfig
from penchant.models.linear import EASE
from penchant.models.member import MemberTables, make_member

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
    assert [row.name for row in fitted.rows] == [OURS, *BASELINES, "Content kNN", *rest]
    assert set(rest) == set(fitted.ours.weights)


@pytest.mark.parametrize("refit", [False, True])
def test_seconds_are_those_of_the_last_fit_of_each_member(monkeypatch: pytest.MonkeyPatch, refit: bool) -> None:
    clock, fit_plainly = [0.0], Witness.fit

    def fit_slowly(self: Witness, train: Histories, content: Content) -> Witness:
        clock[0] += train.num_events  # a second an event
        return fit_plainly(self, train, content)

    monkeypatch.setattr(Witness, "fit", fit_slowly)
    monkeypatch.setattr("penchant.experiment.fit_cache.perf_counter", lambda: clock[0])
    fitted = learn(refit=refit)
    events = sum(map(len, ROWS)) + refit * sum(map(len, NEXT))
    assert fitted.seconds == {name: events * (name == "slow") for name in fitted.pool.members}


@pytest.mark.parametrize("first", ["ease", "lifted"])
def test_members_that_differ_in_what_scoring_reads_are_fitted_once(monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    fits, fit_plainly = [], EASE.fit

    def counted(self: EASE, train: Histories, content: Content) -> EASE:
        fits.append(self.config.regularisation)
        return fit_plainly(self, train, content)

    monkeypatch.setattr(EASE, "fit", counted)
    tables: MemberTables = {
        "plain": {"model": "ease", "regularisation": 7},
        "recent": {"model": "ease", "regularisation": 7, "half_life": 2},
        "other": {"model": "ease", "regularisation": 9},
        "lifted": {"model": "lifted", "of": {"model": "ease", "regularisation": 7}},
    }
    order = sorted(tables, reverse=first == "lifted")
    train, truth = histories(ROWS, 6), histories(NEXT, 6)
    chosen = {name: tables[name] for name in order}
    config = FitConfig(refit=False, ablation=False)
    fitted = fit(chosen, HoldOut(train, truth), train, Content({}), Concat(ConcatConfig()), config, cutoff=3)
    assert fits.count(7) == 1
    assert fits.count(9) == 1
    members = fitted.pool.members
    alone = make_member("alone", tables["recent"]).fit(train, Content({}))
    assert (members["recent"].score(train) == alone.score(train)).all()
    assert (members["recent"].score(train) != members["plain"].score(train)).any()


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
