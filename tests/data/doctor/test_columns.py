"""Every column has its use, or is named as unused."""

from __future__ import annotations

import polars as pl

from penchant.data.doctor.columns import use_lines
from penchant.data.doctor.examination import examine
from penchant.data.read.sources import from_tables
from penchant.pipelines.recommendation import RecommendationConfig, columns_of_run

EVENTS = pl.DataFrame(
    {
        "user_id": ["u", "u", "v"],
        "item_id": ["a", "b", "a"],
        "at": [1_700_000_000, 1_700_100_000, 1_700_200_000],
        "value": [1.0, 2.0, 3.0],
        "text": ["Lovely colour", None, "Poor sole"],
        "device": ["phone", "phone", "tablet"],
        "basket": [1, 2, 3],
    }
)
ITEMS = pl.DataFrame({"item_id": ["a", "b"], "title": ["Shoe", "Boot"], "brand": ["x", "y"]})
USERS = pl.DataFrame({"user_id": ["u", "v"], "region": ["north", "south"], "gender": ["f", "m"]})


def uses(**settings: object) -> dict[tuple[str, str], tuple[str, ...]]:
    config = RecommendationConfig.read(settings, where="test")
    dataset = from_tables(EVENTS, ITEMS, USERS, config.data)
    found = examine(dataset, run=columns_of_run(dataset, config))
    assert "\n".join(use_lines(found.columns)) in "\n".join(found.lines())
    return {(use.table, use.column): use.uses for use in found.columns}


def test_the_default_guess_names_the_use_of_every_column() -> None:
    found = uses(data={"context": ["device"]})
    assert found["events", "text"] == ("channel review",)
    assert found["events", "device"] == ("circumstances",)
    assert found["events", "at"] == ("order", "circumstances")
    assert found["events", "value"] == found["events", "basket"] == ()
    assert found["items", "title"] == ("name", "channel text")
    assert found["items", "brand"] == ("channel attributes", "filters and interests")
    assert found["users", "region"] == ("channel user_attributes",)
    assert found["users", "gender"] == ("comparisons in the report alone",)


def test_what_the_settings_leave_out_is_not_used() -> None:
    found = uses(members={"popularity": {"model": "popularity"}}, content={}, histories={"values": True})
    assert found["events", "value"] == ("weight of the event",)
    assert found["events", "at"] == ("order",)
    for column in (("events", "text"), ("events", "device")):
        assert found[column] == ()
    assert found["items", "title"] == ("name",)
    assert found["items", "brand"] == ("filters and interests",)
    assert found["users", "region"] == ("comparisons in the report alone",)


def test_unused_columns_are_listed_together() -> None:
    config = RecommendationConfig.read({"members": {"popularity": {"model": "popularity"}}}, where="test")
    dataset = from_tables(EVENTS, ITEMS, USERS, config.data)
    lines = list(use_lines(examine(dataset, run=columns_of_run(dataset, config)).columns))
    assert "  not used: value, text, device, basket" in lines
