"""What users write, show, say and tell of themselves reaches the next list, and leaves with its user."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import soundfile
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from content_shop import TASTES, best, picture, scores, sent, tables, uploads, voice
from penchant.client import Client
from penchant.core.schema import OwnContent
from penchant.data.histories import Event
from penchant.recommender.lists import RankingOptions
from penchant.recommender.recommender import Recommender
from penchant.service import erasure
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig


@pytest.fixture(scope="module")
def bundle(content_shop: Path) -> Path:
    return content_shop


@pytest.fixture
def service(bundle: Path, tmp_path: Path) -> ServiceConfig:
    return ServiceConfig(
        bundle=bundle,
        folder=tmp_path / "state",
        watch_seconds=60,
        host_names=["testserver"],
        media_folder=bundle.parent,
    )


@pytest.fixture
def client(service: ServiceConfig) -> Iterator[TestClient]:
    with TestClient(create_app(service), raise_server_exceptions=False) as client:
        yield client


def step(client: TestClient) -> None:
    client.app.state.worker.step()  # type: ignore[attr-defined]


def model(client: TestClient) -> Recommender:
    found: Recommender = client.app.state.service.snapshot.recommender  # type: ignore[attr-defined]
    return found


def post(client: TestClient, user: str, item: str, **facts: Any) -> dict[str, Any]:
    answer = client.post("/v1/events", json={"user_id": user, "item_id": item, "kind": "view", **facts})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("taste", ["hill", "town"])
@pytest.mark.parametrize("name", ["text", "image", "audio"])
def test_next_list_knows_what_came_with_an_event(client: TestClient, name: str, taste: str):
    content = {"text": f"I love the {taste}!", "image": sent(picture(taste, 9)), "audio": sent(voice(taste, 9))}[name]
    assert post(client, "n", "sea1")["with_content"] == 0
    assert post(client, "n", "sea1", **{name: content})["with_content"] == 1
    step(client)
    assert best(client, "n") == taste


def test_file_below_the_media_folder_counts_and_other_addresses_are_refused(client: TestClient):
    assert post(client, "n", "sea1", image={"file": "hill-1.png"})["with_content"] == 1
    step(client)
    assert best(client, "n") == "hill"
    for media in (
        {"file": "../secret.png"},
        {"url": "https://example.org/a.png"},
        {"url": "http://127.0.0.1/a.png"},
        {},
    ):
        refused = client.post("/v1/events", json={"user_id": "n", "item_id": "sea1", "image": media})
        assert refused.status_code == 422, refused.text
    assert len(client.get("/v1/export/n").json()["events"]) == 1


def test_person_without_events_gets_a_list_from_what_they_tell(client: TestClient):
    for user, told in (("a", {"columns": {"region": "town"}}), ("b", {"image": sent(picture("town", 7))})):
        state = client.patch(f"/v1/users/{user}", json=told)
        assert (state.status_code, state.json()["status"]) == (202, "waiting")
        step(client)
        assert client.get(f"/v1/users/{user}").json()["status"] == "ready"
        assert best(client, user) == "town"
        assert client.get(f"/v1/users/{user}/recommendations").json()["basis"] == "content"


def test_attribute_that_is_not_named_stays_as_the_bundle_has_it(client: TestClient):
    recommender = model(client)
    base = recommender.history("u06", ()).user_channels["who"]
    client.patch("/v1/users/u06", json={"columns": {"region": "hill"}})
    step(client)
    now = client.app.state.service.states.one("u06")[1].history.user_channels["who"]  # type: ignore[attr-defined]
    before, after = (c.embeddings.values[c.row[0]] for c in (base, now))
    changed = np.flatnonzero(before != after)
    assert len(changed) == 2  # the region of before, and the new one
    client.patch("/v1/users/u06", json={"columns": {"region": "sea"}})
    step(client)
    now = client.app.state.service.states.one("u06")[1].history.user_channels["who"]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(now.embeddings.values[now.row[0]], before)


def test_what_is_taken_back_counts_no_more(client: TestClient, service: ServiceConfig):
    nothing = scores(client, "c")
    client.patch("/v1/users/c", json={"columns": {"region": "town"}, "image": sent(picture("town", 7))})
    step(client)
    assert scores(client, "c") != nothing
    client.patch("/v1/users/c", json={"columns": {"region": None}, "image": None})
    step(client)
    assert scores(client, "c") == pytest.approx(nothing)
    assert uploads(service) == set()


def test_circumstances_of_the_request_change_its_list_alone(client: TestClient):
    plain = scores(client, "u01")
    tablet, phone = (scores(client, "u01", circumstances=f"device:{d}") for d in ("tablet", "phone"))
    even = {i for i in plain if int(i.lstrip("seahiltown")) % 2 == 0}
    gain = {i: tablet[i] - phone[i] for i in plain}
    assert np.mean([gain[i] for i in even]) > np.mean([gain[i] for i in set(plain) - even])
    assert scores(client, "u01") == plain
    monday = scores(client, "u01", at="2026-11-30T08:00:00Z")
    assert monday == pytest.approx(scores(client, "u01", circumstances="weekday:Monday"))
    assert client.get("/v1/users/u01/recommendations", params={"at": "now"}).status_code == 200


def test_circumstances_never_seen_are_counted(client: TestClient):
    for pair in ("device:watch", "planet:mars"):
        found = client.get("/v1/users/u01/recommendations", params={"circumstances": pair, "k": 36, "seen": True})
        assert found.json()["unknown_circumstances"] == 1
        assert {i["item_id"]: i["score"] for i in found.json()["items"]} == scores(client, "u01")
    assert client.get("/v1/users/u01/recommendations", params={"circumstances": "device"}).status_code == 422


def test_session_reads_content_and_keeps_nothing(client: TestClient, service: ServiceConfig):
    body = {
        "history": [
            "sea1",
            {"item_id": "gone", "text": "I love the town"},
            {"item_id": "sea2", "text": "I love the hill"},
        ],
        "about": {"columns": {"region": "hill"}, "image": sent(picture("hill", 3))},
        "k": 36,
        "seen": True,
    }
    found = client.post("/v1/sessions/recommendations", json=body)
    assert found.status_code == 200, found.text
    assert (found.json()["unknown_items"], found.json()["events"]) == (1, 2)
    got = {i["item_id"]: i["score"] for i in found.json()["items"]}
    assert np.mean([s for i, s in got.items() if i.startswith("hill")]) > np.mean(
        [s for i, s in got.items() if i.startswith("town")]
    )
    assert uploads(service) == set()
    assert not any((service.state_folder / "scratch").rglob("*.png"))
    wrong = client.post("/v1/sessions/recommendations", json={"about": {"columns": {"shoe": 4}}})
    assert (wrong.status_code, wrong.json()["where"]) == (422, "columns.shoe")


def test_session_with_too_many_files_is_refused_before_any_is_read(client: TestClient, service: ServiceConfig):
    files = [{"item_id": "sea1", "image": {"url": "https://nowhere.example/x.png"}} for _ in range(19)]
    body = {"history": [*files, {"item_id": "sea2", "image": {"file": "none"}, "audio": {"file": "none"}}]}
    found = client.post("/v1/sessions/recommendations", json=body)
    assert (found.status_code, found.json()["where"], found.json()["fix"]) == (422, "history", "send at most 20")
    assert found.json()["detail"] == "21 files in one request."
    at_most = client.post("/v1/sessions/recommendations", json={"history": files, "about": {"image": {"file": "x"}}})
    assert at_most.json()["where"] != "history", "20 are read, of which the first is on a host that is not allowed"


ACTS = st.lists(
    st.tuples(
        st.sampled_from([f"{taste}{n}" for taste in TASTES for n in range(4)]),
        st.sampled_from([None, "I love the sea", "so much town", "hill hill", "我爱大海", "quux"]),
        st.sampled_from([None, *(f"{taste}-{n}.png" for taste in TASTES for n in range(2))]),
        st.sampled_from([None, *(f"{taste}-2.flac" for taste in TASTES)]),
    ),
    max_size=4,
)
TOLD = st.fixed_dictionaries(
    {},
    optional={
        "region": st.sampled_from([*TASTES, "moon", None]),
        "visits": st.sampled_from([0.0, 3, 6.0, 1e9]),
        "plan": st.sampled_from(["free", "plus", None]),
    },
)


@pytest.fixture(scope="module")
def served(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("served")
    config = ServiceConfig(
        bundle=bundle, folder=folder, watch_seconds=60, host_names=["testserver"], media_folder=bundle.parent
    )
    with TestClient(create_app(config), raise_server_exceptions=False) as client:
        client.app.state.worker.refit = lambda: None  # type: ignore[attr-defined]
        yield client


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    acts=ACTS,
    told=TOLD,
    avatar=st.sampled_from([None, "sea-1.png", "town-3.png"]),
    user=st.sampled_from(["new", "u04"]),
)
def test_service_scores_as_the_recommender_of_the_run(
    served: TestClient, bundle: Path, acts: list[Any], told: dict[str, Any], avatar: str | None, user: str
):
    """The same events with content, and the same facts about the user, give the same scores in Python and over HTTP."""
    recommender = Recommender.load(bundle)
    reader, folder = recommender.own_content, bundle.parent
    name = user
    served.app.state.service.store.erase(name, f"nobody {user}", np.random.default_rng().bytes(8).hex())  # type: ignore[attr-defined]
    events = []
    for place, (item, text, image, audio) in enumerate(acts):
        media = {k: v for k, v in (("image", image), ("audio", audio)) if v is not None}
        content = OwnContent({} if text is None else {"text": text}, media)
        at = 1_750_000_000_000_000 + place * 1_000_000
        events.append(Event(name, item, "like", at, content=reader.read("events", content, folder)))
        body = {"user_id": name, "item_id": item, "kind": "like", "at": f"2025-06-15T15:06:4{place}Z"}
        body |= {"text": text} if text else {}
        body |= {k: {"file": v} for k, v in media.items()}
        assert served.post("/v1/events", json=body).status_code == 200
    about = OwnContent(told, {} if avatar is None else {"image": avatar})
    about = reader.read("users", about, folder)
    body = {"columns": told, **({} if avatar is None else {"image": {"file": avatar}})}
    assert served.patch(f"/v1/users/{name}", json=body).status_code == 202
    step(served)
    history = recommender.history(name, events, about=about)
    answer = recommender.recommend(history, options=RankingOptions(k=36, seen=True), reasons=False)
    expected = {item.item_id: item.score for item in answer}
    assert scores(served, name) == pytest.approx(expected, abs=1e-5)


def test_what_the_run_read_counts_the_same_when_a_newcomer_sends_it(client: TestClient, bundle: Path):
    """A newcomer who sends what somebody of the run had gets that person's scores."""
    events, _, users = tables(bundle.parent)
    for old in ("u00", "u04", "u06", "u33"):
        new = f"like-{old}"
        batch = []
        for row in events.filter(pl.col("user_id") == old).sort("at").iter_rows(named=True):
            event = {"user_id": new, "item_id": row["item_id"], "kind": "interaction"}
            event["at"] = str(np.datetime64(row["at"], "s")) + "Z"
            event |= {"text": row["text"]} if row["text"] else {}
            event |= {name: {"file": row[name]} for name in ("image", "audio") if row[name]}
            batch.append(event)
        assert client.post("/v1/events", json={"events": batch}).status_code == 200
        for row in users.filter(pl.col("user_id") == old).iter_rows(named=True):
            told = {"columns": {name: row[name] for name in ("region", "visits", "plan")}}
            told |= {"image": {"file": row["avatar"]}} if row["avatar"] else {}
            assert client.patch(f"/v1/users/{new}", json=told).status_code == 202
        step(client)
        assert scores(client, new) == pytest.approx(scores(client, old), abs=1e-5), old


