"""Parts that share nothing, and an order that no file decides."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import polars as pl
import pytest

from penchant.core.errors import ConfigError, DataError
from penchant.core.schema import Finding, Interactions, Split
from penchant.data.read.sources import from_tables
from penchant.data.split.interactions import SplitConfig, split

KINDS = ("user_time", "last_out", "global_time", "rolling_time", "random", "cold_items", "cold_users")


def events(num_users: int = 60, num_items: int = 40, num_events: int = 1200, step: int = 3600) -> Interactions:
    """Events in whole hours, so that many of one user share an instant."""
    draw = np.random.default_rng(7)
    table = {
        "user_id": [f"u{n}" for n in draw.integers(0, num_users, num_events)],
        "item_id": [f"i{n}" for n in draw.integers(0, num_items, num_events)],
        "at": 1_700_000_000 + draw.integers(0, 60, num_events) * step,
        "kind": draw.choice(["view", "like"], num_events),
        "value": draw.integers(1, 6, num_events),
    }
    return from_tables(pl.DataFrame(table)).interactions


def one_user(**columns: list[Any]) -> Interactions:
    return from_tables(pl.DataFrame(columns)).interactions


def rows(part: Interactions) -> list[tuple[Any, ...]]:
    return sorted(part.table.rows(), key=repr)


def parts(found: Split) -> list[list[tuple[Any, ...]]]:
    return [rows(found.train), rows(found.validation), rows(found.test)]


def check(found: Split, name: str) -> Finding:
    return next(f for f in found.checks if f.check == name)


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_is_lost_or_in_two_parts(kind: str) -> None:
    table = events()
    found = split(table, SplitConfig(kind=kind), 0)
    assert sorted(chain(*parts(found)), key=repr) == rows(table)
    assert found.kind == kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_file_order_does_not_matter(kind: str, seed: int) -> None:
    table = events()
    shuffled = Interactions(table.table.sample(fraction=1, shuffle=True, seed=3))
    backwards = Interactions(table.table.reverse())
    expected = parts(split(table, SplitConfig(kind=kind), seed))
    assert parts(split(shuffled, SplitConfig(kind=kind), seed)) == expected
    assert parts(split(backwards, SplitConfig(kind=kind), seed)) == expected


@pytest.mark.parametrize("kind", ["user_time", "last_out", "random", "cold_items", "cold_users"])
def test_another_seed_breaks_ties_otherwise(kind: str) -> None:
    table = events()
    assert parts(split(table, SplitConfig(kind=kind), 0)) != parts(split(table, SplitConfig(kind=kind), 1))


def test_ties_follow_neither_file_order_nor_item_id() -> None:
    """A hundred users touch items 0 to 9 in one instant after an older event; no item may stand in test more than chance allows."""
    ids = [(f"u{u}", f"i{i}", 1_700_000_000) for u in range(100) for i in range(10)]
    ids += [(f"u{u}", "old", 1_600_000_000) for u in range(100)]
    table = from_tables(pl.DataFrame(ids, schema=["user_id", "item_id", "at"], orient="row")).interactions
    found = split(table, SplitConfig(kind="last_out"), 0)
    counts = found.test.table["item_id"].value_counts()["count"]
    assert counts.len() == 10
    assert counts.max() < 25  # 10 expected, standard deviation 3
    assert check(found, "split.boundary_tie").count == 100


def test_last_tenth_of_each_user_is_test_and_the_one_before_validation() -> None:
    table = one_user(
        user_id=["u"] * 20 + ["v"] * 3 + ["w"] * 2,
        item_id=[f"i{n}" for n in range(20)] + ["i0", "i1", "i2"] + ["i3", "i4"],
        at=[1_700_000_000 + n for n in range(25)],
    )
    found = split(table, SplitConfig(kind="user_time"), 0)
    assert sorted(found.test.table["item_id"]) == ["i18", "i19", "i2"]
    assert sorted(found.validation.table["item_id"]) == ["i1", "i16", "i17"]
    assert "w" not in found.test.table["user_id"].to_list()
    assert found.train.table.filter(pl.col("user_id") == "w").height == 2
    assert check(found, "split.backward").count == 0
    assert check(found, "split.boundary_tie").count == 0


def test_last_out_takes_one_event_each() -> None:
    found = split(events(), SplitConfig(kind="last_out"), 0)
    for part in (found.validation, found.test):
        assert part.table["user_id"].is_unique().all()
    assert check(found, "split.backward").count == 0


def test_global_time_cuts_at_two_instants() -> None:
    table = events(step=61)
    found = split(table, SplitConfig(kind="global_time", test_share=0.2, validation_share=0.2), 0)
    spans = [(p.table["at"].min(), p.table["at"].max()) for p in (found.train, found.validation, found.test)]
    assert spans[0][1] < spans[1][0]  # type: ignore[operator]
    assert spans[1][1] < spans[2][0]  # type: ignore[operator]
    assert len(found.test) / len(table) == pytest.approx(0.2, abs=0.03)
    assert check(found, "split.backward").count == 0


def test_cold_users_have_no_event_in_training() -> None:
    found = split(events(), SplitConfig(kind="cold_users", test_share=0.25, validation_share=0.1), 0)
    users = [set(part.table["user_id"]) for part in (found.train, found.validation, found.test)]
    assert list(map(len, users)) == [39, 6, 15]
    assert len(set.union(*users)) == 60
    assert check(found, "split.unknown_user").count == 15
    with pytest.raises(DataError, match="0 users have 1000 events"):
        split(events(), SplitConfig(kind="cold_users", min_user_events=1000), 0)


def test_cold_items_leave_training_for_good() -> None:
    found = split(events(), SplitConfig(kind="cold_items", test_share=0.25, validation_share=0.1), 0)
    assert len(found.cold_items) == 10
    assert len(found.cold_validation_items) == 4
    assert set(found.test.table["item_id"]) == set(found.cold_items)
    assert set(found.validation.table["item_id"]) == set(found.cold_validation_items)
    assert not set(found.train.table["item_id"]) & {*found.cold_items, *found.cold_validation_items}
    with pytest.raises(DataError, match="0 items have 1000 events or more: too few to draw from"):
        split(events(), SplitConfig(kind="cold_items", min_item_events=1000), 0)


def test_published_parts_are_kept_and_repeats_counted() -> None:
    table = one_user(
        user_id=["u", "u", "u", "v"],
        item_id=["a", "b", "a", "b"],
        at=[1_700_000_000, 1_700_000_001, 1_700_000_000, 1_700_000_002],
        part=["train", "valid", "test", "test"],
    )
    found = split(table, SplitConfig(), 0)
    assert found.kind == "published"
    assert [len(p) for p in (found.train, found.validation, found.test)] == [1, 1, 2]
    assert "part" not in found.test.table.columns
    assert (check(found, "split.shared_event").count, check(found, "split.shared_event").severity) == (1, "warning")
    assert check(found, "split.repeated_pair").count == 1
    assert check(found, "split.unknown_user").count == 1
    with pytest.raises(DataError, match="The validation part is empty"):
        split(table.where(pl.col("part") != "validation"), SplitConfig(), 0)


def test_auto_takes_what_the_data_allow() -> None:
    table = events()
    assert split(table, SplitConfig(), 0).kind == "user_time"
    for at in (None, 1_700_000_000_000_000):
        flat = Interactions(table.table.with_columns(at=pl.lit(at).cast(pl.Datetime("us", "UTC"))))
        assert split(flat, SplitConfig(), 0).kind == "random"


def test_events_without_a_time_count_as_the_oldest() -> None:
    table = events().table
    some = Interactions(table.with_columns(at=pl.when(pl.int_range(pl.len()) % 9 != 0).then("at")))
    for kind in ("user_time", "global_time"):
        found = split(some, SplitConfig(kind=kind), 0)
        assert found.test.table["at"].null_count() == 0
        assert check(found, "split.no_time").count == some.table["at"].null_count()


@pytest.mark.parametrize("kind", ["user_time", "last_out", "global_time"])
def test_a_split_by_time_needs_times_that_differ(kind: str) -> None:
    table = events().table
    at = pl.lit(1_700_000_000_000_000).cast(pl.Datetime("us", "UTC"))
    with pytest.raises(DataError, match="all have the time 2023-11-14 22:13:20") as caught:
        split(Interactions(table.with_columns(at=at)), SplitConfig(kind=kind), 0)
    assert 'split.kind = "random"' in caught.value.fix
    with pytest.raises(DataError, match=f"have no time; a {kind} split needs times"):
        split(Interactions(table.with_columns(at=pl.lit(None, table.schema["at"]))), SplitConfig(kind=kind), 0)


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(DataError, match="There is no `part` column"):
        split(events(), SplitConfig(kind="published"), 0)
    two = one_user(user_id=["u", "v"], item_id=["a", "b"], at=[1_700_000_000, 1_700_000_001])
    with pytest.raises(DataError, match="2 events of 2 users are too few to divide"):
        split(two, SplitConfig(kind="user_time"), 0)
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        SplitConfig.read({"test_share": 0.5, "validation_share": 0.5}, where="run.toml [split]")


def test_the_last_event_after_a_long_gap_is_the_test_and_the_one_before_it_validation() -> None:
    hours = {"a": [0, 1, 9, 10, 20, 21], "b": [0, 5, 6], "c": [0, 1, 2], "d": [0, 7]}
    table = one_user(
        user_id=[user for user, own in hours.items() for _ in own],
        item_id=[f"{user}{n}" for user, own in hours.items() for n in range(len(own))],
        at=[1_700_000_000 + hour * 3600 for own in hours.values() for hour in own],
    )
    found = split(table, SplitConfig(kind="last_out", min_gap_hours=5), 0)
    assert sorted(found.test.table["item_id"]) == ["a4", "b1"]
    assert found.validation.table["item_id"].to_list() == ["a2"]
    assert found.between is not None
    assert found.between.table["item_id"].to_list() == ["a3"]
    assert sorted(found.train.table["item_id"]) == ["a0", "a1", "b0", "c0", "c1", "c2", "d0", "d1"]
    assert check(found, "split.after_test").count == 2
    assert [len(part) for part in found.before_test] == [8, 1, 1]


def test_users_of_one_session_leave_nothing_to_test() -> None:
    table = one_user(user_id=["u"] * 5, item_id=list("abcde"), at=[1_700_000_000 + n for n in range(5)])
    with pytest.raises(DataError, match="too few users have an event at least 1 hours after"):
        split(table, SplitConfig(kind="last_out", min_gap_hours=1), 0)


def test_a_rolling_split_cuts_as_global_time_does_and_counts_repeats_of_all_that_follows() -> None:
    table = events(step=61)
    rolled, cut = (split(table, SplitConfig(kind=kind), 0) for kind in ("rolling_time", "global_time"))
    assert parts(rolled) == parts(cut)
    found = check(rolled, "split.repeated_pair")
    assert found.total == len(rolled.validation) + len(rolled.test)
    seen: dict[tuple[str, str], Any] = {}
    repeats = 0
    held = pl.concat([rolled.validation.table, rolled.test.table])
    for user, item, at in table.table.select("user_id", "item_id", "at").sort("at").iter_rows():
        first = seen.setdefault((user, item), at)
        repeats += at > first and at >= held["at"].min()
    assert found.count == repeats > 0


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"kind": "user_time", "min_gap_hours": 1}, "min_gap_hours is a setting"),
        ({"kind": "last_out", "refits": 2}, "refits is a setting"),
        ({"kind": "global_time", "max_requests": 10}, "max_requests is a setting"),
        ({"kind": "rolling_time", "request_time": "hidden"}, "the time of a request is known"),
        ({"kind": "rolling_time", "refits": 0}, "refits"),
    ],
)
def test_settings_of_another_kind_of_split_are_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SplitConfig.read(table, where="the test")


def invoices() -> Interactions:
    """Two users with three invoices each, of one to three items; a third with two invoices and five events; a fourth with an unknown time."""
    lines = [
        ("a", "i1", 1), ("a", "i2", 1), ("a", "i3", 2), ("a", "i4", 3), ("a", "i5", 3), ("a", "i6", 3),
        ("b", "i1", 4), ("b", "i2", 5), ("b", "i3", 5), ("b", "i4", 6),
        ("c", "i1", 1), ("c", "i2", 1), ("c", "i3", 1), ("c", "i4", 2), ("c", "i5", 2),
        ("d", "i1", None), ("d", "i2", None), ("d", "i3", 7), ("d", "i4", 8),
    ]  # fmt: skip
    table = pl.DataFrame(lines, schema=["user_id", "item_id", "at"], orient="row")
    return from_tables(table.with_columns(at=1_700_000_000 + pl.col("at") * 3600)).interactions


def items_of(part: Interactions) -> dict[str, list[str]]:
    grouped = part.table.sort("item_id").group_by("user_id", maintain_order=True).agg("item_id")
    return dict(sorted(grouped.iter_rows()))


@pytest.mark.parametrize("seed", [0, 1])
def test_instants_are_held_out_whole(seed: int) -> None:
    found = split(invoices(), SplitConfig(kind="last_out", unit="instant"), seed)
    assert items_of(found.test) == {"a": ["i4", "i5", "i6"], "b": ["i4"], "d": ["i4"]}
    assert items_of(found.validation) == {"a": ["i3"], "b": ["i2", "i3"], "d": ["i3"]}
    assert items_of(found.train) == {
        "a": ["i1", "i2"],
        "b": ["i1"],
        "c": ["i1", "i2", "i3", "i4", "i5"],
        "d": ["i1", "i2"],
    }
    assert check(found, "split.boundary_tie").count == 0


def test_shares_of_a_user_can_count_instants() -> None:
    """Ten invoices of two items: a tenth is one invoice; events alone would be cut at two items too, but from any invoice's items."""
    lines = [("u", f"i{n}{letter}", 1_700_000_000 + n * 3600) for n in range(10) for letter in "ab"]
    table = from_tables(pl.DataFrame(lines, schema=["user_id", "item_id", "at"], orient="row")).interactions
    found = split(table, SplitConfig(kind="user_time", unit="instant", test_share=0.3), 0)
    assert items_of(found.test) == {"u": [f"i{n}{letter}" for n in (7, 8, 9) for letter in "ab"]}
    assert items_of(found.validation) == {"u": ["i6a", "i6b"]}


def test_instants_are_refused_where_no_user_is_cut() -> None:
    with pytest.raises(ConfigError, match="needs kind = "):
        SplitConfig.read({"kind": "random", "unit": "instant"}, where="split")
