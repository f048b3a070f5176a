"""The studio as a browser meets it: every view in both languages, scopes, and what must not be reachable."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from chinese_pages import english
from penchant.core.messages import CHANNELS, Translator, preferred_language
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.service.security import make_key
from penchant.studio import charts, model
from penchant.studio.item_map import draw
from penchant.studio.language import PageTranslator
from penchant.studio.operations import RouteLatency, measure
from penchant.studio.pages import add_studio
from shop import make_bundle

PAGE = {"HX-Request": "true"}
"""What htmx sends with every request of the page."""
STRANGE = ("nobody", "../../etc/passwd", "名字", "a b/c?d=e&f", "<script>alert(1)</script>", "%00", "' OR 1=1")
VIEWS = {
    "/": ("Users", "用户"),
    "/studio/user?id=u0": ("u0", "u0"),
    "/studio/item?id=i0": ("high tune 0", "high tune 0"),
    "/studio/why?user=u0&item=i0": ("Why high tune 0?", "为何推荐《high tune 0》？"),
    "/studio/search": ("Search", "搜索"),
    "/studio/search?words=low+sound": ("Search", "搜索"),
    "/studio/model": ("Model", "模型"),
    "/studio/operations": ("Operations", "运行"),
    "/studio/trial": ("Trial", "试验"),
    "/studio/versions": ("Versions of the model", "模型的版本"),
    "/studio/tasks": ("Tasks", "任务"),
    "/studio/user?id=u0&mode=act": ("u0", "u0"),
    "/studio/members?id=u0": ("Members for u0", "u0 的各成员列表"),
}

OWN_NAMES = {"English", "API", "SQLite", "high", "low", "tune", "sound", "bright", "deep"}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle whose items have pictures too; one path leads out of the folder, one file is no picture."""
    home = tmp_path_factory.mktemp("gallery")
    bundle = make_bundle(home / "plain")
    media = home / "media"
    for n in range(24):
        Image.new("RGB", (900, 600), (10 * n, 90, 200 - 5 * n)).save(media / f"{n}.jpg")
    (home / "secret.jpg").write_bytes((media / "0.jpg").read_bytes())
    (media / "3.jpg").write_text("no picture", encoding="utf-8")
    pictures = [f"{n}.jpg" for n in range(24)]
    pictures[1], pictures[2] = "../secret.jpg", "/etc/passwd"
    catalog = bundle.catalog
    table = catalog.table.with_columns(picture=pl.Series(pictures))
    columns = {**catalog.media_columns, "image": "picture"}
    from dataclasses import replace

    replace(bundle, catalog=replace(catalog, table=table, media_columns=columns)).save(home / "bundle")
    return home / "bundle"


