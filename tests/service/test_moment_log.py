"""What is counted as of now: the log of a running service is that of a run on all events, whoever wrote them, and whoever was erased."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from own_service import SERVER, free_port, wait_until_ready
from penchant.client import Client
from penchant.core.schema import INTERACTION_SCHEMA, Catalog, Content, Histories, Interactions, Vocabulary
from penchant.data.event_weights import HistoriesConfig
from penchant.data.histories import Event, build_histories
from penchant.explanation.topics import Topics
from penchant.fusion.late import EnsembleWeights
from penchant.models.ensemble import Ensemble
from penchant.models.event_log import EventLog
from penchant.models.member import MemberTables, make_member
from penchant.recommender.new_items import NewItem
from penchant.recommender.recommender import Recommender
from penchant.service import store_tables
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.moment_log import MomentLog
from penchant.service.security import Secret
from penchant.service.store import EventName, Store
from shop import Postgres

DAY = 86_400_000_000
ITEMS, ADDED, USERS = ["a", "b", "c"], ["x", "y"], ["u", "v", "w"]
KINDS = ["like", "dislike", "neither"]
TABLES = {
    "recent": {"model": "recent_popularity", "half_life_days": 2},
    "arrivals": {"model": "new_arrivals", "days": 3},
    "lifted": {"model": "lifted", "of": {"model": "recent_popularity", "window_days": 9}, "window_days": 2},
}
WEIGHTS = {"recent": 1.0, "arrivals": 0.5, "lifted": 0.3}


def event(user: str, item: str, day: int) -> Event:
    """An event whose kind follows from item and time, so that a history without kinds recognises it."""
    return Event(user, item, KINDS[(ord(item) + day) % 3 if day % 5 else 0], day * DAY)


def run_on(events: list[Event], items: list[str], config: HistoriesConfig) -> Histories:
    """The histories of a run on these events."""
    rows = [(e.user_id, e.item_id, e.at, e.kind, e.value) for e in dict.fromkeys(events)]
    columns = ["user_id", "item_id", "at", "kind", "value"]
    table = pl.DataFrame(rows, {c: pl.Int64 if c == "at" else INTERACTION_SCHEMA[c] for c in columns}, orient="row")
    return build_histories(Interactions(table.cast({"at": INTERACTION_SCHEMA["at"]})), Vocabulary(items), config)


def recommender_of(
    histories: Histories, items: list[str], config: HistoriesConfig, tables: MemberTables = TABLES
) -> Recommender:
    members = {name: make_member(name, table).fit(histories, Content()) for name, table in tables.items()}
    ensemble = Ensemble.build(members, EnsembleWeights({n: WEIGHTS[n] for n in tables}), Content())
    catalog, topics = Catalog(pl.DataFrame({"item_id": items})), Topics(np.full(len(items), -1, np.int32), [])
    facts = {"histories": config.model_dump(mode="json")}
    return Recommender(catalog, histories, ensemble, tables, topics, facts, fitted=histories)


def rows(log: EventLog) -> list[tuple[int, int]]:
    assert (np.diff(log.at) >= 0).all()
    return sorted(zip(log.at.tolist(), log.item_index.tolist(), strict=True))


@dataclass(frozen=True)
class SharedStore:
    """A store as two processes see it."""

    own: Store
    other: Store
    secret: Secret

    def empty(self) -> None:
        """Delete everything, as if nothing had ever been stored."""
        with self.own._writing.begin() as connection:
            for table in (store_tables.event, store_tables.user_version, store_tables.erasure):
                connection.execute(table.delete())
            connection.execute(
                store_tables.world.update().values(version=secrets.randbits(62), num_erasures=0, last_link="")
            )


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedStore]:
    folder = tmp_path_factory.mktemp("shared")
    address = f"sqlite:///{folder}/store.db"
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres_server")
        address = postgres.empty()
    own, other = (Store.open(address) for _ in range(2))
    yield SharedStore(own, other, Secret.of(own, folder / "secret.key"))
    own.close()
    other.close()


@dataclass(frozen=True)
class Deleted:
    """An event that its user takes back; the bundle keeps what it learned from."""

    event: Event


EVENTS = st.builds(event, st.sampled_from(USERS), st.sampled_from([*ITEMS, *ADDED]), st.integers(-1, 12))
ACTS = st.one_of(
    st.lists(EVENTS, min_size=1, max_size=4),
    st.sampled_from(USERS),  # erased
    st.lists(st.sampled_from(ADDED), unique=True).map(tuple),  # the items added to the bundle's, in this order
    st.builds(Deleted, EVENTS),
    st.just(None),  # the log is asked for
)

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""A failing case is not made smaller: that would take minutes."""


@settings(max_examples=25, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENTS, max_size=8), st.lists(ACTS, max_size=14), st.sampled_from([None, 2]))
def test_log_is_that_of_a_run_on_all_events(
    shared: SharedStore, bundled: list[Event], acts: list[object], most: int | None
):
    config = HistoriesConfig(max_events=most)
    held, stored = [e for e in bundled if e.item_id in ITEMS], list[Event]()
    model = bundle = recommender_of(run_on(held, ITEMS, config), ITEMS, config, {})
    shared.empty()
    log = MomentLog(shared.own, shared.secret)
    for number, act in enumerate([*acts, None]):
        if isinstance(act, list):
            (shared.other if number % 2 else shared.own).append([act])
            stored += act
        elif isinstance(act, str):
            shared.other.erase(act, shared.secret.subject(act), f"{number}")
            held, stored = ([e for e in part if e.user_id != act] for part in (held, stored))
        elif isinstance(act, Deleted):
            gone = act.event
            shared.other.delete_events(gone.user_id, EventName(None, gone.item_id, gone.at, gone.kind))
            stored = [e for e in stored if e != gone]
        elif isinstance(act, tuple):
            model = bundle.add_items([NewItem(item, {}) for item in act])
        else:
            found = log.newest(model)
            assert rows(found) == rows(EventLog.of(run_on([*held, *stored], model.catalog.item_ids, config)))
            assert log.newest(model) is found
            assert rows(MomentLog(shared.own, shared.secret).newest(model)) == rows(found)  # after a restart