def test_erasure_removes_words_vectors_and_files_and_leaves_those_of_others(bundle: Path, tmp_path: Path, address: str):
    config = ServiceConfig(
        bundle=bundle, folder=tmp_path / "state", database=address, watch_seconds=60, host_names=["testserver"]
    )
    own, shared = picture("sea", 21), picture("hill", 22)
    with TestClient(create_app(config)) as client:
        client.app.state.worker.refit = lambda: None  # type: ignore[attr-defined]
        nothing = scores(client, "gone")
        for user in ("gone", "stays"):
            post(client, user, "sea1", text=f"a very secret word of {user}", image=sent(shared))
        client.patch("/v1/users/gone", json={"columns": {"region": "hill"}, "image": sent(own)})
        step(client)
        export = client.get("/v1/export/gone").json()
        assert export["events"][0]["content"]["columns"] == {"text": "a very secret word of gone"}
        assert set(export["events"][0]["content"]["vectors"]) == {"photo"}  # no word of the text was learned
        assert export["about"]["columns"] == {"region": "hill"}
        for held, content in ((export["events"][0]["content"], shared), (export["about"], own)):
            (name,) = held["files"].values()
            assert client.get(f"/v1/export/gone/files/{name}").content == content
        assert client.get(f"/v1/export/stays/files/{export['about']['files']['image']}").status_code == 404
        assert uploads(config) == {own, shared}
        receipt = client.delete("/v1/users/gone").json()["receipt"]
        assert (receipt["rows"]["event"], receipt["rows"]["user_content"]) == (1, 1)
        assert uploads(config) == {shared}
        assert scores(client, "gone") == nothing
        after = client.get("/v1/export/gone").json()
        assert (after["events"], after["about"]) == ([], None)
        assert client.get(f"/v1/export/gone/files/{export['about']['files']['image']}").status_code == 404
        assert client.get("/v1/export/stays").json()["events"][0]["content"]["files"]
        found = erasure.verify(bundle, client.app.state.service.store, client.app.state.service.secret)  # type: ignore[attr-defined]
        assert found.is_clean, found.lines()
        if address.startswith("sqlite"):
            for file in tmp_path.rglob("store.db*"):
                assert b"secret word of gone" not in file.read_bytes()


