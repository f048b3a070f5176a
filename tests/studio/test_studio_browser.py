"""The studio in a real browser: clicks and sliders change the list, charts are drawn under the policy, nobody is shut out."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from penchant.recommender.recommender import Recommender
from penchant.service.app import create_app
from penchant.service.config import ServiceConfig
from penchant.studio.pages import add_studio

from .test_studio import gallery  # noqa: F401 (a fixture)

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("no browser here: chromium is absent (Debian: apt-get install chromium)", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="no browser here: pip install playwright")
AXE = Path(__file__).parent / "axe" / "axe.min.js"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEWS = {
    "/": False,
    "/studio/user?id=u0": True,
    "/studio/user?id=stranger&new=true": True,
    "/studio/user?id=u0&mode=act": True,
    "/studio/members?id=u0": False,
    "/studio/talk?id=u0": False,
    "/studio/compare?with=0": False,
    "/studio/item?id=i0": False,
    "/studio/why?user=u0&item=i12": True,
    "/studio/why?user=stranger&item=i12": False,
    "/studio/search?words=low": False,
    "/studio/model": True,
    "/studio/operations": True,
}
"""Address, and whether there is a chart."""


def scored(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}


REPORT = {
    "name": "reported",
    "leaderboard": {
        "metric": "ndcg@20",
        "best_baseline": "EASE",
        "rows": [
            {"name": "Penchant", "role": "ours", "scores": {"ndcg@20": scored(0.5)}},
            {"name": "EASE", "role": "baseline", "scores": {"ndcg@20": scored(0.4)}},
        ],
    },
    "ablation": {"metric": "ndcg@20", "payoffs": [{"channel": "audio", "outcome": "pays", "gain": scored(0.2)}]},
    "slices": [
        {
            "dimension": "history length",
            "group": "1-5",
            "metric": "recall@20",
            "num_users": 30,
            "ours": scored(0.5),
            "baseline": scored(0.4),
        }
    ],
    "weights": {"ease": 0.6, "content": 0.4},
}


@pytest.fixture(scope="module")
def address(gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:  # noqa: F811
    """Return the address of a service that really listens."""
    folder = tmp_path_factory.mktemp("reported")
    (folder / "report").mkdir()
    (folder / "report" / "report.json").write_text(json.dumps(REPORT), encoding="utf-8")
    (folder / "report" / "report.html").write_text("<!doctype html><title>Report</title>", encoding="utf-8")
    bundle = folder / "bundle"
    Recommender.load(gallery).save(bundle, report=folder / "report")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = ServiceConfig(bundle=bundle, folder=tmp_path_factory.mktemp("state"), watch_seconds=60, compare=[bundle])
    app = create_app(config, add_pages=add_studio)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """Return a page; what its console complains of (the policy above all) fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(60_000)  # a machine may be busy with other tests
    page = context.new_page()
    complaints: list[str] = []
    page.on(
        "console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") and _is_ours(m.text) else None
    )
    page.on(
        "response",
        lambda r: complaints.append(f"{r.status} {r.url}") if r.status >= 400 and "/picture" not in r.url else None,
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert not complaints


def _is_ours(text: str) -> bool:
    """Three pictures of the gallery are refused on purpose; every other answer is looked at by itself."""
    return not text.startswith("Failed to load resource")


def listed(page: Any) -> list[str]:
    found: list[str] = page.eval_on_selector_all("[data-item]", "cards => cards.map(c => c.dataset.item)")
    return found


def changed(page: Any, before: list[str]) -> list[str]:
    """Return the list once it is another."""
    page.wait_for_function(
        "before => JSON.stringify([...document.querySelectorAll('[data-item]')].map(c => c.dataset.item)) !== before",
        arg=str(before).replace("'", '"').replace(" ", ""),
    )
    return listed(page)


def test_clicks_and_sliders_change_the_list_at_once(page: Any, address: str):
    page.goto(f"{address}/studio/user?id=somebody&new=true", wait_until="domcontentloaded")
    first = listed(page)
    low = next(item for item in first if int(item[1:]) >= 12)
    page.locator(f"[data-item={low}] button.face").click()
    second = changed(page, first)
    assert low not in second
    page.locator(f"[data-item={second[0]}] button[value=like]").click()
    third = changed(page, second)
    assert page.locator(".line-of-time li").count() == 2
    assert page.locator(".changed").is_visible()

    page.goto(f"{address}/studio/user?id=u0", wait_until="domcontentloaded")
    before = listed(page)
    slider = page.get_by_role("slider", name="genres: high")
    slider.focus()
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    after = changed(page, before)
    page.wait_for_function("() => document.querySelectorAll('.edits li').length === 1")
    assert all(int(item[1:]) >= 12 for item in listed(page)), (after, third)
    assert slider.get_attribute("aria-valuetext") == "never"
    assert page.evaluate("document.activeElement.type") == "range", "the keyboard stays where it was"
    edited = listed(page)
    page.get_by_role("button", name="Take back").click()
    assert changed(page, edited) == before
    page.get_by_role("button", name="Undo: as learned high").click()
    assert changed(page, before) == edited, "an undo is undone in turn"
    page.goto(f"{address}/studio/user?id=u0", wait_until="domcontentloaded")
    assert listed(page) == before, "nothing of it was stored"


def test_acting_stores_clicks_and_undo_takes_them_back(page: Any, address: str):
    page.goto(f"{address}/studio/user?id=actor&new=true", wait_until="domcontentloaded")
    page.get_by_role("link", name="Act as this user").click()
    page.wait_for_selector(".mode.act")
    first = listed(page)
    page.locator(f"[data-item={first[0]}] button[value=like]").click()
    second = changed(page, first)
    page.reload(wait_until="domcontentloaded")
    assert listed(page) == second, "it is stored"
    page.get_by_role("button", name="Delete the event of").click()
    assert changed(page, second) == first
    page.get_by_role("button", name="Undo: deleted").click()
    assert changed(page, first) == second


def say(page: Any, words: str) -> Any:
    """Type a message, send it with Enter, and return its turn."""
    before = page.locator(".turn").count()
    page.keyboard.type(words)
    page.keyboard.press("Enter")
    page.wait_for_function("before => document.querySelectorAll('.turn').length === before + 1", arg=before)
    return page.locator(".turn").last


def test_a_conversation_works_by_keyboard_and_by_clicks(page: Any, address: str):
    page.goto(f"{address}/studio/talk?id=u0", wait_until="domcontentloaded")
    page.wait_for_function("() => document.activeElement.id === 'message'")
    first = say(page, "something high")
    assert first.locator(".said").inner_text() == "something high"
    titles = first.locator(".title").all_inner_texts()
    assert titles
    assert all(title.startswith("high") for title in titles)
    held = page.locator("#conversation_id").input_value()
    assert held
    assert page.locator("#message").input_value() == "", "the field is empty again"
    assert page.evaluate("document.activeElement.id") == "message", "and the keyboard still there"

    asked = say(page, "I no longer like high sounds")
    assert asked.locator(".choices button").all_inner_texts() == ["Yes", "No"]
    asked.get_by_role("button", name="Yes").click()
    page.wait_for_function("() => document.querySelectorAll('.turn').length === 3")
    done = page.locator(".turn").last
    assert "Your profile is changed." in done.locator(".answer").inner_text()
    assert page.locator("#conversation_id").input_value() == held, "it is one conversation"
    assert page.locator(".choices button:visible", has_text="Yes").count() == 0, "what is answered is not asked again"
    assert page.evaluate("document.activeElement.id") == "message"
    bottom, top = page.evaluate(
        "[document.getElementById('message').getBoundingClientRect().bottom,"
        " document.querySelector('.turn:last-child').getBoundingClientRect().top]"
    )
    assert bottom <= 900
    assert 0 <= top < 900, "the newest turn and the field are in view"


def test_a_conversation_is_chinese_on_a_small_screen(page: Any, address: str):
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{address}/studio/talk?id=u1&lang=zh", wait_until="domcontentloaded")
    page.wait_for_function("() => document.activeElement.id === 'message'")
    turn = say(page, "有什么适合我的？")
    assert turn.locator(".tile").count() > 1
    said, bar = (page.locator(place).last.bounding_box() for place in (".said", ".top"))
    assert said["y"] >= bar["y"] + bar["height"], "the bar at the top covers nothing of the turn"
    told = [turn.locator(".answer").inner_text(), *turn.locator(".facts").all_inner_texts()]
    assert not any(english in text for text in told for english in ("Here is", "because", "liked", "closest"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_tables_filter_and_export(page: Any, address: str):
    page.goto(f"{address}/studio/why?user=u0&item=i12", wait_until="domcontentloaded")
    rows = page.locator("table[data-name=contributions] tbody tr:visible")
    every = rows.count()
    page.get_by_role("searchbox", name="Filter rows").fill("high tune 1")
    assert 0 < rows.count() < every
    with page.expect_download() as found:
        page.get_by_role("button", name="Export as CSV").click()
    lines = Path(found.value.path()).read_text(encoding="utf-8-sig").splitlines()
    assert lines[0] == '"Because of","adds"'
    assert lines[1].startswith('"high tune 1')
    assert len(lines) == rows.count() + 2, "the names of the columns, and the sum"


def test_the_latency_table_keeps_its_filter_while_it_is_read_again(page: Any, address: str):
    page.request.get(f"{address}/v1/catalog")
    page.request.get(f"{address}/v1/items/i1")
    page.goto(f"{address}/studio/operations", wait_until="domcontentloaded")
    rows = page.locator("table[data-name='latency'] tbody tr")
    rows.nth(1).wait_for()
    page.locator("#latency-tools input").fill("catalog")
    with page.expect_response(lambda answer: answer.url.endswith("/studio/snapshot")):
        pass
    page.wait_for_timeout(200)  # the swap
    assert page.locator("#latency-tools input").input_value() == "catalog"
    shown = [row.inner_text() for row in rows.all() if row.is_visible()]
    assert len(shown) == 1
    assert "/v1/catalog" in shown[0]


def test_pages_work_by_keyboard_and_remember_the_theme(page: Any, address: str):
    page.goto(f"{address}/studio/user?id=u0", wait_until="domcontentloaded")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("/")
    page.keyboard.type("low sound")
    page.keyboard.press("Enter")
    page.wait_for_url("**/studio/search?words=low+sound")
    assert page.locator(".tile").count() > 3
    page.locator(".theme").click()
    page.goto(f"{address}/studio/model", wait_until="domcontentloaded")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 20, 19)"


def test_dropped_sound_finds_its_like(page: Any, address: str, gallery: Path):  # noqa: F811
    sound = gallery.parent / "media" / "14.wav"
    page.goto(f"{address}/studio/search", wait_until="domcontentloaded")
    carried = page.evaluate_handle(
        """([data, name]) => {
            const carried = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            carried.items.add(new File([bytes], name, { type: "audio/wav" }));
            return carried;
        }""",
        [base64.b64encode(sound.read_bytes()).decode(), sound.name],
    )
    page.dispatch_event("main", "dragover", {"dataTransfer": carried})
    assert page.locator("form.drop.over").count() == 1
    page.dispatch_event("main", "drop", {"dataTransfer": carried})
    page.wait_for_selector("#found-title")
    assert page.locator(".tile .title").first.inner_text().startswith("low tune")


def test_chosen_sound_finds_its_like(page: Any, address: str, gallery: Path):  # noqa: F811
    page.goto(f"{address}/studio/search", wait_until="domcontentloaded")
    page.locator("#file").set_input_files(gallery.parent / "media" / "2.wav")
    page.wait_for_selector("#found-title")
    assert page.locator(".tile .title").first.inner_text().startswith("high tune")


@pytest.mark.parametrize(("scheme", "asked"), [("light", {}), ("dark", {"runOnly": ["color-contrast"]})])
def test_no_serious_barrier_and_every_chart_is_drawn(page: Any, address: str, scheme: str, asked: dict[str, Any]):
    """The theme changes colours alone, so that in the dark only they are looked at again."""
    page.emulate_media(color_scheme=scheme)
    source = AXE.read_text(encoding="utf-8")
    for view, has_chart in VIEWS.items():
        page.goto(f"{address}{view}", wait_until="domcontentloaded")
        if has_chart:
            page.wait_for_selector(".chart[data-ready] svg")
        page.evaluate(source)
        found = page.evaluate("asked => axe.run({resultTypes: ['violations'], ...asked})", asked)
        serious = [
            (view, v["id"], [node["html"][:120] for node in v["nodes"][:3]])
            for v in found["violations"]
            if v["impact"] in ("serious", "critical")
        ]
        assert not serious
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
