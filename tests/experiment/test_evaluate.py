"""What is published of the test, worked out by hand for six users and six items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from hand_made import Told, channel, histories
from penchant.core.schema import (
    BEHAVIOUR,
    Catalog,
    Content,
    Dataset,
    Embeddings,
    Finding,
    Histories,
    Interactions,
    Split,
    Users,
)
from penchant.experiment import evaluate
from penchant.experiment.evaluate import VERSIONS, EvaluationConfig, assess
from penchant.experiment.fit import (
    OURS,
    WITHOUT_BANDS,
    WITHOUT_NETWORKS,
    FittedRecommenders,
    HoldOut,
    LeaderboardEntry,
)
from penchant.experiment.pool import MemberPool
from penchant.fusion.late import EnsembleWeights
from penchant.metrics.ablation import Arm
from penchant.metrics.comparison import Cost
from penchant.models.interest_change import InterestChange
from penchant.reporting.report import ReportData

ITEMS = 6
KNOWN = histories([[0], [1, 2], [0, 1, 2], [3], [5, 0, 1, 2], []], ITEMS)
TRUTH = histories([[1], [0, 4], [3], [4, 0], [4], [2]], ITEMS, [[1], [1, -1], [-1], [1, 1], [1], [1]])
TEST = HoldOut(KNOWN, TRUTH)
ORDERS = {
    "good": [[1, 0, 2, 3, 4, 5], [1, 3, 0, 2, 4, 5], [0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], *[[0, 1, 2, 3, 4, 5]] * 2],
    "bad": [[5, 4, 3, 2, 1, 0]] * 6,
}
SECOND = 1 / log2(3)
GAINS = {OURS: [1, SECOND, SECOND / (1 + SECOND), SECOND, 0.5], "bad": [0, 0, SECOND / (1 + SECOND), 1, 0]}
"""NDCG@3 of u0, u1, u3, u4 and u5; u2 liked nothing."""


class FirstEvent(Told):
    """A told member whose whole score comes from the first event; from the prior where there is none."""

    def contributions(self, history: Histories) -> tuple[np.ndarray, np.ndarray]:
        scores, events = self.score(history)[0], np.zeros((history.num_events, ITEMS), np.float32)
        if not history.num_events:
            return scores, events
        events[0] = scores
        return np.zeros(ITEMS, np.float32), events


def told(name: str) -> FirstEvent:
    return FirstEvent({f"u{user}": [-order.index(i) for i in range(ITEMS)] for user, order in enumerate(ORDERS[name])})


def entries() -> tuple[LeaderboardEntry, ...]:
    def one(name: str, role: str, weights: dict[str, float], *uses: str) -> LeaderboardEntry:
        return LeaderboardEntry(name, role, EnsembleWeights(weights), frozenset(uses))

    return (
        one(OURS, "ours", {"good": 0.9, "bad": 0.1}, BEHAVIOUR, "text", "image"),  # 0.9 z(good) decides the order
        one(WITHOUT_NETWORKS, "member", {"good": 1.0}, BEHAVIOUR, "text", "image"),
        one("behaviour", "ablation", {"bad": 1.0}, BEHAVIOUR),
        one("behaviour, text", "ablation", {"good": 1.0}, BEHAVIOUR, "text"),
        one("bad", "baseline", {"bad": 1.0}),
        one("good", "baseline", {"good": 1.0}),
    )


def trained() -> FittedRecommenders:
    members = {name: told(name) for name in ORDERS}
    scores = {"bad": 0.3, "good": 0.2, OURS: 0.9}
    seconds = {"good": 2.0, "bad": 0.5}
    return FittedRecommenders(MemberPool(members), entries(), {}, scores, seconds, MemberPool(members))


def interactions(rows: Sequence[tuple[str, str]]) -> Interactions:
    """Return events without a time: making one is a query, and a module that runs a query cannot be forked."""
    columns = {"user_id": [user for user, _ in rows], "item_id": [item for _, item in rows]}
    return Interactions(pl.DataFrame({**columns, "at": pl.Series([None] * len(rows), dtype=pl.Datetime("us", "UTC"))}))


TRAIN = [("u0", "i0"), ("u1", "i1"), ("u2", "i0"), ("u4", "i0"), ("u4", "i1")]
VALIDATION = [("u1", "i2"), ("u4", "i0")]
SPLIT = Split(
    "user_time",
    interactions(TRAIN),
    interactions(VALIDATION),
    interactions([("u0", "i1"), ("u3", "i4"), ("u5", "i2")]),
    checks=(Finding("split.checked", 0, 1, "kept"),),
)
CATALOG = Catalog(
    pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(ITEMS)],
            "title": ["Zero", "One", "Two", "Three", None, "Five"],
            "genre": ["x", "x", "y", "y", "y", "x"],
            "year": [1, 2, 3, 4, 5, 6],
            "poster": ["0.png", None, "2.png", "3.png", "4.png", "5.png"],
            "sound": [None, "1.wav", None, None, None, None],
        }
    ),
    title_column="title",
    media_columns={"image": "poster", "audio": "sound"},
    attribute_columns=("genre", "year"),
    media_root=Path("media"),
)
USERS = Users(pl.DataFrame({"user_id": ["u5", "u1", "u0", "u9"], "team": ["red", "blue", "red", "blue"]}), ("team",))
DATASET = Dataset(CATALOG, interactions([*TRAIN, *VALIDATION, ("u9", "i5")]), USERS, (Finding("read", 1, 2, "kept"),))
POSTER = Embeddings(
    "poster",
    "image",
    np.eye(ITEMS, dtype=np.float32),
    np.array([True, False, True, True, False, True]),
    "poster",
    np.array([False, True, False, False, False, False]),
)
CONTENT = Content({"plot": channel("plot", "text", np.eye(ITEMS).tolist()), "poster": POSTER})
CONFIG = EvaluationConfig(ks=[1, 3], cutoff=3, examples=2)


def results(
    test: HoldOut | None = None,
    config: EvaluationConfig = CONFIG,
    *,
    fitted: FittedRecommenders | None = None,
    dataset: Dataset = DATASET,
    content: Content = CONTENT,
) -> evaluate._TestResults:
    """Return what is measured on a test; on that of the users who have something to find unless one is given."""
    return evaluate._TestResults(
        fitted or trained(), test or evaluate.sampled_test(TEST, None), dataset, SPLIT, content, config
    )


def report(fitted: FittedRecommenders | None = None, config: EvaluationConfig = CONFIG) -> ReportData:
    said = [[1], [1], [-1], [1], [1], [1]]
    before = HoldOut(KNOWN, histories([[2], [3], [4], [1], [3], [1]], ITEMS, said))
    return assess(fitted or trained(), before, TEST, DATASET, SPLIT, CONTENT, config, name="by hand", seed=7)


def test_the_leaderboard_is_the_mean_of_each_list_worked_out_by_hand() -> None:
    found = report()
    board = found.leaderboard
    assert board is not None
    assert (board.metric, board.num_users, board.chosen_on) == ("ndcg@3", 5, "validation")
    assert board.best_baseline == "bad"  # chosen on validation; on the test "good" is better
    for name, gains in {**GAINS, "good": GAINS[OURS], WITHOUT_NETWORKS: GAINS[OURS]}.items():
        assert board.row(name).scores["ndcg@3"].mean == pytest.approx(np.mean(gains)), name
        assert {row.name: row.role for row in board.rows} == {
            OURS: "ours",
            WITHOUT_NETWORKS: "member",
            "bad": "baseline",
            "good": "baseline",
        }
    assert board.row(OURS).scores["recall@1"].mean == pytest.approx(1 / 5)
    assert board.row(OURS).scores["hit_rate@3"].mean == 1.0
    cost = board.row(OURS).cost
    assert cost is not None
    assert cost.seconds == 2.5
    assert (found.name, found.seed, found.language) == ("by hand", 7, "en")
    assert set(found.versions) == set(VERSIONS)
    assert found.hardware
    assert found.created_at.tzinfo is UTC
    assert found.findings == (*DATASET.findings, *SPLIT.checks)
    assert found.weights == {"good": 0.9, "bad": 0.1}
    assert found.bands == ()
    assert len(found.examples) == 2
    assert found.classified
    assert [row.name for row in found.variety] == [OURS, "bad", "good"]


def test_the_ablation_compares_with_the_row_without_networks() -> None:
    found = report().ablation
    assert found is not None
    assert found.metric == "ndcg@3"
    assert {row.uses: row.score.mean for row in found.rows} == pytest.approx(
        {
            (BEHAVIOUR, "image", "text"): np.mean(GAINS[OURS]),
            (BEHAVIOUR, "text"): np.mean(GAINS[OURS]),
            (BEHAVIOUR,): np.mean(GAINS["bad"]),
        }
    )
    everything = next(row for row in found.rows if row.kind == "all")
    assert everything.cost is not None
    assert everything.cost.seconds == 2.0  # of "good" alone: the row without networks, not ours


class Turned(FirstEvent):
    """A told member that turns the order of its scores around where events count less."""

    def score(self, histories: Histories) -> np.ndarray:
        fades = np.bincount(histories.user_index(), histories.weight < 1, len(histories)) > 0
        return super().score(histories) * np.where(fades, -1, 1)[:, None].astype(np.float32)


class EverybodyChanges(InterestChange):
    """Notices a change in every history that has an event."""

    def faded(self, histories: Histories) -> Histories:
        return histories.weighted(histories.weight / 2)


def test_variants_of_ours_notice_changes_of_interest_as_ours_and_the_arms_do() -> None:
    members = {name: Turned(told(name).told) for name in ORDERS}
    same_for_all = LeaderboardEntry(WITHOUT_BANDS, "member", EnsembleWeights({"good": 1.0}))
    plain = replace(trained(), pool=MemberPool(members), rows=(*entries(), same_for_all))
    noticing = replace(plain, change=EverybodyChanges(np.zeros(ITEMS, np.int32), 0.5))
    before, after = (results(fitted=fitted).lists for fitted in (plain, noticing))
    moved = {name for name in before if (before[name].item_index != after[name].item_index).any()}
    assert moved == {OURS, WITHOUT_NETWORKS, WITHOUT_BANDS, "behaviour", "behaviour, text"}


def test_users_who_dislike_all_say_no_too() -> None:
    (ours, *_) = report().classified
    assert ours.is_explicit  # without u2 a seventh of the answers would be no, too few to be taken as such
    assert (ours.num_pairs, ours.num_groups, ours.share_positive) == (8, 6, 6 / 8)
    fewer = report(config=CONFIG.model_copy(update={"max_users": 3})).classified[0]
    assert (fewer.num_pairs, fewer.num_groups) == (3, 3)  # u0, u2 and u5


def test_two_arms_are_no_ablation() -> None:
    fewer = replace(trained(), rows=tuple(row for row in entries() if row.name != "behaviour, text"))
    assert report(fewer).ablation is None


def test_bands_end_one_event_before_the_next_begins() -> None:
    own = ({"a": 1.0}, {"a": 0.5, "b": 0.5}, {"b": 1.0})
    found = list(evaluate._bands(EnsembleWeights({"a": 1.0}, (3, 7), own)))
    assert [(band.first, band.last, band.weights) for band in found] == [
        (0, 2, own[0]),
        (3, 6, own[1]),
        (7, None, own[2]),
    ]
    assert list(evaluate._bands(EnsembleWeights({"a": 1.0}))) == []


def test_users_with_nothing_to_find_are_left_out_and_the_rest_is_evenly_spaced() -> None:
    def chosen(limit: int | None) -> list[str]:
        kept = evaluate.sampled_test(replace(TEST, candidates=np.ones(ITEMS, bool)), limit)
        assert kept.histories.user_ids == kept.truth.user_ids
        assert kept.candidates is not None
        return list(kept.truth.user_ids)

    everyone = ["u0", "u1", "u3", "u4", "u5"]
    assert chosen(None) == chosen(5) == chosen(9) == everyone
    assert chosen(3) == ["u0", "u3", "u5"]
    assert chosen(4) == ["u0", "u1", "u3", "u5"]  # places 0, 1.33, 2.67 and 4, rounded down


def test_lists_are_as_long_as_the_largest_k_and_hold_candidates_only() -> None:
    allowed = np.array([True, True, False, True, True, False])
    test = evaluate.sampled_test(replace(TEST, candidates=allowed), None)
    found = results(test, EvaluationConfig(ks=[3, 1], cutoff=1))
    lists = found.lists[OURS].item_index.tolist()
    assert lists == [[1, 3, 4], [3, 0, 4], [4, 1, 0], [3, 4, -1], [0, 1, 3]]
    assert found.tables[OURS]["ndcg@1"].to_list() == [1, 0, 1, 0, 0]
    assert set(found.lists) == set(found.tables) == {row.name for row in entries()}


def test_cost_is_the_fit_of_all_members_and_milliseconds_a_user() -> None:
    def cost(row: LeaderboardEntry, num_users: int) -> Cost:
        measured = results()
        measured.trained.pool.seconds.clear()  # of the ranking above
        measured.trained.pool.seconds.update({"good": 0.25, "other": 9.0})
        measured.test = replace(measured.test, histories=KNOWN.take(np.arange(num_users)))
        return measured.cost(row)

    assert cost(entries()[0], 5) == Cost(2.5, 50.0)  # "bad" was never timed: 0 s
    assert cost(entries()[1], 1) == Cost(2.0, 250.0)
    assert cost(entries()[1], 0) == Cost(2.0, 250.0)


def test_cost_counts_the_encoding_of_what_a_row_uses() -> None:
    measured = results()
    measured.encoding = {"plot": 30.0, "poster": 5.0}
    used = [measured.cost(replace(entries()[0], uses=frozenset(uses))).encoding for uses in ({BEHAVIOUR}, {"text"})]
    assert used == [0.0, 30.0]
    everything = measured.cost(replace(entries()[0], uses=frozenset({BEHAVIOUR, "text", "image"})))
    assert (everything.encoding, everything.once) == (35.0, 35.0 + everything.seconds)
    measured.encoding = {"plot": float("nan"), "poster": 5.0}
    unknown = measured.cost(replace(entries()[0], uses=frozenset({"text", "image"})))
    assert np.isnan(unknown.encoding)
    assert unknown.once == unknown.seconds


def test_ceiling_is_that_of_lists_by_the_true_probability() -> None:
    measured = results()

    def ideal(user_ids: Sequence[str], at: np.ndarray, item_ids: Sequence[str]) -> np.ndarray:
        assert len(user_ids) == len(at) == len(measured.test.truth)
        assert list(item_ids) == CATALOG.item_ids
        scores = np.zeros((len(user_ids), len(item_ids)), np.float32)
        scores[measured.test.truth.user_index(), measured.test.truth.item_index] = measured.test.truth.weight
        return scores

    found = measured.ceiling(ideal)
    assert found["recall@3"].mean == found["ndcg@3"].mean == 1
    worst = measured.ceiling(lambda users, at, items: -ideal(users, at, items))
    assert worst["ndcg@1"].mean < found["ndcg@1"].mean


def test_metrics_of_single_lists_name_nobody_and_the_mark_is_that_of_the_test() -> None:
    measured = results()
    table = measured.by_request()
    assert "user_id" not in table.columns
    assert table["user"].to_list() == [1, 2, 3, 4, 5]
    assert measured.mark() == results().mark()
    fewer = replace(measured.test, histories=measured.test.histories.rows(0, 1), truth=measured.test.truth.rows(0, 1))
    assert results(fewer).mark() != measured.mark()


def arms(count: int = 3) -> list[Arm]:
    columns = {"user_id": ["u0", "u1", "u5"]}
    values = [[1.0, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    uses = [{BEHAVIOUR, "text"}, {BEHAVIOUR}, {"text"}]
    made = [
        Arm(frozenset(own), pl.DataFrame({**columns, "ndcg@3": row})) for own, row in zip(uses, values, strict=True)
    ]
    return made[:count]


def test_gains_of_groups_are_those_of_their_own_users() -> None:
    test = HoldOut(KNOWN.take(np.array([0, 1, 5])), TRUTH.take(np.array([0, 1, 5])))
    config = EvaluationConfig(group="team", cutoff=3)
    measured = results(test, config)
    gains = {(g.group, g.channel): g.gain.mean for g in measured.group_gains(arms())}
    assert gains == pytest.approx(
        {("red", "text"): 0.25, ("blue", "text"): 0.0, ("red", BEHAVIOUR): 0.5, ("blue", BEHAVIOUR): 0.5}
    )
    assert results(test, EvaluationConfig(cutoff=3)).group_gains(arms()) == []
    assert results(test, config, dataset=replace(DATASET, users=None)).group_gains(arms()) == []
    assert results(test, EvaluationConfig(group="age", cutoff=3)).group_gains(arms()) == []
    assert measured.group_gains(arms(2)) == []


def test_gains_of_groups_reach_the_report() -> None:
    found = report(config=CONFIG.model_copy(update={"group": "team"}))
    text = {g.group: g.gain.mean for g in found.group_gains if g.channel == "image"}
    assert text == {"blue": 0.0, "red": 0.0}


def test_slices_are_of_history_popularity_and_channels_with_holes() -> None:
    rows = [row for row in report().slices if row.metric == "recall@3"]
    assert len(rows) == len(report().slices)
    found = {(row.dimension, row.group): (row.num_users, row.ours.mean, row.baseline.mean) for row in rows}
    # histories of u0, u1, u3, u4: 1, 2, 1 and 4 events; of u5: none
    assert found["history length", "0"] == (1, 1.0, 0.0)
    assert found["history length", "1-5"] == (4, pytest.approx(3.5 / 4), pytest.approx(1.5 / 4))
    # train and validation hold i0 four times, i1 twice, i2 once, i3 to i5 never
    popularity = "popularity of the true item"
    assert found[popularity, "4-10"] == (2, 0.5, 0.0)  # i0: u1 finds it, u3 does not
    assert found[popularity, "1-3"] == (2, 1.0, 0.0)  # i1 of u0, i2 of u5
    assert found[popularity, "0"] == (2, 1.0, 1.0)  # i4 of u3 and u4
    poster = "poster of the true item"
    assert found[poster, "present"] == (3, pytest.approx(2 / 3), 0.0)  # i0 of u1 and u3, i2 of u5
    assert found[poster, "filled in"] == (1, 1.0, 0.0)  # i1 of u0
    assert found[poster, "missing"] == (2, 1.0, 1.0)
    assert {dimension for dimension, _ in found} == {"history length", popularity, poster}  # plot has no hole
    assert {row.num_pairs for row in rows if row.dimension == "history length"} == {None}


def test_popularity_counts_train_and_validation_of_every_item_of_the_catalog() -> None:
    counts = results().popularity
    assert counts.tolist() == [4, 2, 1, 0, 0, 0]
    assert counts.dtype == np.int64


def variety(catalog: Catalog, content: Content) -> dict[str, Any]:
    measured = results(dataset=replace(DATASET, catalog=catalog), content=content)
    return {row.name: row for row in measured.variety()}


def test_variety_is_of_the_first_items_and_their_categories() -> None:
    found = variety(CATALOG, CONTENT)
    assert list(found) == [OURS, "bad", "good"]
    assert {row.k for row in found.values()} == {3}
    # lists of "bad": 543, 543, 542, 43, 543; pairs of two genres: 2 of 3, 2 of 3, 2 of 3, 0 of 1, 2 of 3
    assert found["bad"].diversity == pytest.approx((4 * 2 / 3) / 5)
    assert found["bad"].coverage == pytest.approx(4 / 6)
    # four users have an event before the test; i0 was touched by three, by u4 twice, i1 by two, i2 by one, i3 to i5 by none
    users = np.array([3, 2, 1, 0, 0, 0])
    cold, once = -np.log2(1 / 5), -np.log2(2 / 5)
    assert found["bad"].novelty == pytest.approx((4 * cold + (2 * cold + once) / 3) / 5)
    bits = -np.log2((users + 1) / 5)
    good = [[1, 2, 3], [3, 0, 4], [5, 4, 2], [3, 4], [0, 1, 2]]
    assert found["good"].novelty == pytest.approx(np.mean([bits[row].mean() for row in good]))


def test_variety_without_categories_compares_the_fused_vectors() -> None:
    numbers = replace(CATALOG, attribute_columns=("year",))
    fused = Embeddings(
        "fused", "text", np.array([[1, 0]] * 3 + [[0, 2]] * 3, np.float32), np.ones(ITEMS, bool), "fused"
    )
    found = variety(numbers, replace(CONTENT, fused=fused))
    assert found["bad"].diversity == pytest.approx((2 / 3) / 5)  # 542 alone mixes the two
    assert np.isnan(variety(numbers, CONTENT)["bad"].diversity)


def test_the_protocol_says_what_was_ranked_and_chosen_where() -> None:
    whole = evaluate._protocol(SPLIT, TEST, CONFIG)
    assert len(whole) == 4  # nothing of look-ahead where times are not known, nothing of other runs
    assert whole[0].startswith("Split: user_time. Lists rank the whole catalog without")
    assert "3 items decide" in whole[2]
    cold = evaluate._protocol(SPLIT, replace(TEST, candidates=np.arange(ITEMS) > 3), CONFIG)
    assert "Lists rank the 2 held-out items without" in cold[0]
    many = replace(TEST, candidates=np.ones(1234, bool))
    assert "the 1,234 held-out items" in evaluate._protocol(SPLIT, many, CONFIG)[0]
    again = evaluate._protocol(SPLIT, TEST, CONFIG, fits=3, times_ranked=2)
    assert "equal intervals from its start: 3." in again[1]
    assert "this run ranked the test once" in again[2]
    assert "ranked this test 2 times" in again[3]


def test_look_ahead_is_the_mean_share_of_known_events_after_each_request() -> None:
    def timed(*at: int | None) -> Interactions:
        table = pl.DataFrame({"user_id": ["u"] * len(at), "item_id": ["i"] * len(at), "at": at})
        return Interactions(table.with_columns(pl.col("at").cast(pl.Datetime("us", "UTC"))))

    split = Split("last_out", timed(1, 5, None), timed(7), timed(5, 9))
    truth = Histories(
        ["a", "b"], np.array([0, 1, 2]), np.zeros(2, np.int32), np.array([5, 2]), np.ones(2, np.float32), 1
    )
    assert evaluate.look_ahead(split, HoldOut(truth, truth)) == pytest.approx((1 / 4 + 2 / 4) / 2)
    assert evaluate.look_ahead(replace(split, kind="random"), HoldOut(truth, truth)) == 0
    said = evaluate._protocol(split, HoldOut(truth, truth), CONFIG)
    assert "on average, 38% of the events" in said[2]
    # without a refit nobody learned from the 7 of validation: of 1, 5 and no time, none is after 5, one after 2
    assert evaluate.look_ahead(split, HoldOut(truth, truth), refit=False) == pytest.approx((0 + 1 / 3) / 2)
    said = evaluate._protocol(split, HoldOut(truth, truth), CONFIG, refit=False)
    assert "on average, 17% of the events" in said[2]


def test_gaps_are_from_the_last_known_event_to_the_first_true_one() -> None:
    hour, day = evaluate.HOUR, 400 * 24 * evaluate.HOUR
    last = [day] * 5 + [0, day]
    known = Histories(
        [f"u{n}" for n in range(7)], np.arange(8), np.zeros(7, np.int32), np.array(last), np.ones(7, np.float32), 1
    )
    chose = np.array([day, day + 1, day + hour, day + 1 + hour, day + 1 + 24 * hour, day, 0])
    truth = replace(known, at=chose)
    found = evaluate.gap_labels(known, truth)
    assert found.code.tolist() == [0, 1, 1, 2, 3, -1, -1]
    nobody = known.where(np.zeros(7, bool))
    assert set(evaluate.gap_labels(nobody, truth).code.tolist()) == {-1}
    earlier = replace(known, at=truth.at - 1)  # the last known event came after the true one
    assert evaluate.gap_labels(replace(known, at=truth.at + 1), earlier).code.tolist() == [-1] * 7


def test_places_in_an_order_are_no_times_and_make_no_groups_of_gaps() -> None:
    test = evaluate.sampled_test(TEST, None)
    places = replace(test.histories, at=np.arange(test.histories.num_events) + 1)
    truth = replace(test.truth, at=np.full(test.truth.num_events, 100))
    ordered = replace(test, histories=places.requested(100), truth=truth)
    assert set(evaluate.gap_labels(ordered.histories, ordered.truth).code.tolist()) == {-1}
    assert "time since the last known event" not in {row.dimension for row in results(ordered).slices("bad")}


def test_sizes_are_counts_of_the_parts() -> None:
    assert report().sizes == {
        "users": 5,
        "items": 6,
        "interactions": 8,
        "train": 5,
        "validation": 2,
        "test": 3,
        "test_users": 5,
    }


def test_coverage_tells_present_from_imputed() -> None:
    found = [(c.channel, c.modality, c.num_items, c.num_present, c.num_imputed) for c in report().coverage]
    assert found == [("plot", "text", 6, 6, 0), ("poster", "image", 6, 4, 1)]


def test_examples_are_users_with_middling_histories_and_name_their_reasons() -> None:
    measured = results()  # lengths 1, 2, 1, 4, 0: quantiles .3 and .8 are 1 and 2.4
    lists = measured.lists[OURS]
    few = measured.examples()
    assert [example.user for example in few] == ["user A", "user B"]  # a report names no user
    assert [[item.title for item in example.history] for example in few] == [["Zero"], ["Three"]]  # u0 and u3
    every = results(config=CONFIG.model_copy(update={"examples": 9})).examples()
    assert [[item.title for item in example.history] for example in every] == [["Zero"], ["One", "Two"], ["Three"]]
    first = every[1]
    assert [item.title for item in first.history] == ["One", "Two"]
    assert [item.title for item in first.recommended] == ["Three", "Zero", "i4"]
    assert [item.is_hit for item in first.recommended] == [False, True, False]  # i4 was disliked
    assert [item.score for item in first.recommended] == pytest.approx(lists.score[1].tolist())
    assert "One" in first.recommended[0].reason
    assert first.recommended[0].picture == Path("media/3.png")
    assert first.recommended[0].sound is None
    assert (first.history[0].picture, first.history[0].sound) == (None, Path("media/1.wav"))
    assert first.history[0].reason == ""


def test_examples_show_the_last_eight_events_and_the_first_eight_items() -> None:
    many = 20
    known = histories([list(range(10))], many)
    truth = histories([[10]], many)
    order = [0.0] * 10 + [float(many - item) for item in range(10, many)]
    members = {"good": Wide({"u0": order}, many)}
    fitted = replace(trained(), pool=MemberPool(members), rows=(LeaderboardEntry(OURS, "ours", ONE),))
    dataset = replace(DATASET, catalog=Catalog(pl.DataFrame({"item_id": [f"i{n}" for n in range(many)]})))
    config = EvaluationConfig(ks=[10], cutoff=3, examples=2)
    found = results(HoldOut(known, truth), config, fitted=fitted, dataset=dataset, content=Content()).examples()
    assert [item.title for item in found[0].history] == [f"i{n}" for n in range(2, 10)]
    assert [item.title for item in found[0].recommended] == [f"i{n}" for n in range(10, 18)]
    assert [item.is_hit for item in found[0].recommended] == [True] + [False] * 7


ONE = EnsembleWeights({"good": 1.0})


class Wide(Told):
    """A told member over a larger catalog, its score from the first event."""

    def __init__(self, scores: dict[str, list[float]], num_items: int) -> None:
        super().__init__(scores)
        self.num_items = num_items

    def contributions(self, history: Histories) -> tuple[np.ndarray, np.ndarray]:
        events = np.zeros((history.num_events, self.num_items), np.float32)
        events[0] = self.score(history)[0]
        return np.zeros(self.num_items, np.float32), events


def test_an_item_without_a_path_or_a_catalog_without_a_folder_has_no_media() -> None:
    titles = CATALOG.titles()
    shown = evaluate._shown(CATALOG, titles, 1)
    assert (shown.title, shown.picture, shown.sound) == ("One", None, Path("media/1.wav"))
    bare = evaluate._shown(replace(CATALOG, media_root=None), titles, 2)
    assert (bare.picture, bare.sound) == (None, None)
    no_audio = evaluate._shown(replace(CATALOG, media_columns={"image": "poster"}), titles, 0)
    assert (no_audio.picture, no_audio.sound) == (Path("media/0.png"), None)


def test_results_hold_a_table_and_a_list_for_each_row() -> None:
    found = results()
    assert set(found.tables) == set(found.lists) == {row.name for row in entries()}
    assert found.tables["bad"]["ndcg@3"].to_list() == pytest.approx(GAINS["bad"])
    assert found.tables[OURS]["ndcg@3"].to_list() == pytest.approx(GAINS[OURS])
