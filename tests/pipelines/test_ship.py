"""What a bundle has learned from, and what a run knows of the time of a request."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import penchant
from penchant.core.schema import LATEST
from penchant.experiment.fit import FittedRecommenders
from penchant.pipelines import recommendation

DAY, START = 86_400, 1_600_000_000


def events() -> pl.DataFrame:
    """Twelve users read items 0 to 5, one a day, and all take the item "late" on the last day."""
    rows = [(f"u{u}", f"i{(u + d) % 6}", START + (1 + d) * DAY) for u in range(12) for d in range(5)]
    rows += [(f"u{u}", "late", START + 9 * DAY + u) for u in range(12)]
    return pl.DataFrame(rows, ["user_id", "item_id", "at"], orient="row")


def fitted(tmp_path: Path, **settings: Any) -> Any:
    return penchant.run(
        interactions=events(),
        output=tmp_path / "run",
        cache=tmp_path / "cache",
        content={},
        members={"recent": {"model": "recent_popularity"}, "popularity": {"model": "popularity"}},
        split={"kind": "last_out", **settings.pop("split", {})},
        evaluation={"ks": [2], "cutoff": 2, "examples": 0},
        **settings,
    )


@pytest.mark.parametrize(("ship", "count"), [("everything", 12), ("as_measured", 0)])
def test_bundle_learns_from_the_test_unless_it_is_shipped_as_measured(tmp_path: Path, ship: str, count: int) -> None:
    shop = fitted(tmp_path, fit={"ship": ship})
    late = shop.lookup.row("late")
    assert (shop.fitted.item_index == late).sum() == count
    member = next(m for name, m in shop.ensemble.members.items() if name in ("recent", "popularity"))
    new = shop.history_of(["i0"])
    scores = member.score(new.requested(LATEST))[0]
    assert (scores[late] == scores.max()) == (count > 0)
    said = (shop.folder / "report" / "report.json").read_text()
    assert ("fitted again on every event" in said) == (count > 0)


def test_members_that_only_the_measurement_needed_are_let_go_before_the_last_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, refitted = recommendation.assess, FittedRecommenders.refitted
    seen: dict[str, weakref.ref[Any]] = {}
    left: list[str] = []

    def assess(trained: FittedRecommenders, *given: Any, **options: Any) -> Any:
        for when, pool in (("before", trained.before), ("after", trained.pool)):
            seen.update({f"{when} {name}": weakref.ref(member) for name, member in pool.members.items()})
        return measured(trained, *given, **options)

    def watched(trained: FittedRecommenders, *given: Any) -> Any:
        gc.collect()
        left.extend(name for name, member in seen.items() if member() is not None)
        return refitted(trained, *given)

    monkeypatch.setattr(recommendation, "assess", assess)
    monkeypatch.setattr(FittedRecommenders, "refitted", watched)
    ours = fitted(tmp_path).ensemble.members
    assert "after EASE" in seen
    assert "before EASE" in seen
    assert set(left) == {f"after {name}" for name in ours}


@pytest.mark.parametrize("request_time", ["known", "hidden"])
def test_request_time_is_that_of_the_first_held_out_event_where_it_is_known(tmp_path: Path, request_time: str) -> None:
    from penchant.core.schema import Interactions
    from penchant.data.read.sources import DataConfig, from_tables
    from penchant.data.split.interactions import split
    from penchant.pipelines.recommendation import RecommendationConfig, at_test, before_test

    config = RecommendationConfig.read({"split": {"kind": "last_out", "request_time": request_time}}, where="the test")
    dataset = from_tables(events(), None, None, DataConfig())
    parts = split(Interactions(dataset.interactions.table), config.split, 0)
    test = at_test(dataset.catalog, parts, config)
    validation, _ = before_test(dataset.catalog, parts, config)
    seconds = [int(u.removeprefix("u")) for u in test.histories.user_ids]
    known = (
        [(START + 9 * DAY + s) * 1_000_000 for s in seconds]
        if request_time == "known"
        else [(START + 5 * DAY) * 1_000_000] * 12
    )
    assert test.histories.requests().tolist() == known
    before = 5 if request_time == "known" else 4
    assert np.unique(validation.histories.requests()).tolist() == [(START + before * DAY) * 1_000_000]
