"""Times at the ends of the calendar: refused where no export could show them, shown where they are stored already."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from penchant.service.store import Event
from penchant.service.times import iso_time, micros_of


@pytest.mark.parametrize(
    "at", ["0001-01-01T00:00:00+14:00", "0001-01-01T13:59:59.999999+14:00", "0001-01-01T00:00:00+00:01"]
)
def test_time_before_the_calendar_is_refused_and_export_goes_on(client: TestClient, at: str):
    events = [{"user_id": "a", "item_id": "i1"}, {"user_id": "a", "item_id": "i2", "at": at}]
    refused = client.post("/v1/events", json={"events": events})
    assert (refused.status_code, refused.json()["where"]) == (422, "events.1.at")
    assert client.get("/v1/export/a").json()["events"] == []


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "0001-01-01T14:00:00+14:00", "0001-01-01T00:00:00-14:00"])
def test_first_moments_are_kept_and_exported(client: TestClient, at: str):
    assert client.post("/v1/events", json={"user_id": "a", "item_id": "i1", "at": at}).status_code == 200
    (event,) = client.get("/v1/export/a").json()["events"]
    assert datetime.fromisoformat(event["at"]) == datetime.fromisoformat(at)
    for path in ("recommendations", "profile", "explanations/i2"):
        assert client.get(f"/v1/users/a/{path}").status_code == 200


def test_time_that_was_stored_before_is_exported(client: TestClient):
    too_early = micros_of(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))))
    client.app.state.service.store.append([[Event("a", "i1", "click", at) for at in (too_early, 2**62)]])
    exported = client.get("/v1/export/a")
    assert exported.status_code == 200
    assert exported.json()["events"][0]["at"] == "0000-12-31T10:00:00.000000+00:00"


@settings(deadline=None)
@given(st.datetimes(timezones=st.just(UTC)))
def test_every_microsecond_survives(at: datetime):
    assert datetime.fromisoformat(iso_time(micros_of(at))) == at
