"""Items are added to any member: one from outside that knows how, one that does not, and one that fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pytest

from penchant.core.config import Settings
from penchant.core.schema import Content, Histories
from penchant.fusion.late import EnsembleWeights, standardise
from penchant.models.ensemble import Ensemble
from penchant.models.member import FittedItems, Member
from penchant.models.popularity import Popularity

ITEMS, NEW = 12, range(12, 14)


class LastItem(Member[Settings]):
    """Score = item row x weight, summed over the history: a member from another package that reads no content."""

    config_class: ClassVar[type[Settings]] = Settings

    def fit(self, train: Histories, content: Content) -> Self:
        self.table = np.arange(train.num_items**2, dtype=np.float32).reshape(train.num_items, -1) % 7
        return self

    def score(self, histories: Histories) -> Any:
        return (histories.matrix() @ self.table).astype(np.float32)

    def contributions(self, history: Histories) -> Any:
        return np.zeros(len(self.table), np.float32), self.table[history.item_index] * history.weight[:, None]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"table": self.table}

    def restore(self, arrays: dict[str, np.ndarray]) -> Self:
        self.table = arrays["table"]
        return self


class WithNewItems(LastItem):
    """Every new item is worth 99 to everyone."""

    def add_items(self, content: Content, new: range) -> Member:
        grown = WithNewItems()
        grown.table = np.pad(self.table, ((0, len(new)), (0, len(new))), constant_values=99)
        return grown


class Failing(LastItem):
    def add_items(self, content: Content, new: range) -> Member:
        raise RuntimeError("no room for more")


class TooNarrow(LastItem):
    def add_items(self, content: Content, new: range) -> Member:
        return self

    def score(self, histories: Histories) -> Any:
        return super().score(replace(histories.where(histories.item_index < ITEMS), num_items=ITEMS))


MEMBERS = {"able": WithNewItems, "neutral": LastItem, "failing": Failing, "narrow": TooNarrow}


@pytest.fixture
def ensemble(random_histories: Histories) -> Ensemble:
    kinds: dict[str, type[Member]] = {**MEMBERS, "popularity": Popularity}
    members = {name: kind(name=name).fit(random_histories, Content()) for name, kind in kinds.items()}
    return Ensemble.build(members, EnsembleWeights(dict.fromkeys(members, 0.2)), Content())


@pytest.fixture
def wide(random_histories: Histories) -> Histories:
    """Return histories of which two have an event on a new item."""
    item_index = random_histories.item_index.copy()
    item_index[[0, -1]] = NEW
    return replace(random_histories, item_index=item_index, num_items=NEW.stop)


def test_a_member_from_outside_scores_new_items_itself(ensemble: Ensemble, random_histories: Histories):
    grown = ensemble.add_items(Content(), NEW).members["able"]
    scores = grown.score(replace(random_histories, num_items=NEW.stop))
    assert (scores[:, NEW[0] :] == 99 * random_histories.matrix().sum(1)[:, None]).all()


@pytest.mark.parametrize("name", ["neutral", "failing", "narrow"])
def test_a_member_that_cannot_gives_new_items_its_mean_and_passes_over_events_on_them(
    ensemble: Ensemble, wide: Histories, name: str
):
    member, grown = ensemble.members[name], ensemble.add_items(Content(), NEW).members[name]
    known = replace(wide.where(wide.item_index < ITEMS), num_items=ITEMS)
    scores = grown.score(wide)
    np.testing.assert_array_equal(scores[:, :ITEMS], member.score(known))
    np.testing.assert_allclose(standardise(scores).values[:, ITEMS:], 0, atol=1e-5)
    prior, events = grown.contributions(wide.rows(0, 1))
    assert not events[0].any(), "the first event is on a new item"
    np.testing.assert_allclose(prior + events.sum(0), scores[0], rtol=1e-5)


def test_a_failing_member_holds_no_other_up_and_is_named(
    ensemble: Ensemble, wide: Histories, caplog: pytest.LogCaptureFixture
):
    grown = ensemble.add_items(Content(), NEW)
    assert {name for name, m in grown.members.items() if isinstance(m, FittedItems)} == {"neutral", "failing", "narrow"}
    assert "the member failing scores new items by its mean: no room for more" in caplog.text
    assert "the member narrow scores new items by its mean: scores of shape (1, 12)" in caplog.text
    history = wide.rows(0, 1)
    terms = grown.contributions(history, np.arange(NEW.stop))
    np.testing.assert_allclose(terms.sum((0, 1)), grown.score(history)[0], atol=1e-4)


def test_an_ensemble_with_added_items_is_restored(ensemble: Ensemble, wide: Histories):
    grown = ensemble.add_items(Content(), NEW)
    kinds: dict[str, type[Member]] = {**MEMBERS, "popularity": Popularity}
    unfitted = replace(grown, members={name: kinds[name](name=name) for name in grown.members})
    np.testing.assert_array_equal(unfitted.restore(grown.arrays()).score(wide), grown.score(wide))
    twice = grown.add_items(Content(), range(NEW.stop, NEW.stop + 1))
    assert twice.score(replace(wide, num_items=NEW.stop + 1)).shape == (len(wide), NEW.stop + 1)


def test_where_keeps_every_user(wide: Histories):
    kept = wide.where(wide.at == wide.at.max())
    assert kept.user_ids == wide.user_ids
    assert kept.lengths().sum() == kept.num_events == (wide.at == wide.at.max()).sum()
    assert (kept.lengths() == [(wide.rows(u, u + 1).at == wide.at.max()).sum() for u in range(len(wide))]).all()
