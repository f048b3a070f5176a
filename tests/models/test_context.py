"""Popularity under the circumstances of a request: against a plain formula, and what unknown circumstances say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from hand_made import histories
from penchant.core.schema import Content, Histories, Interactions, UserChannel, UserContent, UserEmbeddings, Vocabulary
from penchant.data.context import ContextConfig, read_context
from penchant.data.event_weights import HistoriesConfig
from penchant.data.histories import build_histories
from penchant.models.context import ContextPopularity, ContextPopularityConfig

ITEMS = 4
DEVICES = UserEmbeddings(
    "device", "attribute", "requests", np.eye(2, dtype=np.float32), "context", labels=("phone", "tablet")
)
CONTENT = Content({}, None, {"device": "context"})


def people(requested: list[int] | None) -> Histories:
    given = histories([[0, 1, 1], [2, 3, 0], [3, 3]], ITEMS, [[1, 1, 1], [1, 1, -1], [1, 1]])
    row = np.array([0, 0, -1, 1, 1, 0, 1, 1], np.int32)
    asked = None if requested is None else np.array(requested, np.int32)
    return replace(given, user_channels={"device": UserChannel(DEVICES, row, asked)})


def member() -> ContextPopularity:
    config = ContextPopularityConfig.read({"pseudo_events": 3}, where="test")
    return ContextPopularity(config, name="context").fit(people(None), CONTENT)


def test_the_score_is_the_smoothed_log_lift_of_the_requests_device() -> None:
    phone, tablet = np.array([1, 1, 0, 0]), np.array([0, 0, 1, 3])  # likes whose device is known
    overall = (phone + tablet + 0.5) / (6 + 2)
    expected = [np.log((count + 3 * overall) / (count.sum() + 3) / overall) for count in (tablet, phone)]
    scores = member().score(people([1, 0, -1]))
    np.testing.assert_allclose(scores[:2], expected, rtol=1e-5)
    assert not scores[2].any()
    assert not member().score(people(None)).any()


@pytest.fixture
def events() -> Interactions:
    start = datetime(2024, 1, 1, 9, 30, tzinfo=UTC)
    rows = [
        {
            "user_id": f"u{n % 3}",
            "item_id": "abcd"[n % 4],
            "at": start + timedelta(hours=7 * n),
            "kind": "like",
            "value": None,
        }
        for n in range(60)
    ]
    table = pl.DataFrame(rows, schema_overrides={"value": pl.Float32}).with_columns(
        pl.col("at").cast(pl.Datetime("us", "UTC"))
    )
    device = pl.Series("context:device", [*(["phone", "tablet"] * 30)[:58], "watch", None])
    return Interactions(table.with_columns(device, pl.lit("yes").alias("context:online")))


def test_circumstances_are_read_from_columns_and_times(events: Interactions) -> None:
    read, channels, findings = read_context(events, ["device", "online"], ContextConfig(min_events=5))
    assert channels["device"].labels == ("phone", "tablet")
    assert len(channels["weekday"].labels) == 7
    assert len(channels["hour"].labels) == 6
    assert "online" not in channels
    assert [finding.examples for finding in findings] == [("online",)]
    rows = read.table["vector:device"].to_list()
    assert rows[:3] == [0, 1, 0]
    assert rows[-2:] == [None, None]  # a rare value and none
    days = read_context(Interactions(events.table.with_columns(pl.col("at").dt.truncate("1d"))), [], ContextConfig())[1]
    assert "hour" not in days  # times to the day have no hour


def test_a_list_is_asked_for_under_the_circumstances_of_the_next_event(events: Interactions) -> None:
    read, channels, _ = read_context(events, ["device"], ContextConfig(min_events=5, time=[]))
    content, items = UserContent(channels), Vocabulary("abcd")
    early, late = (
        read.where(pl.col("at") < datetime(2024, 1, 11, tzinfo=UTC)),
        read.where(pl.col("at") >= datetime(2024, 1, 11, tzinfo=UTC)),
    )
    users = ["u0", "u1", "u2", "new"]
    before, truth = (
        build_histories(part, items, HistoriesConfig(), users=users, content=content) for part in (early, late)
    )
    asked = before.under_circumstances_of(truth).user_channels["device"].requested
    assert asked is not None
    first = [
        late.table.filter(pl.col("user_id") == user).sort("at")["vector:device"].head(1).to_list() for user in users
    ]
    assert asked.tolist() == [row[0] if row else -1 for row in first]