@pytest.fixture
def studio(gallery: Path, tmp_path: Path) -> Iterator[TestClient]:
    config = ServiceConfig(bundle=gallery, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"])
    with TestClient(create_app(config, add_pages=add_studio), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def reader(gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Return a client for tests that change nothing."""
    config = ServiceConfig(
        bundle=gallery, folder=tmp_path_factory.mktemp("state"), watch_seconds=60, host_names=["testserver"]
    )
    with TestClient(create_app(config, add_pages=add_studio), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def guarded(gallery: Path, tmp_path: Path) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """Return a service with keys, and the keys by their scopes."""
    app = create_app(
        ServiceConfig(bundle=gallery, folder=tmp_path / "state", watch_seconds=60, host_names=["testserver"]),
        add_pages=add_studio,
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        service = app.state.service
        keys = {
            scopes: make_key(service.store, scopes, scopes.split(",")) for scopes in ("read", "read,personal", "admin")
        }
        service.snapshots.sync(service.store.world_version())
        yield client, keys


def title(text: str) -> str:
    found = re.search(r"<title>(.*?)</title>", text, re.DOTALL)
    assert found
    return found[1]


def listed(text: str) -> list[str]:
    return re.findall(r'data-item="([^"]+)"', text)


@pytest.mark.parametrize("address", VIEWS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_view_answers_in_each_language(reader: TestClient, address: str, language: str):
    answer = reader.get(
        address, headers={"Accept-Language": {"en": "en-GB,en;q=0.9", "zh": "zh-CN,zh;q=0.9,en;q=0.5"}[language]}
    )
    assert answer.status_code == 200, answer.text
    assert f'lang="{"en" if language == "en" else "zh-CN"}"' in answer.text
    said = title(answer.text).replace("&lt;", "<")
    assert said.startswith(VIEWS[address][language == "zh"])


@pytest.mark.parametrize("address", VIEWS)
def test_no_english_is_left_in_a_chinese_view(reader: TestClient, address: str):
    page = reader.get(address, headers={"Accept-Language": "zh"}).text
    page = re.sub(r"<script.*?</script>|<bdi.*?</bdi>|<iframe.*?</iframe>", " ", page, flags=re.DOTALL)
    assert not english(page, OWN_NAMES)


def test_errors_are_told_in_the_language_of_the_page(reader: TestClient):
    answer = reader.get("/studio/item?id=i999", headers={"Accept-Language": "zh"})
    assert answer.status_code == 404
    assert "没有物品 &#39;i999&#39;。" in answer.text
    assert "There is no item" in reader.get("/studio/item?id=i999", headers={"Accept-Language": "en"}).text


def test_topics_are_named_in_the_language_of_the_page(reader: TestClient):
    for address, shown in (("/studio/item?id=i0", "明亮"), ("/studio/user?id=u0", "低沉")):
        assert shown in reader.get(address, headers={"Accept-Language": "zh"}).text
        assert shown not in reader.get(address, headers={"Accept-Language": "en"}).text


def test_page_obeys_a_policy_that_allows_only_itself(reader: TestClient):
    for address in VIEWS:
        answer = reader.get(address)
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert " style=" not in answer.text
        assert " on" not in "".join(re.findall(r"<[a-z]+ [^>]*?( on[a-z]+=)", answer.text))
        assert not re.findall(r"<script(?![^>]*\ssrc=)", answer.text)
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', answer.text)


def test_choice_of_language_and_theme_is_remembered(studio: TestClient):
    chosen = studio.get("/studio/search?lang=zh&theme=dark")
    assert 'data-theme="dark"' in chosen.text
    again = studio.get("/studio/model")
    assert 'lang="zh-CN" data-theme="dark"' in again.text
    assert studio.get("/studio/model?lang=fr").status_code == 422


@pytest.mark.parametrize(
    ("header", "language"),
    [("", "en"), ("de, zh;q=0.4", "zh"), ("en;q=0.2, zh-TW;q=0.9", "zh"), ("zh;q=0", "en"), ("*", "en")],
)
def test_browser_language_is_read_by_weight(header: str, language: str):
    assert preferred_language(header) == language


def test_event_changes_the_list_on_the_page(studio: TestClient):
    before = listed(studio.get("/studio/user?id=fresh&new=true").text)
    form = {"user_id": "fresh", "item_id": "i12", "kind": "like", "before": json.dumps(before), "mode": "act"}
    for item in ("i12", "i13", "i14"):
        piece = studio.post("/studio/event", data={**form, "item_id": item}, headers=PAGE)
    assert piece.status_code == 200
    assert "<!doctype" not in piece.text
    after = listed(piece.text)
    assert after != before
    assert all(int(item[1:]) >= 12 for item in after[:5])
    assert "of the list are new or moved" in piece.text
    assert "liked" in piece.text
    assert studio.get("/v1/export/fresh").json()["events"][0]["item_id"] == "i12"


def test_slider_changes_the_list_and_taking_back_restores_it(studio: TestClient):
    before = listed(studio.get("/studio/user?id=u0").text)
    edit = {"user_id": "u0", "name": "genres", "value": "high", "level": "-2", "mode": "act"}
    without = studio.post("/studio/edit", data=edit, headers=PAGE)
    assert all(int(item[1:]) >= 12 for item in listed(without.text))
    assert 'value="-2"' in without.text
    assert listed(studio.post("/studio/edit", data={**edit, "level": "0"}, headers=PAGE).text) == before


def test_pinned_item_stands_first(studio: TestClient):
    last = listed(studio.get("/studio/user?id=u0").text)[-1]
    piece = studio.post(
        "/studio/edit",
        data={"user_id": "u0", "name": "item", "value": last, "level": "2", "mode": "act"},
        headers=PAGE,
    )
    assert listed(piece.text)[0] == last


def test_chosen_interest_is_asked_for(studio: TestClient):
    def num_low(text: str) -> int:
        return sum(int(item[1:]) >= 12 for item in listed(text))

    before = num_low(studio.get("/studio/user?id=fresh&new=true").text)
    wanted = json.dumps(["topic", "deep"])
    piece = studio.post("/studio/interest", data={"user_id": "fresh", "wanted": wanted, "mode": "act"}, headers=PAGE)
    assert num_low(piece.text) > before
    assert "<b>more</b> <bdi>deep</bdi>" in piece.text
    assert studio.post("/studio/interest", data={"user_id": "fresh", "wanted": "[1]"}, headers=PAGE).status_code == 404


def test_change_without_scripts_answers_with_the_page(studio: TestClient):
    form = {"user_id": "a b/c", "item_id": "i1"}
    answer = studio.post("/studio/event", data=form, headers={"Origin": "http://testserver"})
    assert answer.status_code == 200
    assert "<!doctype html>" in answer.text
    assert "<b>A copy:</b> changes on this page alone: 1. Nothing is stored." in answer.text


def steps_of(text: str) -> str:
    found = re.search(r'name="steps" value="([^"]*)"', text)
    assert found
    return html.unescape(found[1])


def stored(studio: TestClient, user: str) -> tuple[list[str], list[dict[str, str]]]:
    exported = studio.get(f"/v1/export/{user}").json()
    return [e["item_id"] for e in exported["events"]], exported["edits"]


def test_looking_stores_nothing_and_clicks_change_a_copy(studio: TestClient):
    versions = studio.app.state.service.store.versions  # type: ignore[attr-defined]
    page = studio.get("/studio/user?id=u0").text
    first = listed(page)
    form = {"user_id": "u0", "steps": "[]", "before": json.dumps(first)}
    low = [item for item in first if int(item[1:]) >= 12]
    liked = studio.post("/studio/event", data={**form, "item_id": first[0], "kind": "like"}, headers=PAGE).text
    assert first[0] not in listed(liked), "an item that was chosen leaves the list of the copy"
    form["steps"] = steps_of(liked)
    edit = {"name": "genres", "value": "low", "level": "2"}
    asked = studio.post("/studio/edit", data={**form, **edit}, headers=PAGE).text
    assert sum(int(item[1:]) >= 12 for item in listed(asked)) > len(low)
    assert "the user always wants low" in asked
    form["steps"] = steps_of(asked)
    why = studio.get("/studio/why", params={"user": "u0", "item": "i5", "steps": form["steps"]}).text
    assert "Of the copy, changes: 2." in why
    again = {"user": "u0", "item": "i5", "steps": form["steps"], "counterfactual": "true"}
    different = studio.get("/studio/why", params=again).text
    assert "Of the copy, changes: 2." in different
    assert "Ranked again to be sure" in different
    assert "Ranked again" not in why
    undone = studio.post("/studio/undo", data=form, headers=PAGE).text
    assert listed(undone) == listed(liked)
    form["steps"] = steps_of(undone)
    assert listed(studio.post("/studio/undo", data=form, headers=PAGE).text) == first
    studio.get("/studio/members?id=u0")
    studio.get("/studio/user?id=u0&mode=act")
    assert stored(studio, "u0") == ([], [])
    assert versions(["u0"])[0] == [None], "nothing at all was written about this user"


def test_a_slider_on_its_way_is_one_step(studio: TestClient):
    form = {"user_id": "u0", "name": "genres", "value": "high"}
    for level in ("-1", "-2"):
        form["steps"] = steps_of(studio.post("/studio/edit", data={**form, "level": level}, headers=PAGE).text)
    assert [step["action"] for step in json.loads(form["steps"])] == ["never"]


def test_every_change_of_acting_can_be_undone(studio: TestClient):
    studio.patch(
        "/v1/users/u0/profile",
        json={"edits": [{"name": "genres", "value": "high", "action": "less", "strength": 2.5}]},
    )
    before = stored(studio, "u0")
    page = studio.get("/studio/user?id=u0&mode=act").text
    first = listed(page)
    form = {"user_id": "u0", "mode": "act", "steps": "[]"}
    changes = [
        ("/studio/event", {"item_id": "i12", "kind": "like"}),
        ("/studio/edit", {"name": "genres", "value": "high", "level": "2"}),
        ("/studio/interest", {"wanted": json.dumps(["topic", "deep"])}),
    ]
    for address, change in changes:
        answer = studio.post(address, data={**form, **change}, headers=PAGE)
        assert answer.status_code == 200, answer.text
        assert "Undo: " in answer.text
        form["steps"] = steps_of(answer.text)
    assert stored(studio, "u0")[0] == ["i12"]
    for _ in changes:
        answer = studio.post("/studio/undo", data=form, headers=PAGE)
        assert answer.status_code == 200, answer.text
        form["steps"] = steps_of(answer.text)
    assert form["steps"] == "[]"
    assert "Undo: " not in answer.text
    assert listed(answer.text) == first
    assert stored(studio, "u0") == before, "the strength of the edit before is back too"


def test_a_stored_event_is_deleted_and_brought_back(studio: TestClient):
    studio.post("/v1/events", json={"user_id": "u0", "item_id": "i14", "kind": "rating", "value": 4.5})
    assert "/studio/delete" not in studio.get("/studio/user?id=u0").text, "looking offers no deletion"
    page = studio.get("/studio/user?id=u0&mode=act").text
    found = re.search(r'action="/studio/delete".*?name="at" value="(\d+)".*?name="kind" value="(\w+)"', page)
    assert found
    form = {"user_id": "u0", "item_id": "i14", "at": found[1], "kind": found[2], "steps": "[]"}
    refused = studio.post("/studio/delete", data={**form, "mode": "look"}, headers=PAGE)
    assert refused.status_code == 422
    assert stored(studio, "u0")[0] == ["i14"]
    before = studio.get("/v1/export/u0").json()["events"][0]
    gone = studio.post("/studio/delete", data={**form, "mode": "act"}, headers=PAGE)
    assert stored(studio, "u0")[0] == []
    assert "Undo: deleted low tune 14" in gone.text
    studio.post("/studio/undo", data={"user_id": "u0", "mode": "act", "steps": steps_of(gone.text)}, headers=PAGE)
    after = studio.get("/v1/export/u0").json()["events"][0]
    assert {**before, "key": None} == {**after, "key": None}


def test_acting_needs_the_scope_and_looking_does_not(guarded: tuple[TestClient, dict[str, str]]):
    client, keys = guarded
    client.cookies.set("penchant_key", keys["read,personal"])
    assert "Act as this user" not in client.get("/studio/user?id=u0").text
    assert client.get("/studio/user?id=u0&mode=act").status_code == 403
    form = {"user_id": "u0", "item_id": "i0"}
    assert client.post("/studio/event", data=form, headers=PAGE).status_code == 200
    for address, more in (
        ("/studio/event", {}),
        ("/studio/edit", {"name": "genres", "value": "high", "level": "1"}),
        ("/studio/undo", {"steps": '[{"name": "genres", "of": "high", "action": "more"}]'}),
    ):
        assert client.post(address, data={**form, **more, "mode": "act"}, headers=PAGE).status_code == 403


@pytest.mark.parametrize("steps", ["", "[", "{}", "[1]", '[{"item": "i0", "at": 1e99}]', "[" * 5000, '[{"kind": 3}]'])
def test_broken_steps_are_no_steps(studio: TestClient, steps: str):
    form = {"user_id": "u0", "steps": steps}
    assert studio.post("/studio/undo", data=form, headers=PAGE).status_code == 200
    assert studio.post("/studio/undo", data={**form, "mode": "act"}, headers=PAGE).status_code == 200
    assert stored(studio, "u0") == ([], [])


def test_a_mistyped_id_says_so(studio: TestClient):
    answer = studio.get("/studio/user?id=U0")
    assert answer.status_code == 404
    assert "There is no user" in answer.text
    assert '<a href="/studio/user?id=u0">' in answer.text
    assert studio.get("/studio/user?id=U0&new=true").status_code == 200
    assert studio.get("/studio/user?id=U0").status_code == 404, "to open it stored nothing"
    studio.post("/v1/events", json={"user_id": "U0", "item_id": "i1"})
    assert studio.get("/studio/user?id=U0").status_code == 200


def test_members_show_their_own_lists_beside_the_history(reader: TestClient):
    page = reader.get("/studio/members?id=u0").text
    service = reader.app.state.service  # type: ignore[attr-defined]
    ensemble = service.snapshot.recommender.ensemble
    for name in ensemble.members:
        assert f"<bdi>{name}</bdi></h2>" in page
    assert page.count('class="final"') >= 5
    assert page.index("<h2>History</h2>") < page.index("<h2>ensemble</h2>") < page.index('<p class="note">weight')


def test_time_of_few_requests_is_not_given():
    times = RouteLatency()
    times.count, times.seconds = 1, 0.012
    times.within.update({0.01: 0, 0.025: 1, math.inf: 1})
    assert times.quantile(0.5) is None
    times.count, times.within = 50, {0.01: 25, 0.025: 50, math.inf: 50}
    assert times.quantile(0.5) == pytest.approx(0.01)
    assert times.quantile(0.99) is None


def test_islands_are_named_in_the_language_of_the_page(reader: TestClient):
    recommender = reader.app.state.service.snapshot.recommender  # type: ignore[attr-defined]
    found = draw(recommender)
    assert found is not None
    english, chinese = ({word for *_, word in found.names(recommender.topics, lang)} for lang in ("en", "zh"))
    assert english == set(recommender.topics.names)
    assert chinese == set(recommender.topics.translations["zh"])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null", **PAGE},
        {"Sec-Fetch-Site": "cross-site", **PAGE},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"},
    ],
)
@pytest.mark.parametrize(
    "address", ["/studio/event", "/studio/edit", "/studio/interest", "/studio/key", "/studio/leave"]
)
def test_change_from_elsewhere_is_refused(studio: TestClient, address: str, headers: dict[str, str]):
    form = {
        "user_id": "x",
        "item_id": "i1",
        "name": "item",
        "value": "i1",
        "level": "2",
        "key": "k",
        "wanted": '["a","b"]',
    }
    assert studio.post(address, data=form, headers=headers).status_code == 403
    assert studio.get("/v1/export/x").json()["events"] == []


@pytest.mark.parametrize("strange", STRANGE)
def test_strange_ids_are_answered_plainly(reader: TestClient, strange: str):
    q = quote(strange, safe="")
    for address, status in {
        f"/studio/user?id={q}": (404,),
        f"/studio/user?id={q}&new=true": (200,),
        f"/studio/members?id={q}": (200,),
        f"/studio/item?id={q}": (404,),
        f"/studio/item?id=i0&by={q}": (422,),
        f"/studio/why?user={q}&item=i0": (200,),
        f"/studio/why?user=u0&item={q}": (404,),
        f"/studio/picture?id={q}": (404,),
        f"/studio/sound?id={q}": (404,),
        f"/studio/users?q={q}": (200,),
        f"/studio/search?words={q}": (200,),
    }.items():
        answer = reader.get(address)
        assert answer.status_code in status, (address, answer.text)
        assert "<script>alert" not in answer.text
    assert reader.get("/studio/user?id=%00").status_code == 422
    assert reader.get(f"/studio/user?id={'x' * 5000}").status_code == 422


def test_pictures_are_shrunk_and_only_from_the_media_folder(reader: TestClient):
    shown = reader.get("/studio/picture?id=i0&size=small")
    assert shown.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(shown.content)).size == (160, 107)
    for outside in ("i1", "i2", "i3"):
        refused = reader.get(f"/studio/picture?id={outside}")
        assert refused.status_code == 422
        assert "image/" not in refused.headers["content-type"]
    assert reader.get("/studio/picture?id=i0&size=huge").status_code == 422
    for escape in ("../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "vendor/../../pages.py"):
        assert reader.get(f"/studio/static/{escape}").status_code == 404


def test_sound_plays_in_pieces(reader: TestClient):
    part = reader.get("/studio/sound?id=i0", headers={"Range": "bytes=0-99"})
    assert part.status_code == 206
    assert part.headers["content-type"] == "audio/wav"
    assert len(part.content) == 100


def test_withdrawn_item_shows_no_media(studio: TestClient):
    studio.delete("/v1/items/i5")
    assert studio.get("/studio/picture?id=i5").status_code == 404
    assert "Withdrawn" in studio.get("/studio/item?id=i5").text


def _picture(colour: tuple[int, int, int]) -> dict[str, str]:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(out, "PNG")
    return {"data": base64.b64encode(out.getvalue()).decode()}


def _shown_colour(studio: TestClient, item_id: str) -> tuple[int, ...]:
    shown = studio.get(f"/studio/picture?id={item_id}&size=small")
    assert shown.status_code == 200, shown.text
    return tuple(round(value / 50) * 50 for value in Image.open(io.BytesIO(shown.content)).getpixel((32, 32)))


def test_media_of_items_that_came_online_show(studio: TestClient, gallery: Path):
    sound = base64.b64encode((gallery.parent / "media" / "13.wav").read_bytes()).decode()
    columns = {"columns": {"title": "t"}}
    studio.put("/v1/items/new", json={**columns, "image": _picture((200, 0, 0)), "audio": {"data": sound}})
    studio.put("/v1/items/i4", json={**columns, "image": _picture((0, 200, 0))})
    studio.app.state.worker.step()
    assert _shown_colour(studio, "new") == (200, 0, 0)
    assert _shown_colour(studio, "i4") == (0, 200, 0), "an item of the catalog has the picture it was sent again with"
    assert studio.get("/studio/sound?id=new").headers["content-type"] == "audio/wav"
    assert "/studio/picture?id=new" in studio.get("/studio/item?id=new").text
    studio.put("/v1/items/new", json={**columns, "image": _picture((0, 0, 200))})
    studio.app.state.worker.step()
    assert _shown_colour(studio, "new") == (0, 0, 200)
    assert studio.get("/studio/sound?id=new").status_code == 404
    studio.put("/v1/items/i4", json=columns)
    studio.app.state.worker.step()
    assert _shown_colour(studio, "i4") != (0, 200, 0), "without one, it has the catalog's again"


def test_search_by_a_dropped_sound_and_nothing_else(studio: TestClient, gallery: Path):
    sound = (gallery.parent / "media" / "13.wav").read_bytes()
    found = studio.post("/studio/search", files={"file": ("x.wav", sound, "audio/wav")}, headers=PAGE)
    assert found.status_code == 200
    assert re.findall(r"low tune \d+", found.text)[:3]
    assert "high tune" not in found.text.split("</li>")[0]
    refused = studio.post("/studio/search", files={"file": ("x.html", b"<b>", "text/html")}, headers=PAGE)
    assert refused.status_code == 422
    broken = studio.post("/studio/search", files={"file": ("x.wav", b"noise", "audio/wav")}, headers=PAGE)
    assert broken.status_code == 422


def test_waterfall_sums_to_the_score(reader: TestClient):
    found = reader.get("/v1/users/u0/explanations/i0").json()
    steps = charts.steps_of(found, PageTranslator("en"))
    assert sum(step["value"] for step in steps[:-1]) == pytest.approx(found["score"], abs=1e-6)
    assert steps[-2]["end"] == pytest.approx(steps[-1]["end"], abs=1e-6)


def test_without_a_key_only_the_door_opens(guarded: tuple[TestClient, dict[str, str]]):
    client, _ = guarded
    for address in (
        *VIEWS,
        "/studio/snapshot",
        "/studio/report",
        "/studio/picture?id=i0",
        "/studio/sound?id=i0",
        "/studio/users?q=u",
    ):
        answer = client.get(address)
        assert answer.status_code == 401, address
        assert "tune" not in answer.text
        assert 'type="password"' in answer.text
    assert client.post("/studio/event", data={"user_id": "x", "item_id": "i0"}, headers=PAGE).status_code == 401


def test_key_is_kept_in_a_cookie_no_script_reads(guarded: tuple[TestClient, dict[str, str]]):
    client, keys = guarded
    wrong = client.post("/studio/key", data={"key": "pk_a_b"}, headers=PAGE, follow_redirects=False)
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    form = {"key": keys["admin"], "to": "/studio/model"}
    right = client.post("/studio/key", data=form, headers=PAGE, follow_redirects=False)
    assert right.headers["location"] == "/studio/model"
    cookie = right.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/studio/user?id=u0").status_code == 200
    client.post("/studio/leave", headers=PAGE, follow_redirects=False)
    assert client.get("/studio/user?id=u0").status_code == 401


@pytest.mark.parametrize(
    "to", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere", "javascript:alert(1)", "x\ny"]
)
def test_door_leads_nowhere_else(guarded: tuple[TestClient, dict[str, str]], to: str):
    client, keys = guarded
    answer = client.post("/studio/key", data={"key": keys["read"], "to": to}, headers=PAGE, follow_redirects=False)
    assert answer.headers["location"] == "/"


def test_scopes_are_those_of_the_api(guarded: tuple[TestClient, dict[str, str]]):
    client, keys = guarded
    client.cookies.set("penchant_key", keys["read"])
    assert client.get("/studio/user?id=u0").status_code == 403
    assert client.get("/studio/why?user=u0&item=i0").status_code == 403
    assert client.get("/studio/users?q=u").status_code == 403
    assert client.get("/studio/model").status_code == 200
    home = client.get("/")
    assert home.status_code == 200
    assert "u0" not in home.text
    item = client.get("/studio/item?id=i0").text
    assert "/studio/user" not in item
    client.cookies.set("penchant_key", keys["read,personal"])
    assert "/studio/user?id=u" in client.get("/studio/item?id=i0").text
    page = client.get("/studio/user?id=u0")
    assert page.status_code == 200
    assert "needs the scope write" in page.text
    piece = client.post("/studio/event", data={"user_id": "u0", "item_id": "i0", "mode": "act"}, headers=PAGE)
    assert piece.status_code == 403
    assert piece.headers["HX-Retarget"] == "#news"


def test_erased_person_is_named_nowhere(studio: TestClient):
    assert "id=u2&#34;" in studio.get("/studio/users?q=u2").text or ">u2<" in studio.get("/studio/users?q=u2").text
    liked = studio.get("/studio/user?id=u2").text
    assert studio.delete("/v1/users/u2").status_code == 200
    assert ">u2<" not in studio.get("/studio/users?q=u2").text
    for item in set(re.findall(r"/studio/item\?id=(i\d+)", liked)):
        assert "id=u2&" not in (text := studio.get(f"/studio/item?id={item}").text)
        assert ">u2<" not in text


def test_drift_is_seen_when_people_choose_otherwise(studio: TestClient):
    assert "Too early to tell" in studio.get("/studio/operations").text
    studio.post("/v1/events", json={"user_id": "p0", "item_id": "i12"})
    early = measure(studio.app.state.service, studio.app.state.service.snapshot.recommender)  # type: ignore[attr-defined]
    assert early is not None
    assert early.level == "early"
    assert early.needed > 10
    events = [{"user_id": f"p{n % 20}", "item_id": f"i{12 + n % 12}"} for n in range(400)]
    studio.post("/v1/events", json={"events": events})
    service = studio.app.state.service  # type: ignore[attr-defined]
    drift = measure(service, service.snapshot.recommender)
    assert drift is not None
    assert drift.level == "moved"
    assert drift.num_events == 401
    assert np.isclose(sum(share for _, _, share in drift.rows), 1)


def test_operations_count_what_the_api_was_asked(studio: TestClient):
    for _ in range(5):
        studio.get("/v1/users/u0/recommendations")
    studio.post("/v1/events", json={"user_id": "a", "item_id": "i1"})
    text = studio.get("/studio/snapshot").text
    assert "GET /v1/users/{user_id}/recommendations" in text
    sample = json.loads(re.search(r"data-sample='?\"?([^\"']+)", text)[1].replace("&#34;", '"'))  # type: ignore[index]
    assert (sample["events"], sample["requests"]) == (1, 6)


def test_studio_is_not_in_the_description_of_the_api(reader: TestClient):
    assert not [path for path in reader.get("/openapi.json").json()["paths"] if "studio" in path or path == "/"]


def test_bundle_without_vectors_or_report_still_shows(gallery: Path, tmp_path: Path):
    from dataclasses import replace

    from penchant.core.schema import Content
    from penchant.recommender.recommender import Recommender

    bare = replace(Recommender.load(gallery), content=Content())
    bare.save(tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / "report", ignore_errors=True)
    with TestClient(
        create_app(
            ServiceConfig(bundle=tmp_path / "bare", folder=tmp_path / "state", host_names=["testserver"]),
            add_pages=add_studio,
        )
    ) as client:
        assert "without a report" in client.get("/studio/model").text
        person = client.get("/studio/user?id=u0")
        assert person.status_code == 200
        assert 'id="map"' not in person.text
        assert client.get("/studio/report").status_code == 404


def test_compare_without_another_bundle_says_how_to_give_one(reader: TestClient):
    answer = reader.get("/studio/compare")
    assert answer.status_code == 404
    assert "--compare OTHER" in answer.text
    assert "Compare with" not in reader.get("/studio/model").text


def board_of(outcome: str, gain: float) -> dict[str, Any]:
    rows = [
        {"name": "Penchant", "role": "ours", "scores": {"ndcg@20": {"mean": 0.2 + gain}}},
        {"name": "EASE", "role": "baseline", "scores": {"ndcg@20": {"mean": 0.2}}},
    ]
    rows[0]["differences"] = {"ndcg@20": {"mean": gain, "outcome": outcome}}
    return {"leaderboard": {"metric": "ndcg@20", "best_baseline": "EASE", "rows": rows}}


def test_quality_is_that_of_the_report():
    english, chinese = PageTranslator("en"), PageTranslator("zh")
    better = board_of("better", 0.05)
    assert model.quality(better, english) == {
        "outcome": "better",
        "sentence": "Yes: it recommends better than the best baseline, EASE. NDCG@20 is higher by 25 %.",
    }
    ceiling = {"ceiling": {"ndcg@20": {"mean": 0.5}}}
    found = model.quality(better | ceiling, english)
    assert found is not None
    assert found["sentence"].endswith("It reaches 50 % of what can be reached on this data.")
    same = model.quality(board_of("not distinguishable", 0.05), chinese)
    assert same is not None
    assert same["sentence"].startswith("未能证明")
    assert model.quality({}, english) is None
    assert model.quality(None, english) is None


def test_modalities_are_named_as_in_the_report():
    for language in ("en", "zh"):
        page, plain = PageTranslator(language), Translator(language)
        for name in CHANNELS.keys() - {"attribute"}:
            assert page.channel(name) == plain.channel(name)
