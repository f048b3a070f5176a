"""The leaderboard's files and its own small code, on data whose right answer can be seen."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from penchant.core.schema import Histories, Recommendations
from penchant.metrics.ranking import measure
from penchant.pipelines.recommendation_settings import RecommendationConfig

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "peers")]

import choosing  # noqa: E402
import exchange  # noqa: E402
import order_models  # noqa: E402
import penchant_models  # noqa: E402
import simple_models  # noqa: E402

import leaderboard  # noqa: E402
import leaderboard_report  # noqa: E402
import leaderboard_split  # noqa: E402

HOUR = 3_600
MICRO = 1_000_000
EVERYONE = 20


def _prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: list[dict[str, Any]], protocol: str) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    pl.DataFrame(events).write_csv(data / "interactions.csv")
    config = RecommendationConfig.read({"data": {"path": data, "columns": {"at": "timestamp"}}}, where="test")
    monkeypatch.setattr(leaderboard_split, "_settings", lambda name, seed, runs: config)
    folder = tmp_path / f"ml1m-{protocol}-0"
    return leaderboard_split.prepare("ml1m", protocol, 0, folder, max_users=None, content=False)


def _events() -> list[dict[str, Any]]:
    """Everyone takes a, b, c in turn and then d; e is what half of them took first."""
    return [
        {"user_id": f"u{user}", "item_id": item, "timestamp": 1_700_000_000 + user * 100 + place * HOUR * 2}
        for user in range(EVERYONE)
        for place, item in enumerate(["e", "a", "b", "c", "d"] if user % 2 else ["a", "b", "c", "d"])
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return _prepared(tmp_path, monkeypatch, _events(), "last_out")


def _ranked(folder: Path, key: str, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder / "rows" / key
    monkeypatch.setattr(sys, "argv", ["script", key, "--split", str(folder), "--out", str(out)])
    exchange.serve({key: model}, ("numpy",))


def _known(users: list[int], items: list[int], at: list[int] | None = None, num_items: int = 5) -> exchange.Events:
    times = np.zeros(len(users), np.int64) if at is None else np.array(at, np.int64)
    return exchange.Events(np.array(users), np.array(items), times, max(users, default=0) + 1, num_items)


def _stage(learn: exchange.Events, history: exchange.Events, at: list[int] | None = None) -> exchange.Stage:
    moments = np.array(at or [0] * history.num_users, np.int64)
    order = np.argsort(learn.at, kind="stable")
    log = exchange.Log(learn.item[order], learn.at[order])
    return exchange.Stage(learn, exchange.Requests(history, np.arange(history.num_users), moments), log, None)


def test_peers_read_everything_but_the_choices_of_the_test(folder: Path) -> None:
    split = exchange.Split.read(folder, seed=0)
    items = pl.read_parquet(folder / "items.parquet")["item_id"].to_list()
    assert split.validation.truth is not None
    assert {items[row] for row in split.validation.truth.item} == {"c"}
    assert (len(split.validation.learn), len(split.tests[0].learn)) == (50, 70)
    assert split.tests[0].truth is None
    (folder / "truth" / "test-0.parquet").unlink()
    assert len(exchange.Split.read(folder, seed=0).tests[0].requests) == EVERYONE


def test_a_request_brings_the_history_of_its_user_and_its_time(folder: Path) -> None:
    stage = exchange.Split.read(folder, seed=0).tests[0]
    history = stage.requests.history
    for row in range(EVERYONE):
        at = history.at[history.user == row]
        assert (np.diff(at) > 0).all()
        assert at[-1] + 2 * HOUR * MICRO == stage.requests.at[row]
        own = stage.learn.item[stage.learn.user == stage.requests.user[row]]
        assert history.item[history.user == row].tolist() == own.tolist()


def test_the_time_of_the_request_can_be_hidden(folder: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden-0"
    leaderboard_split.prepare("ml1m", "last_out", 0, hidden, max_users=None, content=False, hidden=True)
    requests = exchange.Split.read(hidden, seed=0).tests[0].requests
    assert not requests.at.any()
    assert (requests.moments() == requests.history.last_times() + 1).all()


def test_an_hour_later_the_first_event_of_the_last_session_is_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [
        {
            "user_id": f"u{user}",
            "item_id": f"s{session}e{place}",
            "timestamp": 1_700_000_000 + session * 86_400 + place * 60,
        }
        for user in range(3)
        for session in range(3 if user else 1)
        for place in range(3)
    ]
    folder = _prepared(tmp_path, monkeypatch, events, "last_out_hour")
    items = pl.read_parquet(folder / "items.parquet")["item_id"].to_list()
    for name, first, known in (("validation", "s1e0", 9), ("test-0", "s2e0", 15)):
        truth = pl.read_parquet(folder / "truth" / f"{name}.parquet")
        assert [items[row] for row in truth["item"]] == [first, first]
        assert pl.read_parquet(folder / "stages" / name / "learn.parquet").height == known


def test_a_day_later_a_pause_of_hours_starts_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = (0, 2, 30, 33, 60, 62)  # three sessions by the day, six by the hour
    events = [
        {"user_id": f"u{user}", "item_id": f"i{hour}", "timestamp": 1_700_000_000 + hour * 3_600}
        for user in range(3)
        for hour in hours
    ]
    folder = _prepared(tmp_path, monkeypatch, events, "last_out_day")
    items = pl.read_parquet(folder / "items.parquet")["item_id"].to_list()
    for name, first, known in (("validation", "i30", 6), ("test-0", "i60", 12)):
        truth = pl.read_parquet(folder / "truth" / f"{name}.parquet")
        assert [items[row] for row in truth["item"]] == [first] * 3
        assert pl.read_parquet(folder / "stages" / name / "learn.parquet").height == known
    assert pl.read_parquet(folder / "stages" / "test-0" / "requests.parquet")["at"].min() == 1_700_216_000_000_000


def test_shuffling_keeps_sessions_and_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        {
            "user_id": f"u{user}",
            "item_id": f"i{place}",
            "timestamp": 1_700_000_000 + place * 60 + (place // 10) * 86_400,
        }
        for user in range(EVERYONE)
        for place in range(21)
    ]
    folder = _prepared(tmp_path, monkeypatch, events, "last_out_shuffled")
    items = pl.read_parquet(folder / "items.parquet")["item_id"].to_list()
    history = pl.read_parquet(folder / "stages" / "test-0" / "history.parquet").sort("request", "order")
    orders = set()
    for row in range(EVERYONE):
        own = [int(items[i][1:]) for i in history.filter(pl.col("request") == row)["item"]]
        assert sorted(own[:10]) == list(range(10))
        assert sorted(own[10:]) == list(range(10, 20))
        orders.add(tuple(own))
    assert len(orders) == EVERYONE
    assert {items[i] for i in pl.read_parquet(folder / "truth" / "test-0.parquet")["item"]} == {"i20"}


def test_the_last_basket_is_held_out_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        {"user_id": f"u{user}", "item_id": f"b{basket}p{product}", "timestamp": 1_700_000_000 + basket * 86_400}
        for user in range(4)
        for basket in range(3 if user else 2)
        for product in range(2)
    ]
    folder = _prepared(tmp_path, monkeypatch, events, "last_basket")
    items = pl.read_parquet(folder / "items.parquet")["item_id"].to_list()
    truth = pl.read_parquet(folder / "truth" / "test-0.parquet")
    assert truth["request"].to_list() == [0, 0, 1, 1, 2, 2]
    assert {items[i] for i in truth["item"]} == {"b2p0", "b2p1"}


def test_rolling_requests_know_what_everybody_did_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [
        {"user_id": f"u{n % 7}", "item_id": f"i{n % 11}", "timestamp": 1_700_000_000 + n * HOUR} for n in range(70)
    ]
    folder = _prepared(tmp_path, monkeypatch, events, "rolling_time")
    split = exchange.Split.read(folder, seed=0)
    asked = 0
    for stage in split.tests:
        assert stage.learn.at.max() < stage.requests.at.min()
        assert stage.log.at.max() >= stage.requests.at.max()
        lengths = stage.requests.history.lengths()
        for row in range(len(stage.requests)):
            before = [e for e in events if e["timestamp"] * MICRO < stage.requests.at[row]]
            user = f"u{stage.requests.user[row]}"
            assert lengths[row] == sum(e["user_id"] == user for e in before)
        asked += len(stage.requests)
    assert len(split.tests) == leaderboard_split.ROLLING_FITS
    assert asked == 7


def test_popularity_row_lands_in_the_table(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ranked(folder, "popularity", simple_models.popularity, monkeypatch)
    leaderboard_report.write([folder], {"popularity": "Popularity"}, tmp_path / "RESULTS.md", "the command")
    text = (tmp_path / "RESULTS.md").read_text("utf-8")
    assert "## ml1m-last_out\n\n`the command`" in text
    assert "| Popularity | " in text
    rows = json.loads((folder / "scores.json").read_text("utf-8"))["rows"]
    # d was in no training event: it comes last, after e where e is not known
    odd, even = 1.0, 1 / np.log2(3)
    assert rows[0]["scores"]["ndcg@10"]["mean"] == pytest.approx((odd + even) / 2)


def test_a_lead_rests_on_the_gap_it_comes_from_and_needs_every_draw(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ranked(folder, "popularity", simple_models.popularity, monkeypatch)

    def all_know_d(split: exchange.Split, clock: exchange.Clock) -> exchange.Outcome:
        d = pl.read_parquet(folder / "items.parquet")["item_id"].to_list().index("d")
        lists = np.full((EVERYONE, exchange.K), exchange.PAD, np.int32)
        lists[:, 0] = d
        return exchange.Outcome(lists, {}, 1.0, clock.seconds, 0.0)

    _ranked(folder, leaderboard_report.OURS, all_know_d, monkeypatch)
    broken = folder / "rows" / "broken"
    broken.mkdir()
    (broken / "facts.json").write_text(json.dumps({"reason": "out of memory", "failed": True}), "utf-8")
    leaderboard_report.write([folder, folder], {}, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text("utf-8")
    assert "| broken | failed: out of memory |" in text
    row = next(r for r in json.loads((folder / "scores.json").read_text("utf-8"))["rows"] if r["key"] == "popularity")
    assert row["rests_on"] == [0.0, 0.0, 1.0]  # every choice comes two hours after the event before it
    assert row["ahead"]["mean"] == pytest.approx((1 - 1 / np.log2(3)) / 2)
    assert row["deviation"] == 0.0


def test_known_moments_count_what_lies_before_them_alone() -> None:
    day = simple_models.DAY
    learn = _known([0, 0, 1, 2], [0, 0, 1, 2], [1, 1, 10 * day, 11 * day], num_items=3)
    history = _known([0, 1], [0, 0], [1, 1], num_items=3)
    stage = _stage(learn, history, [10 * day, 11 * day])
    windowed = simple_models._counts({"moment": "request", "window_days": 2}, stage, stage.requests)
    assert np.round(windowed, 3).tolist() == [[0, 0, 0], [0, 1, 0]]
    halved = simple_models._counts({"moment": "request", "half_life_days": 10}, stage, stage.requests)
    assert halved[0].argmax() == 0
    assert halved[1, 1] / halved[1, 0] == pytest.approx(0.5**0.1 / (2 * 0.5**1.1), rel=1e-4)
    seen = simple_models._counts({"moment": "last seen", "window_days": 2}, stage, stage.requests)
    assert np.round(seen, 3).tolist() == [[2, 0, 0], [2, 0, 0]]


def test_a_constant_row_and_a_stranger_get_the_most_popular_items() -> None:
    learn = _known([0, 1, 2, 2], [3, 3, 3, 1])
    history = exchange.Events(np.array([0]), np.array([3]), np.zeros(1, np.int64), 2, 5)
    stage = _stage(learn, history)
    recommend = choosing.by_scores(lambda asked: np.zeros((len(asked), 5), np.float32), stage)
    assert recommend(stage.requests, 2, None)[:, 0].tolist() == [1, 3]
    empty = np.full((2, 3), exchange.PAD, np.int32)
    empty[1, 0] = 4
    lists = exchange.filled(empty, [stage])
    assert lists[0, 0] == 1
    assert lists[1, :3].tolist()[:3] == [4, 3, 1]


def test_own_ndcg_equals_the_evaluation_package() -> None:
    rng = np.random.default_rng(0)
    lists = np.stack([rng.permutation(30)[:10] for _ in range(12)]).astype(np.int32)
    user, item = np.repeat(np.arange(12), 3), np.concatenate([rng.permutation(30)[:3] for _ in range(12)])
    truth = exchange.Events(user, item, np.zeros(36, np.int64), 12, 30)
    ids = [str(row) for row in range(12)]
    rows = Histories(ids, truth.offsets(), item.astype(np.int32), truth.at, np.ones(36, np.float32), 30)
    scores = np.zeros(lists.shape, np.float32)
    theirs = measure(Recommendations(ids, lists, scores), rows, ks=(10,), metrics=("ndcg",))["ndcg@10"].mean()
    assert choosing.ndcg(lists, truth, 10) == pytest.approx(theirs)


def test_lists_leave_out_known_items_and_others_than_candidates() -> None:
    stage = _stage(_known([0], [3]), _known([0], [3]))
    recommend = choosing.by_scores(lambda asked: np.arange(5, dtype=np.float32)[None], stage)
    assert recommend(stage.requests, 3, None).tolist() == [[4, 2, 1]]
    allowed = np.array([True, True, False, True, False])
    assert recommend(stage.requests, 3, allowed).tolist() == [[1, 0, -1]]


def test_long_rows_become_lists() -> None:
    lists = choosing.from_table(3, np.array([0, 2, 2]), np.array([1, 5, 6]), 2)
    assert lists.tolist() == [[1, -1], [-1, -1], [5, 6]]


def test_a_grid_goes_on_until_its_edge_is_not_the_best(folder: Path) -> None:
    split = exchange.Split.read(folder, seed=0)
    assert split.validation.truth is not None
    wanted = int(split.validation.truth.item[0])
    tried = []

    def fit(settings: exchange.Settings, stage: exchange.Stage) -> exchange.Recommender:
        tried.append(settings["weight"])
        row = np.full(stage.learn.num_items, 5.0, np.float32)
        row[wanted] = 9.0 if settings["weight"] == 40 else settings["weight"] / 100
        return choosing.by_scores(lambda asked: np.tile(row, (len(asked), 1)), stage)

    outcome = choosing.tuned(split, exchange.Clock(0), {"weight": [5, 10]}, fit)
    assert outcome.settings == {"weight": 5}  # equal scores: the first stays, and its edge is looked beyond
    assert 2 in tried
    outcome = choosing.tuned(split, exchange.Clock(0), {"weight": [10, 20, 40]}, fit)
    assert outcome.settings == {"weight": 40}
    assert 80 in tried
    assert outcome.notes == []


def test_grids_end_at_their_bounds() -> None:
    assert choosing.continued([1, 2, 4], 4, choosing.ANY) == [8]
    assert choosing.continued([0.5, 0.9], 0.9, (0, 1)) == [1.0]
    assert choosing.continued([0, 3, 10], 3, choosing.ANY) == []
    assert choosing.continued(["a", "b"], "b", choosing.ANY) == []
    assert choosing.continued([1, 2, 4], 2, choosing.ANY) == []


def test_the_chain_counts_what_follows_what_in_a_history() -> None:
    learn = _known([0, 0, 0, 1, 1], [0, 1, 2, 1, 3])
    found = order_models._followed(learn, 2, 0.5).toarray()
    wanted = np.zeros((5, 5))
    wanted[0, 1] = wanted[1, 2] = wanted[1, 3] = 1.0
    wanted[0, 2] = 0.5
    assert found.tolist() == wanted.tolist()


def test_ease_equals_its_formula() -> None:
    learn = _known([0, 0, 1, 1, 2], [0, 1, 1, 2, 0], num_items=3)
    x = learn.matrix().toarray()
    inverse = np.linalg.inv(x.T @ x + 0.5 * np.eye(3))
    wanted = np.eye(3) - inverse / np.diag(inverse)[None, :]
    np.testing.assert_allclose(order_models.ease(learn, 0.5), wanted - np.diag(np.diag(wanted)), atol=1e-5)


def test_session_neighbours_follow_their_formulas() -> None:
    # sessions: (0, 1, 2) and (1, 3); the current session is 0, then 1
    learn = _known([0, 0, 0, 1, 1], [0, 1, 2, 1, 3], [1, 2, 3, 4, 5])
    past = order_models._Sessions(learn, "history")
    settings = {"k": 2, "sample_size": 10, "weighting": "div", "weighting_score": "div", "idf_weighting": 0}
    found = order_models._vsknn_scores(settings, past, np.array([1, 0]), 0, 5)
    first, second = (
        (1.0 + 0.5) / 2,
        1.0 / 2,
    )  # weights of 1 and 0 over the length of the session; the latest shared item is the last
    np.testing.assert_allclose(found, [first, first + second, first, second, 0])
    settings = {"k": 2, "sample_size": 10, "lambda_spw": 1.0, "lambda_snh": 1.0, "lambda_inh": 2.0}
    day = order_models.DAY
    found = order_models._stan_scores(settings, past, np.array([1, 0]), 5 + day, 5)
    one, half = np.exp(-1), np.exp(-0.5)
    norm = np.sqrt(1 + one**2)
    near = (1 / (norm * np.sqrt(2))) * np.exp(-1)
    far = ((1 + one) / (norm * np.sqrt(3))) * np.exp(-(2 + day) / day)
    np.testing.assert_allclose(found, [far * half, far + near, far * half, near * half, 0])
    # without a decay by age the moment changes nothing, however long ago the neighbours were
    settings["lambda_snh"] = 0
    plain = order_models._stan_scores(settings, past, np.array([1, 0]), 0, 5)
    assert plain.min() == 0 < plain.max()
    for moment in (5 + day, 5 + 10_000 * day):
        found = order_models._stan_scores(settings, past, np.array([1, 0]), moment, 5)
        np.testing.assert_array_equal(found, plain)


def test_the_grid_of_stan_can_leave_out_the_decay_by_age(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    grids = []
    monkeypatch.setattr(order_models, "tuned", lambda split, clock, grid, fit: grids.append(grid))
    order_models.stan(exchange.Split.read(folder, seed=0), None)
    assert 0 in grids[0]["lambda_snh"]


def test_our_row_learns_from_the_stage_and_reads_the_request(folder: Path) -> None:
    split = exchange.Split.read(folder, seed=0)
    held = penchant_models._hold_out(split.all_validation, split)
    assert held.histories.num_events == len(split.validation.learn)
    assert (held.histories.requests() == split.validation.requests.at).all()
    assert held.truth.lengths().tolist() == [1] * EVERYONE


def test_a_section_replaces_the_one_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    for section in ("## a\n\nstale row\n", "## b\n\nkept\n", "## a\n\nnew\n"):
        leaderboard_report._replace(path, section)
    text = path.read_text("utf-8")
    assert "stale row" not in text
    assert text.index("## a\n\nnew") < text.index("## b\n\nkept")


def test_every_row_has_its_script() -> None:
    for peer in leaderboard.PEERS.values():
        script = (ROOT / "benchmarks" / "peers" / peer.script).read_text("utf-8")
        assert f'"{peer.model}"' in script
