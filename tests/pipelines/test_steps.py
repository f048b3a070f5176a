"""The steps of a run as functions: a split, measured lists, models of one's own on prepared data, progress."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import penchant
from penchant.core.errors import ConfigError, DataError
from penchant.core.logs import Progress
from penchant.core.schema import Content
from penchant.metrics import METRICS
from penchant.models import EASE, MODELS, ItemKNN, Popularity
from penchant.models.member import Member, make_member


def events(num_users: int = 40, num_items: int = 12) -> pl.DataFrame:
    """Return users who prefer even or odd items, six events each."""
    rng = np.random.default_rng(0)
    rows = [
        {"user_id": f"u{user:02}", "item_id": f"i{item:02}", "at": 1_600_000_000 + 3600 * place}
        for user in range(num_users)
        for place, item in enumerate(rng.permutation(num_items // 2)[:5] * 2 + user % 2)
    ]
    return pl.DataFrame(rows)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_split_of_a_table_has_each_users_last_event_in_test() -> None:
    parts = penchant.split(events().to_pandas(), "last_out", seed=1)
    last = events().filter(pl.col("at") == pl.col("at").max().over("user_id")).select("user_id", "item_id")
    assert parts.test.table.select("user_id", "item_id").sort("user_id").equals(last.sort("user_id"))
    assert len(parts.train) + len(parts.validation) + len(parts.test) == events().height
    with pytest.raises(ConfigError, match="kind"):
        penchant.split(events(), "last")
    with pytest.raises(ConfigError, match="test_shar"):
        penchant.split(events(), "random", test_shar=0.2)


def test_a_split_reads_columns_of_other_names() -> None:
    renamed = events().rename({"user_id": "customer", "item_id": "sku"})
    parts = penchant.split(renamed, "last_out", columns={"user_id": "customer", "item_id": "sku"})
    assert parts.test.table.sort("user_id").equals(penchant.split(events(), "last_out").test.table.sort("user_id"))


def test_lists_of_any_origin_are_measured_by_rank_by_score_and_by_order() -> None:
    truth = pl.DataFrame({"user_id": ["a", "b", "c"], "item_id": ["x", "y", "z"]})
    lists = pl.DataFrame({"user_id": ["a", "a", "b", "b"], "item_id": ["y", "x", "y", "z"], "rank": [1, 2, 1, 2]})
    found = penchant.measure(lists, truth, ks=[1, 2], metrics=["ndcg", "recall"])
    assert found["user_id"].to_list() == ["a", "b", "c"]
    assert found["recall@1"].to_list() == [0, 1, 0]  # c has no list
    assert found["recall@2"].to_list() == [1, 1, 0]
    assert np.allclose(found["ndcg@2"], [1 / np.log2(3), 1, 0])
    assert penchant.measure(lists.reverse(), truth, ks=[1, 2], metrics=["ndcg", "recall"]).equals(found)
    shuffled = lists.with_columns(score=-pl.col("rank").cast(pl.Float64)).drop("rank").reverse()
    assert penchant.measure(shuffled.to_arrow(), truth, ks=[1, 2], metrics=["ndcg", "recall"]).equals(found)
    assert penchant.measure(lists.drop("rank").to_pandas(), truth, ks=[1, 2], metrics=["ndcg", "recall"]).equals(found)
    with pytest.raises(DataError, match="no column 'item_id'"):
        penchant.measure(lists.rename({"item_id": "movie"}), truth)
    with pytest.raises(DataError, match="twice"):
        penchant.measure(pl.concat([lists, lists]), truth, ks=[5])


@pytest.mark.parametrize("unknown", [None, float("nan")])
@pytest.mark.parametrize(("column", "best", "second"), [("rank", 1.0, 2.0), ("score", 0.9, -0.1)])
def test_an_item_without_a_number_stands_last_in_its_list(
    column: str, best: float, second: float, unknown: float | None
) -> None:
    truth = pl.DataFrame({"user_id": ["a", "a"], "item_id": ["x", "y"]})
    lists = pl.DataFrame({"user_id": ["a"] * 3, "item_id": ["z", "y", "x"], column: [unknown, second, best]})
    found = penchant.measure(lists, truth, ks=[1, 2, 3], metrics=["precision"])
    assert found.row(0)[1:] == pytest.approx((1, 1, 2 / 3))


def test_a_model_by_name_fits_and_recommends_on_prepared_data() -> None:
    data = penchant.prepare(interactions=events(), content={}, split={"kind": "last_out"})
    model = EASE(regularisation=5).fit(data.validation.train)
    lists = model.recommend(data.validation.histories, k=3)
    table = lists.table(data.dataset.catalog.item_ids)
    assert table.columns == ["user_id", "item_id", "rank", "score"]
    known = data.validation.histories.rows(0, 1)
    mine = table.filter(pl.col("user_id") == "u00")["item_id"].to_list()
    assert len(mine) == 3
    assert not set(mine) & {data.dataset.catalog.item_ids[row] for row in known.item_index}
    assert int(mine[0][1:]) % 2 == 0  # u00 prefers even items
    by_table = make_member("ease", {"model": "ease", "regularisation": 5}).fit(data.validation.train, Content())
    assert np.array_equal(by_table.score(known), model.score(known))


def test_compared_models_are_ranked_with_paired_intervals() -> None:
    data = penchant.prepare(interactions=events(), content={}, split={"kind": "last_out"})
    found = penchant.compare(data, {"popularity": Popularity(), "EASE": EASE(regularisation=5), "kNN": ItemKNN()}, k=3)
    rows = {row["model"]: row for row in found.to_dicts()}
    assert found["model"].to_list()[-1] == "popularity"
    assert rows["popularity"]["difference"] is None
    gap = rows["EASE"]["ndcg@3"] - rows["popularity"]["ndcg@3"]
    assert rows["EASE"]["difference"] == pytest.approx(gap)
    assert rows["EASE"]["outcome"] == "better"
    assert rows["EASE"]["difference low"] < gap < rows["EASE"]["difference high"]
    model = EASE(regularisation=5).fit(data.validation.train)
    lists = model.recommend(data.validation.histories, 3, tie_order=data.validation.tie_order)
    truth = data.parts.validation.table
    by_hand = penchant.measure(lists.table(data.dataset.catalog.item_ids), truth, ks=[3])
    assert rows["EASE"]["ndcg@3"] == pytest.approx(by_hand["ndcg@3"].mean())


def test_a_ranked_test_is_counted_for_the_report() -> None:
    settings: dict[str, Any] = {"content": {}, "split": {"kind": "last_out"}, "fit": {"ablation": False}}
    data = penchant.prepare(interactions=events(), **settings)
    penchant.compare(data, {"EASE": EASE()}, on="test")
    ease = {"popularity": {"model": "popularity"}, "ease": {"model": "ease"}}
    report = penchant.run(interactions=events(), members=ease, **settings).report.read()
    assert any("ranked this test 2 times" in line for line in report["protocol"])


@pytest.mark.parametrize("refit", [True, False])
def test_events_that_look_ahead_are_those_that_members_learned_from(refit: bool) -> None:
    late = events().with_columns(at=pl.col("at") + 3600 * pl.col("user_id").str.slice(1).cast(pl.Int64))
    settings: dict[str, Any] = {
        "content": {},
        "split": {"kind": "last_out"},
        "fit": {"ablation": False, "refit": refit},
    }
    found = penchant.run(interactions=late, members={"popularity": {"model": "popularity"}}, **settings)
    # user n has events at the hours n to n + 4: three of train, one of validation, one of the test
    learned = [user + place for user in range(40) for place in range(4 if refit else 3)]
    share = np.mean([np.mean(np.array(learned) > user + 4) for user in range(40)])
    (said,) = [line for line in found.report.read()["protocol"] if "looks ahead" in line]
    assert f"on average, {share:.0%} of the events" in said


def test_what_cannot_be_compared_says_so() -> None:
    data = penchant.prepare(interactions=events(), content={}, split={"kind": "last_out"})
    with pytest.raises(ConfigError, match="no part 'tests'"):
        penchant.compare(data, {"EASE": EASE()}, on="tests")
    with pytest.raises(ConfigError, match="no model"):
        penchant.compare(data, {})
    rolling = penchant.prepare(interactions=events(), content={}, split={"kind": "rolling_time", "test_share": 0.3})
    with pytest.raises(ConfigError, match="rolling"):
        penchant.compare(rolling, {"EASE": EASE()})
    with pytest.raises(ConfigError, match="Only a recommendation task"):
        penchant.prepare(task="classification", data={"path": "reviews.csv"})


def test_what_a_cell_ends_with_is_shown_in_a_line() -> None:
    data = penchant.prepare(interactions=events(), content={}, split={"kind": "last_out"})
    assert repr(data).startswith("Prepared(users 40, items 12, split last_out, train events 120")
    assert "<td>120</td>" in data._repr_html_()
    members = {"ease": {"model": "ease"}}
    shop = penchant.run(interactions=events(), content={}, members=members, fit={"ablation": False}, name="<shop>")
    assert repr(shop) == "Recommender('<shop>': 40 users, 12 items, ease)"
    assert shop._repr_html_().startswith("<iframe")
    assert replace(shop, folder=None)._repr_html_() == f"<p>{escape(repr(shop))}</p>"


def test_settings_of_a_model_are_checked() -> None:
    with pytest.raises(ConfigError, match="regularisation"):
        EASE(regularisation=-5)
    with pytest.raises(ConfigError, match="regularization"):
        EASE(regularization=5)
    with pytest.raises(ConfigError, match="has a settings object"):
        EASE(EASE.config_class(), regularisation=5)


def test_names_of_a_package_are_its_classes_and_nothing_else() -> None:
    assert METRICS.load("ndcg") is __import__("penchant.metrics", fromlist=["ndcg"]).ndcg
    assert "EASE" in dir(penchant.models)
    with pytest.raises(AttributeError, match="no model 'EESE'"):
        _ = penchant.models.EESE
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        _ = penchant.runs


class Oldest(Member):
    """Ranks the first items of the catalog first."""

    def fit(self, train, content=Content.NONE):
        self.num_items = train.num_items
        return self

    def score(self, histories):
        return np.tile(-np.arange(self.num_items, dtype=np.float32), (len(histories), 1))

    def contributions(self, history):
        return self.score(history)[0], np.zeros((history.num_events, self.num_items), np.float32)

    def arrays(self):
        return {"num_items": np.array([self.num_items])}

    def restore(self, arrays):
        self.num_items = int(arrays["num_items"][0])
        return self


Oldest.config_class = Popularity.config_class


def test_an_own_model_takes_part_in_a_run_of_this_process() -> None:
    MODELS.add("oldest", Oldest)
    MODELS.add("oldest", Oldest)  # a cell is run twice
    try:
        members = {"oldest": {"model": "oldest"}}
        shop = penchant.run(interactions=events(), content={}, members=members, fit={"ablation": False})
        found = penchant.load(shop.folder).recommend(shop.history_of(["i01"]), k=3)
        assert [one.item_id for one in found] == ["i00", "i02", "i03"]
        assert "oldest" in MODELS.names()
    finally:
        del MODELS._added["oldest"]
    with pytest.raises(ConfigError, match="already"):
        MODELS.add("ease", Oldest)
    with pytest.raises(ConfigError, match="not a subclass of Member"):
        MODELS.add("text", str)


def test_progress_is_told_and_may_stop_the_run() -> None:
    told: list[Progress] = []
    settings: dict[str, Any] = {"content": {}, "members": {"ease": {"model": "ease"}}, "fit": {"ablation": False}}
    penchant.run(interactions=events(), progress=told.append, **settings)
    ended = [one.title for one in told if one.done == one.total]
    assert [title for title in ended if title in ("read", "split", "fit", "evaluate", "write")] == [
        "read",
        "split",
        "fit",
        "evaluate",
        "write",
    ]
    assert all(0 <= one.done <= one.total and one.seconds >= 0 for one in told)

    def stop(one: Progress) -> None:
        if one.title == "fit":
            raise TimeoutError

    with pytest.raises(TimeoutError):
        penchant.run(interactions=events(), progress=stop, name="stopped", **settings)
    assert not Path("runs/stopped").exists()
    told.clear()
    penchant.run(interactions=events(), **settings)
    assert not told


def test_lists_filters_and_similar_items_are_tables() -> None:
    colours = pl.DataFrame({"item_id": [f"i{n:02}" for n in range(12)], "colour": ["red", "blue", "green"] * 4})
    members = {"ease": {"model": "ease", "regularisation": 5}, "popularity": {"model": "popularity"}}
    shop = penchant.run(
        interactions=events(), items=colours, content={}, members=members, fit={"ablation": False}, name="colours"
    )
    table = shop.recommend_table(k=2, where=["colour:red"])
    assert table.columns == ["user_id", "rank", "item_id", "title", "score"]
    assert set(table.join(colours, on="item_id")["colour"]) == {"red"}
    one = shop.recommend("u03", k=2, where=["colour:red"])
    assert table.filter(pl.col("user_id") == "u03")["item_id"].to_list() == [s.item_id for s in one]
    few = shop.recommend_table(["u01", shop.history_of(["i02"])], 3, reasons=True)
    assert few["user_id"].unique(maintain_order=True).to_list() == ["u01", "new user"]
    assert few["why"].str.len_chars().min() > 0
    near = shop.similar("i00", k=3)
    assert len(near) == len(list(near)) == 3
    assert near[0].item_id in near._repr_html_()
    with pytest.raises(ConfigError, match="colours"):
        shop.recommend("u03", colours=["red"])


def test_the_import_is_light_and_has_a_version() -> None:
    code = "import sys, penchant; print(penchant.__version__, *[m for m in ('polars', 'numpy', 'torch') if m in sys.modules])"
    here = {**os.environ, "PYTHONPATH": str(Path(penchant.__file__).parents[1])}

    def said(*arguments: str) -> str:
        call = [sys.executable, *arguments]
        return subprocess.run(call, capture_output=True, text=True, check=True, env=here).stdout

    assert said("-c", code).split() == [penchant.__version__]
    assert said("-m", "penchant", "--version") == f"penchant {penchant.__version__}\n"