def test_avatar_of_somebody_erased_is_in_no_list(bundle: Path, client: TestClient):
    """Neither the vector in the bundle nor the file that both sent gives anything away."""
    client.app.state.worker.refit = lambda: None  # type: ignore[attr-defined]
    nothing = scores(client, "nobody")
    assert scores(client, "u02") != nothing
    client.delete("/v1/users/u02")
    assert scores(client, "u02") == nothing
    client.patch(
        "/v1/users/u02", json={"columns": {"plan": "free"}}
    )  # back, with one fact: the region is not known any more
    step(client)
    channel = client.app.state.service.states.one("u02")[1].history.user_channels["who"]  # type: ignore[attr-defined]
    assert (channel.embeddings.values[channel.row[0]] != 0).sum() == 1
    client.delete("/v1/users/u02")
    assert scores(client, "u02") == nothing


def test_acknowledged_content_is_encoded_after_a_crash(service: ServiceConfig, address: str):
    service = service.model_copy(update={"database": address})
    with TestClient(create_app(service)) as client:
        client.app.state.worker.encode_user_content = lambda: None  # type: ignore[attr-defined]  # the process dies before it encodes
        post(client, "n", "sea1", text="I love the hill", image=sent(picture("hill", 5)))
        client.patch("/v1/users/m", json={"columns": {"region": "town"}})
    with TestClient(create_app(service)) as client:
        assert (best(client, "n"), best(client, "m")) == ("hill", "town")


