"""The library against a second implementation that shares no line with it, on a small world."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

import second_implementation as plain
from penchant.core.schema import Content, Dataset, Interactions, Split
from penchant.core.seeds import generator
from penchant.data.read.sources import DataConfig, from_tables
from penchant.data.split.interactions import split
from penchant.experiment.evaluate import look_ahead
from penchant.experiment.fit import HoldOut
from penchant.experiment.pool import MemberPool
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.interest import auc_interval, evaluate_answers
from penchant.metrics.intervals import BootstrapMeans, IntervalConfig
from penchant.metrics.ranking import measure
from penchant.models.ensemble import top_k
from penchant.models.popularity import Popularity
from penchant.models.recency import RecentPopularity, RecentPopularityConfig
from penchant.pipelines.recommendation import RecommendationConfig, at_test, before_test
from second_implementation import Event, Request

START, EXACT = 1_600_000_000, 1e-12
KS = (1, 3, 5, 10)


def world(*, tied: bool = False, seed: int = 3) -> list[Event]:
    """Users of 2 to 60 events in sessions, repeats included; each event at its own second, or in whole hours where `tied`."""
    draw = random.Random(seed)
    events = []
    for user in range(40):
        at = START + draw.randrange(3_000_000)
        for _ in range(draw.choice([2, 3, 5, 15, 25, 45, 60])):
            at += draw.choice([1, 7, 60, 4000, 7200, 90_000]) + 41 * tied
            events.append(Event(f"u{user:02d}", f"i{min(int(draw.expovariate(0.1)), 59):02d}", at))
    if tied:
        return sorted({e._replace(at=time_of(e) // 3600 * 3600) for e in events})
    taken: set[tuple[str, int]] = set()
    apart = []
    for event in events:
        at = plain.time_of(event)
        while (event.user, at) in taken:
            at += 1
        taken.add((event.user, at))
        apart.append(event._replace(at=at))
    return apart


time_of = plain.time_of


def in_order(items: Sequence[str]) -> np.ndarray:
    """Return the order of equal scores that the plain lists have: that of the catalog."""
    return np.arange(len(items), dtype=np.uint64)


def loaded(events: list[Event]) -> Dataset:
    table = pl.DataFrame(
        {"user_id": [e.user for e in events], "item_id": [e.item for e in events], "at": [e.at for e in events]}
    )
    return from_tables(table, None, None, DataConfig())


def config(kind: str, **own: Any) -> RecommendationConfig:
    return RecommendationConfig.read({"split": {"kind": kind, **own}}, where="the test")


def rows(part: Interactions | None) -> Counter[tuple[str, str, int]]:
    if part is None:
        return Counter()
    table = part.table.with_columns(at=pl.col("at").dt.epoch("s").fill_null(0))
    return Counter(table.select("user_id", "item_id", "at").iter_rows())


def told(events: list[Event]) -> Counter[tuple[str, str, int]]:
    return Counter((e.user, e.item, time_of(e)) for e in events)


def check(found: Split, expected: plain.Parts) -> None:
    for name in ("train", "validation", "test"):
        assert rows(getattr(found, name)) == told(expected[name]), name
    assert rows(found.between) == told(expected.get("between", []))


SPLITS = {
    "user_time": (plain.user_time, {}),
    "last_out": (plain.last_out, {}),
    "global_time": (plain.global_time, {}),
    "rolling_time": (plain.global_time, {}),
    "min_gap": (lambda events: plain.last_out(events, 2), {"min_gap_hours": 2}),
}


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("seed", [3, 4])
def test_parts_are_those_of_plain_loops(name: str, seed: int) -> None:
    divide, own = SPLITS[name]
    events = world(seed=seed)
    found = split(loaded(events).interactions, config("last_out" if own else name, **own).split, 0)
    check(found, divide(events))
    assert min(len(part) for part in (found.train, found.validation, found.test)) > 10


@pytest.mark.parametrize("kind", ["user_time", "last_out"])
def test_of_events_of_one_instant_as_many_are_held_out(kind: str) -> None:
    events = world(tied=True)
    found = split(loaded(events).interactions, config(kind).split, 0)
    expected = {"user_time": plain.user_time, "last_out": plain.last_out}[kind](events)
    for name in ("train", "validation", "test"):
        counted = Counter((user, at) for user, _, at in rows(getattr(found, name)).elements())
        assert counted == Counter((e.user, time_of(e)) for e in expected[name])


def test_events_without_a_time_are_the_oldest() -> None:
    events = [event._replace(at=None if n % 9 == 0 else event.at) for n, event in enumerate(world())]
    for name in ("global_time", "rolling_time"):
        check(split(loaded(events).interactions, config(name).split, 0), plain.global_time(events))


def test_cold_items_take_all_events_of_the_items_drawn() -> None:
    events = world()
    found = split(loaded(events).interactions, config("cold_items").split, 0)
    drawn = dict.fromkeys(found.cold_items, "test") | dict.fromkeys(found.cold_validation_items, "validation")
    check(found, plain.cold_items(events, drawn))
    often = [item for item, count in Counter(e.item for e in events).items() if count >= 5]
    assert set(drawn) <= set(often)
    assert Counter(drawn.values()) == dict.fromkeys(("test", "validation"), max(1, round(len(often) * 0.1)))


def requests(stage: HoldOut, items: list[str]) -> list[Request]:
    """Return the rows of a stage that have a true item, as the second implementation has them."""
    found = []
    for row, user in enumerate(stage.truth.user_ids):
        known, truth = stage.histories.rows(row, row + 1), stage.truth.rows(row, row + 1)
        wanted = frozenset(items[i] for i in truth.item_index[truth.weight > 0])
        if wanted:
            before = tuple(items[i] for i in known.item_index)
            found.append(Request(user, int(known.requests()[0]) // 1_000_000, before, wanted))
    return found


def stages(
    name: str, tied: bool = False
) -> tuple[Dataset, list[Event], HoldOut, HoldOut, list[Request], list[Request]]:
    """Return both stages of a split, and the same requests from plain loops."""
    events = world(tied=tied)
    divide, own = SPLITS[name]
    settings, data = config("last_out" if own else name, **own), loaded(events)
    parts = split(data.interactions, settings.split, 0)
    validation, _ = before_test(data.catalog, parts, settings)
    expected = divide(events)
    known = [*expected["train"], *expected["validation"], *expected.get("between", [])]
    ask = plain.rolling if name == "rolling_time" else plain.held_out
    return (
        data,
        known,
        validation,
        at_test(data.catalog, parts, settings),
        ask(expected["train"], expected["validation"]),
        ask(known, expected["test"]),
    )


@pytest.mark.parametrize("name", SPLITS)
def test_requests_know_and_want_what_plain_loops_say(name: str) -> None:
    data, _, validation, test, in_validation, in_test = stages(name)
    items = data.catalog.item_ids
    assert requests(validation, items) == in_validation
    assert requests(test, items) == in_test
    assert validation.train.num_events == len(plain_train(name))
    assert len(in_test) > 3


def plain_train(name: str) -> list[Event]:
    return SPLITS[name][0](world())["train"]


def test_events_of_one_instant_are_one_rolling_request() -> None:
    data, _, validation, test, in_validation, in_test = stages("rolling_time", tied=True)
    items = data.catalog.item_ids

    def unordered(found: list[Request]) -> list[Any]:
        return [(r.user, r.at, Counter(r.known), r.wanted) for r in found]

    assert unordered(requests(validation, items)) == unordered(in_validation)
    assert unordered(requests(test, items)) == unordered(in_test)
    assert any(len(r.wanted) > 1 for r in in_test)


@pytest.mark.parametrize("name", ["last_out", "user_time"])
def test_look_ahead_is_the_share_counted_one_by_one(name: str) -> None:
    events = world()
    settings, data = config(name), loaded(events)
    parts = split(data.interactions, settings.split, 0)
    _, known, _, test, _, in_test = stages(name)
    assert look_ahead(parts, test) == pytest.approx(plain.look_ahead(known, in_test), abs=EXACT)
    assert 0.05 < look_ahead(parts, test) < 0.95


@pytest.mark.parametrize("name", SPLITS)
@pytest.mark.parametrize("among", [False, True])
def test_every_metric_of_a_ranked_stage_is_that_of_plain_loops(name: str, among: bool) -> None:
    data, known, _, test, _, in_test = stages(name)
    items, allowed = data.catalog.item_ids, data.catalog.item_ids[::3] if among else data.catalog.item_ids
    mask = np.isin(items, allowed)
    train = before_test(data.catalog, split(data.interactions, (c := config_of(name)).split, 0), c)[1]
    stage = test.liked()
    lists = MemberPool({"popularity": Popularity().fit(train, Content({}))}).rank(
        {"popularity": EnsembleWeights({"popularity": 1.0})},
        stage.histories,
        max(KS),
        candidates=mask,
        tie_order=in_order(items),
    )["popularity"]
    scores = plain.popularity(known, items)
    expected = [plain.ranked(scores, items, request.known, max(KS), allowed) for request in in_test]
    assert [[items[i] for i in row if i >= 0] for row in lists.item_index] == expected
    check_metrics(measure(lists, stage.truth, ks=KS), expected, in_test)


def config_of(name: str) -> RecommendationConfig:
    own = SPLITS[name][1]
    return config("last_out" if own else name, **own)


def check_metrics(table: pl.DataFrame, lists: list[list[str]], asked: list[Request]) -> None:
    assert table["user_id"].to_list() == [request.user for request in asked]
    for metric, of in plain.METRICS.items():
        for k in KS:
            values = [
                of([item in request.wanted for item in own] + [False] * (k - len(own)), len(request.wanted), k)
                for own, request in zip(lists, asked, strict=True)
            ]
            assert table[f"{metric}@{k}"].to_list() == pytest.approx(values, abs=EXACT), (metric, k)


def test_what_was_popular_lately_is_counted_up_to_each_rolling_request() -> None:
    data, _, _, test, _, in_test = stages("rolling_time")
    items, days = data.catalog.item_ids, 2.0
    member = RecentPopularity(RecentPopularityConfig(window_days=days)).fit(
        test.histories.take(np.zeros(1, np.int64)), Content({})
    )
    lists = (
        MemberPool({"recent": member})
        .observed(test.log)
        .rank({"recent": EnsembleWeights({"recent": 1.0})}, test.liked().histories, max(KS), tie_order=in_order(items))[
            "recent"
        ]
    )
    events = world()
    expected = [
        plain.ranked(plain.popularity(events, items, r.at, days * 24 * plain.HOUR), items, r.known, max(KS))
        for r in in_test
    ]
    assert [[items[i] for i in row if i >= 0] for row in lists.item_index] == expected
    check_metrics(measure(lists, test.liked().truth, ks=KS), expected, in_test)


def test_equal_scores_are_ranked_in_the_order_that_is_given() -> None:
    draw = random.Random(1)
    items = [f"i{n}" for n in range(30)]
    scores = [[draw.choice([0.0, 0.5, 1.0]) for _ in items] for _ in range(20)]
    found = top_k(np.array(scores, np.float32), 7, [f"u{n}" for n in range(20)], in_order(items))
    for row, own in zip(found.item_index, scores, strict=True):
        assert [items[i] for i in row] == plain.ranked(dict(zip(items, own, strict=True)), items, [], 7)


def pairs() -> tuple[list[bool], list[float], list[int]]:
    draw = random.Random(2)
    label = [draw.random() < 0.4 for _ in range(150)]
    score = [round(min(max(draw.gauss(0.4 + 0.2 * yes, 0.2), 0), 1), 1) for yes in label]  # many ties
    return label, score, [draw.randrange(20) for _ in label]


def test_yes_or_no_scores_are_those_of_counted_pairs() -> None:
    label, score, group = pairs()
    found = evaluate_answers("x", np.array(label), np.array(score), np.array(group), threshold=0.5)
    assert found.auc.mean == pytest.approx(plain.auc(label, score), abs=EXACT)
    assert found.average_precision == pytest.approx(plain.step_precision(label, score), abs=EXACT)
    for name, value in plain.answers(label, score, 0.5).items():
        assert getattr(found, name) == pytest.approx(value, abs=EXACT), name


def test_the_interval_of_an_auc_draws_users_with_all_their_pairs() -> None:
    label, score, group = pairs()
    settings = IntervalConfig(resamples=40)
    found = auc_interval(np.array(label), np.array(score), np.array(group), settings)
    areas = []
    for draw in generator(0, "bootstrap.auc").integers(0, 20, (40, 20)):
        again = [n for user in draw for n, own in enumerate(group) if own == user]
        areas.append(plain.auc([label[n] for n in again], [score[n] for n in again]))
    assert (found.low, found.high) == pytest.approx(
        (plain.quantile(areas, 0.025), plain.quantile(areas, 0.975)), abs=EXACT
    )


@pytest.mark.parametrize("requests_each", [1, 5])
def test_intervals_draw_users_with_all_their_requests(requests_each: int) -> None:
    draw = random.Random(5)
    users = [f"u{n:02d}" for n in range(25) for _ in range(draw.randint(1, requests_each))]
    ours, other = ([draw.random() for _ in users] for _ in range(2))
    settings = IntervalConfig(resamples=200, seed=6)
    found = BootstrapMeans(np.column_stack([ours, other]), settings, users=users)
    draws = generator(6, "bootstrap").integers(0, 25, (200, 25)).tolist()
    means = plain.drawn_means(ours, users, draws)
    gaps = plain.drawn_means([a - b for a, b in zip(ours, other, strict=True)], users, draws)
    interval, gap = found.interval(0), found.difference(0, 1)
    assert interval.mean == pytest.approx(sum(ours) / len(ours), abs=EXACT)
    assert (interval.low, interval.high) == pytest.approx(
        (plain.quantile(means, 0.025), plain.quantile(means, 0.975)), abs=EXACT
    )
    assert (gap.low, gap.high) == pytest.approx((plain.quantile(gaps, 0.025), plain.quantile(gaps, 0.975)), abs=EXACT)
    tail = min(sum(g <= 0 for g in gaps), sum(g >= 0 for g in gaps))
    assert gap.p == pytest.approx(min(1, 2 * (tail + 1) / 201), abs=EXACT)
