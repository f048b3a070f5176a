"""The whole path over HTTP: events in, another list out."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from penchant.client import Client, ServiceError
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.telemetry import JsonLogFormatter
from shop import HIGH, LOW, tone


def ids(client: TestClient, user: str, **wishes: Any) -> list[str]:
    answer = client.get(f"/v1/users/{user}/recommendations", params=wishes)
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def is_low(item_id: str) -> bool:
    return int(item_id[1:]) >= 12


def test_event_changes_the_next_list(client: TestClient):
    before = client.get("/v1/users/newcomer/recommendations", params={"k": 5}).json()
    assert before["basis"] == "popularity"
    for item in ("i12", "i13", "i14"):
        stored = client.post("/v1/events", json={"user_id": "newcomer", "item_id": item, "kind": "like"})
        assert stored.json() == {
            "stored": 1,
            "duplicates": 0,
            "unknown_items": 0,
            "with_content": 0,
            "unread_content": 0,
        }
    after = client.get("/v1/users/newcomer/recommendations", params={"k": 5, "reasons": True}).json()
    assert after["basis"] == "history"
    assert after["events"] == 3
    assert all(is_low(item["item_id"]) for item in after["items"])
    assert after["items"][0]["reasons"][0].startswith("because of “low tune 1")


def test_people_keep_apart(client: TestClient):
    client.post("/v1/events", json={"user_id": "a", "item_id": "i12"})
    assert client.get("/v1/users/b/recommendations").json()["basis"] == "popularity"
    assert client.get("/v1/export/b").json()["events"] == []


def test_same_event_id_is_stored_once(client: TestClient):
    event = {"user_id": "a", "item_id": "i1", "event_id": "e1"}
    assert client.post("/v1/events", json=event).json()["stored"] == 1
    again = client.post("/v1/events", json={"events": [event, {**event, "event_id": "e2"}]}).json()
    assert again == {"stored": 1, "duplicates": 1, "unknown_items": 0, "with_content": 0, "unread_content": 0}


def test_idempotency_key_stores_a_batch_once(client: TestClient):
    batch = {"events": [{"user_id": "a", "item_id": "i1"}, {"user_id": "a", "item_id": "i1"}]}
    for stored in (2, 0):
        answer = client.post("/v1/events", json=batch, headers={"Idempotency-Key": "k1"})
        assert answer.json()["stored"] == stored


def test_out_of_order_events_are_read_in_time(client: TestClient):
    events = [
        {"user_id": "a", "item_id": "i1", "at": "2025-01-02T00:00:00Z"},
        {"user_id": "a", "item_id": "i2", "at": "2025-01-01T00:00:00Z"},
    ]
    client.post("/v1/events", json={"events": events})
    profile = client.get("/v1/users/a/profile").json()
    assert profile["recent"] == ["high tune 1", "high tune 2"]


def test_event_from_the_future_is_refused_and_nothing_of_its_batch_stored(client: TestClient):
    batch = {
        "events": [{"user_id": "a", "item_id": "i1"}, {"user_id": "a", "item_id": "i1", "at": "2999-01-01T00:00:00Z"}]
    }
    answer = client.post("/v1/events", json=batch)
    assert answer.status_code == 422
    assert answer.json()["where"] == "events.1.at"
    assert client.get("/v1/export/a").json()["events"] == []


def test_event_of_an_unknown_item_is_kept_and_said(client: TestClient):
    answer = client.post("/v1/events", json={"user_id": "a", "item_id": "nothing"}).json()
    assert answer == {"stored": 1, "duplicates": 0, "unknown_items": 1, "with_content": 0, "unread_content": 0}
    assert client.get("/v1/users/a/recommendations").json()["basis"] == "popularity"


def test_errors_are_in_the_language_that_a_client_asks_for(client: TestClient):
    plain, chinese = (
        client.get("/v1/items/i999", headers=headers) for headers in ({}, {"Accept-Language": "zh-CN,zh;q=0.9"})
    )
    assert (plain.json()["detail"], plain.headers.get("content-language")) == ("There is no item 'i999'.", None)
    assert (chinese.json()["detail"], chinese.headers["content-language"]) == ("没有物品 'i999'。", "zh-CN")
    assert chinese.json()["type"] == plain.json()["type"] == "urn:penchant:problem:notfound"


def test_context_answers_for_somebody_unknown(client: TestClient):
    answer = client.get("/v1/users/new/recommendations", params={"context": "i13", "k": 3}).json()
    assert answer["basis"] == "context"
    assert all(is_low(item["item_id"]) for item in answer["items"])


def test_session_stores_nothing(client: TestClient):
    answer = client.post("/v1/sessions/recommendations", json={"history": ["i12", "i13", "what"], "k": 3}).json()
    assert answer["unknown_items"] == 1
    assert all(is_low(item["item_id"]) for item in answer["items"])
    assert client.get("/v1/export/new").json()["events"] == []


def test_filters_bounds_and_lists_narrow_the_list(client: TestClient):
    assert all(is_low(i) for i in ids(client, "u0", where="genres:low"))
    assert set(ids(client, "u0", at_least="price:20", k=24, seen=True)) == {"i20", "i21", "i22", "i23"}
    assert set(ids(client, "u0", allow=["i1", "i15"], seen=True)) == {"i1", "i15"}
    assert "i15" not in ids(client, "u0", deny="i15", k=24, seen=True)
    unknown = client.get("/v1/users/u0/recommendations", params={"where": "colour:red"}).json()
    assert unknown["status"] == 404
    assert "genres" in unknown["fix"]


def test_boost_lifts_an_item(client: TestClient):
    assert ids(client, "u0", seen=True, k=1) != ["i20"]
    assert ids(client, "u0", seen=True, k=1, boost="item:i20:20") == ["i20"]


def test_empty_list_is_an_answer(client: TestClient):
    assert ids(client, "u0", allow="nothing", diversity=0.5) == []


def test_diversity_mixes_kinds(client: TestClient):
    assert len({is_low(i) for i in ids(client, "u0", k=4)}) == 1
    assert len({is_low(i) for i in ids(client, "u0", k=4, diversity=0.9)}) == 2


def test_own_edits_change_the_next_list(client: TestClient):
    def edit(**said: Any) -> None:
        assert client.patch("/v1/users/u0/profile", json={"edits": [said]}).status_code == 200

    first = ids(client, "u0", k=5)
    edit(name="item", value=first[0], action="never")
    assert first[0] not in ids(client, "u0", k=24)
    edit(name="item", value="i20", action="pin")
    assert ids(client, "u0", k=5)[0] == "i20"
    edit(name="genres", value="high", action="less", strength=5)
    assert all(is_low(i) for i in ids(client, "u0", k=5))
    edit(name="genres", value="high", action="reset")
    edit(name="item", value="i20", action="reset")
    assert not any(is_low(i) for i in ids(client, "u0", k=4))


@pytest.mark.parametrize(
    ("actions", "kept"), [(["less", "more"], ["more"]), (["less", "reset"], []), (["reset", "less"], ["less"])]
)
def test_last_edit_of_a_value_counts(client: TestClient, actions: list[str], kept: list[str]):
    edits = [{"name": "genres", "value": "high", "action": action} for action in actions]
    answer = client.patch("/v1/users/u0/profile", json={"edits": edits})
    assert answer.status_code == 200
    assert [e["action"] for e in answer.json()["edits"]] == kept


@pytest.mark.parametrize("events", [1, 0])
def test_second_editor_of_one_profile_is_told(client: TestClient, events: int):
    client.post("/v1/events", json=[{"user_id": "a", "item_id": "i1"}] * events or {"user_id": "b", "item_id": "i1"})
    tag = client.get("/v1/users/a/profile").headers["ETag"]
    edit = {"edits": [{"name": "item", "value": "i2", "action": "never"}]}
    assert client.patch("/v1/users/a/profile", json=edit, headers={"If-Match": tag}).status_code == 200
    second = client.patch("/v1/users/a/profile", json=edit, headers={"If-Match": tag})
    assert second.status_code == 412
    assert second.json()["detail"] == "The profile was changed since you read it."


@pytest.mark.parametrize(
    ("amount", "code"), [("9" * 60, 422), ("-" + "9" * 7, 422), ("-999999.25", 200), ("0.30000000000000004", 200)]
)
def test_boost_that_overflows_a_score_is_refused(client: TestClient, amount: str, code: int):
    answer = client.get("/v1/users/u0/recommendations", params={"boost": f"genres:high:{amount}"})
    assert answer.status_code == code


def test_explanation_sums_to_the_score(client: TestClient):
    client.post("/v1/events", json={"user_id": "a", "item_id": "i12", "kind": "like"})
    listed = client.get("/v1/users/a/recommendations", params={"k": 1}).json()["items"][0]
    why = client.get(f"/v1/users/a/explanations/{listed['item_id']}").json()
    assert abs(why["score"] - listed["score"]) < 1e-4
    assert abs(sum(why["by_member"].values()) - why["score"]) < 1e-4


def test_counterfactual_of_a_listed_item_holds_and_follows_edits_and_withdrawals(client: TestClient):
    for item in ("i12", "i13"):
        client.post("/v1/events", json={"user_id": "a", "item_id": item, "kind": "like", "event_id": item})

    def asked(item: str, k: int) -> dict[str, Any]:
        return client.get(f"/v1/users/a/explanations/{item}", params={"counterfactual": "true", "k": k}).json()

    listed = ids(client, "a", k=3)
    found = asked(listed[2], 3)
    assert found["rank"] == 3
    without = [event["item_id"] for event in found["removal"]["events"]]
    assert without, found["text"]
    for item in without:
        assert client.delete("/v1/users/a/events", params={"event_id": item}).json()["deleted"] == 1
    again = client.get("/v1/users/a/recommendations", params={"k": 3, "deny": without}).json()["items"]
    assert listed[2] not in [item["item_id"] for item in again]
    client.patch(
        "/v1/users/a/profile", json={"edits": [{"name": "item", "value": "i20", "action": "never"}]}
    ).raise_for_status()
    assert asked("i20", 3)["rank"] is None
    client.delete("/v1/items/i21")
    assert asked("i21", 3)["rank"] is None
    nobody = client.get(f"/v1/users/nobody/explanations/{ids(client, 'nobody', k=1)[0]}?counterfactual=true&k=1").json()
    assert nobody["removal"] is None
    assert "there is no history" in nobody["text"]


def test_withdrawn_item_disappears_at_once(client: TestClient):
    first = ids(client, "u0", k=1)[0]
    assert client.delete(f"/v1/items/{first}").json()["status"] == "withdrawn"
    assert first not in ids(client, "u0", k=24, seen=True)
    others = client.get("/v1/items/i1/similar", params={"k": 24}).json()["items"]
    assert first not in [item["item_id"] for item in others]


def test_similar_items_sound_alike(client: TestClient):
    for by in ("sound", "fused", "behaviour"):
        found = client.get("/v1/items/i12/similar", params={"k": 5, "by": by}).json()
        assert found["by"] == by
        assert all(is_low(item["item_id"]) for item in found["items"])


def test_search_by_words_finds_the_text(client: TestClient):
    found = client.post("/v1/search", json={"words": "low sound", "k": 5}).json()
    assert found["by"] == "words"
    assert all(is_low(item["item_id"]) for item in found["items"])


def test_a_file_that_is_no_sound_is_named_by_its_place_in_the_request(client: TestClient):
    data = base64.b64encode(b"These are words, not a sound.").decode()
    for path, body in (("/v1/search", {}), ("/v1/chat", {"user_id": "u0"})):
        refused = client.post(path, json={**body, "audio": {"data": data}})
        assert (refused.status_code, refused.json()["where"]) == (422, "audio")
        assert "/" not in refused.json()["detail"]


def test_search_by_sound_finds_what_sounds_so(client: TestClient, tmp_path: Path, config: ServiceConfig):
    tone(tmp_path / "query.wav", LOW, 99)
    data = base64.b64encode((tmp_path / "query.wav").read_bytes()).decode()
    found = client.post("/v1/search", json={"audio": {"data": data}, "k": 5}).json()
    assert found["by"] == "sound"
    assert all(is_low(item["item_id"]) for item in found["items"])
    assert not (config.state_folder / "media").exists()


def put_sound(client: TestClient, folder: Path, item_id: str, hertz: float, genre: str) -> None:
    tone(folder / "new.wav", hertz, 98)
    data = base64.b64encode((folder / "new.wav").read_bytes()).decode()
    columns = {"title": f"new {genre}", "genres": [genre], "price": 1.5}
    answer = client.put(f"/v1/items/{item_id}", json={"columns": columns, "audio": {"data": data}})
    assert answer.json() == {"item_id": item_id, "status": "waiting", "reason": None}


def test_new_item_is_recommended_without_a_refit(client: TestClient, tmp_path: Path):
    put_sound(client, tmp_path, "deep", LOW, "low")
    put_sound(client, tmp_path, "shrill", HIGH, "high")
    client.app.state.worker.step()
    assert client.get("/v1/items/deep").json()["status"] == "ready"
    found = client.get("/v1/items/i12/similar", params={"by": "sound", "k": 12}).json()["items"]
    assert "deep" in [item["item_id"] for item in found]
    for user, better, worse in (("u1", "deep", "shrill"), ("u0", "shrill", "deep")):
        ranked = ids(client, user, k=26, seen=True)
        assert ranked.index(better) < ranked.index(worse)
    assert "deep" in ids(client, "u1", where="genres:low", k=24)
    client.post("/v1/events", json={"user_id": "z", "item_id": "deep", "kind": "like"})
    assert all(is_low(i) for i in ids(client, "z", k=3))
    client.delete("/v1/items/deep")
    assert "deep" not in ids(client, "u1", k=26, seen=True)


def test_changed_item_gets_its_new_columns(client: TestClient):
    client.put("/v1/items/i3", json={"columns": {"title": "renamed", "price": 99.0}})
    client.app.state.worker.step()
    found = client.get("/v1/users/u1/recommendations", params={"at_least": "price:50", "seen": True}).json()["items"]
    assert [(item["item_id"], item["title"]) for item in found] == [("i3", "renamed")]


def test_new_item_with_a_wrong_column_is_told(client: TestClient):
    answer = client.put("/v1/items/x", json={"columns": {"titel": "t"}})
    assert answer.status_code == 422
    assert "'title'" in answer.json()["fix"]
    assert client.put("/v1/items/x", json={"columns": {"price": "dear"}}).status_code == 422


def test_problem_has_what_where_fix(client: TestClient):
    answer = client.get("/v1/users/u0/explanations/nothing")
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["detail"] == "There is no item 'nothing'."
    assert problem["where"] == "the catalog"
    assert problem["fix"]
    assert problem["instance"] == f"urn:request:{answer.headers['X-Request-ID']}"


def test_malformed_json_is_told(client: TestClient):
    answer = client.post("/v1/events", content=b"{'no': json", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["title"] == "json"


def test_huge_body_is_refused_while_it_comes_in(config: ServiceConfig):
    small = config.model_copy(update={"max_body_bytes": 2000})
    with TestClient(create_app(small)) as client:
        answer = client.post("/v1/events", json={"user_id": "a" * 200, "item_id": "b" * 3000})
        assert answer.status_code == 413
        assert answer.json()["detail"] == "The body is too large."


def test_unicode_and_slashed_ids_work(client: TestClient):
    user = "用户/é 1"
    client.post("/v1/events", json={"user_id": user, "item_id": "i12", "kind": "like"})
    answer = client.get(f"/v1/users/{quote(user, safe='')}/recommendations").json()
    assert (answer["user_id"], answer["basis"]) == (user, "history")


@pytest.mark.parametrize("user", ["\x00", "a\x00b", "\ud800", "", "a" * 300])
def test_ids_no_database_takes_are_refused(client: TestClient, user: str):
    body = json.dumps({"user_id": user, "item_id": "i1"})
    answer = client.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)


def test_answers_carry_security_headers_and_a_request_id(client: TestClient):
    answer = client.get("/healthz", headers={"X-Request-ID": "mine-1"})
    assert answer.headers["X-Request-ID"] == "mine-1"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_metrics_and_logs_hold_no_ids(client: TestClient, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", logger="penchant.service"):
        client.post("/v1/events", json={"user_id": "secret-person", "item_id": "i1"})
        client.get("/v1/users/secret-person/recommendations")
    metrics = client.get("/metrics").text
    assert 'route="/v1/users/{user_id}/recommendations"' in metrics
    assert "penchant_events_total 1.0" in metrics
    lines = "".join(JsonLogFormatter().format(record) for record in caplog.records)
    assert '"milliseconds"' in lines
    assert "secret-person" not in metrics + lines


def test_python_client_speaks_the_api(client: TestClient):
    shop = Client(http=client)
    shop.event("c", "i12", kind="like")
    assert shop.recommend("c", k=2)["basis"] == "history"
    assert shop.edit_profile("c", {"name": "genres", "value": "low", "action": "more"})["edits"]
    assert set(shop.erase("c")) >= {"receipt_id", "signature"}
    with pytest.raises(ServiceError, match="There is no item 'x'") as caught:
        shop.item("x")
    assert caught.value.status == 404


def test_one_event_can_be_deleted(client: TestClient):
    for item, name in (("i12", "e1"), ("i13", "e2")):
        client.post("/v1/events", json={"user_id": "d/1", "item_id": item, "kind": "like", "event_id": name})
    before = ids(client, "d%2F1")
    path = f"/v1/users/{quote('d/1', safe='')}/events"
    assert client.delete(path, params={"event_id": "e1"}).json() == {"deleted": 1, "in_bundle": False}
    exported = client.get(f"/v1/export/{quote('d/1', safe='')}").json()
    assert [e["item_id"] for e in exported["events"]] == ["i13"]
    assert [e["key"] for e in exported["deleted_events"]] == ["e1"]
    assert ids(client, "d%2F1") != before
    named = {"item_id": "i13", "at": exported["events"][0]["at"]}
    assert client.delete(path, params={**named, "kind": "skip"}).status_code == 404
    assert client.delete(path, params={**named, "kind": " Like "}).json()["deleted"] == 1
    assert client.get(f"/v1/users/{quote('d/1', safe='')}/recommendations").json()["basis"] == "popularity"
    again = {"user_id": "d/1", "item_id": "i12", "kind": "like", "event_id": "e1"}
    assert client.post("/v1/events", json=again).json()["duplicates"] == 1
    answer = client.delete(path, params={"event_id": "e1"})
    assert (answer.status_code, answer.json()["detail"]) == (404, "No such event is stored.")
    assert client.delete(path, params={"item_id": "i13"}).json()["fix"].startswith("give event_id, or item_id and at")


def test_an_event_of_the_bundle_stays_and_the_answer_says_so(client: TestClient):
    learned = client.get("/v1/export/u0").json()["learned_from"][0]
    path, named = "/v1/users/u0/events", {"item_id": learned["item_id"], "at": learned["at"]}
    answer = client.delete(path, params=named)
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "The bundle learned from this event; it is not in the store.",
    )
    client.post("/v1/events", json={"user_id": "u0", "kind": "like", **named})
    assert client.delete(path, params=named).json() == {"deleted": 1, "in_bundle": True}


def test_what_the_user_asked_for_is_a_reason(client: TestClient):
    edits = [{"name": "genres", "value": "low", "action": "more"}, {"name": "item", "value": "i1", "action": "pin"}]
    client.patch("/v1/users/u0/profile", json={"edits": edits}).raise_for_status()
    items = client.get("/v1/users/u0/recommendations", params={"reasons": True, "k": 24}).json()["items"]
    for item in items:
        asked = item["reasons"][1:]
        assert asked == (
            ["the user always wants high tune 1"]
            if item["item_id"] == "i1"
            else ["the user asked for more of low"]
            if is_low(item["item_id"])
            else []
        )
    assert any(is_low(item["item_id"]) for item in items)
