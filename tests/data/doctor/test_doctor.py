from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from penchant.core.schema import INTERACTION_SCHEMA, Catalog, Dataset, Finding, Interactions, Split, Users
from penchant.data.doctor.columns import RunColumns
from penchant.data.doctor.examination import examine
from penchant.data.doctor.warnings import MAX_CONCERNS, finding_lines
from penchant.data.event_weights import HistoriesConfig
from penchant.data.split.interactions import SplitConfig, split
from penchant.data.split.leakage import find_ties

BEGAN = datetime(2024, 1, 1, tzinfo=UTC)


def events(rows: list[tuple]) -> pl.DataFrame:
    """Rows of user, item, minutes (None: no time), and perhaps a kind."""
    table = [
        (u, i, None if m is None else BEGAN + timedelta(minutes=m), *(kind or ["view"]), 1.0) for u, i, m, *kind in rows
    ]
    return pl.DataFrame(table, schema=INTERACTION_SCHEMA, orient="row")


def shop(table: pl.DataFrame, items: dict | None = None, **settings) -> Dataset:
    return Dataset(Catalog(pl.DataFrame(items or {"item_id": ["1", "2", "3", "4"]}), **settings), Interactions(table))


def test_examine_counts_what_is_there() -> None:
    table = events([("u", "1", 0), ("u", "2", 60 * 24), ("v", "1", 10), ("v", "1", 20)])
    items = {
        "item_id": ["1", "2", "3", "4"],
        "plot": ["a film", "一部电影", None, None],
        "poster": ["a.png", None, "c.png", None],
        "genre": ["x", "x", "y", "y"],
        "tags": [["p", "q"], ["p"], ["q"], None],
    }
    diagnosis = examine(
        shop(
            table, items, text_columns=("plot",), media_columns={"image": "poster"}, attribute_columns=("genre", "tags")
        )
    )
    sizes, (text, image), popularity = diagnosis.sizes, diagnosis.coverage, diagnosis.popularity
    assert (sizes.users, sizes.items, sizes.events, sizes.days) == (2, 4, 4, 1.0)
    assert sizes.density == pytest.approx(3 / 8)
    assert sizes.events_per_user == (2, 2, 2, 2, 2, 2)
    assert (text.items, text.events) == (0.5, 1.0)
    assert (image.items, image.events) == (0.5, 0.75)
    assert image.by_category == {"genre": {"x": (2, 0.5), "y": (2, 0.5)}, "tags": {"p": (2, 0.5), "q": (2, 1.0)}}
    assert (popularity.untouched, popularity.untouched_bare) == (2, 1)
    assert popularity.top_percent == 0.75
    assert popularity.gini == pytest.approx(0.625)  # by hand: counts 0, 0, 1, 3
    assert diagnosis.languages == {"en": 0.5, "zh": 0.5}


def test_gini_is_zero_when_all_are_equal() -> None:
    popularity = examine(shop(events([("u", str(n), n) for n in range(1, 5)]))).popularity
    assert popularity.gini == pytest.approx(0.0)


def test_find_ties_sees_file_order() -> None:
    sorted_rows = [(f"u{u}", str(i), 0) for u in range(20) for i in (2, 3, 10, 11, 12)]  # by number, not by text
    ties = find_ties(events(sorted_rows))
    assert (ties.untimed, ties.last_two, ties.file_order) == (0.0, 1.0, 1.0)
    shuffled = [sorted_rows[n] for n in np.random.default_rng(0).permutation(100)]
    assert find_ties(events(shuffled)).file_order < 0.2
    in_time = [(user, item, n) for n, (user, item, _) in enumerate(shuffled)]
    assert find_ties(events(in_time)).last_two == 0.0
    assert find_ties(events([("u", "b", None), ("u", "a", 1)])).untimed == 0.5
    assert find_ties(events([])).last_two == 0.0


def test_examine_ties_in_file_order_are_a_concern() -> None:
    rows = [(f"u{u}", str(i), 0) for u in range(300) for i in range(6)]
    concerns = examine(
        shop(events(rows), {"item_id": [str(i) for i in range(6)], "t": ["x"] * 6}, text_columns=("t",))
    ).concerns
    assert "The last two events of 100% of users share a time" in concerns[0].what
    assert "seeded random order" in concerns[0].fix