def days_ago(days: int) -> int:
    return (time.time_ns() // 1000) // DAY * DAY - days * DAY


def busy_shop(folder: Path) -> tuple[Recommender, list[Event], list[str]]:
    """Save a bundle of the first of some events, and return the recommender of a run on all of them, and the later events."""
    rng = np.random.default_rng(5)
    items = [f"i{n}" for n in range(30)]
    events = [
        Event(f"u{rng.integers(12)}", items[int(rng.zipf(1.4)) % 30], KINDS[n % 7 == 0], days_ago(40) + n * DAY // 10)
        for n in range(400)
    ]
    config = HistoriesConfig()
    recommender_of(run_on(events[:250], items, config), items, config).save(folder)
    return recommender_of(run_on(events, items, config), items, config), events[250:], items


def test_service_that_was_sent_the_later_events_answers_as_a_run_on_all_of_them(tmp_path: Path):
    run, later, _ = busy_shop(tmp_path / "bundle")
    sent = [
        {"user_id": e.user_id, "item_id": e.item_id, "kind": e.kind, "at": f"{np.datetime64(e.at, 'us')}Z"}
        for e in later
    ]
    config = ServiceConfig(bundle=tmp_path / "bundle", watch_seconds=60, host_names=["testserver"])
    users = [f"u{n}" for n in range(12)]

    def check(client: TestClient) -> None:
        _, states = client.app.state.service.states.of(users)
        found = np.stack([state.scores.values for state in states])
        wanted = run.score(run.histories.take(np.array([run.users[user] for user in users])))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)

    with TestClient(create_app(config)) as client:
        early = client.get("/v1/users/u1/recommendations").json()["items"]
        for start in range(0, len(sent), 50):
            client.post("/v1/events", json={"events": sent[start : start + 50]}).raise_for_status()
            client.app.state.worker.step()
        check(client)
        for user in users:
            found = client.get(f"/v1/users/{user}/recommendations").json()["items"]
            wanted = run.recommend(user).items
            assert [(i["item_id"], pytest.approx(i["score"], abs=1e-5)) for i in found] == [
                (i.item_id, i.score) for i in wanted
            ]
        assert early != client.get("/v1/users/u1/recommendations").json()["items"]
    with TestClient(create_app(config)) as client:  # after a restart
        client.app.state.worker.step()
        check(client)


def test_events_of_others_leave_histories_in_the_cache_and_an_erasure_takes_its_events_back(tmp_path: Path):
    _, _, items = busy_shop(tmp_path / "bundle")
    config = ServiceConfig(bundle=tmp_path / "bundle", watch_seconds=60, host_names=["testserver"])
    with TestClient(create_app(config)) as client:
        service, worker = client.app.state.service, client.app.state.worker
        before = service.states.one("u1")[1]
        client.post("/v1/events", json={"events": [{"user_id": "fan", "item_id": items[17], "kind": "like"}] * 30})
        worker.step()
        after = service.states.one("u1")[1]
        assert after.history is before.history
        assert after.scores.values[17] > before.scores.values[17] + 1
        client.delete("/v1/users/fan").raise_for_status()
        worker.step()
        np.testing.assert_array_equal(service.states.one("u1")[1].scores.values, before.scores.values)


def test_bundle_whose_members_count_nothing_reads_no_log(shop: Path, tmp_path: Path):
    with TestClient(
        create_app(ServiceConfig(bundle=shop, folder=tmp_path, watch_seconds=60, host_names=["testserver"]))
    ) as client:
        service = client.app.state.service
        client.post("/v1/events", json={"user_id": "a", "item_id": "i1", "kind": "like"})
        before = service.snapshot
        client.app.state.worker.step()
        assert service.snapshot is before


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_is_sold_now_rises_for_everybody_within_seconds(tmp_path: Path, workers: int):
    _, _, items = busy_shop(tmp_path / "bundle")
    port, wanted = free_port(), items[23]
    arguments = [
        sys.executable,
        "-c",
        SERVER,
        str(tmp_path / "bundle"),
        str(tmp_path / "state"),
        str(port),
        str(workers),
    ]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(process, port)
        with Client(f"http://127.0.0.1:{port}") as client:
            assert client.recommend("a visitor", k=3)["items"][0]["item_id"] != wanted
            for n in range(40):
                client.event(f"buyer {n}", wanted, kind="purchase")
            first: set[str] = set()
            until = time.monotonic() + 60
            while first != {wanted} and time.monotonic() < until:
                time.sleep(0.2)
                lists = [client.recommend(f"a visitor {n}", k=3)["items"] for n in range(8)]  # of every worker
                first = {one[0]["item_id"] for one in lists}
            assert first == {wanted}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
