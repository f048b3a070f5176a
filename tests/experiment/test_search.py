"""The automatic choice stays in its budget, says why, and never asks for what cannot be had."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log2
from typing import Any

import numpy as np
import pytest

from copying_executor import CopyingExecutor
from penchant.core.errors import ConfigError
from penchant.core.executor import computing_on
from penchant.core.schema import Content, Embeddings, Histories
from penchant.experiment.defaults import default_members
from penchant.experiment.fit import FitConfig
from penchant.experiment.pool import MemberPool
from penchant.experiment.search import MemberSearch, SearchConfig, search
from penchant.experiment.selection import SelectionConfig, ValidationScorer, choose_settings
from penchant.fusion.late import EnsembleWeights
from penchant.models.member import Member, make_member

ITEMS, USERS, EVENTS = 40, 260, 10


def walkers(events: int = EVENTS, users: int = USERS) -> Histories:
    """Everyone goes round the ring of items, one step at a time."""
    rows = (np.arange(events) + 7 * np.arange(users)[:, None]) % ITEMS
    offsets = np.arange(users + 1, dtype=np.int64) * events
    at = np.tile(np.arange(events, dtype=np.int64) * 60_000_000, users)
    return Histories(
        [f"u{u}" for u in range(users)],
        offsets,
        rows.ravel().astype(np.int32),
        at,
        np.ones(rows.size, np.float32),
        ITEMS,
    )


def next_steps(histories: Histories) -> Histories:
    last = histories.item_index[histories.offsets[1:] - 1]
    count = len(histories)
    after = ((last + 1) % ITEMS).astype(np.int32)
    return Histories(
        histories.user_ids,
        np.arange(count + 1, dtype=np.int64),
        after,
        np.arange(count),
        np.ones(count, np.float32),
        ITEMS,
    )


@pytest.fixture(scope="module")
def content() -> Content:
    values = np.random.default_rng(0).normal(size=(ITEMS, 6)).astype(np.float32)
    return Content({"words": Embeddings("words", "text", values, np.ones(ITEMS, bool), "words")})


def scorer_of(train: Histories) -> ValidationScorer:
    return ValidationScorer.sample(train, next_steps(train), 10, 200, None)


@dataclass(frozen=True)
class Watched(ValidationScorer):
    """A scorer that keeps its score of each network, and beside it the NDCG of a plain implementation."""

    seen: list[tuple[Any, float, float]] = field(default_factory=list)

    def __call__(self, pool: MemberPool, weights: EnsembleWeights) -> float:
        value = super().__call__(pool, weights)
        member = pool.members["network"]
        self.seen.append((member.config, value, self.plain(member)))
        return value

    def plain(self, member: Member) -> float:
        """Return the NDCG of lists of 10 where each user has one true item."""
        gains = []
        for user, row in enumerate(member.score(self.histories)):
            known = set(self.histories.rows(user, user + 1).item_index.tolist())
            ranked = sorted((item for item in range(ITEMS) if item not in known), key=lambda item: (-row[item], item))
            place = ranked.index(int(self.truth.item_index[user]))
            gains.append(1 / log2(place + 2) if place < 10 else 0.0)
        return sum(gains) / len(gains)


def test_a_network_is_found_where_order_matters(content: Content) -> None:
    train = walkers()
    scorer = Watched(train, next_steps(train), 10)
    one = MemberSearch(train, content, scorer, SearchConfig(max_trials=3), has_time=True)
    table = one.networks.best(600, 2, 3)
    assert len(scorer.seen) == 3
    for config, value, plain in scorer.seen:
        assert value == pytest.approx(plain), config.backbone
    best = max(scorer.seen, key=lambda one: one[2])
    assert best[2] > 0.2 + Watched(train, next_steps(train), 10).plain(
        make_member("p", {"model": "popularity"}).fit(train, content)
    )
    assert {key: table[key] for key in ("backbone", "dim", "layers")} == {
        "backbone": best[0].backbone,
        "dim": best[0].dim,
        "layers": best[0].layers,
    }
    assert f"{best[0].backbone} {best[0].dim} {best[2]:.4f}" in one.result.reasons[0]


def test_networks_compared_on_nodes_are_scored_as_here_and_no_more_than_wanted(content: Content) -> None:
    train = walkers()
    scorer, executor = ValidationScorer(train, next_steps(train), 10), CopyingExecutor()
    one = MemberSearch(train, content, scorer, SearchConfig(max_trials=3), has_time=True)
    with computing_on(executor):
        table = one.networks.best(600, 1, 3)
    assert executor.titles == ["compare networks"] * 3
    again = make_member("network", {**table, "epochs": 1, "seed": 0}).fit(train, content)
    score = scorer(MemberPool({"network": again}), EnsembleWeights({"network": 1.0}))
    assert f"{table['backbone']} {table['dim']} {score:.4f}" in one.result.reasons[0]


@dataclass(frozen=True)
class Fond(ValidationScorer):
    """A scorer that prefers one backbone, whatever it learned."""

    backbone: str = "cnn"

    def __call__(self, pool: MemberPool, weights: EnsembleWeights) -> float:
        member: Any = pool.members["network"]
        return float(member.config.backbone == self.backbone)


@pytest.mark.parametrize("backbone", ["gru", "cnn"])
def test_the_validation_scorer_decides_which_network_is_found(content: Content, backbone: str) -> None:
    train = walkers(users=40)
    scorer = Fond(train, next_steps(train), 10, backbone=backbone)
    one = MemberSearch(train, content, scorer, SearchConfig(max_trials=3), has_time=True)
    assert one.networks.best(600, 1, 3)["backbone"] == backbone


def test_a_network_is_added_within_the_budget(content: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemberSearch, "_members_suffice", lambda self: False)  # on a ring they do
    train = walkers()
    found = search(train, content, scorer_of(train), SearchConfig(budget_minutes=0.4, max_trials=4), has_time=True)
    assert found.tables["network"]["model"] == "sequence"
    assert found.tables["network"]["epochs"] >= 3
    assert any("networks compared" in reason or "untried" in reason for reason in found.reasons)
    for name, table in found.tables.items():  # lists are grids: every first value must make a member
        make_member(name, {k: (v[0] if isinstance(v, list) else v) for k, v in table.items()})


def test_without_order_a_graph_network_is_compared(content: Content) -> None:
    train = walkers()
    found = search(train, content, scorer_of(train), SearchConfig(budget_minutes=0.8), has_time=False)
    assert found.tables["network"]["model"] == "graph_network"
    assert found.tables["network"]["hops"] in (1, 2)
    assert any(reason.startswith("a graph network, since the events have no order") for reason in found.reasons)


def test_a_graph_network_that_takes_too_long_is_left_out(content: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penchant.experiment.search.MIN_EPOCHS", 1_000_000)
    train = walkers()
    found = search(train, content, scorer_of(train), SearchConfig(budget_minutes=0.8), has_time=False)
    assert "network" not in found.tables
    assert any("a graph network needs" in reason for reason in found.reasons)


def test_few_events_get_no_network(content: Content) -> None:
    train = walkers(events=3, users=30)
    found = search(train, content, scorer_of(train), SearchConfig(budget_minutes=1), has_time=True)
    assert "network" not in found.tables
    assert any("are too few" in reason for reason in found.reasons)


def test_little_memory_leaves_out_what_is_dense_in_the_catalog(content: Content) -> None:
    train = walkers(events=3, users=30)
    wide = Histories(**{**vars(train), "num_items": 4_000})
    values = np.zeros((4_000, 6), np.float32)
    words = Content({"words": Embeddings("words", "text", values, np.zeros(4_000, bool), "words")})
    found = search(wide, words, scorer_of(wide), SearchConfig(budget_minutes=5, budget_gb=0.1), has_time=False)
    assert "item_knn" in found.tables
    assert "ease" not in found.tables
    assert any(reason.startswith("left out ease: it would take 0.2 GB") for reason in found.reasons)


def test_memory_for_nothing_names_the_smallest_that_works(content: Content) -> None:
    train = walkers(events=3, users=30)
    with pytest.raises(
        ConfigError, match=r"Nothing can be fitted in 1e-09 GB[\s\S]*the smallest that works here is about"
    ):
        search(train, content, scorer_of(train), SearchConfig(budget_gb=1e-9), has_time=True)


def test_a_budget_for_nothing_names_the_smallest_that_works(content: Content) -> None:
    train = walkers()
    with pytest.raises(
        ConfigError, match=r"Nothing can be fitted in 1e-06 minutes[\s\S]*the smallest that works here is about"
    ):
        search(train, content, scorer_of(train), SearchConfig(budget_minutes=1e-6), has_time=True)


def two_kinds() -> Content:
    values = np.random.default_rng(0).normal(size=(ITEMS, 6)).astype(np.float32)
    return Content({kind: Embeddings(kind, kind, values, np.ones(ITEMS, bool), kind) for kind in ("text", "image")})


@pytest.mark.parametrize(
    ("settings", "ease", "content"),
    [
        ({}, 3, 3 + 2 * 2),  # before the test, on every event and for the lift, and the arms without either kind, twice
        ({"lift_new_items": False}, 2, 2 + 2 * 2),
        ({"ship": "as_measured"}, 2, 2 + 2 * 2),
        ({"refit": False, "ship": "as_measured"}, 1, 1 + 2),
        ({"ablation": False}, 3, 3),
    ],
)
def test_later_fits_are_counted(settings: dict[str, Any], ease: int, content: int) -> None:
    train = walkers(users=5)
    one = MemberSearch(train, two_kinds(), scorer_of(train), SearchConfig(), FitConfig(**settings), has_time=True)
    assert one._later_fits(make_member("ease", {"model": "ease"})) == ease
    assert one._later_fits(make_member("content", {"model": "content_regression"})) == content


def test_default_members_come_first_and_what_was_fitted_is_handed_on(content: Content) -> None:
    train = walkers(users=60)
    found = search(train, content, scorer_of(train), SearchConfig(budget_minutes=2, max_trials=1), has_time=True)
    defaults = default_members(content, has_time=True, num_events=train.num_events)
    assert set(found.tables) == set(defaults)
    assert found.floor == tuple(found.tables)
    chosen = choose_settings(defaults, train, content, scorer_of(train), SelectionConfig())
    assert {name: found.tables[name] for name in defaults} == chosen
    fits = len(found.tried.fits._fitted)
    found.tried.fits.fit(make_member("ease", found.tables["ease"]), train, content)
    assert len(found.tried.fits._fitted) == fits


@dataclass(frozen=True)
class Doubtful(ValidationScorer):
    """A scorer to which every network is worth 0.05."""

    def __call__(self, pool: MemberPool, weights: EnsembleWeights) -> float:
        return 0.05


@pytest.mark.parametrize(("best", "is_added"), [(0.2, False), (0.06, True)])
def test_a_network_far_below_the_members_is_not_trained(content: Content, best: float, is_added: bool) -> None:
    train = walkers(users=210)
    scorer = Doubtful(train, next_steps(train), 10)
    one = MemberSearch(train, content, scorer, SearchConfig(budget_minutes=60, max_trials=1), has_time=True)
    one.result.tried.scores["a member"] = best
    one.add_network(3000)
    assert ("network" in one.result.tables) == is_added
    reason = "no network: the best of those compared has NDCG 0.0500"
    assert any(found.startswith(reason) for found in one.result.reasons) != is_added


def test_where_the_members_suffice_the_network_is_not_trained_in_full(content: Content) -> None:
    """On a ring transitions know every next step, so there is nothing that a network could add."""
    train = walkers()
    one = MemberSearch(train, content, scorer_of(train), SearchConfig(budget_minutes=60, max_trials=1), has_time=True)
    one.result.tables = {"transitions": {"model": "transitions"}, "popularity": {"model": "popularity"}}
    one.add_network(3000)
    assert "network" not in one.result.tables
    assert one.result.reasons[-1].startswith("no network: the other members suffice; ")


def test_where_the_members_know_little_the_network_is_trained_in_full(content: Content) -> None:
    train = walkers()
    one = MemberSearch(train, content, scorer_of(train), SearchConfig(budget_minutes=60, max_trials=1), has_time=True)
    one.result.tables = {"popularity": {"model": "popularity"}}
    one.add_network(3000)
    assert one.result.tables["network"]["epochs"] >= 3


def test_later_fits_of_baselines_are_part_of_the_budget(content: Content) -> None:
    train = walkers(users=60)
    later = {}
    for refit in (True, False):
        fitting = FitConfig(refit=refit)
        one = MemberSearch(train, content, scorer_of(train), SearchConfig(budget_minutes=2), fitting, has_time=True)
        one.choose_settings()
        later[refit] = one._later
    assert later[True] > 0
    assert later[False] == 0
