"""One person's data never in another's answer, whatever happens, in one process or several."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penchant.core.schema import Histories
from penchant.models.ensemble import tie_order_of_rows
from penchant.recommender.lists import RankingOptions
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.schemas import EditIn, EventIn
from penchant.service.service import Service
from penchant.service.store import Event, Store
from shop import Postgres

PEOPLE = [f"p{n}" for n in range(4)]
ITEMS = st.integers(0, 23).map(lambda n: f"i{n}")
ACTS = st.one_of(
    st.tuples(st.just("event"), st.sampled_from(PEOPLE), ITEMS),
    st.tuples(st.just("never"), st.sampled_from(PEOPLE), ITEMS),
    st.tuples(st.just("erase"), st.sampled_from(PEOPLE), st.just("")),
    st.tuples(st.just("ask"), st.sampled_from(PEOPLE), st.just("")),
)


@pytest.fixture(scope="module")
def service(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(ServiceConfig(bundle=shop, folder=tmp_path_factory.mktemp("state")))
    yield service
    service.close()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(ACTS, max_size=12))
def test_answer_depends_on_the_persons_own_acts_alone(service: Service, acts: list[tuple[str, str, str]]):
    """Whatever others do, everybody's list is that of a service which knows their own acts only."""
    for person in PEOPLE:
        service.personal_data.erase(person)
    own: dict[str, list[str]] = {person: [] for person in PEOPLE}
    never: dict[str, list[str]] = {person: [] for person in PEOPLE}
    for act, person, item in acts:
        if act == "event":
            service.events.append([EventIn(user_id=person, item_id=item, kind="like")])
            own[person].append(item)
        elif act == "never":
            service.interests.edit(person, [EditIn(name="item", value=item, action="never")], None)
            never[person].append(item)
        elif act == "erase":
            service.personal_data.erase(person)
            own[person], never[person] = [], []
        else:
            service.lists.recommend(person, RankingOptions(k=5))
    for person in PEOPLE:
        found = service.lists.recommend(person, RankingOptions(k=24))
        alone = service.snapshot.recommender.history_of(own[person])
        scores = service.snapshot.recommender.score(alone)[0]
        allowed = [i for i in range(24) if f"i{i}" not in (*own[person], *never[person])]
        expected = sorted(allowed, key=lambda i: (-scores[i], tie_order_of_rows(24)[i]))
        assert [item.item_id for item in found.items] == [f"i{i}" for i in expected]
        held = service.personal_data.export(person)
        assert {event["item_id"] for event in held["events"]} == set(own[person])
        assert {edit["value"] for edit in held["edits"]} == set(never[person])


def test_scores_do_not_depend_on_who_else_waits_beyond_rounding(service: Service):
    histories = [service.snapshot.recommender.history(f"u{n}", ()) for n in range(8)]
    together = service.snapshot.recommender.score(Histories.joined(histories))
    for history, scores in zip(histories, together, strict=True):
        assert np.allclose(service.snapshot.recommender.score(history)[0], scores, atol=1e-5)


def test_event_the_bundle_learned_from_counts_once(service: Service):
    known = service.snapshot.recommender.history("u0", ())
    at = int(known.at[0])
    item = service.snapshot.recommender.lookup.items.ids[known.item_index[0]]
    service.store.append([[Event("u0", item, "like", at)]])
    assert service.states.one("u0")[1].history.num_events == known.num_events


def test_processes_on_one_store_see_each_other(shop: Path, tmp_path: Path, address: str):
    config = ServiceConfig(
        bundle=shop, folder=tmp_path / "state", database=address, watch_seconds=60, host_names=["testserver"]
    )
    with TestClient(create_app(config)) as one, TestClient(create_app(config)) as two:
        two.app.state.worker.refit = one.app.state.worker.refit = lambda: None

        def basis(user: str) -> str:
            return str(two.get(f"/v1/users/{user}/recommendations").json()["basis"])

        assert basis("n") == "popularity"
        one.post("/v1/events", json={"user_id": "n", "item_id": "i12"})
        assert basis("n") == "history"
        first = two.get("/v1/users/n/recommendations").json()["items"][0]["item_id"]
        edit = {"edits": [{"name": "item", "value": first, "action": "never"}]}
        one.patch("/v1/users/n/profile", json=edit)
        assert first not in [i["item_id"] for i in two.get("/v1/users/n/recommendations?k=24").json()["items"]]
        one.delete("/v1/users/n")
        assert basis("n") == "popularity"
        assert basis("u1") == "history"
        one.delete("/v1/users/u1")
        assert basis("u1") == "popularity"
        one.delete("/v1/items/i3")
        assert "i3" not in [
            i["item_id"] for i in two.get("/v1/users/u0/recommendations?k=24&seen=true").json()["items"]
        ]


def test_store_that_went_and_came_back_is_found_again(shop: Path, tmp_path: Path, postgres_server: Postgres):
    config = ServiceConfig(
        bundle=shop,
        folder=tmp_path / "state",
        database=postgres_server.empty(),
        watch_seconds=60,
        host_names=["testserver"],
    )
    event = {"user_id": "away", "item_id": "i12", "event_id": "once"}
    with TestClient(create_app(config), raise_server_exceptions=False) as client:
        postgres_server.stop()
        answer = client.post("/v1/events", json=event)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["detail"] == "The store does not answer; nothing was changed."
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        postgres_server.resume()
        assert client.post("/v1/events", json=event).json()["stored"] == 1
        assert client.get("/v1/users/away/recommendations").json()["basis"] == "history"


def test_full_disk_is_told_and_stores_nothing(config: ServiceConfig):
    with TestClient(create_app(config), raise_server_exceptions=False) as client:
        store: Store = client.app.state.service.store
        with store._engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()

        def limit(connection: Any, _record: Any, _proxy: Any) -> None:
            connection.execute(f"PRAGMA max_page_count={pages}")

        sqlalchemy.event.listen(store._engine, "checkout", limit)
        batch = {"events": [{"user_id": f"u{n}", "item_id": "i1" * 100} for n in range(500)]}
        assert client.post("/v1/events", json=batch).status_code == 503
        sqlalchemy.event.remove(store._engine, "checkout", limit)
        with store._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=1000000")
        assert client.get("/v1/export/u1").json()["events"] == []
