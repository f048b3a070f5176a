"""Networks are drawn from settings that can be trained, and what would take too long is not tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from penchant.core.schema import Content, Embeddings, Histories
from penchant.experiment import network_search
from penchant.experiment.network_costs import EpochCosts
from penchant.experiment.network_search import NetworkSearch, lengths_to_try
from penchant.experiment.selection import ValidationScorer
from penchant.models.member import Member, make_member

ITEMS = 40


def histories(*lengths: int, num_items: int = ITEMS) -> Histories:
    """Everyone goes round the ring of items."""
    total = sum(lengths)
    items = np.concatenate([(np.arange(n) + 7 * u) % ITEMS for u, n in enumerate(lengths)]).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    at = np.arange(total, dtype=np.int64) * 60_000_000
    return Histories([f"u{u}" for u in range(len(lengths))], offsets, items, at, np.ones(total, np.float32), num_items)


def words(num_items: int = ITEMS) -> Content:
    values = np.random.default_rng(0).normal(size=(num_items, 6)).astype(np.float32)
    return Content({"words": Embeddings("words", "text", values, np.ones(num_items, bool), "words")})


def truth_of(train: Histories) -> Histories:
    count = len(train)
    after = (train.item_index[train.offsets[1:] - 1] + 1) % ITEMS
    ones = np.ones(count, np.float32)
    return Histories(train.user_ids, np.arange(count + 1), after.astype(np.int32), np.arange(count), ones, ITEMS)


def search_of(train: Histories, reasons: list[str], left: float = 600.0, **options: Any) -> NetworkSearch:
    scorer = ValidationScorer(train, truth_of(train), 10)
    settings = {"max_trials": 3, "seed": 0, **options}
    return NetworkSearch(train, words(), scorer, lambda: left, note=reasons.append, **settings)


def table(**options: Any) -> dict[str, Any]:
    return {"model": "sequence", "backbone": "transformer", "dim": 64, **options}


def test_the_window_of_an_event_is_as_long_as_where_it_lies() -> None:
    costs = EpochCosts(histories(250, 30), Content())
    assert costs.window(100) == pytest.approx((2 * 100 * 100 + 50 * 50 + 30 * 30) / 280)
    assert costs.window(1_000) == pytest.approx((250 * 250 + 30 * 30) / 280)


def test_what_takes_longer_is_predicted_to() -> None:
    costs = EpochCosts(histories(*[300] * 20, num_items=20_000), words(20_000))
    plain = costs.products(table())
    assert costs.products(table(max_length=200)) > plain
    assert costs.products(table(backbone="ligr")) > plain
    assert costs.products(table(dim=128)) > 1.5 * plain
    assert costs.products(table(loss="sampled_softmax")) < 0.5 * plain
    assert costs.products(table(channels=[])) < plain
    few = EpochCosts(histories(*[300] * 20), words())  # as many negatives as 512 where there are 40 items
    assert few.products(table(loss="sampled_softmax")) > few.products(table())


def test_seconds_follow_what_was_measured_of_the_same_backbone_before_others() -> None:
    costs = EpochCosts(histories(*[20] * 30), words())
    assert costs.seconds(table()) is None
    costs.learn(table(backbone="gru", dim=32), 1.0, share=0.1)
    assert costs.seconds(table(backbone="gru", dim=32)) == pytest.approx(10)
    first = costs.seconds(table())
    assert first == pytest.approx(10 * costs.products(table()) / costs.products(table(backbone="gru", dim=32)))
    costs.learn(table(), 3.0)
    assert costs.seconds(table()) == pytest.approx(3)
    assert costs.seconds(table(backbone="gru", dim=32)) == pytest.approx(10)


@pytest.mark.parametrize(
    ("lengths", "tried"),
    [([10] * 20, [50]), ([10] * 18 + [90] * 2, [50, 100]), ([150] * 20, [50, 100, 200]), ([900] * 20, [50, 100, 200])],
)
def test_longer_windows_are_tried_where_histories_are_longer(lengths: list[int], tried: list[int]) -> None:
    assert lengths_to_try(histories(*lengths)) == tried


def test_every_suggestion_is_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    monkeypatch.setattr(network_search, "MANY_ITEMS", 10)
    one = search_of(histories(*[150] * 20), [])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [one._suggested(study.ask()) for _ in range(60)]
    for each in drawn:
        make_member("network", each)
    assert {d["max_length"] for d in drawn} == {50, 100, 200}
    assert {d.get("in_batch") for d in drawn} == {None, 0.0, 0.5}
    assert all(("in_batch" in d) == (d["loss"] == "sampled_softmax") for d in drawn)
    assert "ligr" in {d["backbone"] for d in drawn}


class Expected(EpochCosts):
    """Costs that are known: a GRU takes a second, all others an hour."""

    def seconds(self, table: Mapping[str, Any]) -> float:
        return 1.0 if table["backbone"] == "gru" else 3_600.0


def test_networks_that_take_too_long_are_not_tried() -> None:
    train, reasons = histories(*[10] * 60), list[str]()
    one = search_of(train, reasons)
    one.costs = Expected(train, words())
    assert one.best(600, 1, 3)["backbone"] == "gru"
    assert 1 <= len(one.scores) <= 3
    assert any("networks were not tried: they take too long" in reason for reason in reasons)
    assert any(f"{len(one.scores)} networks compared" in reason and " 0 stopped early" in reason for reason in reasons)


def test_a_network_that_could_not_be_trained_in_full_is_not_tried() -> None:
    train, reasons = histories(*[10] * 60), list[str]()
    one = search_of(train, reasons, left=3.0)  # a comparison of one epoch and three later ones take four
    one.costs = Expected(train, words())
    assert one.best(600, 1, 3) == {"model": "sequence", "backbone": "gru", "dim": 64}
    assert not one.scores
    assert reasons[-1] == "a GRU: no comparison was finished in time"


def test_a_comparison_ends_with_the_time_once_one_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    train, reasons = histories(*[10] * 60), list[str]()
    one, began = search_of(train, reasons), [0.0]
    monkeypatch.setattr(network_search, "perf_counter", lambda: began[0])
    kept = one._compared

    def compared(table: Mapping[str, Any], network: Member, score: float) -> None:
        kept(table, network, score)
        began[0] = 599.0

    def report_late(epoch: int) -> None:
        began[0] += 2.0 if one.scores else 0.0

    monkeypatch.setattr(one, "_compared", compared)

    def slow_member(name: str, table: Mapping[str, Any]) -> Member:
        report_late(0)
        return make_member(name, table)

    monkeypatch.setattr(network_search, "make_member", slow_member)
    one.best(600, 3, 3)
    assert len(one.scores) == 1
    assert " 1 stopped early" in reasons[-1]