def test_examine_ties_of_the_last_two_events_matter_where_the_last_one_is_predicted() -> None:
    rows = [
        (f"u{u}", str(i), n // 2) for u in range(300) for n, i in enumerate(np.random.default_rng(u).permutation(6))
    ]
    dataset = shop(events(rows), {"item_id": [str(i) for i in range(6)], "t": ["x"] * 6}, text_columns=("t",))
    for kind, matters in (("last_out", True), ("user_time", False)):
        concerns = examine(dataset, split(dataset.interactions, SplitConfig(kind=kind), 0)).concerns
        assert any("which came last is random" in concern.what for concern in concerns) == matters


def test_examine_columns_computed_from_the_outcome_are_named() -> None:
    random = np.random.default_rng(0)
    rows = []
    liked = random.random(40)
    for item in range(40):
        for n in range(int(random.integers(10, 60))):
            rows.append((f"u{n}", str(item), n, "like" if random.random() < liked[item] else "skip"))
    table = events(rows)
    counted = table.group_by("item_id").agg(n=pl.len(), liked=(pl.col("kind") == "like").mean())
    items = pl.DataFrame({"item_id": [str(item) for item in range(40)], "price": random.random(40), "flat": [1] * 40})
    dataset = Dataset(
        Catalog(items.join(counted, on="item_id", maintain_order="left")),
        Interactions(table),
        Users(table.group_by("user_id").agg(visits=-pl.len().cast(pl.Int64))),
    )
    outcomes = {(o.table, o.column): o for o in examine(dataset).outcomes}
    assert set(outcomes) == {("items", "n"), ("items", "liked"), ("users", "visits")}
    assert outcomes["items", "n"].statistic == "number of events"
    assert outcomes["items", "liked"].statistic in {"share of 'like'", "share of 'skip'"}
    assert outcomes["users", "visits"].correlation == pytest.approx(-1.0)
    assert "leave 'n' out" in " ".join(concern.fix for concern in examine(dataset).concerns)


def parts(kind: str, train: list[tuple], validation: list[tuple], test: list[tuple]) -> Split:
    return Split(kind, *(Interactions(events(part)) for part in (train, validation, test)))


@pytest.mark.parametrize(
    ("kind", "test", "early", "ahead"),
    [
        ("user_time", [("u", "4", 5), ("v", "4", 30)], 0.0, 0.5),  # u ended at 2, v at 20
        ("user_time", [("u", "4", 1), ("v", "4", 30)], 0.5, 0.5),
        ("last_out", [("u", "4", 1), ("v", "4", 15)], 1.0, 1.0),
        ("global_time", [("u", "4", 15), ("v", "4", 30)], 0.5, 0.5),
        ("random", [("u", "4", 15), ("v", "4", 30)], 0.0, 0.5),
        ("user_time", [("u", "4", None), ("new", "4", 30)], 0.0, 0.0),
    ],
)
def test_examine_events_out_of_order(kind: str, test: list[tuple], early: float, ahead: float) -> None:
    split = parts(kind, [("u", "1", 2), ("v", "1", 20)], [("u", "2", 3)], test)
    table = pl.concat([split.train.table, split.validation.table, split.test.table])
    diagnosis = examine(shop(table), split)
    assert diagnosis.leaks is not None
    assert (diagnosis.leaks.early, diagnosis.leaks.ahead) == (early, ahead)
    assert (early > 0) == any("this split excludes" in concern.what for concern in diagnosis.concerns)


def test_examine_rows_in_two_parts_are_counted() -> None:
    split = parts(
        "random", [("u", "1", 1), ("v", "1", 2)], [("u", "2", 3)], [("u", "1", 1), ("u", "2", 9), ("v", "3", 9)]
    )
    leaks = examine(shop(split.train.table), split).leaks
    assert leaks is not None
    assert (leaks.same_rows, leaks.same_pairs) == (1, 2)


def test_examine_passes_findings_on_and_ranks_errors_first() -> None:
    findings = (
        Finding("image.missing", 40, 100, "masked", ("item 1, a.png",), "add the files", "warning"),
        Finding("image.duplicate", 90, 100, "kept"),
        Finding("events.impossible_time", 60, 100, "masked", (), "state the unit", "error"),
    )
    dataset = shop(events([("u", "1", 1)]))
    diagnosis = examine(Dataset(dataset.catalog, dataset.interactions, None, findings))
    assert diagnosis.concerns[0].what == "events.impossible_time: 60 of 100 (60.0%) masked."
    assert diagnosis.concerns[0].fix == "state the unit"
    assert len(diagnosis.concerns) <= MAX_CONCERNS
    weights = [concern.weight for concern in diagnosis.concerns]
    assert weights == sorted(weights, reverse=True)
    text = "\n".join(diagnosis.lines())
    assert "Warnings, most harmful first" in text
    assert "    item 1, a.png" in text
    assert json.loads(json.dumps(diagnosis.as_dict()))["sizes"]["users"] == 1


def test_examine_nothing_at_all() -> None:
    diagnosis = examine(shop(events([]), {"item_id": pl.Series([], dtype=pl.String)}))
    assert (diagnosis.sizes.users, diagnosis.sizes.items, diagnosis.popularity.gini) == (0, 0, 0.0)
    assert diagnosis.lines()
    assert json.dumps(diagnosis.as_dict())


def test_examine_real_films_finds_the_count_and_the_file_order(shared_data: Path) -> None:
    root = shared_data / "ml1m_mm"
    table = pl.read_csv(root / "interactions.csv.gz", schema_overrides={"user_id": pl.String, "item_id": pl.String})
    at = pl.from_epoch(pl.col("timestamp").cast(pl.Int64, strict=False)).cast(pl.Datetime("us", "UTC"))
    table = table.select("user_id", "item_id", at=at, kind=pl.lit("rating"), value=pl.col("rating").cast(pl.Float32))
    items = pl.read_csv(root / "items.csv", schema_overrides={"item_id": pl.String})
    diagnosis = examine(Dataset(Catalog(items, text_columns=("plot",)), Interactions(table)))
    assert diagnosis.ties.file_order > 0.99
    assert 0.25 < diagnosis.ties.last_two < 0.45
    assert [outcome.column for outcome in diagnosis.outcomes] == ["n_interactions"]


def test_kinds_are_listed_with_their_weights_and_the_nearest_known_name() -> None:
    rows = [
        ("u", "1", 0, "like"),
        ("u", "2", 1, "liek"),
        ("v", "1", 2, "liek"),
        ("v", "3", 3, "zzz"),
        ("v", "4", 4, "skip"),
    ]
    found = examine(shop(events(rows)), histories=HistoriesConfig(kinds={"Own": 0.3}))
    assert [(k.kind, k.events, k.weight, k.suggestion, k.is_known) for k in found.kinds] == [
        ("liek", 2, 1.0, "like", False),
        ("like", 1, 1.0, "", True),
        ("skip", 1, -0.5, "", True),
        ("zzz", 1, 1.0, "", False),
    ]
    (noticed,) = [f for f in found.findings if f.check == "events.unknown_kind"]
    assert (noticed.count, noticed.total, noticed.severity) == (3, 5, "warning")
    assert noticed.examples == ("“liek”: 2; did you mean “like”?", "“zzz”: 1")
    assert "  liek: 2 events, +1  not known: did you mean 'like'?" in found.lines()
    known = examine(shop(events(rows)), histories=HistoriesConfig(kinds={"liek": 0.5, "zzz": 0}))
    assert all(k.is_known for k in known.kinds)
    assert not any(f.check == "events.unknown_kind" for f in known.findings)


@pytest.mark.parametrize("kind", ["auto", "random"])
def test_data_without_any_time_is_examined(kind: str) -> None:
    table = events([(f"u{u}", str(i), None) for u in range(10) for i in range(1, 5)])
    parts = split(Interactions(table), SplitConfig(kind=kind), 0)
    leaks = examine(shop(table), parts).leaks
    assert leaks is not None
    assert (leaks.early, leaks.ahead) == (0.0, 0.0)


def test_how_data_was_read_is_told_without_a_count() -> None:
    findings = (
        Finding("items.roles", 3, 14, "kept", ("text: title",), "types of the columns"),
        Finding("items.codes", 0, 14, "kept", (), "nothing"),
        Finding("events.duplicate", 2, 9, "dropped", (), "the last stays"),
        Finding("text.duplicate", 6, 20, "kept", (), "equal texts"),
    )
    lines = list(finding_lines(findings))
    assert "  items.roles: types of the columns" in lines
    assert "  events.duplicate: 2 of 9 dropped; the last stays" in lines
    assert "  text.duplicate: 6 of 20; equal texts" in lines, (
        "what was left as it is does not read as if the others were dropped"
    )
    assert not any("3 of 14" in line or "items.codes" in line for line in lines)


def test_how_files_were_read_is_no_harm_and_languages_only_where_the_encoder_lacks_them() -> None:
    rows = [(f"u{u}", str(i), i) for u in range(300) for i in range(1, 5)]
    items = {"item_id": ["1", "2", "3", "4"], "t": ["一部电影", "两部电影", "三部电影", "四部电影"]}
    found = replace(
        shop(events(rows), items, text_columns=("t",)),
        findings=(Finding("files.encoding", 1, 1, "repaired", (), "GB 18030", "warning"),),
    )
    told = [c.what for c in examine(found).concerns]
    assert not any("files.encoding" in what for what in told)
    assert any("not English" in what for what in told)
    run = RunColumns(items={}, events={}, users={}, english_only=False)
    assert not any("not English" in c.what for c in examine(found, run=run).concerns)
