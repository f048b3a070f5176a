"""What a store accepts: the same on SQLite and on PostgreSQL, and never at the cost of another writer."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DataError as DriverDataError
from sqlalchemy.exc import OperationalError

from penchant.core.errors import DataError
from penchant.core.schema import MAX_ID
from penchant.service.app import create_app
from penchant.service.batching import GroupCommit
from penchant.service.config import ServiceConfig
from penchant.service.store import Edit, Event, Store, StoredItem, StoredKey
from shop import Postgres

LONG_KIND = "İ" * 64
"""64 characters, and 128 in lower case."""


@pytest.fixture
def both(postgres_server: Postgres, tmp_path: Path) -> Iterator[list[Store]]:
    stores = [Store.open(f"sqlite:///{tmp_path / 'store.db'}"), Store.open(postgres_server.empty())]
    yield stores
    for store in stores:
        store.close()


@pytest.fixture
def shop_client(config: ServiceConfig, address: str) -> Iterator[TestClient]:
    app = create_app(config.model_copy(update={"database": address if "postgresql" in address else None}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_kind_that_grows_in_lower_case_is_refused_and_others_are_stored(shop_client: TestClient):
    events = [{"user_id": f"u{n}", "item_id": "i1", "kind": "click"} for n in range(12)]
    events[5]["kind"] = LONG_KIND
    barrier = Barrier(len(events))

    def send(event: dict[str, str]) -> int:
        barrier.wait()
        return int(shop_client.post("/v1/events", json=event).status_code)

    with ThreadPoolExecutor(len(events)) as pool:
        codes = list(pool.map(send, events))
    assert codes == [422 if n == 5 else 200 for n in range(12)]


@pytest.mark.parametrize("kind", [" ", "\u2003", LONG_KIND])
def test_kind_is_checked_as_it_is_stored(client: TestClient, kind: str):
    refused = client.post("/v1/events", json={"user_id": "a", "item_id": "i1", "kind": kind})
    assert refused.status_code == 422
    assert "kind" in refused.json()["where"]


def test_kind_is_stored_in_lower_case_without_spaces(client: TestClient):
    assert client.post("/v1/events", json={"user_id": "a", "item_id": "i1", "kind": " Like "}).status_code == 200
    assert client.get("/v1/export/a").json()["events"][0]["kind"] == "like"


def test_value_the_driver_refuses_is_a_422(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    def refuse(*given: object) -> list[int]:
        raise DriverDataError("INSERT", {}, Exception("value too long"))

    monkeypatch.setattr(client.app.state.service.events.commits, "_run", refuse)
    refused = client.post("/v1/events", json={"user_id": "a", "item_id": "i1"})
    assert (refused.status_code, refused.json()["title"]) == (422, "data")
    assert "value too long" not in refused.text


def test_one_bad_task_of_a_group_fails_alone():
    groups: list[list[int]] = []

    def run(tasks: Sequence[int]) -> list[int]:
        groups.append(list(tasks))
        if 13 in tasks:
            raise ValueError("13")
        return [task * 2 for task in tasks]

    assert _answers(run, range(10, 20)) == [ValueError if n == 13 else 2 * n for n in range(10, 20)]
    assert max(map(len, groups)) > 1, "they were a group"


def test_group_whose_database_is_away_is_not_tried_one_by_one():
    groups: list[int] = []

    def run(tasks: Sequence[int]) -> list[int]:
        groups.append(len(tasks))
        raise OperationalError("INSERT", {}, Exception("away"))

    assert _answers(run, range(10)) == [OperationalError] * 10
    assert sum(groups) == 10


def _answers(run: Any, tasks: Sequence[int]) -> list[Any]:
    """Return the answers, or kinds of errors, of tasks that came as one group."""
    commit = GroupCommit[int, int](run, max_size=64)

    def call(task: int) -> Any:
        try:
            return commit(task)
        except Exception as error:
            return type(error)

    with ThreadPoolExecutor(len(tasks)) as pool:
        with commit._running:  # all of them wait
            found = [pool.submit(call, task) for task in tasks]
            while len(commit._waiting) < len(tasks):
                pass
        return [future.result() for future in found]


LETTERS = st.sampled_from(
    ["a", "é", "İ", "用", "😀", " ", "\t", "\x7f", "\x00", "\ud800", "\udfff", "ﬁ", "'", "%", "\\"]
)
LENGTHS = st.sampled_from([0, 1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513])
TEXT = st.builds(
    lambda letter, length, end: letter * length + end, LETTERS, LENGTHS, st.sampled_from(["", "\x00", "é"])
)
WHOLE = st.sampled_from(
    [b + d for b in (0, 2**31, -(2**31), 2**62, 2**63, -(2**63), 2**64, 10**30) for d in (-1, 0, 1)]
)
NUMBER = st.sampled_from([0.0, 1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf, 0.1, 10.0**15, 2**53 + 1])
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
COUNT = itertools.count()


def _done(store: Store, change: Any) -> Any:
    try:
        return change(store)
    except DataError:
        return "refused"


def _alike(both: list[Store], change: Any, read: Any) -> None:
    sqlite, postgresql = ((_done(store, change), repr(read(store))) for store in both)
    assert sqlite == postgresql


@FEW
@given(user=TEXT, item=TEXT, kind=TEXT, at=WHOLE, value=st.none() | NUMBER, key=st.none() | TEXT)
def test_both_stores_accept_the_same_events(
    both: list[Store], user: str, item: str, kind: str, at: int, value: Any, key: Any
):
    user = f"{next(COUNT)}{user}"
    given = [Event(user, item, kind, at, value, key), Event(user, "i", "click", 0, None, None)]
    _alike(both, lambda s: s.append([given]), lambda s: s.events(user) if _is_text(user) else None)


@FEW
@given(name=TEXT, value=TEXT, action=TEXT, strength=NUMBER)
def test_both_stores_accept_the_same_edits(both: list[Store], name: str, value: str, action: str, strength: float):
    user = f"{next(COUNT)}"
    _alike(both, lambda s: bool(s.edit(user, [Edit(name, value, action, strength)])), lambda s: s.edits(user))


@FEW
@given(item=TEXT, status=TEXT, body=TEXT, vectors=st.none() | st.binary(max_size=3))
def test_both_stores_accept_the_same_items(both: list[Store], item: str, status: str, body: str, vectors: Any):
    item = f"{next(COUNT)}{item}"
    _alike(
        both,
        lambda s: s.put_item(StoredItem(item, status, body, vectors)),
        lambda s: s.item(item) if _is_text(item) else None,
    )


@FEW
@given(name=TEXT, scopes=TEXT, per_minute=st.none() | WHOLE)
def test_both_stores_accept_the_same_keys(both: list[Store], name: str, scopes: str, per_minute: Any):
    key_id = f"{next(COUNT)}"
    _alike(
        both,
        lambda s: s.put_key(StoredKey(key_id, name, "digest", scopes, per_minute)),
        lambda s: [key for key in s.api_keys() if key.key_id == key_id],
    )


def _is_text(text: str) -> bool:
    return "\x00" not in text and not any(0xD800 <= ord(c) <= 0xDFFF for c in text)


VALUES = st.one_of(TEXT, WHOLE, NUMBER, st.booleans(), st.none(), st.lists(TEXT, max_size=2))
BODIES = st.fixed_dictionaries(
    {"user_id": TEXT, "item_id": TEXT},
    optional={"kind": TEXT, "value": WHOLE | NUMBER, "event_id": TEXT, "at": WHOLE | NUMBER},
)


@pytest.fixture
def both_clients(config: ServiceConfig, postgres_server: Postgres, tmp_path: Path) -> Iterator[list[TestClient]]:
    shared = {"database": postgres_server.empty(), "folder": tmp_path / "other"}
    apps = [create_app(config), create_app(config.model_copy(update=shared))]
    with (
        TestClient(apps[0], raise_server_exceptions=False) as sqlite,
        TestClient(apps[1], raise_server_exceptions=False) as postgresql,
    ):
        yield [sqlite, postgresql]


def _codes(clients: list[TestClient], method: str, path: str, body: object) -> set[int]:
    sent = {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}
    return {client.request(method, path, **sent).status_code for client in clients}


@FEW
@given(body=BODIES)
def test_both_services_accept_the_same_events(both_clients: list[TestClient], body: dict[str, Any]):
    (code,) = _codes(both_clients, "POST", "/v1/events", body)
    assert code in (200, 400, 422)


@FEW
@example(columns={"title": "\ud800"})
@example(columns={"genres": ["a", "\ud800"]})
@given(columns=st.dictionaries(st.sampled_from(["title", "price", "genres", "\x00"]) | TEXT, VALUES, max_size=3))
def test_both_services_accept_the_same_items(both_clients: list[TestClient], columns: dict[str, Any]):
    (code,) = _codes(both_clients, "PUT", "/v1/items/new", {"columns": columns})
    assert code in (202, 400, 422)


def test_key_that_is_too_long_for_an_index_is_refused_by_both(both: list[Store]):
    rng = random.Random(0)

    def text(length: int) -> str:
        return "".join(
            chr(rng.randrange(0x20000, 0x2A000)) for _ in range(length)
        )  # four bytes each, and PostgreSQL cannot compress them

    fits, too_long = (text(MAX_ID), text(138), text(MAX_ID)), (text(MAX_ID), text(139), text(MAX_ID))
    for store in both:
        user, name, value = fits
        store.edit(user, [Edit(name, value, "more", 1.0)])
        assert store.edits(user) == [Edit(name, value, "more", 1.0)]
        user, name, value = too_long
        with pytest.raises(DataError, match="key cannot be stored") as error:
            store.edit(user, [Edit(name, value, "more", 1.0)])
        assert "2,600 bytes" in error.value.fix
        with pytest.raises(DataError, match="key cannot be stored"):
            store.append([[Event(user, "i", "click", 1, None, text(400))]])
        assert store.edits(user) == []
