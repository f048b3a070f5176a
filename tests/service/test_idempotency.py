"""Idempotency keys: the same key with other events is refused, and no key hides an event with an id of its own."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from penchant.core.errors import DataError
from penchant.service.batching import GroupCommit
from penchant.service.config import ServiceConfig
from penchant.service.schemas import EventIn
from penchant.service.service import Service
from penchant.service.store import Event, RequestKey, Store

ONE = {"user_id": "a", "item_id": "i1"}


def post(client: TestClient, *events: dict[str, Any], key: str | None = None) -> tuple[int, int]:
    """Return the status and how many events were stored."""
    answer = client.post("/v1/events", json={"events": list(events)}, headers={"Idempotency-Key": key} if key else {})
    return answer.status_code, answer.json().get("stored", 0)


def items(client: TestClient, user: str = "a") -> list[str]:
    return [event["item_id"] for event in client.get(f"/v1/export/{user}").json()["events"]]


@pytest.mark.parametrize(
    "other",
    [
        [{**ONE, "item_id": "i2"}],
        [{**ONE, "kind": "like"}],
        [{**ONE, "value": 1.0}],
        [{**ONE, "at": "2025-01-01T00:00:00Z"}],
        [{**ONE, "event_id": "e"}],
        [{**ONE, "user_id": "b"}],
        [ONE, ONE],
        [ONE, {**ONE, "user_id": "b"}],
    ],
)
def test_same_key_with_another_body_is_refused_and_stores_nothing(client: TestClient, other: list[dict[str, Any]]):
    assert post(client, ONE, key="k") == (200, 1)
    assert post(client, *other, key="k") == (422, 0)
    refused = client.post("/v1/events", json={"events": other}, headers={"Idempotency-Key": "k"}).json()
    assert refused["where"] == "Idempotency-Key"
    assert post(client, ONE, key="k") == (200, 0)
    assert (items(client), items(client, "b")) == (["i1"], [])
    assert client.app.state.service.store.user_ids() == ["a"]


def test_event_ids_and_keys_hide_nothing_of_each_other(client: TestClient):
    assert post(client, ONE, key="k") == (200, 1)
    assert post(client, {**ONE, "item_id": "i2", "event_id": "k/0"}, {**ONE, "item_id": "i3", "event_id": "k"}) == (
        200,
        2,
    )
    assert post(client, {**ONE, "item_id": "i4"}, key="k/0") == (200, 1)
    assert post(client, {**ONE, "item_id": "i2", "event_id": "k/0"}, {**ONE, "item_id": "i5"}, key="new") == (200, 1)
    assert sorted(items(client)) == ["i1", "i2", "i3", "i4", "i5"]


def test_one_event_and_a_batch_of_it_are_the_same_body(client: TestClient):
    assert client.post("/v1/events", json=ONE, headers={"Idempotency-Key": "k"}).json()["stored"] == 1
    assert post(client, ONE, key="k") == (200, 0)


def test_keys_outlive_a_restart(config: ServiceConfig):
    for stored in (1, 0):
        service = Service(config)
        assert service.events.append([EventIn(**ONE)], "k").stored == stored
        service.close()
    service = Service(config)
    with pytest.raises(DataError, match="other events"):
        service.events.append([EventIn(user_id="a", item_id="i2")], "k")
    service.close()


def test_keys_of_an_erased_user_are_erased(client: TestClient, config: ServiceConfig):
    assert post(client, ONE, {**ONE, "user_id": "b"}, key="request-naming-a") == (200, 2)
    assert [r["key"] for r in client.get("/v1/export/a").json()["requests"]] == ["request-naming-a"]
    receipt = client.delete("/v1/users/a").json()["receipt"]
    assert receipt["rows"]["request"] == 1
    assert client.get("/v1/export/a").json()["requests"] == []
    # sent again, the request would bring the erased user back
    assert post(client, ONE, {**ONE, "user_id": "b"}, key="request-naming-a") == (422, 0)
    assert items(client, "b") == ["i1"]
    assert client.delete("/v1/users/b").status_code == 200
    held = [file for file in Path(config.state_folder).glob("store.db*") if b"request-naming-a" in file.read_bytes()]
    assert held == []


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    store = Store.open(address)
    yield store
    store.close()


def of(user: str, item: str) -> tuple[list[Event], RequestKey]:
    return [Event(user, item, "click", 0)], RequestKey("k", {user: item})


def test_a_group_refuses_only_the_request_that_differs(store: Store):
    batches, requests = zip(
        of("a", "i1"), ([Event("c", "i", "click", 0)], None), of("a", "i1"), of("a", "i2"), strict=True
    )
    new, plain, again, other = store.append(batches, requests)
    assert (new, plain, again) == (1, 1, 0)
    assert isinstance(other, DataError)
    assert [len(store.events(user)) for user in "ac"] == [1, 1]
    assert store.user_ids() == ["a", "c"]


def test_two_writers_with_one_key_store_one_body(address: str):
    stores = [Store.open(address), Store.open(address)]
    for n in range(8):
        start = threading.Barrier(2)

        def write(user: str, n: int = n, start: threading.Barrier = start) -> int | Exception:
            start.wait()
            events = [Event(user, "i", "click", 0)]
            (done,) = stores[user == "b"].append([events], [RequestKey(f"k{n}", {user: "digest"})])
            return done

        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(write, "ab"))
        assert {type(one) for one in done} == {DataError, int}, "whoever came second used the key for another user"
    assert sum(len(stores[0].events(user)) for user in "ab") == 8
    for store in stores:
        store.close()


def test_group_commit_gives_an_error_to_its_own_call_alone():
    commit = GroupCommit[int, int](
        lambda tasks: [t if t else DataError("none", where="w", fix="f") for t in tasks], max_size=9
    )
    assert commit(1) == 1
    with pytest.raises(DataError, match="none"):
        commit(0)


def test_bad_value_of_a_group_leaves_the_answers_about_keys(store: Store):
    commit = GroupCommit[tuple[list[Event], RequestKey | None], int](
        lambda tasks: store.append([events for events, _ in tasks], [request for _, request in tasks]), max_size=9
    )
    assert commit(of("a", "i1")) == 1
    tasks = {
        "again": of("a", "i1"),
        "other": of("a", "i2"),
        "bad": ([Event("b", "i1", "click", 0, math.nan)], None),
        "new": ([Event("c", "i1", "click", 0)], None),
    }

    def call(task: tuple[list[Event], RequestKey | None]) -> int | str | None:
        try:
            return commit(task)
        except DataError as error:
            return error.where

    with ThreadPoolExecutor(len(tasks)) as pool:
        with commit._running:  # all of them wait, and are one group
            found = {name: pool.submit(call, task) for name, task in tasks.items()}
            while len(commit._waiting) < len(tasks):
                pass
        answers = {name: future.result() for name, future in found.items()}
    assert answers == {"again": 0, "other": "Idempotency-Key", "bad": "event.value", "new": 1}


@pytest.mark.parametrize("key", ["k" * 257, "k\x00"])
def test_key_that_does_not_fit_is_refused_alike_on_both_databases(store: Store, key: str):
    with pytest.raises(DataError):
        store.append([[Event("a", "i1", "click", 0)]], [RequestKey(key, {"a": "digest"})])
    assert store.user_ids() == []


def test_erasure_counts_requests(store: Store):
    store.append([of("a", "i1")[0]], [of("a", "i1")[1]])
    assert [r.key for r in store.requests("a")] == ["k"]
    assert store.erase("a", "hash", "receipt")["request"] == 1
    assert store.requests("a") == []
