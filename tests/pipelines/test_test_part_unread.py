"""Between the split and the evaluation nothing reads the test part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from penchant.core.schema import Catalog, Dataset, Interactions, Split, UserContent
from penchant.data.split import interactions as splitting
from penchant.pipelines import recommendation
from penchant.pipelines.recommendation_settings import RecommendationConfig

ITEMS, USERS, LATE = 12, 30, 2


class TestPartReadError(AssertionError):
    """The test part was read before the evaluation."""

    __test__ = False


class Guard:
    """Opens and closes guarded tables."""

    is_open = True


class GuardedInteractions(Interactions):
    """Interactions whose table cannot be read while the guard is closed."""

    def __init__(self, table: pl.DataFrame, guard: Guard) -> None:
        object.__setattr__(self, "_guarded", (table, guard))

    @property
    def table(self) -> pl.DataFrame:  # type: ignore[override]
        table, guard = self._guarded
        if not guard.is_open:
            raise TestPartReadError
        return table


def dataset(guard: Guard) -> Dataset:
    """Return users who go round the items; the first `LATE` users come last of all, in the test."""
    rng, rows = np.random.default_rng(0), []
    for user in range(USERS):
        first = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=60 * (user < LATE))
        for event, item in enumerate(rng.permutation(ITEMS)[:7]):
            rows.append((f"u{user:02d}", f"i{item}", first + timedelta(days=int(event), minutes=user), "like", None))
    schema = {"user_id": pl.String, "item_id": pl.String, "at": pl.Datetime("us", "UTC"), "kind": pl.String}
    table = pl.DataFrame(rows, schema={**schema, "value": pl.Float32}, orient="row")
    items = pl.DataFrame({"item_id": [f"i{n}" for n in range(ITEMS)], "genre": ["even", "odd"] * (ITEMS // 2)})
    return Dataset(Catalog(items, attribute_columns=("genre",)), GuardedInteractions(table, guard))


def settings(folder: Path, **more: Any) -> RecommendationConfig:
    table = {
        "output": folder / "bundle",
        "cache": folder / "cache",
        "split": {"kind": "global_time"},
        "members": {
            "popularity": {"model": "popularity", "half_life_days": [0, 3]},
            "knn": {"model": "item_knn", "neighbours": [3, 8]},
            "content": {"model": "content_regression", "channels": ["genre"]},
        },
        "content": {"genre": {"encoder": "attributes", "columns": ["genre"]}},
        "fusion": {"dim": [2], "whiten": [False, True]},
        **more,
    }
    return RecommendationConfig.read(table, where="the test")


def guarded_run(monkeypatch: pytest.MonkeyPatch, config: RecommendationConfig) -> list[str]:
    """Run with the test part unreadable between the split and the evaluation; return the steps that were reached."""
    guard, reached = Guard(), []

    def read(*_: object) -> Dataset:
        return dataset(guard)

    def clean(raw: Dataset, *_: object, **__: object) -> Dataset:
        return raw

    def split(interactions: Interactions, *rest: Any) -> Split:
        found = splitting.split(interactions, *rest)
        assert len(found.test) > 0
        guard.is_open = False
        reached.append("split")
        return replace(found, test=GuardedInteractions(found.test.table, guard))

    def watched(name: str, function: Callable[..., Any], *, opens: bool) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            guard.is_open = opens
            reached.append(name)
            return function(*args, **more)

        return call

    monkeypatch.setattr(recommendation, "read", read)
    monkeypatch.setattr(recommendation, "clean", clean)
    monkeypatch.setattr(recommendation, "split", split)
    monkeypatch.setattr(recommendation, "fit", watched("fit", recommendation.fit, opens=False))
    monkeypatch.setattr(recommendation, "at_test", watched("at_test", recommendation.at_test, opens=True))
    monkeypatch.setattr(recommendation, "assess", watched("assess", recommendation.assess, opens=True))
    recommendation.run(config)
    return reached


@pytest.mark.parametrize("refit", [True, False])
def test_nothing_of_the_test_is_read_before_the_evaluation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refit: bool
) -> None:
    config = settings(tmp_path, fit={"refit": refit})
    assert guarded_run(monkeypatch, config) == ["split", "fit", "at_test", "assess"]


def test_a_search_for_members_does_not_read_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = settings(tmp_path, model="auto", members=None, search={"budget_minutes": 1})
    assert guarded_run(monkeypatch, config) == ["split", "fit", "at_test", "assess"]


def test_the_guard_notices_who_reads_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = recommendation.before_test

    def curious(catalog: Catalog, parts: Split, config: RecommendationConfig, content: UserContent) -> Any:
        seen = replace(parts, train=Interactions(pl.concat([parts.train.table, parts.test.table])))
        return before(catalog, seen, config, content)

    monkeypatch.setattr(recommendation, "before_test", curious)
    with pytest.raises(TestPartReadError):
        guarded_run(monkeypatch, settings(tmp_path))


def test_users_who_come_with_the_test_are_evaluated_with_an_empty_history(tmp_path: Path) -> None:
    guard, config = Guard(), settings(tmp_path)
    data = dataset(guard)
    parts = splitting.split(data.interactions, config.split, 0)
    validation, known = recommendation.before_test(data.catalog, parts, config)
    test = recommendation.at_test(data.catalog, parts, config)
    late = {f"u{n:02d}" for n in range(LATE)}
    assert late.isdisjoint(validation.histories.user_ids)
    assert known.user_ids == validation.histories.user_ids
    assert late <= set(test.histories.user_ids)
    lengths = dict(zip(test.histories.user_ids, test.histories.lengths().tolist(), strict=True))
    assert {lengths[user] for user in late} == {0}
    assert known.num_events == len(parts.train) + len(parts.validation) == test.histories.num_events
    assert validation.histories.num_events == len(parts.train)
    assert validation.truth.num_events == len(parts.validation)
    assert test.truth.num_events == len(parts.test)


def test_without_refit_members_know_train_alone(tmp_path: Path) -> None:
    config = settings(tmp_path, fit={"refit": False})
    data = dataset(Guard())
    parts = splitting.split(data.interactions, config.split, 0)
    validation, known = recommendation.before_test(data.catalog, parts, config)
    assert known is validation.histories
    assert recommendation.at_test(data.catalog, parts, config).histories.num_events == len(parts.train)