def test_two_processes_encode_once_and_know_the_same(service: ServiceConfig, address: str):
    service = service.model_copy(update={"database": address})
    with TestClient(create_app(service)) as one, TestClient(create_app(service)) as two:
        post(one, "n", "sea1", text="I love the hill")
        store = one.app.state.service.store  # type: ignore[attr-defined]
        (waiting,) = store.content_to_encode("other", 10)
        step(two)
        assert not store.put_encoded(waiting, waiting.content, b"", "late")  # another was faster
        assert best(one, "n") == best(two, "n") == "hill"


def test_content_of_somebody_erased_meanwhile_is_not_stored(client: TestClient):
    post(client, "n", "sea1", text="I love the hill")
    store = client.app.state.service.store  # type: ignore[attr-defined]
    (waiting,) = [one for one in store.content_to_encode("other", 10) if one.user_id == "n"]
    client.delete("/v1/users/n")
    assert not store.put_encoded(waiting, waiting.content, b"", "late")
    assert "n" not in store.user_ids()


def test_another_bundle_reads_the_content_again(client: TestClient, bundle: Path, tmp_path: Path):
    post(client, "n", "sea1", text="I love the hill")
    step(client)
    before = scores(client, "n")
    other = Recommender.load(bundle)
    assert other.own_content.mark == model(client).own_content.mark
    channel = other.histories.user_channels["review"]
    changed = replace(channel, embeddings=replace(channel.embeddings, encoder="another"))
    histories = replace(other.histories, user_channels={**other.histories.user_channels, "review": changed})
    other = replace(other, histories=histories)
    worker, service = client.app.state.worker, client.app.state.service  # type: ignore[attr-defined]
    service.snapshots.serve(other)
    assert scores(client, "n") != before  # vectors of other encoders are not comparable
    worker._base = worker._model = other
    step(client)
    assert scores(client, "n") == before


