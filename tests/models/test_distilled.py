"""A network that is taught the lists of an ensemble gives them back, and is fitted again from its settings; its bundle works like any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import penchant
from penchant.models.distilled import Distilled
from penchant.models.ensemble import Ensemble
from penchant.models.member import Member, make_member
from penchant.recommender.new_items import NewItem
from penchant.recommender.recommender import Recommender
from penchant.service import erasure

STUDENT = {
    "dim": 16,
    "layers": 1,
    "epochs": 2,
    "taught_epochs": 60,
    "learning_rate": 0.02,
    "taught_items": 8,
    "decay": 4,
}


def shared(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean share of items that lists have in common."""
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(one.tolist(), other.tolist(), strict=True)]))


def table_of(shop: Recommender) -> dict[str, Any]:
    teachers = {name: dict(table) for name, table in shop.tables.items()}
    return {**STUDENT, "model": "distilled", "teachers": teachers, "weights": dict(shop.ensemble.weights)}


def alone(member: Member, shop: Recommender) -> Ensemble:
    from penchant.compression.distillation import ALONE, NAME

    return Ensemble.build({NAME: member}, ALONE, shop.content)


def test_it_gives_the_lists_of_its_teachers(shop: Path) -> None:
    plain = Recommender.load(shop)
    taught = make_member("distilled", table_of(plain)).fit(plain.histories, plain.content)
    assert isinstance(taught, Distilled)
    assert not taught.parts()  # what taught it is not kept
    lists = [e.recommend(plain.histories, 5).item_index for e in (plain.ensemble, alone(taught, plain))]
    assert shared(*lists) > 0.75
    untold = {k: v for k, v in STUDENT.items() if k not in ("taught_epochs", "taught_items", "decay")}
    only_next = make_member("net", {**untold, "model": "sequence", "epochs": 60}).fit(plain.histories, plain.content)
    assert shared(lists[0], alone(only_next, plain).recommend(plain.histories, 5).item_index) < shared(*lists) - 0.1


def test_teachers_that_are_fitted_already_are_taken(shop: Path) -> None:
    plain = Recommender.load(shop)
    table = {**table_of(plain), "taught_epochs": 2, "epochs": 1}
    given = make_member("distilled", table).with_parts(plain.ensemble.members).fit(plain.histories, plain.content)
    own = make_member("distilled", table).fit(plain.histories, plain.content)
    np.testing.assert_allclose(given.score(plain.histories), own.score(plain.histories), atol=1e-4)


def test_its_bundle_is_served_explained_grown_and_erased(shop: Path, tmp_path: Path) -> None:
    student = {**STUDENT, "taught_epochs": 5}
    small = penchant.compress(
        shop,
        tmp_path / "one",
        max_loss=1e9,
        entries=[],
        members=[],
        codes=[],
        distill=True,
        student=student,
        requests=3,
    )
    assert str(small.results.best.name) == "one network that was taught the lists"
    loaded = small.recommender
    assert list(loaded.ensemble.members) == ["distilled"]
    assert loaded.facts["compression"]["distilled"]
    best = loaded.recommend("u0", 1)[0]
    found = loaded.explain("u0", best.item_id)
    assert found.score == pytest.approx(best.score, abs=1e-5)
    assert found.prior + sum(value for _, _, value in found.by_event) == pytest.approx(best.score, abs=1e-4)
    sound = loaded.content.channels["sound"]
    grown = loaded.add_items([NewItem("n1", {"title": "new"}, {"sound": sound.values[0]})])
    assert "n1" in [s.item_id for s in grown.recommend("u1", 30)]
    without = erasure.refit(loaded.without(["u3"]))
    held, fresh = (one.ensemble.arrays() for one in (loaded, without))
    assert not np.array_equal(held["distilled/vectors"], fresh["distilled/vectors"])
    np.testing.assert_array_equal(
        fresh["distilled/vectors"], erasure.refit(loaded.without(["u3"])).ensemble.arrays()["distilled/vectors"]
    )
