"""The leaderboard's files and its own small code, on data whose right answer can be seen."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from penchant.core.schema import Histories, Recommendations
from penchant.metrics.ranking import measure
from penchant.pipelines.recommendation import RecommendationConfig

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "peers")]

import choosing  # noqa: E402
import exchange  # noqa: E402
import simple_models  # noqa: E402

import leaderboard  # noqa: E402
import leaderboard_report  # noqa: E402
import leaderboard_split  # noqa: E402

HOUR = 3_600


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a split in which everyone takes a, b, c in turn and then d; e is what half of them took first."""
    events = [
        {"user_id": f"u{user}", "item_id": item, "timestamp": 1_700_000_000 + user * 100 + place * HOUR * 2}
        for user in range(20)
        for place, item in enumerate(["e", "a", "b", "c", "d"] if user % 2 else ["a", "b", "c", "d"])
    ]
    data = tmp_path / "data"
    data.mkdir()
    pl.DataFrame(events).write_csv(data / "interactions.csv")
    config = RecommendationConfig.read({"data": {"path": data, "columns": {"at": "timestamp"}}}, where="test")
    monkeypatch.setattr(leaderboard_split, "_settings", lambda name, seed, runs: config)
    return leaderboard_split.prepare("ml1m", "last_out", 0, tmp_path / "ml1m-last_out-0", max_users=None, content=False)


def test_peers_read_everything_but_the_test(folder: Path) -> None:
    split = exchange.Split.read(folder, seed=0)
    items = pl.read_parquet(folder / "items.parquet")["item_id"].to_list()
    assert {items[row] for row in split.validation.item} == {"c"}
    assert len(split.known) == len(split.train) + len(split.validation) == 70
    (folder / "test.parquet").unlink()
    assert len(exchange.Split.read(folder, seed=0).test_users) == 20


def test_known_keeps_each_users_order(folder: Path) -> None:
    known = exchange.Split.read(folder, seed=0).known
    for user in range(20):
        at = known.at[known.user == user]
        assert (np.diff(at) > 0).all()


def test_popularity_row_lands_in_the_table(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = folder / "rows" / "popularity"
    monkeypatch.setattr(sys, "argv", ["simple_models.py", "popularity", "--split", str(folder), "--out", str(out)])
    exchange.serve({"popularity": simple_models.popularity}, ("numpy",))
    leaderboard_report.write(folder, {"popularity": "Popularity"}, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text("utf-8")
    assert "## ml1m-last_out-0" in text
    assert "| Popularity | " in text
    rows = json.loads((folder / "scores.json").read_text("utf-8"))["rows"]
    # d was in no training event: it comes last, after e where e is not known
    odd, even = 1.0, 1 / np.log2(3)
    assert rows[0]["scores"]["ndcg@10"]["mean"] == pytest.approx((odd + even) / 2)


def test_recency_popularity_halves_old_events() -> None:
    day = simple_models.DAY
    events = exchange.Events(
        np.array([0, 0, 1, 2]), np.array([0, 0, 1, 2]), np.array([0, 0, 10, 10]) * day + 1, num_users=4, num_items=3
    )
    settings = {"moment": "last seen", "half_life_days": 1}
    assert simple_models._fit_recency(settings, events)(np.array([2]), 2, None).tolist() == [[1, 0]]
    assert simple_models._fit_recency({**settings, "moment": "end"}, events)(np.array([0]), 2, None).tolist() == [
        [1, 2]
    ]


def test_own_ndcg_equals_the_evaluation_package() -> None:
    rng = np.random.default_rng(0)
    lists = np.stack([rng.permutation(30)[:10] for _ in range(12)]).astype(np.int32)
    user, item = np.repeat(np.arange(12), 3), np.concatenate([rng.permutation(30)[:3] for _ in range(12)])
    truth = exchange.Events(user, item, np.zeros(36, np.int64), 12, 30)
    ids = [str(row) for row in range(12)]
    rows = Histories(ids, truth.offsets(), item.astype(np.int32), truth.at, np.ones(36, np.float32), 30)
    scores = np.zeros(lists.shape, np.float32)
    theirs = measure(Recommendations(ids, lists, scores), rows, ks=(10,), metrics=("ndcg",))["ndcg@10"].mean()
    assert choosing.ndcg(lists, np.arange(12), truth, 10) == pytest.approx(theirs)


def test_lists_leave_out_known_items_and_others_than_candidates() -> None:
    known = exchange.Events(np.array([0]), np.array([3]), np.zeros(1, np.int64), 1, 5)
    recommend = choosing.by_scores(lambda users: np.arange(5, dtype=np.float32)[None], known)
    assert recommend(np.array([0]), 3, None).tolist() == [[4, 2, 1]]
    allowed = np.array([True, True, False, True, False])
    assert recommend(np.array([0]), 3, allowed).tolist() == [[1, 0, -1]]


def test_long_rows_become_lists() -> None:
    lists = choosing.from_table(np.array([7, 3]), np.array([3, 7, 7]), np.array([1, 5, 6]), 2)
    assert lists.tolist() == [[5, 6], [1, -1]]


def test_tuning_takes_the_best_on_validation_and_tells_of_edges(folder: Path) -> None:
    split = exchange.Split.read(folder, seed=0)

    def fit(settings: exchange.Settings, events: exchange.Events) -> exchange.Recommender:
        row = np.full(events.num_items, -1.0, np.float32)
        row[int(split.validation.item[0])] = settings["weight"]
        return choosing.by_scores(lambda users: np.tile(row, (len(users), 1)), events)

    outcome = choosing.tuned(split, exchange.Clock(0), {"weight": [-2, -3, 5]}, fit)
    assert outcome.settings == {"weight": 5}
    assert outcome.notes == ["weight is at the edge of its grid"]


def test_a_section_replaces_the_one_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    for section in ("## a\n\nold\n", "## b\n\nkept\n", "## a\n\nnew\n"):
        leaderboard_report._replace(path, section)
    text = path.read_text("utf-8")
    assert "old" not in text
    assert text.index("## a\n\nnew") < text.index("## b\n\nkept")


def test_every_row_has_its_script() -> None:
    for peer in leaderboard.PEERS.values():
        script = (ROOT / "benchmarks" / "peers" / peer.script).read_text("utf-8")
        assert f'"{peer.model}"' in script