def test_bad_content_is_answered_and_counted(client: TestClient):
    """Nothing of it fails, and nobody else's list changes."""
    others = {user: scores(client, user) for user in ("u00", "u05", "nobody")}
    silent = io.BytesIO()
    soundfile.write(silent, np.zeros(0), 16000, format="WAV")
    plain = {}
    for user, content in {
        "no-picture": {"image": sent(b"this is no picture at all")},
        "no-seconds": {"audio": sent(silent.getvalue())},
        "chinese": {"text": "颜色很好看，鞋底很差"},
        "emoji": {"text": "😀" * 100_000},
    }.items():
        post(client, user, "sea1", **content)
        plain[user] = content
    post(client, "control", "sea1")
    for user, told in {
        "told-avatar": {"image": sent(b"\x89PNG broken")},
        "told-new": {"columns": {"region": "atlantis"}},
    }.items():
        assert client.patch(f"/v1/users/{user}", json=told).status_code == 202
    step(client)
    for user in plain:
        (event,) = client.get(f"/v1/export/{user}").json()["events"]
        assert event["content"]["unreadable"], user
        assert scores(client, user) == pytest.approx(scores(client, "control")), user
    assert client.get("/v1/users/told-new").json()["new_values"] == ["region"]
    assert client.get("/v1/users/told-avatar").json()["unreadable"]
    for user in ("told-new", "told-avatar"):
        assert scores(client, user) == others["nobody"]
    assert {user: scores(client, user) for user in others} == others
    counted = client.get("/metrics").text
    assert 'penchant_user_content_total{outcome="unreadable"} 6.0' in counted
    assert 'penchant_user_content_total{outcome="new value"} 1.0' in counted


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("events", {"text": "😀" * 262_144}, "text"),
        ("events", {"text": ""}, "text"),
        ("events", {"audio": {"data": ""}}, "audio"),
        ("events", {"image": {"data": "no base64!"}}, "image"),
        ("users", {"columns": {"age": 30}}, "columns.age"),
        ("users", {"columns": {"visits": "many"}}, "columns.visits"),
        ("users", {"audio": {"data": "AAAA"}}, "audio"),
    ],
)
def test_wrong_content_is_a_clear_error_and_nothing_is_stored(client: TestClient, path: str, body: Any, where: str):
    if path == "events":
        answer = client.post("/v1/events", json={"user_id": "n", "item_id": "sea1", **body})
    else:
        answer = client.patch("/v1/users/n", json=body)
    assert answer.status_code == 422, answer.text
    assert where in answer.json()["where"]
    assert "n" not in client.app.state.service.store.user_ids()  # type: ignore[attr-defined]


def test_what_no_channel_reads_is_counted_and_not_kept(shop: Path, tmp_path: Path):
    config = ServiceConfig(bundle=shop, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])
    with TestClient(create_app(config)) as client:
        stored = post(client, "n", "i1", text="lovely", image=sent(picture("sea", 1)))
        assert (stored["stored"], stored["with_content"], stored["unread_content"]) == (1, 0, 2)
        assert "content" not in client.get("/v1/export/n").json()["events"][0]
        assert uploads(config) == set()
        assert client.patch("/v1/users/n", json={"columns": {"region": "sea"}}).status_code == 422
        assert client.get("/v1/users/n").json()["status"] == "none"


def test_file_of_an_event_that_was_stored_before_is_not_kept(client: TestClient, service: ServiceConfig):
    first, second = picture("sea", 1), picture("sea", 2)
    post(client, "n", "sea1", event_id="e", image=sent(first))
    again = post(client, "n", "sea1", event_id="e", image=sent(second))
    assert again["duplicates"] == 1
    step(client)
    assert uploads(service) == {first}


def test_learned_words_are_no_words_in_the_bundle(bundle: Path):
    assert b"love" not in (bundle / "user_content.safetensors").read_bytes()
    assert "love" not in json.dumps(Recommender.load(bundle).facts)


def test_client_sends_what_a_user_says_and_is(client: TestClient):
    shop = Client(http=client)
    assert shop.event("n", "sea1", text="I love the hill", image=sent(picture("hill", 5)))["with_content"] == 1
    assert shop.tell("n", {"region": "hill"}, image={"data": sent(picture("hill", 6))["data"]})["status"] == "waiting"
    step(client)
    assert shop.about("n")["status"] == "ready"
    (name,) = shop.export("n")["about"]["files"].values()
    assert shop.exported_file("n", name) == picture("hill", 6)
    found = shop.recommend_session(
        [{"item_id": "sea1", "text": "I love the hill"}], about={"columns": {"region": "hill"}}
    )
    assert found["items"][0]["item_id"].startswith("hill")
